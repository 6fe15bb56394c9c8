"""The conversations: their list in the sidebar, and what can be done with the one that is open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby

import streamlit as st

from rag.chat import export
from rag.chat.conversations import TITLE_LENGTH
from rag.schema import ConversationRecord
from services import Services
from ui import navigation
from ui.app import owner
from ui.widgets import clock, dialogs, errors, text

AT_FIRST, MORE = 6, 30
"""Conversations that are listed."""
_LISTED, _DELETED = "chats_listed", "chat_deleted"


def draw_new() -> None:
    """The button for a new chat."""
    if st.button("New chat", icon=":material/edit_square:", width="stretch", shortcut="Ctrl+Shift+O"):
        st.switch_page(navigation.CHAT)


def draw_list(services: Services) -> None:
    """All conversations by date, the pinned ones first, or those that a search finds."""
    state = st.session_state
    _undo(services)
    listed = state.setdefault(_LISTED, AT_FIRST)
    found = services.conversations.list(owner(), limit=listed + 1)
    if not found:
        return
    searched = ""
    if len(found) > 1 or state.get("chat_search"):
        searched = st.text_input(
            "Search chats",
            key="chat_search",
            placeholder="Search chats",
            label_visibility="collapsed",
            icon=":material/search:",
        ).strip()
    if searched:
        matching = services.conversations.find(owner(), searched)
        with st.container(gap=None):
            for conversation in matching:
                _entry(conversation)
                if conversation.found:
                    st.caption(text.literal(conversation.found))
        if not matching:
            st.caption(f"No chat has “{text.literal(text.short(searched, 40))}” in it.")
        return
    with st.container(gap=None):
        for label, group in _by_date(found[:listed]):
            st.caption(label)
            for conversation in group:
                _entry(conversation)
    if len(found) > listed:
        st.button("Older chats", key="older_chats", type="tertiary", icon=":material/expand_more:", on_click=_list_more)


def _list_more() -> None:
    st.session_state[_LISTED] += MORE


def _entry(conversation: ConversationRecord) -> None:
    here = conversation.id == st.query_params.get("c")
    icon = ":material/keep:" if conversation.pinned else ":material/chat_bubble_outline:"
    title = text.literal(text.short(conversation.title, 34))
    if st.button(
        f"**{title}**" if here else title,
        key=f"open-{conversation.id}",
        type="tertiary",
        icon=":material/chat_bubble:" if here else icon,
        wrap=False,
        help=text.literal(conversation.title) if len(conversation.title) > 34 else None,
    ):
        st.session_state[_DELETED] = None
        st.switch_page(navigation.CHAT, query_params={"c": conversation.id})


def _by_date(found: Sequence[ConversationRecord]) -> Iterator[tuple[str, list[ConversationRecord]]]:
    today = clock.local(datetime.now().astimezone()).date()

    def group(conversation: ConversationRecord) -> str:
        return "Pinned" if conversation.pinned else age(clock.local(conversation.updated).date(), today)

    return ((label, list(group)) for label, group in groupby(found, group))


def age(day: date, today: date) -> str:
    """A heading for what was last used on a day."""
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
        st.button(
            "Undo",
            key="undo_delete",
            icon=":material/undo:",
            on_click=errors.with_error_boundary(_bring_back),
            args=(services, deleted.id),
        )


def _bring_back(services: Services, conversation_id: str) -> None:
    services.conversations.restore(owner(), conversation_id)
    st.session_state[_DELETED] = None
    st.query_params["c"] = conversation_id


# --- the one that is open ---


def draw_head(services: Services, conversation: ConversationRecord) -> None:
    """Its title, and what can be done with it."""
    menu = {
        ":material/edit: Rename": _ask_rename,
        f":material/keep: {'Unpin' if conversation.pinned else 'Pin'}": _pin,
        ":material/download: Export": _ask_export,
        ":material/delete: Delete": _delete,
    }
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.subheader(text.literal(conversation.title), anchor=False, width="stretch")
        wish = st.menu_button("Chat", list(menu), key="chat_menu", type="tertiary", icon=":material/more_horiz:")
    if wish:
        with errors.error_boundary():
            menu[wish](services, conversation)


def _ask_rename(services: Services, conversation: ConversationRecord) -> None:
    dialogs.ask(_rename, services, conversation)


def _ask_export(services: Services, conversation: ConversationRecord) -> None:
    dialogs.ask(_export, services, conversation)


def _pin(services: Services, conversation: ConversationRecord) -> None:
    services.conversations.pin(owner(), conversation.id, not conversation.pinned)
    st.rerun()


def _delete(services: Services, conversation: ConversationRecord) -> None:
    services.delete_conversation(owner(), conversation.id)
    st.session_state[_DELETED] = conversation
    st.switch_page(navigation.CHAT)


@st.dialog("Rename chat", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _rename(services: Services, conversation: ConversationRecord) -> None:
    with st.form("rename_chat", border=False):
        title = st.text_input("Title", conversation.title, max_chars=TITLE_LENGTH)
        if not st.form_submit_button("Rename", type="primary"):
            return
    services.conversations.rename(owner(), conversation.id, title)
    dialogs.close()
    st.rerun()


@st.dialog("Export chat", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _export(services: Services, conversation: ConversationRecord) -> None:
    messages = services.conversations.messages(owner(), conversation.id)
    name = re.sub(r"[^\w\- ]+", "", conversation.title).strip() or "chat"
    st.write("Markdown is for reading, with the sources of each answer; JSON has everything that is kept.")
    with st.container(horizontal=True):
        st.download_button(
            "Markdown",
            export.markdown(conversation, messages),
            f"{name}.md",
            "text/markdown",
            key="export_markdown",
            icon=":material/article:",
            on_click="ignore",
        )
        st.download_button(
            "JSON",
            export.as_json(conversation, messages),
            f"{name}.json",
            "application/json",
            key="export_json",
            icon=":material/data_object:",
            on_click="ignore",
        )
