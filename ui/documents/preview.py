"""The text of a document as it was read, page by page, and its chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from errors import AppError
from rag.schema import Chunk, DocumentRecord, Page
from services import Services
from ui.app import owner
from ui.documents import table
from ui.widgets import errors, text
from ui.widgets.errors import button

PART = 20_000  # characters shown at once: a text file is one page, however long


def draw(services: Services, document_id: str) -> None:
    """Draw one document."""
    document = services.library.document(owner(), document_id)
    address = {"collection": document.collection_id} if document else {}
    button("All documents", st.query_params.from_dict, address, icon="arrow_back", key="back", type="tertiary")
    if document is None:
        st.info("There is no such document. It may have been deleted.", icon=":material/search_off:")
        return
    st.header(text.literal(document.title))
    state, color = table.state(document)
    facts = [f":{color}-badge[{state}]", text.count(document.pages, "page"), text.count(document.chunks, "chunk")]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(" · ".join([*facts, table.size(document)]))
        download(services, document)
    if note := table.note(document):
        st.warning(text.literal(note), icon=":material/warning:")
    if document.pages:
        _page(services, document, _position(document))
    else:
        st.info("This document has not been read yet.", icon=":material/hourglass_empty:")


def download(services: Services, document: DocumentRecord) -> None:
    """Draw a button to download the original file, if it is stored."""
    original = services.indexing.originals.path(document.sha256)
    if original.exists():
        label, kind, icon = "Download the original", "application/octet-stream", ":material/download:"
        st.download_button(label, original.read_bytes, document.name, kind, icon=icon, on_click="ignore")


def _position(document: DocumentRecord) -> int:
    """The page to show, from 0; the address may name one."""
    if document.pages < 2:
        return 0
    asked = st.query_params.get("page", "")
    first = int(asked) if asked.isdecimal() and 1 <= int(asked) <= document.pages else 1
    return st.pagination(document.pages, default=first, key=f"page-of-{document.id}") - 1


def _page(services: Services, document: DocumentRecord, position: int) -> None:
    page = services.library.page(owner(), document.id, position)
    if page is None:
        st.info("This page is being read again.", icon=":material/hourglass_empty:")
        return
    parts = max(1, -(-len(page.text) // PART))
    if name := _name(page):
        st.subheader(text.literal(name))
    part = 1
    if parts > 1:
        part = st.pagination(parts, key=f"part-of-{document.id}-{position}")
        st.caption(f"Part {part} of {parts}: the page is long.")
    start, end = PART * (part - 1), PART * part
    chunks = services.library.chunks(owner(), document.id, page)
    here = [number for number, chunk in enumerate(chunks) if chunk.start < end and chunk.end > start]
    read, cut = st.tabs(["Text", f"Chunks ({len(chunks):,})"])
    with read:
        if page.text.strip():
            st.code(page.text[start:end], language=None, wrap_lines=True)
        else:
            st.info("No text was found on this page.", icon=":material/hide_source:")
    with cut:
        st.caption(
            "Questions are compared with these chunks. Chunks overlap so that no sentence is lost between two; the "
            "shared text is marked."
        )
        count = _counter(services, document)
        for number in here:
            _chunk(chunks, number, count)


def _name(page: Page) -> str:
    number = f"Page {page.number}" if page.number else ""
    if not page.label or page.label == str(page.number):
        return number
    return f"{number} · {page.label}" if number else page.label


def _counter(services: Services, document: DocumentRecord) -> Callable[[str], int] | None:
    """The token counter of the index; None if its model is not available."""
    try:
        return services.embeddings.of(owner(), document.collection_id).count
    except AppError as error:
        errors.show(error.message, error.hint)
        return None


def _chunk(chunks: Sequence[Chunk], number: int, count: Callable[[str], int] | None) -> None:
    chunk = chunks[number]
    length = len(chunk.text)
    shared = []
    if number and chunks[number - 1].end > chunk.start:
        shared.append((0, min(length, chunks[number - 1].end - chunk.start)))
    if number + 1 < len(chunks) and chunks[number + 1].start < chunk.end:
        shared.append((chunks[number + 1].start - chunk.start, length))
    facts = [f"**{chunk.position + 1}**", text.literal(chunk.heading)]
    facts += [f"{count(chunk.text):,} tokens" if count else "", f"{length:,} characters"]
    with st.container(border=True):
        st.caption(" · ".join(fact for fact in facts if fact))
        st.markdown(text.highlighted(chunk.text, shared, color="green"))
