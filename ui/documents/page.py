"""The documents page: a collection, the way into it, what is being read, and the table of what is there."""

from __future__ import annotations

import streamlit as st

from rag.schema import CollectionRecord, DocumentState
from services import Services
from ui.app import owner
from ui.documents import actions, indexes, preview, reading, table, uploads
from ui.sidebar import collections
from ui.widgets import dialogs, errors


def draw(services: Services) -> None:
    """The whole page; where the address names a document, that of the document."""
    if document := st.query_params.get("document"):
        preview.draw(services, document)
        return
    st.title("Documents")
    collection = collections.choose(services)
    uploads.draw(services, collection)
    counts = services.library.counts(owner(), collection.id)
    if counts:
        _documents(services, collection, counts)
    else:
        _empty(services, collection)
    dialogs.draw()


def _documents(services: Services, collection: CollectionRecord, counts: table.Counts) -> None:
    # Whether rows are ticked is known below.
    queue = st.container()
    st.caption(_summary(counts))
    ticked = table.draw(services, collection, counts)
    if ticked.documents:
        actions.draw(services, collection, ticked)
    actions.draw_failures(services, collection, ticked, counts.get(DocumentState.FAILED, 0))
    indexes.draw(services, collection)
    with queue:
        reading.draw(services, collection, counts, hold=bool(ticked.documents))


def _summary(counts: table.Counts) -> str:
    number = sum(counts.values())
    told = [f"{counts[state]:,} {name.lower()}" for state, (name, _) in table.STATES.items() if state in counts]
    return f"{number:,} document{'' if number == 1 else 's'}, {', '.join(told)}. Tick rows to see what can be done."


def _empty(services: Services, collection: CollectionRecord) -> None:
    with st.container(border=True):
        st.markdown("**Nothing here yet.** Drop files above, or begin with a few samples.")
        st.button(
            "Load the sample documents",
            icon=":material/auto_stories:",
            on_click=errors.with_error_boundary(services.documents.add_samples),
            args=(owner(), collection.id),
        )
