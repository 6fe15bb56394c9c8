"""The sidebar: conversations, collections, model, settings, and presets, which are named settings."""

from __future__ import annotations

import streamlit as st

from backends.base import Backend
from options import Answers
from rag.chat.presets import LONGEST_NAME
from services import Services
from ui import navigation
from ui.app import owner
from ui.models import pickers
from ui.sidebar import choices, collections, conversations
from ui.widgets import errors, text
from ui.widgets.errors import button

DEFAULT = "Default"
"""Name of the preset that one click makes."""


def draw(services: Services, *, chatting: bool) -> None:
    """Draw the sidebar below the navigation; `chatting` if the address may name a conversation."""
    choices.follow(services, st.query_params.get("c")) if chatting else choices.begin(services)
    with st.sidebar:
        if st.button("New chat", icon=":material/edit_square:", width="stretch", shortcut="Ctrl+Shift+O"):
            st.switch_page(navigation.CHAT)
        conversations.draw_list(services)
        collections.pick_searched(services)
        backend, model = pickers.pick(services, choices.MODEL)
        choices.use_options_of(services, backend.name)
        if model:
            pickers.draw_state(services, backend, model)
        _answers()
        with st.expander("Settings", icon=":material/tune:"):
            _presets(services)
            _settings(services, backend)


def _answers() -> None:
    purpose = (
        "Quoted: the documents' own words, each with its place. Written: the model puts it in words. Automatic: quoted "
        "if the model is small, because small models read better than they write."
    )
    names = {Answers.AUTOMATIC: "Automatic", Answers.QUOTED: "Quoted", Answers.WRITTEN: "Written"}
    st.selectbox("Answers", list(names), key="answers", format_func=names.__getitem__, help=purpose)


def _settings(services: Services, backend: Backend) -> None:
    hint, purpose = "Answer in French. Use bullet points.", "Added to Gestalt's own instructions for every answer."
    st.text_area("Instructions", key="instructions", max_chars=2000, height=90, placeholder=hint, help=purpose)
    cannot = backend.capabilities.cannot

    def slide(label: str, key: str, step: float, purpose: str | None = None) -> None:
        low, high = choices.bounds(services, key)
        st.slider(label, low, high, step=step, key=key, disabled=key in cannot, help=cannot.get(key, purpose))

    slide("Passages", "k", 1, "Passages retrieved for a question and shown to the model.")
    purpose = "If the documents hold no answer, say so instead of letting the model answer from its own knowledge."
    st.toggle("Only from the documents", key="strict", help=purpose)
    purpose = "Let the model rewrite a follow-up question to stand on its own, and search for both."
    st.toggle("Rewrite follow-ups", key="condense", help=f"{purpose} Takes one more call; small models are not asked.")
    slide("Temperature", "temperature", 0.05, "0 always takes the likeliest token.")
    slide("Top-p", "top_p", 0.05)
    slide("Top-k", "top_k", 1)
    slide("Longest answer (tokens)", "max_new_tokens", 16)
    if default := services.settings.answer.fallback:
        services.manager.backend(default)  # report an unknown name in the settings
    labels = {"": "none"} | {other.name: other.label for other in services.manager.backends()}
    st.selectbox(
        "Fallback",
        labels,
        key="fallback",
        format_func=lambda name: labels.get(name, name),
        help="This backend answers if the chosen one is down, busy or rejects the key. The answer says so.",
    )


def _presets(services: Services) -> None:
    found = {preset.name: preset for preset in services.presets.list(owner())}
    state = st.session_state
    if state.get("preset") not in found:
        state["preset"] = None
    if found:
        st.selectbox(
            "Preset",
            list(found),
            index=None,
            key="preset",
            placeholder="None",
            format_func=lambda name: text.short(name, 30) + (" (new chats)" if found[name].is_default else ""),
            on_change=errors.with_error_boundary(_apply_preset),
            args=(services,),
            help="A saved model, collections, instructions and settings.",
        )
    if not state["preset"] and not any(preset.is_default for preset in found.values()):
        purpose = "New chats begin with what is chosen now, whatever was chosen last."
        button("Use for new chats", _use_for_new_chats, services, icon="star", help=purpose, width="stretch")
    with st.popover("Save as preset", icon=":material/bookmark_add:", width="stretch", key="preset_box"):
        st.text_input("Name", key="preset_name", max_chars=LONGEST_NAME, placeholder="Strict, in French")
        st.caption("Saves the current model, collections and settings.")
        button("Save", _save_preset, services, key="preset_save")
    if chosen := found.get(state["preset"] or ""):
        label, default_name = ("Not for new chats", None) if chosen.is_default else ("For new chats", chosen.name)
        make_default, delete = services.presets.make_default, services.presets.delete
        with st.container(horizontal=True):
            button(label, make_default, owner(), default_name, icon="star", key="preset_make_default", type="tertiary")
            names = [chosen.name]
            button("Delete preset", delete, owner(), names, icon="delete", key="preset_delete", type="tertiary")


def _apply_preset(services: Services) -> None:
    name = st.session_state["preset"]
    if preset := next((preset for preset in services.presets.list(owner()) if preset.name == name), None):
        choices.apply(services, preset.options, preset.name)


def _use_for_new_chats(services: Services) -> None:
    services.presets.save(owner(), DEFAULT, choices.current(services))
    services.presets.make_default(owner(), DEFAULT)
    st.session_state["preset"] = DEFAULT


def _save_preset(services: Services) -> None:
    state = st.session_state
    name = " ".join(state["preset_name"].split())
    services.presets.save(owner(), name, choices.current(services))
    state["preset"], state["preset_name"] = name, ""
