"""How errors look, never with a traceback; a button and a fragment that show those of their callbacks."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

import streamlit as st

from errors import AppError
from ui.widgets import text

log = logging.getLogger(__name__)
P = ParamSpec("P")


def show(message: str, hint: str) -> None:
    """Show what happened in one sentence, and what to do next."""
    st.error(f"**{text.literal(message)}**  \n{text.literal(hint)}".strip(), icon=":material/error:")


def with_error_boundary(function: Callable[P, object]) -> Callable[P, None]:
    """Wrap a callback or fragment: these run outside the error boundary of the main script."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        with error_boundary():
            function(*args, **kwargs)

    return call


def button(label: str, act: Callable[..., object], *args: object, icon: str = "", **options: Any) -> None:
    """Draw a button that calls `act(*args)`; `options` are those of `st.button`."""
    symbol = f":material/{icon}:" if icon else None
    st.button(label, icon=symbol, on_click=with_error_boundary(act), args=args, **options)


def live(seconds: float | None, draw: Callable[[], object]) -> None:
    """Draw a part of the page, again and again after so many seconds unless None."""
    st.fragment(with_error_boundary(draw), run_every=seconds)()


@contextmanager
def error_boundary() -> Iterator[None]:
    """Show errors raised inside; log a bug and show its reference number."""
    try:
        yield
    except AppError as error:
        show(error.message, error.hint)
    except Exception:
        reference = uuid.uuid4().hex[:8]
        log.exception("A page failed, reference %s", reference)
        show("Something went wrong inside Gestalt.", f"Reload the page; the log has it under {reference}.")
