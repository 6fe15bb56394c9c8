"""Files attached to a conversation: added with a question, listed above the box, removable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from rag.documents.ingest import needs_password
from rag.schema import CollectionRecord, DocumentRecord, DocumentState
from services import Services
from ui.app import owner
from ui.documents import actions, table, uploads
from ui.widgets import errors, text
from ui.widgets.buttons import button

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

POLL_S = 1.0


def put(services: Services, conversation_id: str, files: Sequence[UploadedFile]) -> None:
    """Queue files in the collection of a conversation; the next run shows which could not be added."""
    collection = services.library.attached(owner(), conversation_id, create=True)
    assert collection
    _, failed = uploads.submit(services, collection, files, replace=False)
    if failed:
        st.session_state[uploads.NOTES] = ([], failed)
    services.ingest.wake()


def draw(services: Services, conversation_id: str) -> None:
    """List the files of a conversation, live while they are read."""
    uploads.draw_notes()
    collection = services.library.attached(owner(), conversation_id)
    if collection is None or not (documents := services.library.documents(owner(), collection.id)):
        return
    reading = _reading(documents)

    @st.fragment(run_every=POLL_S if reading else None)
    @errors.with_error_boundary
    def live() -> None:
        now = services.library.documents(owner(), collection.id)
        if reading and not _reading(now):
            st.rerun()
        _files(services, collection, now)

    live()


def _reading(documents: Sequence[DocumentRecord]) -> bool:
    return any(document.state.is_open for document in documents)


def _files(services: Services, collection: CollectionRecord, documents: Sequence[DocumentRecord]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for document in documents:
            if document.state is DocumentState.DELETING:
                continue
            with st.popover(
                text.literal(text.short(document.name, 32)),
                icon=_ICONS.get(document.state, ":material/hourglass_top:"),
                key=f"file-{document.id}",
            ):
                st.markdown(f"**{text.literal(document.name)}**")
                st.caption(_state(document))
                if needs_password(document):
                    actions.ask_password(services, document)
                remove, key = services.documents.delete, f"detach-{document.id}"
                button("Remove from this chat", remove, owner(), [document.id], icon="delete", key=key)


_ICONS = {DocumentState.READY: ":material/attach_file:", DocumentState.FAILED: ":material/warning:"}


def _state(document: DocumentRecord) -> str:
    if document.state is DocumentState.READY:
        return f"{text.count(document.pages, 'page')}; only questions in this chat search it."
    if document.state is DocumentState.FAILED:
        return text.literal(table.note(document))
    return f"Being read: {document.progress:.0%}."
