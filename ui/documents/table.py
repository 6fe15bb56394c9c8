"""The table of documents: searched, filtered, sorted, fifty a page, with ticks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from rag.documents.ingest import CANCELLED
from rag.schema import CollectionRecord, DocumentRecord, DocumentState
from services import Services
from ui.app import owner

PAGE = 50
ROW, HEIGHT = 35, 460  # pixels of a row, and of the table at most, so that the actions stay in sight
STATES = {
    DocumentState.READY: ("Ready", "green"),
    DocumentState.INDEXING: ("Reading", "blue"),
    DocumentState.PENDING: ("Waiting", "gray"),
    DocumentState.FAILED: ("Failed", "red"),
    DocumentState.DELETING: ("Deleting", "orange"),
}
CANCELLED_BADGE = ("Cancelled", "gray")
SHOWN: dict[str, tuple[DocumentState, ...]] = {
    "All": (),
    "Ready": (DocumentState.READY,),
    "Waiting": (DocumentState.PENDING, DocumentState.INDEXING),
    "Failed": (DocumentState.FAILED,),
}
ORDERS = {
    "Newest first": ("created", True),
    "Oldest first": ("created", False),
    "Name, A to Z": ("name", False),
    "Name, Z to A": ("name", True),
    "Largest first": ("size", True),
    "Smallest first": ("size", False),
    "Most pages first": ("pages", True),
    "Most chunks first": ("chunks", True),
    "Fewest chunks first": ("chunks", False),
}
_ALL, _DRAWN, _TABLES = "all_documents_ticked", "documents_drawn", "tables_drawn"
Counts = dict[DocumentState, int]


@dataclass(frozen=True, slots=True)
class Ticked:
    """The ticked documents."""

    documents: Sequence[DocumentRecord] = ()
    matching: int = 0  # documents that match the search, on all pages
    whole_page: bool = False  # all rows of this page are ticked, and there are more pages
    all_matching: bool = False  # all that match are selected, on all pages
    token: Hashable = None  # identifies these ticks; for `select_all`


def select_all(token: Hashable) -> None:
    """Select all that match, as long as the ticks stay as they are."""
    st.session_state[_ALL] = token


def draw(services: Services, collection: CollectionRecord, counts: Counts) -> Ticked:
    """Draw search, filters, table and pages."""
    text_, shown, order = _filters(counts)
    column, descending = ORDERS[order]
    find = partial(services.library.find, owner(), collection.id, text=text_, states=SHOWN[shown])
    find = partial(find, order=column, descending=descending)
    # A new search starts at its first page.
    key = f"page-{hash((collection.id, text_, shown, order))}"
    page = st.session_state.get(key, 1)
    documents, total = find(first=PAGE * (page - 1), limit=PAGE)
    if page > (last := max(1, -(-total // PAGE))):
        page = st.session_state[key] = last
        documents, total = find(first=PAGE * (page - 1), limit=PAGE)
    if not total:
        st.info("No document matches. Clear the search, or show all.", icon=":material/search_off:")
        return Ticked()
    rows = _rows(documents)
    if last > 1:
        # On a separate line: next to anything else it shows fewer pages.
        st.pagination(last, key=key)
        st.caption(f"{PAGE * (page - 1) + 1:,} to {min(total, PAGE * page):,} of {total:,}")
    token = (key, st.session_state[_TABLES], rows)
    all_matching = bool(rows) and st.session_state.get(_ALL) == token
    ticked = find(limit=total)[0] if all_matching else [documents[row] for row in rows]
    return Ticked(ticked, total, len(rows) == len(documents) < total, all_matching, token)


def show_failed() -> None:
    """Show only failed documents."""
    st.session_state["documents_shown"] = "Failed"
    st.session_state["documents_search"] = ""


def shows_failed() -> bool:
    """Whether only failed documents are shown."""
    return bool(st.session_state.get("documents_shown") == "Failed")


def _filters(counts: Counts) -> tuple[str, str, str]:
    """Return text, states shown and order."""
    keep: dict[str, Any] = {"label_visibility": "collapsed", "persist_state": "session"}
    # A label that changes while it is clicked would lose the click.
    busy = any(state.is_open for state in counts)
    numbers = {name: sum(counts.get(state, 0) for state in states or counts) for name, states in SHOWN.items()}
    labels = {name: name if busy else f"{name} {numbers[name]:,}" for name in SHOWN}
    shown = st.segmented_control(
        "Show", list(SHOWN), default="All", required=True, format_func=labels.__getitem__, key="documents_shown", **keep
    )
    with st.container(horizontal=True):
        label, icon = "Search by name", ":material/search:"
        wanted = st.text_input(label, key="documents_search", placeholder=label, icon=icon, **keep)
        order = st.selectbox("Sort", list(ORDERS), key="documents_order", **keep)
    return wanted or "", shown or "All", order


def _rows(documents: Sequence[DocumentRecord]) -> tuple[int, ...]:
    """Draw the table; return the numbers of the ticked rows."""
    notes = [note(document) for document in documents]
    columns = {
        "Name": [document.title for document in documents],
        "State": [[state(document)[0]] for document in documents],
        "Note": notes,
        "Pages": [document.pages or None for document in documents],
        "Chunks": [document.chunks or None for document in documents],
        "Size": [document.size for document in documents],
        "Added": [document.created for document in documents],
    }
    if not any(notes):
        del columns["Note"]
    states, colors = zip(*STATES.values(), CANCELLED_BADGE, strict=True)
    chosen = st.dataframe(
        pd.DataFrame(columns),
        height=min(HEIGHT, ROW * (len(documents) + 1) + 3),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        placeholder="",
        key=_key(documents),
        column_config={
            "Name": st.column_config.TextColumn(width="medium"),
            "State": st.column_config.MultiselectColumn(options=states, color=colors),
            "Note": st.column_config.TextColumn(width="medium", help="Why it failed, or what was not read."),
            "Chunks": st.column_config.NumberColumn(help="Pieces that are searched; see “Look inside”."),
            "Size": st.column_config.NumberColumn(format="bytes"),
            "Added": st.column_config.DatetimeColumn(format="calendar", timezone=st.context.timezone),
        },
        alt="Documents with their state, pages, chunks and size",
    ).selection.rows
    return tuple(row for row in chosen if row < len(documents))


def state(document: DocumentRecord) -> tuple[str, str]:
    """Name and colour of the state of a document."""
    return CANCELLED_BADGE if document.reason_type == CANCELLED else STATES[document.state]


def _key(documents: Sequence[DocumentRecord]) -> str:
    """Key of the table. Ticks are row numbers, so other rows get a new key, or ticks would move to other documents."""
    state, drawn = st.session_state, tuple(document.id for document in documents)
    if state.get(_DRAWN) != drawn:
        state[_DRAWN] = drawn
        state[_TABLES] = state.get(_TABLES, 0) + 1
    return f"documents-{state[_TABLES]}"


def clear_ticks() -> None:
    """Start the next table without ticks; the browser may still send those of the old one."""
    st.session_state.pop(_DRAWN, None)


def note(document: DocumentRecord) -> str:
    """Why a document failed or waits, or what was not read."""
    return document.reason or " ".join(document.warnings)


def size(document: DocumentRecord) -> str:
    """The size of a document with its unit."""
    if document.size >= 1e6:
        return f"{document.size / 1e6:,.1f} MB"
    return f"{document.size / 1e3:.1f} kB" if document.size >= 1e3 else f"{document.size} bytes"
