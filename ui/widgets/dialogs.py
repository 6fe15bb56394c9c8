"""Dialogs that stay open across reruns of the page, e.g. while documents are being read.

A rerun can swallow the click that dismisses a dialog, so whatever reruns the page by itself should wait for `is_open`.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ui.widgets import errors

_OPEN = "open_dialog"


def ask(dialog: Callable[..., object], *args: object) -> None:
    """Open a dialog, from a callback or while the page is drawn; the page has to end with `draw`."""
    st.session_state[_OPEN] = (_address(), dialog, args)


def close() -> None:
    """Forget the open dialog."""
    st.session_state.pop(_OPEN, None)


def is_open() -> bool:
    """Whether a dialog is open."""
    return _OPEN in st.session_state


def draw() -> None:
    """Draw the open dialog, if any."""
    if opened := st.session_state.get(_OPEN):
        address, dialog, args = opened
        if address == _address():
            dialog(*args)
        else:
            close()  # going back in the browser dismisses nothing


def rename(title: str, label: str, current: str, max_chars: int, act: Callable[[str], object]) -> None:
    """A dialog that asks for a new name and calls `act` with it."""

    @st.dialog(title, on_dismiss=close)
    @errors.with_error_boundary
    def dialog() -> None:
        with st.form("rename", border=False):
            name = st.text_input(label, current, max_chars=max_chars)
            if not st.form_submit_button("Rename", type="primary"):
                return
        act(name)
        close()
        st.rerun()

    dialog()


def _address() -> tuple[str | None, dict[str, str]]:
    return st.context.url, st.query_params.to_dict()
