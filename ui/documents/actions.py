"""What can be done with documents that are ticked, and with those that failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from rag.documents.ingest import needs_password
from rag.schema import CollectionRecord, DocumentRecord, DocumentState
from services import Services
from ui.app import owner
from ui.documents import table
from ui.sidebar import collections
from ui.widgets import dialogs, errors, text

Verb = Callable[[str, str], object]
"""Something that is done with one document of an owner."""
NAMED = 8
"""Documents that the dialog before a deletion calls by name."""
MOST_FAILURES = 3
"""Failed documents that are told of without being ticked."""


def draw(services: Services, collection: CollectionRecord, ticked: table.Ticked) -> None:
    """The buttons for what is ticked."""
    documents = ticked.documents
    failed = [document.id for document in documents if document.state is DocumentState.FAILED]
    waiting = [document.id for document in documents if document.state.is_open]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{_names(ticked)}**", width="content")
        if ticked.whole_page and not ticked.everything:
            st.button(
                f"Take all {ticked.matching:,} that match",
                key="take_everything",
                type="tertiary",
                icon=":material/select_all:",
                on_click=table.take_everything,
                args=(ticked.token,),
            )
        if len(documents) == 1 and documents[0].pages:
            st.button(
                "Look inside",
                key="look_inside",
                icon=":material/visibility:",
                on_click=look_inside,
                args=(documents[0].id,),
            )
        _verb(services, "Try again", "refresh", services.ingest.retry, failed, of=len(documents))
        _verb(services, "Cancel", "close", services.ingest.cancel, waiting, of=len(documents))
        _move(services, collection, [document.id for document in documents])
        st.button(
            "Delete",
            key="delete_ticked",
            icon=":material/delete:",
            on_click=dialogs.ask,
            args=(_confirm, services, documents),
        )


def _names(ticked: table.Ticked) -> str:
    if len(ticked.documents) == 1:
        return text.literal(ticked.documents[0].title)
    return f"{'All ' if ticked.everything else ''}{len(ticked.documents):,} documents"


def look_inside(document_id: str) -> None:
    """Have the address name a document: its page shows what was read of it."""
    table.untick()
    st.query_params["document"] = document_id


def _verb(services: Services, label: str, icon: str, verb: Verb, ids: Sequence[str], *, of: int) -> None:
    """A button for those documents that something can be done with, where there are any."""
    if ids:
        st.button(
            label if len(ids) == of else f"{label} ({len(ids):,})",
            key=f"{icon}_ticked",
            icon=f":material/{icon}:",
            on_click=errors.with_error_boundary(services.documents.each),
            args=(verb, owner(), ids),
        )


def _move(services: Services, collection: CollectionRecord, ids: Sequence[str]) -> None:
    others = {one.name: one for one in collections.every(services) if one.id != collection.id}
    if not others:
        return
    target = st.menu_button(
        "Move to",
        list(others),
        key="move_ticked",
        icon=":material/drive_file_move:",
        format_func=text.literal,
        help="They are read again there, and leave this collection when that is done.",
    )
    if target:
        with errors.error_boundary():
            services.documents.each(partial(_move_one, services, others[target]), owner(), ids)
            st.toast(f"On the way to {text.literal(target)}", icon=":material/drive_file_move:")
            st.rerun()


def _move_one(services: Services, target: CollectionRecord, who: str, document_id: str) -> None:
    services.ingest.move(who, document_id, target)


@st.dialog("Delete documents?", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _confirm(services: Services, documents: Sequence[DocumentRecord]) -> None:
    st.write("Their text and their index entries are removed. Answers that quoted them stay as they are.")
    st.markdown("\n".join(f"- {text.literal(document.title)}" for document in documents[:NAMED]))
    if len(documents) > NAMED:
        st.caption(f"and {len(documents) - NAMED:,} more")
    if st.button("Delete", key="delete_confirmed", type="primary", icon=":material/delete:"):
        services.documents.delete(owner(), [document.id for document in documents])
        dialogs.close()
        st.rerun()


# --- what went wrong ---


def draw_failures(services: Services, collection: CollectionRecord, ticked: table.Ticked, failed: int) -> None:
    """What is to be said of the one document that is ticked; where none is, of those that failed."""
    if len(ticked.documents) == 1:
        _card(services, ticked.documents[0], ticked=True)
    elif not ticked.documents and 0 < failed <= MOST_FAILURES:
        documents, _ = services.library.find(owner(), collection.id, states=[DocumentState.FAILED])
        for document in documents:
            _card(services, document)
    elif not ticked.documents and failed and not table.shows_failed():
        st.button(
            f"{failed:,} documents were not read: see why",
            key="show_failed",
            type="tertiary",
            icon=":material/warning:",
            on_click=table.show_failed,
        )


def _card(services: Services, document: DocumentRecord, *, ticked: bool = False) -> None:
    if not table.note(document):
        return
    with st.container(border=True):
        st.markdown(f":orange[:material/warning:] {text.literal(table.note(document))}")
        if needs_password(document):
            ask_password(services, document)
        if ticked or document.state is not DocumentState.FAILED:
            return  # what is ticked has its buttons above
        with st.container(horizontal=True):
            st.button(
                "Try again",
                key=f"retry-{document.id}",
                icon=":material/refresh:",
                on_click=errors.with_error_boundary(services.ingest.retry),
                args=(owner(), document.id),
            )
            st.button(
                f"Delete {text.literal(text.short(document.name, 40))}",
                key=f"delete-{document.id}",
                icon=":material/delete:",
                on_click=dialogs.ask,
                args=(_confirm, services, [document]),
            )


def ask_password(services: Services, document: DocumentRecord) -> None:
    """The form for the password of a locked file."""
    # The form forgets what was typed as soon as it is sent.
    with (
        st.form(f"open-{document.id}", clear_on_submit=True, border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        password = st.text_input("Password", type="password", autocomplete="off")
        if st.form_submit_button("Open", icon=":material/lock_open:", type="primary") and password:
            services.ingest.retry(owner(), document.id, password)
            st.rerun()
