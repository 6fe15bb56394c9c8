"""Times in the time zone of the browser."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import streamlit as st


def local(moment: datetime) -> datetime:
    """A time in the time zone of the browser."""
    return moment.astimezone(ZoneInfo(st.context.timezone or "UTC"))
