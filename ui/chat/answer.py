"""Messages of a conversation: questions, answers that are done, and the answer that is being written."""

from __future__ import annotations

import streamlit as st

from rag.schema import Feedback, Finish, Message, Role
from services import Services
from ui import app, navigation
from ui.app import owner
from ui.chat import about, chips, sources, versions
from ui.widgets import errors, text

AVATARS = {Role.USER: ":material/person:", Role.ASSISTANT: ":material/auto_stories:"}
POLL_S = 0.3
"""Seconds between two drawings of a running answer: a few messages a second, not one a token."""
MOST_DRAWINGS = 30
"""A second, of all running answers together: with many of them each is drawn less often."""
WAITING = 48
"""Pixels that are kept for the first words."""
LONGEST_REASON = 500
"""Characters."""


def draw(message: Message, asked: str = "", *, busy: bool = False, latest: bool = True) -> None:
    """A stored message.

    Args:
        message: it.
        asked: the question that an answer answers.
        busy: the conversation is being answered, so that nothing can be asked in the place of this message.
        latest: it is the last one of its conversation.
    """
    with st.chat_message(message.role.value, avatar=AVATARS[message.role]):
        if message.role is Role.USER:
            _question(message, busy=busy)
            return
        if message.text:
            st.markdown(text.answer(chips.marked(message)))
        if message.finish is Finish.STOPPED:
            st.caption(f":material/stop_circle: Stopped.{' What came so far is kept.' if message.text else ''}")
        if message.finish is Finish.RUNNING:
            errors.show("This answer was interrupted and could not be stored.", "Ask again.")
        if message.error:
            errors.show(message.error["message"], message.error["hint"])
            if not busy:
                versions.draw_retry(message)
        about.warn(message)
        for note in message.notes:
            st.caption(f":material/info: {text.literal(note)}")
        sources.row(message)
        label = "Nearest passages" if message.abstained else sources.title(message.passages)
        sources.draw(message, label=label, latest=latest)
        if not busy or message.text:
            _foot(message, asked, busy)


def _question(message: Message, *, busy: bool) -> None:
    if versions.edited() == message.id and not busy:
        versions.draw_edit(message)
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(text.literal(message.text), width="stretch")
        if not busy:
            versions.draw_edit_button(message)
    versions.walk(message)


@st.fragment
@errors.with_error_boundary
def _foot(message: Message, asked: str, busy: bool) -> None:
    """Figures, what a person thinks of it, and what else there is to know and to do."""
    if line := about.figures(message):
        st.caption(line)
    rating = None
    versions.walk(message)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if message.text:
            rating = st.feedback(
                "thumbs",
                key=f"thumbs-{message.id}",
                default=int(message.feedback.good) if message.feedback else None,
                on_change=errors.with_error_boundary(_rate),
                args=(message.id,),
            )
        if not busy:
            versions.draw_again(message)
        if message.text:
            _copy(message)
            about.draw(message)
        if asked:
            st.page_link(
                navigation.SEARCH,
                label="How it was found",
                icon=":material/search:",
                query_params={"q": asked},
                help="What was found for this question, and why something was not.",
            )
    if rating == 0:
        st.text_input(
            "What was wrong with it? (optional)",
            value=message.feedback.reason if message.feedback else "",
            key=f"reason-{message.id}",
            max_chars=LONGEST_REASON,
            on_change=errors.with_error_boundary(_rate),
            args=(message.id,),
        )


def _copy(message: Message) -> None:
    """The text as it was written, beside a button that copies it; sent to the browser when it is asked for."""
    icon = ":material/content_copy:"
    with st.popover("Copy", type="tertiary", icon=icon, key=f"copy-{message.id}", on_change="rerun") as box:
        if box.open:
            st.code(message.text, language=None, wrap_lines=True)


def _rate(message_id: str) -> None:
    rating = st.session_state[f"thumbs-{message_id}"]
    reason = st.session_state.get(f"reason-{message_id}", "") if rating == 0 else ""
    feedback = None if rating is None else Feedback(bool(rating), reason.strip())
    app.services().conversations.rate(owner(), message_id, feedback)


def draw_running(services: Services, message: Message) -> None:
    """The answer that is being written, drawn a few times a second until it is done."""

    @st.fragment(run_every=max(POLL_S, len(services.turns) / MOST_DRAWINGS))
    @errors.with_error_boundary
    def live() -> None:
        turn = services.turns.get(owner(), message.id)
        if turn is None:
            st.rerun()
        with st.chat_message(message.role.value, avatar=AVATARS[message.role]):
            found = turn.retrieval
            if found is None:
                st.markdown(":shimmer[Searching your documents …]")
                st.skeleton(height=WAITING)
            else:
                if turn.text:
                    checked = turn.checked
                    so_far = chips.marked_so_far(turn.text, checked.checks, checked.citations)
                    st.markdown(text.answer(so_far) + " ▌")
                else:
                    loading = services.manager.status(message.backend, message.model).progress
                    st.markdown(f":shimmer[{text.literal(loading.text) if loading else 'Reading the passages …'}]")
                    st.skeleton(height=WAITING)
                sources.draw_found(found.passages)
            st.button(
                "Stop",
                key=f"stop-{message.id}",
                icon=":material/stop_circle:",
                on_click=errors.with_error_boundary(services.turns.cancel),
                args=(owner(), message.id),
            )

    live()
