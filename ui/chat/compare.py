"""The Compare page: one question, two models, the same passages."""

from __future__ import annotations

import streamlit as st

from backends.base import Backend
from errors import AppError
from rag.schema import Finish
from services import Services
from ui import navigation
from ui.app import owner
from ui.chat import answer, passage_view
from ui.models import pickers
from ui.sidebar import choices
from ui.widgets import errors

SIDES = ("left", "right")


def draw(services: Services) -> None:
    """Draw the page."""
    st.title("Compare two models")
    st.markdown("Both get the same question and the same passages. You can continue each answer as a chat.")
    picked, running = [], []
    for side, column in zip(SIDES, st.columns(2), strict=True):
        with column:
            picked.append(_pick(services, side))
    for side, column in zip(SIDES, st.columns(2), strict=True):
        with column:
            running.append(_answer(services, st.query_params.get(side)))
    if error := st.session_state.pop("compare_error", None):
        errors.show(error.message, error.hint)
    label, busy = "Answering …" if any(running) else "Ask both", any(running)
    if question := st.chat_input(label, key="both", disabled=busy, max_chars=4000):
        _ask(services, question, picked)
        st.rerun()
    passage_view.draw()


def _pick(services: Services, side: str) -> tuple[Backend, str | None]:
    key = f"{side}-model"
    if key not in st.session_state:
        pickers.choose(key, *_suggest(services, side))
    return pickers.pick(services, key)


def _suggest(services: Services, side: str) -> pickers.Choice:
    """The model of the sidebar on one side, one of another available backend on the other."""
    mine = pickers.chosen(services, choices.MODEL)
    if side == SIDES[0]:
        return mine
    names = [backend.name for backend in services.manager.backends()]
    for patience in (0.0, 0.1):  # all are asked before waiting for the first
        found = [services.manager.checks.latest(name, patience) for name in names]
    others = (each.backend.name for each in found if each and not each.error)
    return next((pickers.Choice(name, "") for name in others if name != mine.backend), mine)


def _ask(services: Services, question: str, picked: list[tuple[Backend, str | None]]) -> None:
    both = [(backend.name, model) for backend, model in picked if model]
    if len(both) < len(SIDES):
        st.session_state["compare_error"] = AppError("A model is missing.", "Choose one on both sides.")
        return
    try:
        started = services.asking.compare(owner(), choices.question(question, None), both)
    except AppError as error:
        st.session_state["compare_error"] = error
        return
    for side, (message, _) in zip(SIDES, started, strict=True):
        st.query_params[side] = message.conversation_id


def _answer(services: Services, conversation: str | None) -> bool:
    """Draw the first question and answer of a conversation; return whether the answer is still being written."""
    if not conversation:
        return False
    for message in services.conversations.messages(owner(), conversation)[:2]:
        if message.finish is Finish.RUNNING and services.turns.get(owner(), message.id):
            answer.draw_live(services, message)
            return True
        answer.draw(message)
    st.page_link(navigation.CHAT, label="Continue this chat", icon=":material/forum:", query_params={"c": conversation})
    return False
