"""Versions of a message: switch and compare them, answer again, edit a question."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from errors import AppError
from rag.chat.records import differences
from rag.schema import Message, Mode, Role
from services import Services
from ui import app
from ui.models import pickers
from ui.sidebar import choices, collections
from ui.widgets import dialogs, errors, text
from ui.widgets.errors import button

_EDITED = "edited_question"
MOST_MODELS = 12  # in the menu “Answer again”, next to the chosen one


def draw_switch(message: Message) -> None:
    """Buttons for the previous and next version, if there are several."""
    if not message.versions:
        return
    at, of = message.versions.index(message.id), len(message.versions)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for label, icon, step in (("Earlier", "chevron_left", -1), ("Later", "chevron_right", 1)):
            if step > 0:
                st.caption(f"{at + 1} / {of}", width="content")
            key, disabled = f"version-{step}-{message.id}", not 0 <= at + step < of
            if st.button(label, key=key, icon=f":material/{icon}:", type="tertiary", disabled=disabled):
                # Reruns the whole page, also from within a fragment.
                app.services().conversations.show(app.owner(), message.versions[at + step])
                st.rerun()
        if message.role is Role.ASSISTANT:
            _draw_compare_button(message)


def edited() -> str | None:
    """The id of the question that is being edited."""
    return st.session_state.get(_EDITED)


def draw_edit_button(message: Message) -> None:
    """Draw the button that edits a question."""
    edit, purpose = {_EDITED: message.id}, "Change the question and continue from there. This branch is kept."
    key = f"edit-{message.id}"
    button("Edit", st.session_state.update, edit, icon="edit", key=key, type="tertiary", help=purpose)


def draw_edit(message: Message) -> None:
    """Draw the form that edits a question."""
    with st.form(f"edit-form-{message.id}", border=False):
        asked = st.text_area("Question", message.text, key=f"edit-text-{message.id}", max_chars=4000)
        with st.container(horizontal=True):
            sent = st.form_submit_button("Ask this instead", type="primary", icon=":material/send:")
            st.form_submit_button("Cancel", on_click=st.session_state.pop, args=(_EDITED, None))
    if sent:
        del st.session_state[_EDITED]
        _ask(message, asked)


def _ask(
    message: Message,
    question: str,
    model: tuple[str, str] | None = None,
    mode: Mode | None = None,
    **options: Any,
) -> None:
    """Ask in place of a message, and rerun the page."""
    with errors.error_boundary():
        values = {"backend": model[0], "model": model[1], "fallback": ""} if model else {}
        asked = choices.question(question, message.conversation_id, message.id, **values | options)
        asked = replace(asked, mode=mode)
        try:
            app.services().asking.ask(app.owner(), asked)
        except AppError as error:
            st.session_state["chat_error"] = error
        st.rerun()


MODES = {
    Mode.QUOTED: "Quote the documents",
    Mode.WRITTEN: "Let the model write",
    Mode.SUMMARY: "Summarise whole documents",
    Mode.LIST: "List everything of this kind",
}
"""Ways to answer that can be chosen instead of the one that was taken."""


def draw_again(message: Message) -> None:
    """Draw the menu of other ways and models to answer again."""
    ways: dict[Mode | tuple[str, str], str] = {mode: way for mode, way in MODES.items() if mode is not message.mode}
    choices_ = ways | _models(app.services())
    icon, key, label = ":material/refresh:", f"again-{message.id}", choices_.__getitem__
    chosen = st.menu_button("Answer again", list(choices_), key=key, type="tertiary", icon=icon, format_func=label)
    if isinstance(chosen, Mode):
        _ask(message, "", mode=chosen)
    elif chosen:
        _ask(message, "", chosen)


def draw_ways_on(message: Message) -> None:
    """Draw what else can be done where the documents do not answer a question."""
    with st.container(horizontal=True, gap="small"):
        if st.button("Answer without documents", key=f"without-{message.id}", icon=":material/psychology:"):
            _ask(message, "", strict=False)
        everywhere = len(collections.every(app.services())) > len(collections.searched(app.services()))
        if everywhere and st.button(
            "Search all collections", key=f"all-{message.id}", icon=":material/travel_explore:"
        ):
            _ask(message, "", collection_ids=None)


def draw_retry(message: Message) -> None:
    """Draw the button below a failed answer."""
    if st.button("Try again", key=f"retry-{message.id}", icon=":material/refresh:"):
        _ask(message, "")


def _models(services: Services) -> dict[tuple[str, str], str]:
    """Models that can answer, with their Markdown: the chosen one first, then those listed by the backends."""
    labels = {backend.name: backend.label for backend in services.manager.backends()}
    mine = pickers.chosen(services, choices.MODEL)
    found: list[tuple[str, str]] = [mine] if mine.model else []
    for name in labels:
        checked = services.manager.checks.latest(name)
        found += [(name, info.name) for info in checked.models] if checked else []
    models = list(dict.fromkeys(found))[: MOST_MODELS + 1]
    return {(name, model): text.literal(f"{text.short(model, 40)} ({labels[name]})") for name, model in models}


def _draw_compare_button(message: Message) -> None:
    if st.button("Compare answers", key=f"compare-{message.id}", type="tertiary", icon=":material/compare_arrows:"):
        dialogs.ask(_compare, message.versions, message.id)
        st.rerun()


@st.dialog("Compare answers", width="large", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _compare(versions: tuple[str, ...], this: str) -> None:
    conversations = app.services().conversations
    found = [message for id_ in versions if (message := conversations.message(app.owner(), id_))]
    names = {message.id: f"{at}: {message.model or 'no model'}" for at, message in enumerate(found, 1)}
    right = this if this != versions[0] else versions[1]
    left = versions[versions.index(right) - 1]
    picked = []
    for column, side, default in zip(st.columns(2), ("First", "Second"), (left, right), strict=True):
        with column:
            index, key = list(names).index(default), f"compare-{side}"
            id_ = st.selectbox(side, list(names), index=index, format_func=names.__getitem__, key=key)
            message = next(message for message in found if message.id == id_)
            st.markdown(text.answer(message.text) if message.text else "*No text.*")
            picked.append(conversations.record(app.owner(), message.id))
    rows = differences(*picked)
    st.markdown("**What differed**" if rows else "Nothing else differed.")
    if rows:
        table = [dict(zip(("", "First", "Second"), row, strict=True)) for row in rows]
        st.dataframe(table, hide_index=True, alt="Differences between the answers")
