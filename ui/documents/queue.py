"""Documents being read and waiting, with the estimated time; the page can be left meanwhile."""

from __future__ import annotations

import streamlit as st

from rag.documents.indexing import READING_SHARE
from rag.schema import CollectionRecord, DocumentRecord, DocumentState
from services import Services
from services.documents import Queue
from ui.app import owner
from ui.documents.table import Counts
from ui.widgets import dialogs, text
from ui.widgets.errors import button, live

NAMED = 3  # waiting documents listed by name, if there are no more


def draw(services: Services, collection: CollectionRecord, counts: Counts, *, hold: bool) -> None:
    """Draw the queue of a collection, live until it is empty.

    The rest of the page shows `counts`; `hold`: it is not rerun before the queue is empty, because rows are ticked.
    """
    if not _is_busy(counts):
        return

    def draw_queue() -> None:
        new = services.library.counts(owner(), collection.id)
        outdated = not _is_busy(new) or (not hold and _finished(new) != _finished(counts))
        if outdated and not dialogs.is_open():
            st.rerun()
        if _is_busy(new):
            with st.container(border=True):
                _queue(services, collection, services.documents.queue(owner(), collection.id))

    live(1.0, draw_queue)


def _is_busy(counts: Counts) -> bool:
    return any(state.is_open or state is DocumentState.DELETING for state in counts)


def _finished(counts: Counts) -> Counts:
    return {state: number for state, number in counts.items() if not state.is_open}


def _queue(services: Services, collection: CollectionRecord, queue: Queue) -> None:
    for document in queue.reading:
        _line(services, document, _progress(document))
    if queue.waiting <= NAMED:
        for document in queue.next:
            reason = text.literal(document.reason or "")
            _line(services, document, f"to be tried again: {reason}" if reason else "waiting")
    facts = []
    if queue.waiting:
        facts.append(f"{queue.waiting:,} waiting")
    if queue.deleting:
        facts.append(f"{queue.deleting:,} being deleted")
    if queue.seconds_left is not None and (queue.reading or queue.waiting):
        facts.append(f"{_time(queue.seconds_left)} left")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{', '.join(facts)}{'. ' if facts else ''}You can leave this page.")
        if queue.waiting > 1:
            button("Cancel all waiting", _cancel_all, services, collection, icon="close", key="cancel_all")


def _line(services: Services, document: DocumentRecord, state: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        title, key = text.literal(document.title), f"cancel-{document.id}"
        st.progress(document.progress, f"{title} · {state}")
        cancel, purpose = services.ingest.cancel, f"Cancel {title}"
        button("", cancel, owner(), document.id, icon="close", key=key, type="tertiary", help=purpose)


def _cancel_all(services: Services, collection: CollectionRecord) -> None:
    total = services.library.count(owner(), collection.id, DocumentState.PENDING)
    # Newest first, as the worker takes the oldest.
    waiting, _ = services.library.find(owner(), collection.id, states=[DocumentState.PENDING], limit=total)
    services.documents.each(services.ingest.cancel, owner(), [document.id for document in waiting])


def _progress(document: DocumentRecord) -> str:
    if document.progress < READING_SHARE or not document.chunks:
        return f"reading, {min(1.0, document.progress / READING_SHARE):.0%}" if document.progress else "reading"
    done = (document.progress - READING_SHARE) / (1 - READING_SHARE) * document.chunks
    return f"{text.count(document.pages, 'page')}, {done:,.0f} of {document.chunks:,} chunks"


def _time(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute"
    minutes = round(seconds / 60)
    return f"about {text.count(minutes, 'minute')}" if minutes < 90 else f"about {round(minutes / 60)} hours"
