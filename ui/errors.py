"""How an error looks: the one renderer. A traceback never reaches the page."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from errors import AppError

log = logging.getLogger(__name__)


def show(message: str, hint: str) -> None:
    """One sentence that says what happened, and what to do next."""
    st.error(f"**{message}**  \n{hint}" if hint else message, icon=":material/error:")


@contextmanager
def shown() -> Iterator[None]:
    """Draw whatever goes wrong inside; a bug is logged and shown as its reference number."""
    try:
        yield
    except AppError as error:
        show(error.message, error.hint)
    except Exception:
        reference = uuid.uuid4().hex[:8]
        log.exception("A page failed, reference %s", reference)
        show("Something went wrong inside Gestalt.", f"Reload the page; the log has it under {reference}.")
