"""Buttons whose callbacks show errors on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from ui.widgets import errors


def button(label: str, act: Callable[..., object], *args: object, icon: str = "", **options: Any) -> None:
    """Draw a button that calls `act(*args)`; `options` are those of `st.button`."""
    symbol = f":material/{icon}:" if icon else None
    st.button(label, icon=symbol, on_click=errors.with_error_boundary(act), args=args, **options)
