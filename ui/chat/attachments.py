"""Files attached to a conversation: added with a question, listed above the box, removable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from rag.documents.ingest import needs_password
from rag.schema import DocumentRecord, DocumentState
from services import Services
from ui.app import owner
from ui.documents import actions, table, uploads
from ui.widgets import text
from ui.widgets.errors import button, live

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

ICONS = {DocumentState.READY: "attach_file", DocumentState.FAILED: "warning"}


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

    def draw_files() -> None:
        now = services.library.documents(owner(), collection.id)
        if reading and not _reading(now):
            st.rerun()
        _files(services, now)

    live(1.0 if reading else None, draw_files)


def draw_passwords(services: Services, conversation_id: str) -> None:
    """Ask for the passwords of a conversation's files that could not be read without one."""
    if collection := services.library.attached(owner(), conversation_id):
        for document in services.library.documents(owner(), collection.id):
            if needs_password(document):
                # The menu of the file has such a form too.
                actions.ask_password(services, document, "answer")


def _reading(documents: Sequence[DocumentRecord]) -> bool:
    return any(document.state.is_open for document in documents)


def _files(services: Services, documents: Sequence[DocumentRecord]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for document in documents:
            if document.state is DocumentState.DELETING:
                continue
            label, icon = text.literal(text.short(document.name, 32)), ICONS.get(document.state, "hourglass_top")
            with st.popover(label, icon=f":material/{icon}:", key=f"file-{document.id}"):
                st.markdown(f"**{text.literal(document.name)}**")
                st.caption(_state(document))
                if needs_password(document):
                    actions.ask_password(services, document)
                remove, key = services.documents.delete, f"detach-{document.id}"
                button("Remove from this chat", remove, owner(), [document.id], icon="delete", key=key)


def _state(document: DocumentRecord) -> str:
    if document.state is DocumentState.READY:
        return f"{text.count(document.pages, 'page')}; only questions in this chat search it."
    if document.state is DocumentState.FAILED:
        return text.literal(table.note(document))
    return f"Being read: {document.progress:.0%}."
