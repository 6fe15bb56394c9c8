"""Actions on ticked documents, and what to do about failed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from rag.documents.ingest import needs_password
from rag.schema import CollectionRecord, DocumentRecord, DocumentState
from services import Services
from ui.app import owner
from ui.documents import table
from ui.sidebar import collections
from ui.widgets import dialogs, errors, text
from ui.widgets.errors import button

NAMED = 8  # documents listed by name in the dialog before a deletion
MOST_FAILURES = 3  # failed documents shown without being ticked


def draw(services: Services, collection: CollectionRecord, ticked: table.Ticked) -> None:
    """Draw the buttons for the ticked documents."""
    documents = ticked.documents
    failed = [document.id for document in documents if document.state is DocumentState.FAILED]
    waiting = [document.id for document in documents if document.state.is_open]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{_names(ticked)}**", width="content")
        if ticked.whole_page and not ticked.all_matching:
            label, key = f"Select all {ticked.matching:,} that match", "select_all"
            button(label, table.select_all, ticked.token, icon="select_all", key=key, type="tertiary")
        if len(documents) == 1 and documents[0].pages:
            button("Look inside", _look_inside, documents[0].id, icon="visibility", key="look_inside")
        _for_each(services, "Try again", "refresh", services.ingest.retry, failed, of=len(documents))
        _for_each(services, "Cancel", "close", services.ingest.cancel, waiting, of=len(documents))
        _move(services, collection, [document.id for document in documents])
        button("Delete", dialogs.ask, _confirm, services, documents, icon="delete", key="delete_ticked")


def _names(ticked: table.Ticked) -> str:
    if len(ticked.documents) == 1:
        return text.literal(ticked.documents[0].title)
    return f"{'All ' if ticked.all_matching else ''}{len(ticked.documents):,} documents"


def _look_inside(document_id: str) -> None:
    table.clear_ticks()
    st.query_params["document"] = document_id


def _for_each(
    services: Services, label: str, icon: str, act: Callable[[str, str], object], ids: Sequence[str], *, of: int
) -> None:
    if ids:
        label = label if len(ids) == of else f"{label} ({len(ids):,})"
        button(label, services.documents.each, act, owner(), ids, icon=icon, key=f"{icon}_ticked")


def _move(services: Services, collection: CollectionRecord, ids: Sequence[str]) -> None:
    others = {one.name: one for one in collections.every(services) if one.id != collection.id}
    if not others:
        return
    names, icon = list(others), ":material/drive_file_move:"
    purpose = "They are read again there and then leave this collection."
    target = st.menu_button("Move to", names, key="move_ticked", icon=icon, format_func=text.literal, help=purpose)
    if target:

        def move(who: str, document_id: str) -> None:
            services.ingest.move(who, document_id, others[target])

        with errors.error_boundary():
            services.documents.each(move, owner(), ids)
            st.toast(f"Moving to {text.literal(target)}", icon=icon)
            st.rerun()


@st.dialog("Delete documents?", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _confirm(services: Services, documents: Sequence[DocumentRecord]) -> None:
    st.write("This removes them and their index entries. Answers that quote them stay as they are.")
    st.markdown("\n".join(f"- {text.literal(document.title)}" for document in documents[:NAMED]))
    if len(documents) > NAMED:
        st.caption(f"and {len(documents) - NAMED:,} more")
    if st.button("Delete", key="delete_confirmed", type="primary", icon=":material/delete:"):
        services.documents.delete(owner(), [document.id for document in documents])
        dialogs.close()
        st.rerun()


def draw_failures(services: Services, collection: CollectionRecord, ticked: table.Ticked, failed: int) -> None:
    """Draw the notes on the one ticked document, or if none is ticked, on failed ones."""
    if len(ticked.documents) == 1:
        _card(services, ticked.documents[0], ticked=True)
    elif not ticked.documents and 0 < failed <= MOST_FAILURES:
        documents, _ = services.library.find(owner(), collection.id, states=[DocumentState.FAILED])
        for document in documents:
            _card(services, document)
    elif not ticked.documents and failed and not table.shows_failed():
        label = f"{failed:,} documents failed: see why"
        button(label, table.show_failed, icon="warning", key="show_failed", type="tertiary")


def _card(services: Services, document: DocumentRecord, *, ticked: bool = False) -> None:
    if not table.note(document):
        return
    with st.container(border=True):
        st.markdown(f":orange[:material/warning:] {text.literal(table.note(document))}")
        if needs_password(document):
            ask_password(services, document)
        if ticked or document.state is not DocumentState.FAILED:
            return  # a ticked document has its buttons above
        with st.container(horizontal=True):
            retry, id_ = services.ingest.retry, document.id
            button("Try again", retry, owner(), id_, icon="refresh", key=f"retry-{id_}")
            label = f"Delete {text.literal(text.short(document.name, 40))}"
            button(label, dialogs.ask, _confirm, services, [document], icon="delete", key=f"delete-{id_}")


def ask_password(services: Services, document: DocumentRecord, where: str = "list") -> None:
    """Draw the form for the password of a locked file, one in each place; it forgets the password when sent."""
    with (
        st.form(f"open-{document.id}-{where}", clear_on_submit=True, border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        password = st.text_input("Password", type="password", autocomplete="off", placeholder=document.name)
        if st.form_submit_button("Open", icon=":material/lock_open:", type="primary") and password:
            services.ingest.retry(owner(), document.id, password)
            st.rerun()
