"""The list of conversations in the sidebar, and the header of the open one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from itertools import groupby

import streamlit as st

from rag.chat import export
from rag.chat.conversations import TITLE_LENGTH
from rag.schema import ConversationRecord
from services import Services
from ui import navigation
from ui.app import local_time, owner
from ui.widgets import dialogs, errors, text
from ui.widgets.errors import button

AT_FIRST, MORE = 6, 30  # conversations listed at first, and added by a click
_LISTED, _DELETED = "chats_listed", "chat_deleted"


def draw_list(services: Services) -> None:
    """List the conversations by date, pinned ones first, or those matching the search."""
    state = st.session_state
    _undo(services)
    listed = state.setdefault(_LISTED, AT_FIRST)
    found = services.conversations.list(owner(), limit=listed + 1)
    if not found:
        return
    searched = ""
    if len(found) > 1 or state.get("chat_search"):
        label, icon = "Search chats", ":material/search:"
        box = st.text_input(label, key="chat_search", placeholder=label, label_visibility="collapsed", icon=icon)
        searched = box.strip()
    if searched:
        matching = services.conversations.find(owner(), searched)
        with st.container(gap=None):
            for conversation in matching:
                _entry(conversation)
                if conversation.found:
                    st.caption(text.literal(conversation.found))
        if not matching:
            st.caption(f"No chat contains “{text.literal(text.short(searched, 40))}”.")
        return
    with st.container(gap=None):
        for label, group in _by_date(found[:listed]):
            st.caption(label)
            for conversation in group:
                _entry(conversation)
    if len(found) > listed:
        more = {_LISTED: listed + MORE}
        button("Older chats", state.update, more, icon="expand_more", key="older_chats", type="tertiary")


def _entry(conversation: ConversationRecord) -> None:
    icon = ":material/keep:" if conversation.pinned else ":material/chat_bubble_outline:"
    title, key = text.literal(text.short(conversation.title, 34)), f"open-{conversation.id}"
    if conversation.id == st.query_params.get("c"):
        title, icon = f"**{title}**", ":material/chat_bubble:"
    whole = text.literal(conversation.title) if len(conversation.title) > 34 else None
    if st.button(title, key=key, type="tertiary", icon=icon, wrap=False, help=whole):
        st.session_state[_DELETED] = None
        st.switch_page(navigation.CHAT, query_params={"c": conversation.id})


def _by_date(found: Sequence[ConversationRecord]) -> Iterator[tuple[str, list[ConversationRecord]]]:
    today = local_time(datetime.now().astimezone()).date()

    def group(conversation: ConversationRecord) -> str:
        return "Pinned" if conversation.pinned else age(local_time(conversation.updated).date(), today)

    return ((label, list(group)) for label, group in groupby(found, group))


def age(day: date, today: date) -> str:
    """The heading for chats last used on a day."""
    if day >= today:
        return "Today"
    if day == today - timedelta(1):
        return "Yesterday"
    if day > today - timedelta(7):
        return "Last 7 days"
    if day > today - timedelta(30):
        return "Last 30 days"
    return f"{day:%B %Y}"


def _undo(services: Services) -> None:
    deleted: ConversationRecord | None = st.session_state.get(_DELETED)
    if deleted is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.caption(f"Deleted “{text.literal(text.short(deleted.title, 24))}”.")
        button("Undo", _restore, services, deleted.id, icon="undo", key="undo_delete")


def _restore(services: Services, conversation_id: str) -> None:
    services.conversations.restore(owner(), conversation_id)
    st.session_state[_DELETED] = None
    st.query_params["c"] = conversation_id


def draw_head(services: Services, conversation: ConversationRecord) -> None:
    """Draw the title of the open conversation and its menu."""
    rename = partial(services.conversations.rename, owner(), conversation.id)
    rename_dialog = dialogs.rename, "Rename chat", "Title", conversation.title, TITLE_LENGTH, rename
    menu = {
        ":material/edit: Rename": partial(dialogs.ask, *rename_dialog),
        f":material/keep: {'Unpin' if conversation.pinned else 'Pin'}": partial(_pin, services, conversation),
        ":material/download: Export": partial(dialogs.ask, _export, services, conversation),
        ":material/delete: Delete": partial(_delete, services, conversation),
    }
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.subheader(text.literal(conversation.title), anchor=False, width="stretch")
        action = st.menu_button("Chat", list(menu), key="chat_menu", type="tertiary", icon=":material/more_horiz:")
    if action:
        with errors.error_boundary():
            menu[action]()


def _pin(services: Services, conversation: ConversationRecord) -> None:
    services.conversations.pin(owner(), conversation.id, not conversation.pinned)
    st.rerun()


def _delete(services: Services, conversation: ConversationRecord) -> None:
    services.delete_conversation(owner(), conversation.id)
    st.session_state[_DELETED] = conversation
    st.switch_page(navigation.CHAT)


@st.dialog("Export chat", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _export(services: Services, conversation: ConversationRecord) -> None:
    messages = services.conversations.messages(owner(), conversation.id)
    name = re.sub(r"[^\w\- ]+", "", conversation.title).strip() or "chat"
    st.write("Markdown has the text and the sources of each answer; JSON has everything that is stored.")
    with st.container(horizontal=True):
        for label, write, ending, kind, icon in (
            ("Markdown", export.markdown, "md", "text/markdown", "article"),
            ("JSON", export.as_json, "json", "application/json", "data_object"),
        ):
            content, icon = write(conversation, messages), f":material/{icon}:"
            st.download_button(label, content, f"{name}.{ending}", kind, icon=icon, on_click="ignore")
