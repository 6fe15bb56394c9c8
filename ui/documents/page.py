"""The Documents page: a collection, its uploads, its queue and its table."""

from __future__ import annotations

import streamlit as st

from rag.schema import CollectionRecord, DocumentState
from services import Services
from ui.app import owner
from ui.documents import actions, indexes, preview, queue, table, uploads
from ui.sidebar import collections
from ui.widgets import dialogs, text
from ui.widgets.errors import button


def draw(services: Services) -> None:
    """Draw the page; if the address names a document, draw that document."""
    if document := st.query_params.get("document"):
        preview.draw(services, document)
        return
    st.title("Documents")
    collection = collections.choose(services)
    uploads.draw(services, collection)
    if counts := services.library.counts(owner(), collection.id):
        _documents(services, collection, counts)
    else:
        with st.container(border=True):
            st.markdown("**Nothing here yet.** Drop files above, or start with a few samples.")
            add = services.documents.add_samples
            button("Load the sample documents", add, owner(), collection.id, icon="auto_stories")
    dialogs.draw()


def _documents(services: Services, collection: CollectionRecord, counts: table.Counts) -> None:
    above = st.container()  # for the queue, which has to know whether rows are ticked
    states = [f"{counts[state]:,} {name.lower()}" for state, (name, _) in table.STATES.items() if state in counts]
    st.caption(f"{text.count(sum(counts.values()), 'document')}, {', '.join(states)}. Tick rows to see the actions.")
    ticked = table.draw(services, collection, counts)
    if ticked.documents:
        actions.draw(services, collection, ticked)
    actions.draw_failures(services, collection, ticked, counts.get(DocumentState.FAILED, 0))
    indexes.draw(services, collection)
    with above:
        queue.draw(services, collection, counts, hold=bool(ticked.documents))
