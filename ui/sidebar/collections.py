"""The collections that questions search, and the one that the Documents page shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from rag.documents.library import DEFAULT_COLLECTION
from rag.schema import CollectionRecord
from services import Services
from ui.app import owner
from ui.widgets import dialogs, errors, text

# Not the keys of the widgets: these cannot be set once a widget is drawn.
CHOSEN = "chosen_collection"
SEARCHED = "searched_collections"
LONGEST = 80


def every(services: Services) -> list[CollectionRecord]:
    """All collections, by name; creates the first one."""
    return services.library.collections(owner()) or [services.library.collection(owner(), create=True)]


def current(services: Services) -> CollectionRecord:
    """The collection of the Documents page."""
    found = every(services)
    wanted = st.session_state.get(CHOSEN)
    usual = next((one for one in found if one.name == DEFAULT_COLLECTION), found[0])
    return next((one for one in found if one.id == wanted), usual)


def searched(services: Services) -> list[CollectionRecord]:
    """The collections that the next question searches."""
    found = every(services)
    wanted = st.session_state.get(SEARCHED, [one.id for one in found])
    return [one for one in found if one.id in wanted]


def pick_searched(services: Services) -> None:
    """Draw the choice of the collections to search, if there are several."""
    names, state = {one.id: one.name for one in every(services)}, st.session_state
    wanted = state.setdefault(SEARCHED, [current(services).id])
    existing = [id_ for id_ in wanted if id_ in names]
    # If all are gone, keep their ids: asking is then an error instead of a search in other collections.
    state["searched_ids"] = tuple(existing or wanted)
    if len(names) < 2 and existing:
        return
    state["search_in"] = existing
    st.multiselect(
        "Search in",
        names,
        key="search_in",
        format_func=lambda id_: names.get(id_, ""),
        on_change=errors.with_error_boundary(_search_in),
        placeholder="Choose a collection",
    )


def search_in(services: Services, ids: Sequence[str] | None) -> None:
    """Choose the collections to search; all for None."""
    st.session_state[SEARCHED] = [one.id for one in every(services)] if ids is None else list(ids)


def _search_in() -> None:
    st.session_state[SEARCHED] = st.session_state["search_in"]


def choose(services: Services) -> CollectionRecord:
    """Draw the picker and its menu; the address names the chosen collection."""
    found = every(services)
    names = {one.id: one.name for one in found}
    if (asked := st.query_params.get("collection", "")) in names:
        _show(asked)
    chosen = current(services)
    st.query_params["collection"] = chosen.id
    st.session_state[CHOSEN] = st.session_state["collection_picker"] = chosen.id
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Collection",
            names,
            key="collection_picker",
            format_func=lambda id_: names.get(id_, ""),
            on_change=errors.with_error_boundary(_pick),
        )
        action = st.menu_button("Manage", list(_MENU), icon=":material/folder_managed:", key="collection_menu")
    if action:
        dialogs.ask(_MENU[action], services, chosen)
    return chosen


def _pick() -> None:
    _show(st.session_state["collection_picker"])


def _show(collection_id: str) -> None:
    state = st.session_state
    if state.get(SEARCHED) == [state.get(CHOSEN)]:
        # Someone who works with one collection at a time wants to ask that one.
        state[SEARCHED] = [collection_id]
    state[CHOSEN] = st.query_params["collection"] = collection_id


def _go_to(collection_id: str) -> None:
    _show(collection_id)
    dialogs.close()
    st.rerun()


@st.dialog("New collection", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _new(services: Services, chosen: CollectionRecord) -> None:
    del chosen
    with st.form("new_collection", border=False):
        name = st.text_input("Name", max_chars=LONGEST, placeholder="Contracts 2026")
        if not st.form_submit_button("Create", type="primary"):
            return
    name = " ".join(name.split())
    if name in {one.name for one in every(services)}:
        errors.show(f"There is a collection called “{name}” already.", "Choose another name.")
        return
    _go_to(services.library.collection(owner(), name, create=True).id)


def _rename(services: Services, chosen: CollectionRecord) -> None:
    rename = partial(services.library.rename, owner(), chosen.id)
    dialogs.rename("Rename collection", "Name", chosen.name, LONGEST, rename)


@st.dialog("Delete collection?", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _delete(services: Services, chosen: CollectionRecord) -> None:
    number = sum(services.library.counts(owner(), chosen.id).values())
    st.markdown(
        f"**{text.literal(chosen.name)}** \n\nThis deletes its {text.count(number, 'document')} and its index. Answers "
        "that quote it stay as they are."
    )
    if st.button("Delete the collection", key="delete_collection", type="primary", icon=":material/delete:"):
        services.documents.delete_collection(owner(), chosen.id)
        st.session_state.pop("options_of", None)  # see `choices.follow`: an open chat keeps its own collections
        _go_to(current(services).id)


_MENU = {
    ":material/create_new_folder: New collection": _new,
    ":material/edit: Rename": _rename,
    ":material/delete: Delete": _delete,
}
