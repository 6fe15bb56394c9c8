"""The indexes of a collection: the active one, the one being built, and old ones."""

from __future__ import annotations

import streamlit as st

from rag.index.embedding_models import EMBEDDED
from rag.index.indexes import IndexRecord
from rag.index.multilingual_model import NAME as MULTILINGUAL
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
    """Offer the embedding models that are not in use, and to keep the one that was chosen by language."""
    active = next((index for index in found if index.active), None)
    if active is None:
        st.caption(f"Nothing is indexed yet. The first document will be, with {text.literal(_first(services))}.")
        return
    automatic = active.embedding_model == services.settings.embedding_model == EMBEDDED
    if automatic and services.embeddings.has_multilingual():
        st.caption(f"Chosen for English. A document or question in another language changes it to {MULTILINGUAL}.")
    elif automatic:
        st.caption(f"Made for English. {MULTILINGUAL}, for other languages, is not installed: see the README.")
    for model in services.embeddings.choices():
        embeddings = services.embeddings.get(model)
        name = text.literal(embeddings.name)
        if any((index.active or index.wanted) and index.fingerprint == embeddings.fingerprint for index in found):
            label, purpose = f"Always use {name}", "Whatever the language of documents and questions."
            if not (automatic and active.fingerprint == embeddings.fingerprint):
                continue
        else:
            label = f"Index again with {name}"
            purpose = "The old index stays in use until the new one is complete, and is kept."
        again, id_ = services.documents.index_again, f"index_again-{model}"
        button(label, again, owner(), collection.id, model, icon="autorenew", key=id_, help=purpose)


def _first(services: Services) -> str:
    if services.settings.embedding_model == EMBEDDED and services.embeddings.has_multilingual():
        return f"{services.embeddings.get().name}, or {MULTILINGUAL} if it is not in English"
    return services.embeddings.get().name
