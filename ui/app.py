"""The services, opened once per server, and the owner of a request."""

from __future__ import annotations

import atexit
import logging

import streamlit as st

from rag.schema import LOCAL_OWNER
from services import Services
from settings import get_settings


@st.cache_resource(show_spinner=False)
def services() -> Services:
    """The services of this server.

    Raises:
        AppError: the data folder cannot be used. Not cached: the next run tries again.
    """
    settings = get_settings()
    logging.basicConfig(level=settings.log_level)
    opened = Services(settings)
    try:
        opened.ingest.start()
        opened.purge()
    except BaseException:
        opened.close()  # or this process would find the folder locked by itself
        raise
    atexit.register(opened.close)
    return opened


def owner() -> str:
    """Who is asking."""
    return LOCAL_OWNER
