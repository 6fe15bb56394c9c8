"""Dialogs that stay open when the page is drawn again, as it is all the time that documents are being read.

To be drawn anew can lose the click that dismisses a dialog: what draws the page anew by itself had better wait.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

_OPEN = "open_dialog"


def ask(dialog: Callable[..., object], *args: object) -> None:
    """Open a dialog, from a callback or while the page is drawn; its page calls `draw` at its end."""
    st.session_state[_OPEN] = (_address(), dialog, args)


def close() -> None:
    """It was answered or dismissed."""
    st.session_state.pop(_OPEN, None)


def is_open() -> bool:
    """Whether one is."""
    return _OPEN in st.session_state


def draw() -> None:
    """The dialog that is open, if one is."""
    if opened := st.session_state.get(_OPEN):
        address, dialog, args = opened
        if address != _address():  # the browser went back, which dismisses nothing
            close()
            return
        dialog(*args)


def _address() -> tuple[str | None, dict[str, str]]:
    return st.context.url, st.query_params.to_dict()
