"""The indexes of a collection: the active one, the one being built, and old ones."""

from __future__ import annotations

import streamlit as st

from rag.index.indexes import IndexRecord
from rag.schema import CollectionRecord
from services import Services
from ui.app import owner
from ui.widgets import text
from ui.widgets.errors import button, live


def draw(services: Services, collection: CollectionRecord) -> None:
    """Draw the indexes in an expander; nothing is counted while it is closed."""
    box = st.expander("Index", icon=":material/database:", key="index_box", on_change="rerun")
    if not box.open:
        return
    with box:
        building = any(index.wanted for index in services.indexes.all(owner(), collection.id))

        def draw_indexes() -> None:
            found = services.documents.indexes_of(owner(), collection.id)
            if building is not any(index.wanted for index, _ in found):
                st.rerun()  # start or stop polling
            chunks = next((vectors for index, vectors in found if index.active), 0)
            for index, vectors in found:
                _index(services, collection, index, vectors, chunks)
            _index_again(services, collection, [index for index, _ in found])

        live(2.0 if building else None, draw_indexes)


def _index(services: Services, collection: CollectionRecord, index: IndexRecord, vectors: int, chunks: int) -> None:
    badge = ":gray-badge[not in use]"
    if index.active:
        badge = ":green-badge[:material/check: in use]"
    elif index.wanted:
        badge = ":blue-badge[:material/hourglass_top: being built]"
    with st.container(border=True):
        st.markdown(f"**{text.literal(str(index.identity.get('model') or index.fingerprint))}** {badge}")
        st.caption(text.literal(_facts(index, vectors)))
        if index.wanted and chunks:
            st.progress(min(1.0, vectors / chunks), f"{vectors:,} of {chunks:,} chunks")
        if not index.active:
            drop, id_ = services.indexing.drop_index, index.fingerprint
            button("Delete this index", drop, owner(), collection, id_, icon="delete", key=f"drop-{id_}")


def _facts(index: IndexRecord, vectors: int) -> str:
    identity = index.identity
    splitter = identity.get("splitter") or {}
    prefixes = ", ".join(f"{task} “{prefix}”" for task, prefix in (identity.get("prefixes") or {}).items() if prefix)
    facts = [f"{vectors:,} vectors"]
    if "dimension" in identity:
        facts.append(f"{identity['dimension']} dimensions")
    if "weights" in identity:
        facts.append(f"weights {identity['weights']}")
    facts.append(f"prefixes {prefixes}" if prefixes else "no prefixes")
    if splitter:
        facts.append(f"chunks of up to {splitter['tokens']} tokens, {splitter['overlap']} of them shared")
        facts.append(f"splitter {splitter['version']}")
    return " · ".join(facts)


def _index_again(services: Services, collection: CollectionRecord, found: list[IndexRecord]) -> None:
    """Offer the embedding model of the settings, if another one is in use."""
    default = services.embeddings.get()
    name = text.literal(default.name)
    if not any(index.active for index in found):
        st.caption(f"Nothing is indexed yet. The first document will be, with {name}.")
    elif not any((index.active or index.wanted) and index.fingerprint == default.fingerprint for index in found):
        label, again, key = f"Index again with {name}", services.documents.index_again, "index_again"
        setting = "The model of the settings (GESTALT_EMBEDDING_MODEL)."
        purpose = f"{setting} The old index stays in use until the new one is complete, and is kept."
        button(label, again, owner(), collection.id, icon="autorenew", key=key, help=purpose)
