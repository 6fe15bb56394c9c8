"""Presets in the sidebar: named settings, one of which may be the default for new chats."""

from __future__ import annotations

import streamlit as st

from rag.chat.presets import LONGEST_NAME
from services import Services
from ui.app import owner
from ui.sidebar import choices
from ui.widgets import errors, text
from ui.widgets.errors import button


def draw(services: Services) -> None:
    """Choose, save and delete presets."""
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
            on_change=errors.with_error_boundary(_apply),
            args=(services,),
            help="A saved model, collections, instructions and settings.",
        )
    with st.popover("Save as preset", icon=":material/bookmark_add:", width="stretch", key="preset_box"):
        st.text_input("Name", key="preset_name", max_chars=LONGEST_NAME, placeholder="Strict, in French")
        default = st.checkbox("Use for new chats", key="preset_default")
        st.caption("Saves the current model, collections and settings.")
        button("Save", _save, services, default, key="preset_save", type="primary")
    if chosen := found.get(state["preset"] or ""):
        label, default_name = ("Not for new chats", None) if chosen.is_default else ("For new chats", chosen.name)
        make_default, delete = services.presets.make_default, services.presets.delete
        with st.container(horizontal=True):
            button(label, make_default, owner(), default_name, icon="star", key="preset_make_default", type="tertiary")
            names = [chosen.name]
            button("Delete preset", delete, owner(), names, icon="delete", key="preset_delete", type="tertiary")


def _apply(services: Services) -> None:
    name = st.session_state["preset"]
    if preset := next((preset for preset in services.presets.list(owner()) if preset.name == name), None):
        choices.apply(services, preset.options, preset.name)


def _save(services: Services, default: bool) -> None:
    state = st.session_state
    name = " ".join(state["preset_name"].split())
    services.presets.save(owner(), name, choices.current())
    if default:
        services.presets.make_default(owner(), name)
    state["preset"], state["preset_name"], state["preset_default"] = name, "", False
