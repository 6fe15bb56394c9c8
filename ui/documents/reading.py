"""What is being read now, what waits, and how long it may take; the page can be left meanwhile."""

from __future__ import annotations

import streamlit as st

from rag.documents.indexing import READING_SHARE
from rag.schema import CollectionRecord, DocumentRecord, DocumentState
from services import Services
from services.documents import Queue
from ui.app import owner
from ui.widgets import dialogs, errors, text

POLL_S = 1.0
NAMED = 3
"""Of those that wait, how many are called by name."""

Counts = dict[DocumentState, int]


def draw(services: Services, collection: CollectionRecord, counts: Counts, *, hold: bool) -> None:
    """The queue of a collection, live until it is empty.

    Args:
        services: the services.
        collection: whose queue.
        counts: documents in each state, as the rest of the page shows them.
        hold: the rest of the page is not drawn anew before the end: rows of it are ticked.
    """
    if not _unsettled(counts):
        return

    @st.fragment(run_every=POLL_S)
    @errors.with_error_boundary
    def live() -> None:
        new = services.library.counts(owner(), collection.id)
        moved_on = not _unsettled(new) or (not hold and _settled(new) != _settled(counts))
        if moved_on and not dialogs.is_open():
            st.rerun()
        if not _unsettled(new):
            return
        with st.container(border=True):
            _queue(services, collection, services.documents.queue(owner(), collection.id))

    live()


def _unsettled(counts: Counts) -> bool:
    return any(state.is_open or state is DocumentState.DELETING for state in counts)


def _settled(counts: Counts) -> Counts:
    return {state: number for state, number in counts.items() if not state.is_open}


def _queue(services: Services, collection: CollectionRecord, queue: Queue) -> None:
    for document in queue.reading:
        _line(services, document, _doing(document))
    if queue.waiting <= NAMED:
        for document in queue.next:
            _line(services, document, _why_waiting(document))
    facts = []
    if queue.waiting:
        facts.append(f"{queue.waiting:,} wait" if queue.waiting > 1 else "1 waits")
    if queue.deleting:
        facts.append(f"{queue.deleting:,} are being deleted" if queue.deleting > 1 else "1 is being deleted")
    if queue.seconds_left is not None and (queue.reading or queue.waiting):
        facts.append(f"{_time(queue.seconds_left)} left")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{', '.join(facts)}. You can leave this page; it goes on." if facts else "You can leave this page.")
        if queue.waiting > 1:
            st.button(
                "Cancel all that wait",
                key="cancel_all",
                icon=":material/close:",
                on_click=errors.with_error_boundary(_cancel_all),
                args=(services, collection),
            )


def _line(services: Services, document: DocumentRecord, doing: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.progress(document.progress, f"{text.literal(document.title)} · {doing}")
        st.button(
            "",
            key=f"cancel-{document.id}",
            icon=":material/close:",
            type="tertiary",
            help=f"Cancel {text.literal(document.title)}",
            on_click=errors.with_error_boundary(services.ingest.cancel),
            args=(owner(), document.id),
        )


def _cancel_all(services: Services, collection: CollectionRecord) -> None:
    total = services.library.count(owner(), collection.id, DocumentState.PENDING)
    # Newest first: the worker, who takes the oldest, is not met on the way.
    waiting, _ = services.library.find(owner(), collection.id, states=[DocumentState.PENDING], limit=total)
    services.documents.each(services.ingest.cancel, owner(), [document.id for document in waiting])


def _doing(document: DocumentRecord) -> str:
    if document.progress < READING_SHARE or not document.chunks:
        pages = f"{min(1.0, document.progress / READING_SHARE):.0%} of its pages" if document.progress else "its pages"
        return f"reading {pages}"
    done = (document.progress - READING_SHARE) / (1 - READING_SHARE) * document.chunks
    pages = f"{document.pages:,} page{'' if document.pages == 1 else 's'}"
    return f"{pages}, {done:,.0f} of {document.chunks:,} chunks"


def _why_waiting(document: DocumentRecord) -> str:
    return f"to be tried again: {text.literal(document.reason)}" if document.reason else "waiting"


def _time(seconds: float) -> str:
    """About how long, as people say it."""
    if seconds < 60:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} minute{'' if minutes == 1 else 's'}"
    return f"about {round(minutes / 60)} hours"
