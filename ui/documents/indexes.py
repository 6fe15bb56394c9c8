"""The indexes of a collection: which one answers, which one is being built, which ones are left over."""

from __future__ import annotations

import streamlit as st

from rag.index.indexes import IndexRecord
from rag.schema import CollectionRecord
from services import Services
from ui.app import owner
from ui.widgets import errors, text

POLL_S = 2.0


def draw(services: Services, collection: CollectionRecord) -> None:
    """All of it in an expander; nothing is counted while it is closed."""
    box = st.expander("Index", icon=":material/database:", key="index_box", on_change="rerun")
    if not box.open:
        return
    with box:
        building = bool([index for index in services.indexes.all(owner(), collection.id) if index.wanted])

        @st.fragment(run_every=POLL_S if building else None)
        @errors.with_error_boundary
        def live() -> None:
            found = services.documents.indexes_of(owner(), collection.id)
            if building is not any(index.wanted for index, _ in found):
                st.rerun()  # to begin or to end polling
            chunks = next((vectors for index, vectors in found if index.active), 0)
            for index, vectors in found:
                _index(services, collection, index, vectors, chunks)
            _again(services, collection, [index for index, _ in found])

        live()


def _index(services: Services, collection: CollectionRecord, index: IndexRecord, vectors: int, chunks: int) -> None:
    badge = ":gray-badge[kept]"
    if index.active:
        badge = ":green-badge[:material/check: answers]"
    elif index.wanted:
        badge = ":blue-badge[:material/hourglass_top: being built]"
    with st.container(border=True):
        st.markdown(f"**{text.literal(str(index.identity.get('model') or index.fingerprint))}** {badge}")
        st.caption(text.literal(_facts(index, vectors)))
        if index.wanted and chunks:
            st.progress(min(1.0, vectors / chunks), f"{vectors:,} of {chunks:,} chunks")
        if not index.active:
            st.button(
                "Drop",
                key=f"drop-{index.fingerprint}",
                icon=":material/delete:",
                help="It is not needed for any answer.",
                on_click=errors.with_error_boundary(services.indexing.drop_index),
                args=(owner(), collection, index.fingerprint),
            )


def _facts(index: IndexRecord, vectors: int) -> str:
    """What made the vectors, in one line."""
    identity = index.identity
    splitter = identity.get("splitter") or {}
    prefixes = ", ".join(f"{task} “{prefix}”" for task, prefix in (identity.get("prefixes") or {}).items() if prefix)
    facts = [
        f"{vectors:,} vectors",
        f"{identity['dimension']} dimensions" if "dimension" in identity else "",
        f"weights {identity['weights']}" if "weights" in identity else "",
        f"prefixes {prefixes}" if prefixes else "no prefixes",
        f"chunks of at most {splitter['tokens']} tokens, {splitter['overlap']} of them shared, splitter "
        f"{splitter['version']}"
        if splitter
        else "",
    ]
    return " · ".join(fact for fact in facts if fact)


def _again(services: Services, collection: CollectionRecord, found: list[IndexRecord]) -> None:
    """The way to the embedding model of the settings, where another one answers."""
    usual = services.embeddings.get()
    name = text.literal(usual.name)
    if not any(index.active for index in found):
        st.caption(f"Nothing is indexed yet. The first document will be, by {name}.")
    elif not any((index.active or index.wanted) and index.fingerprint == usual.fingerprint for index in found):
        st.button(
            f"Index again with {name}",
            key="index_again",
            icon=":material/autorenew:",
            help="The model of the settings (GESTALT_EMBEDDING_MODEL). The old index answers until the new one is "
            "complete, and is kept.",
            on_click=errors.with_error_boundary(services.documents.index_again),
            args=(owner(), collection.id),
        )
