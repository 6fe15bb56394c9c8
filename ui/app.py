"""What every page starts from: the services, opened once for the server, and who is asking."""

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
        AppError: the data folder cannot be used; asked again at the next run, so that a mended cause is enough.
    """
    settings = get_settings()
    logging.basicConfig(level=settings.log_level)
    opened = Services(settings)
    try:
        opened.ingest.start()
        opened.purge()
    except BaseException:
        # Else the next run would find the folder locked by this very process.
        opened.close()
        raise
    atexit.register(opened.close)
    return opened


def owner() -> str:
    """Who is asking."""
    return LOCAL_OWNER
