"""The services, opened once per server, and the owner and time zone of a request."""

from __future__ import annotations

import atexit
import logging
from datetime import datetime
from zoneinfo import ZoneInfo

import streamlit as st

from rag.schema import LOCAL_OWNER
from services import Services
from settings import get_settings


@st.cache_resource(show_spinner=False)
def services() -> Services:
    """Open the services. Raises AppError, which is not cached, if the data folder cannot be used."""
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


def local_time(moment: datetime) -> datetime:
    """A time in the time zone of the browser."""
    return moment.astimezone(ZoneInfo(st.context.timezone or "UTC"))
