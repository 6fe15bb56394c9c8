"""The messages of a conversation: questions, finished answers, and the answer being written."""

from __future__ import annotations

from typing import Any

import streamlit as st

from rag.chat import export
from rag.schema import Feedback, Finish, Message, Mode, Role
from services import Services
from ui import app, navigation
from ui.app import owner
from ui.chat import about, attachments, marks, sources, versions
from ui.widgets import errors, text
from ui.widgets.errors import button, live

AVATARS = {Role.USER: ":material/person:", Role.ASSISTANT: ":material/auto_stories:"}
POLL_S = 0.3
MOST_UPDATES = 30  # a second, of all running answers together: with many of them, each is updated less often
SKELETON = 48  # pixels reserved for the first words


def draw(message: Message, asked: str = "", *, busy: bool = False, latest: bool = True) -> None:
    """Draw a stored message, an answer with the question `asked`; if `busy`, it cannot be replaced now."""
    with st.chat_message(message.role.value, avatar=AVATARS[message.role]):
        if message.role is Role.USER:
            _question(message, busy=busy)
            return
        _text(message)
        _end(message, busy=busy)
        about.warn(message)
        for note in message.notes:
            st.caption(f":material/info: {text.literal(note)}")
        if latest:
            attachments.draw_passwords(app.services(), message.conversation_id)
        if message.mode is Mode.ABSTAINED and latest and not busy:
            versions.draw_ways_on(message)
        if message.mode is not Mode.QUOTED:  # quotes have their places with them
            sources.row(message)
        label = "Nearest passages" if message.abstained else sources.title(message.passages)
        sources.draw(message, label=label, latest=latest)
        if not busy or message.text:
            _footer(message, asked, busy)


def _text(message: Message) -> None:
    if message.thoughts:
        seconds = max(1, round(message.timings.thought_s))
        with st.expander(f"Thought for {seconds} s", icon=":material/neurology:"):
            st.markdown(text.answer(message.thoughts))
    if message.text:
        st.markdown(marks.marked(message))
    if message.folded:
        with st.expander("The model wrote something that the passages do not support", icon=":material/report:"):
            st.markdown(text.answer(message.folded))


def _end(message: Message, *, busy: bool) -> None:
    """Draw how it ended, unless it is complete."""
    if message.finish is Finish.STOPPED:
        st.caption(f":material/stop_circle: Stopped.{' The text so far is kept.' if message.text else ''}")
    if message.finish is Finish.RUNNING:
        errors.show("This answer was interrupted and could not be stored.", "Ask again.")
    if message.error:
        errors.show(message.error["message"], message.error["hint"])
        if not busy:
            versions.draw_retry(message)


def _question(message: Message, *, busy: bool) -> None:
    if versions.edited() == message.id and not busy:
        versions.draw_edit(message)
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(text.literal(message.text), width="stretch")
        if not busy:
            versions.draw_edit_button(message)
    versions.draw_switch(message)


@st.fragment
@errors.with_error_boundary
def _footer(message: Message, asked: str, busy: bool) -> None:
    if line := about.figures(message):
        st.caption(line)
    rating = None
    versions.draw_switch(message)
    rate: dict[str, Any] = {"on_change": errors.with_error_boundary(_rate), "args": (message.id,)}
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if message.text:
            good = int(message.feedback.good) if message.feedback else None
            rating = st.feedback("thumbs", key=f"thumbs-{message.id}", default=good, **rate)
        if not busy:
            versions.draw_again(message)
        if message.text:
            _copy(message)
            about.draw(message)
        if asked and message.mode is not Mode.LIBRARY:
            label, purpose = "Inspect the search", "See what this question finds, and why a text is not found."
            icon, query = ":material/search:", {"q": asked}
            st.page_link(navigation.SEARCH, label=label, icon=icon, query_params=query, help=purpose)
    if rating == 0:
        reason, key = message.feedback.reason if message.feedback else "", f"reason-{message.id}"
        st.text_input("What was wrong with it? (optional)", reason, key=key, max_chars=500, **rate)


def _copy(message: Message) -> None:
    """The text with its marks and sources next to a copy button; sent to the browser only when opened."""
    icon = ":material/content_copy:"
    with st.popover("Copy", type="tertiary", icon=icon, key=f"copy-{message.id}", on_change="rerun") as box:
        if box.open:
            markdown = export.answer(message)
            for tab, written in zip(st.tabs(["Text", "Markdown"]), (export.plain(markdown), markdown), strict=True):
                tab.code(written, language=None, wrap_lines=True)


def _rate(message_id: str) -> None:
    rating = st.session_state[f"thumbs-{message_id}"]
    reason = st.session_state.get(f"reason-{message_id}", "") if rating == 0 else ""
    feedback = None if rating is None else Feedback(bool(rating), reason.strip())
    app.services().conversations.rate(owner(), message_id, feedback)


def draw_live(services: Services, message: Message) -> None:
    """Draw the answer being written, and keep it up to date."""

    def draw_turn() -> None:
        turn = services.turns.get(owner(), message.id)
        if turn is None:
            st.rerun()
        with st.chat_message(message.role.value, avatar=AVATARS[message.role]):
            found = turn.retrieval
            if found is None:
                st.markdown(f":shimmer[{text.literal(turn.working or 'Searching your documents …')}]")
                st.skeleton(height=SKELETON)
            else:
                if turn.text:
                    checked = turn.checked
                    so_far = marks.marked_so_far(turn.text, checked.checks, checked.citations)
                    st.markdown(so_far + " ▌")
                else:
                    loading = services.manager.status(message.backend, message.model).progress
                    waiting = loading.text if loading else turn.working or "Reading the passages …"
                    st.markdown(f":shimmer[{text.literal(waiting)}]")
                    st.skeleton(height=SKELETON)
                sources.draw_found(found.passages)
            stop = services.turns.cancel
            button("Stop", stop, owner(), message.id, icon="stop_circle", key=f"stop-{message.id}")

    live(max(POLL_S, len(services.turns) / MOST_UPDATES), draw_turn)
