"""The documents page: adding files, watching them being read, and the table of what is there."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from errors import AppError
from rag.documents.loaders import supported_extensions
from rag.schema import DocumentRecord, DocumentState
from services import Services
from ui import errors, text
from ui.app import owner

STATES = {
    DocumentState.PENDING: "Waiting",
    DocumentState.INDEXING: "Reading",
    DocumentState.READY: "Ready",
    DocumentState.FAILED: "Failed",
    DocumentState.DELETING: "Deleting",
}
MOST_FAILURES = 5
"""Failed documents whose reason is told below the table."""
UNSETTLED = (DocumentState.PENDING, DocumentState.INDEXING)


def draw(services: Services) -> None:
    """The whole page."""
    st.title("Documents")
    collection = services.library.collection(owner(), create=True)
    _upload(services, collection.id)
    documents = services.library.documents(owner(), collection.id)
    if any(document.state in UNSETTLED for document in documents):
        _progress(services, collection.id)
    if documents:
        _table(services, documents)
    else:
        _empty(services)


def _upload(services: Services, collection_id: str) -> None:
    state = st.session_state
    number = state.setdefault("upload_number", 0)
    files = st.file_uploader(
        "Drop files here, or browse",
        type=[extension.lstrip(".") for extension in supported_extensions()],
        accept_multiple_files=True,
        key=f"upload-{number}",
        max_upload_size=services.settings.max_upload_mb,
    )
    if files:
        state["upload_notes"] = [_submit(services, collection_id, file.name, file.getvalue()) for file in files]
        services.ingest.wake()
        # A new key empties the widget: from here on the files are in the table.
        state["upload_number"] = number + 1
        st.rerun()
    for note in state.pop("upload_notes", []):
        if isinstance(note, AppError):
            errors.show(note.message, note.hint)
        elif note:
            st.info(text.literal(note), icon=":material/content_copy:")


def _submit(services: Services, collection_id: str, name: str, content: bytes) -> AppError | str | None:
    try:
        document, duplicate = services.ingest.submit(owner(), collection_id, name, content)
    except AppError as error:
        return error
    return f"“{name}” is already here as “{document.name}”; nothing was added." if duplicate else None


def _progress(services: Services, collection_id: str) -> None:
    @st.fragment(run_every=0.5)
    @errors.guarded
    def live() -> None:
        documents = services.library.documents(owner(), collection_id)
        unsettled = [document for document in documents if document.state in UNSETTLED]
        if not unsettled:
            st.rerun()
        with st.container(border=True):
            for document in sorted(unsettled, key=lambda d: d.state is DocumentState.PENDING)[:5]:
                st.progress(document.progress, f"{STATES[document.state]}: {text.literal(document.name)}")
            if len(unsettled) > 5:
                st.caption(f"{len(unsettled) - 5} more are waiting. You can leave this page; reading goes on.")

    live()


def _table(services: Services, documents: Sequence[DocumentRecord]) -> None:
    rows = pd.DataFrame(
        {
            "Name": [d.name for d in documents],
            "State": [STATES[d.state] for d in documents],
            "Pages": [d.pages or None for d in documents],
            "Chunks": [d.chunks or None for d in documents],
            "Size": [_size(d.size) for d in documents],
            "Reason": [d.reason for d in documents],
        }
    )
    st.caption(_summary(documents))
    # Ticks are row numbers: other rows get another table, so that a tick never moves to another document.
    rows_key = hash(tuple(document.id for document in documents))
    chosen = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        placeholder="",
        key=f"documents-{rows_key}",
        column_config={
            "Name": st.column_config.TextColumn(width="medium"),
            "Reason": st.column_config.TextColumn(help="Why a document could not be read."),
        },
        alt="Documents with their state, pages, chunks and size",
    ).selection.rows
    picked = [documents[row] for row in chosen if row < len(documents)]
    if picked:
        _actions(services, picked)
    for document in [document for document in documents if document.state is DocumentState.FAILED][:MOST_FAILURES]:
        with st.container(border=True):
            st.markdown(f":orange[:material/warning:] {text.literal(document.reason)}")
            with st.container(horizontal=True):
                st.button(
                    "Try again",
                    key=f"retry-{document.id}",
                    icon=":material/refresh:",
                    on_click=errors.guarded(services.ingest.retry),
                    args=(owner(), document.id),
                )
                if st.button(
                    f"Delete {text.literal(document.name)}", key=f"delete-{document.id}", icon=":material/delete:"
                ):
                    _confirm(services, [document])


def _summary(documents: Sequence[DocumentRecord]) -> str:
    states = [document.state for document in documents]
    counts = [f"{states.count(state)} {name.lower()}" for state, name in STATES.items() if state in states]
    return f"{len(documents)} document{'' if len(documents) == 1 else 's'}, {', '.join(counts)}. Tick rows to delete."


def _actions(services: Services, picked: Sequence[DocumentRecord]) -> None:
    names = text.literal(picked[0].name) if len(picked) == 1 else f"{len(picked)} documents"
    if st.button(f"Delete {names}", key="delete-picked", icon=":material/delete:", type="primary"):
        _confirm(services, picked)


@st.dialog("Delete documents?")
def _confirm(services: Services, picked: Sequence[DocumentRecord]) -> None:
    st.write("Their text and their index entries are removed. Answers that quoted them stay as they are.")
    for document in picked[:8]:
        st.markdown(f"- {text.literal(document.name)}")
    if len(picked) > 8:
        st.caption(f"and {len(picked) - 8} more")
    if st.button(
        "Delete", type="primary", icon=":material/delete:", on_click=errors.guarded(_delete), args=(services, picked)
    ):
        st.rerun()


def _delete(services: Services, picked: Sequence[DocumentRecord]) -> None:
    for document in picked:
        services.ingest.delete(owner(), document.id)


def _empty(services: Services) -> None:
    with st.container(border=True):
        st.markdown("**Nothing here yet.** Add files above, or begin with a few samples.")
        st.button(
            "Load the sample documents",
            icon=":material/auto_stories:",
            on_click=errors.guarded(services.add_samples),
            args=(owner(),),
        )


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"
