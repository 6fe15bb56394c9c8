"""Presets in the sidebar: settings by name, one of which new chats begin with."""

from __future__ import annotations

import streamlit as st

from rag.chat.presets import LONGEST_NAME
from services import Services
from ui.app import owner
from ui.sidebar import choices
from ui.widgets import errors, text


def draw(services: Services) -> None:
    """The choice of a preset, and a way to save and remove them."""
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
            on_change=errors.with_error_boundary(_take),
            args=(services,),
            help="Settings, instructions, model and collections by name.",
        )
    with st.popover("Save as preset", icon=":material/bookmark_add:", width="stretch", key="preset_box"):
        st.text_input("Name", key="preset_name", max_chars=LONGEST_NAME, placeholder="Strict, in French")
        default = st.checkbox("New chats begin with it", key="preset_default")
        st.caption("Keeps the model, the collections and all settings as they are now.")
        st.button(
            "Save",
            key="preset_save",
            type="primary",
            on_click=errors.with_error_boundary(_save),
            args=(services, default),
        )
    if chosen := found.get(state["preset"] or ""):
        with st.container(horizontal=True):
            st.button(
                "No longer for new chats" if chosen.is_default else "For new chats",
                key="preset_make_default",
                type="tertiary",
                icon=":material/star:",
                on_click=errors.with_error_boundary(services.presets.make_default),
                args=(owner(), None if chosen.is_default else chosen.name),
            )
            st.button(
                "Delete preset",
                key="preset_delete",
                type="tertiary",
                icon=":material/delete:",
                on_click=errors.with_error_boundary(services.presets.delete),
                args=(owner(), [chosen.name]),
            )


def _take(services: Services) -> None:
    name = st.session_state["preset"]
    preset = next((preset for preset in services.presets.list(owner()) if preset.name == name), None)
    if preset:
        choices.apply(services, preset.options, preset.name)


def _save(services: Services, default: bool) -> None:
    state = st.session_state
    name = " ".join(state["preset_name"].split())
    services.presets.save(owner(), name, choices.current())
    if default:
        services.presets.make_default(owner(), name)
    state["preset"], state["preset_name"], state["preset_default"] = name, "", False
