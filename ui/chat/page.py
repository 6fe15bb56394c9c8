"""The Chat page: first screen, conversation and question box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from errors import AppError
from rag.schema import DocumentState, Finish, Role
from services import Services
from services.documents import SAMPLE_QUESTIONS, sample_files
from ui import navigation
from ui.app import owner
from ui.chat import answer, attachments, passage_view
from ui.sidebar import choices, collections, conversations
from ui.widgets import errors, text
from ui.widgets.errors import button, live

if TYPE_CHECKING:
    from streamlit.elements.widgets.chat import ChatInputValue

BIDIRECTIONAL = """<style>
[data-testid=stChatMessage] :is(p, li, td, th, h1, h2, h3) { unicode-bidi: plaintext; text-align: start }
</style>"""
"""Draws Arabic and Hebrew from right to left, which Streamlit does not do."""
AT_FIRST, MORE = 10, 40  # messages drawn at first, and added by a click


def ask(services: Services, question: str, conversation: str | None) -> None:
    """Start a turn, and put its conversation into the address."""
    try:
        message, _ = services.asking.ask(owner(), choices.question(question, conversation))
    except AppError as error:
        # The input goes back into the box.
        st.session_state["chat_error"], st.session_state["unanswered"] = error, question
        return
    choices.bind_conversation(message.conversation_id)
    st.query_params["c"] = message.conversation_id


def draw(services: Services) -> None:
    """Draw the page."""
    st.html(BIDIRECTIONAL)
    current = st.query_params.get("c")
    open_ = services.conversations.get(owner(), current) if current else None
    if current and not open_:
        st.info("There is no such conversation. It may have been deleted.", icon=":material/search_off:")
    if open_:
        st.set_page_config(page_title=f"{open_.title} · Gestalt")
        conversations.draw_head(services, open_)
        _conversation(services, open_.id)
    else:
        _welcome(services)
    if error := st.session_state.pop("chat_error", None):
        errors.show(error.message, error.hint)
    if unanswered := st.session_state.pop("unanswered", None):
        st.session_state["question"] = unanswered
    if open_:
        attachments.draw(services, open_.id)
    # A callback: the value would be lost to a part of the page that reruns it before this line.
    st.chat_input(
        "Ask your documents, or attach files to ask",
        key="question",
        max_chars=4000,
        accept_file="multiple",
        max_upload_size=services.settings.max_upload_mb,
        on_submit=errors.with_error_boundary(_submitted),
        args=(services, open_.id if open_ else None),
    )
    passage_view.draw()


def _submitted(services: Services, conversation: str | None) -> None:
    """Take a question, files, or both; files alone wait for a question."""
    asked: ChatInputValue = st.session_state["question"]
    if asked.files:
        if conversation is None:
            title = asked.text.strip() or f"About {asked.files[0].name}"
            conversation = services.conversations.create(owner(), title)
            choices.bind_conversation(conversation)
            st.query_params["c"] = conversation
        attachments.put(services, conversation, asked.files)
    if asked.text.strip():
        ask(services, asked.text, conversation)


def _conversation(services: Services, conversation: str) -> None:
    state = st.session_state
    if state.get("shown_of") != conversation:
        state["shown_of"], state["shown"] = conversation, AT_FIRST
    messages = services.conversations.messages(owner(), conversation, last=state["shown"])
    older = services.conversations.length(owner(), conversation) - len(messages)
    if older > 0:
        label, shown = f"Show earlier messages ({older:,})", {"shown": state["shown"] + MORE}
        button(label, state.update, shown, icon="expand_less", key="earlier", type="tertiary")
    busy, asked = services.turns.running(owner(), conversation), ""
    for message in messages:
        if message.role is Role.USER:
            asked = message.text
        if message.finish is not Finish.RUNNING:
            answer.draw(message, asked, busy=busy, latest=message is messages[-1])
        elif services.turns.get(owner(), message.id):
            answer.draw_live(services, message)
        else:
            # It ended since it was loaded.
            ended = services.conversations.message(owner(), message.id)
            answer.draw(ended or message, asked, busy=busy)


def _welcome(services: Services) -> None:
    st.title("Ask your own documents")
    st.markdown(
        "Gestalt answers questions from your files with the model you choose, and shows the passages behind each "
        "answer. Everything stays on this machine unless you choose a remote backend."
    )
    found, library = collections.searched(services), services.library
    counts = [library.counts(owner(), one.id) for one in found]
    ready = sum(count.get(DocumentState.READY, 0) for count in counts)
    waiting = any(state.is_open for count in counts for state in count)
    samples = [
        [d.state for one in found for d in library.same_path(owner(), one.id, path.name)] for path in sample_files()
    ]
    samples_ready = all(DocumentState.READY in states for states in samples)
    with st.container(horizontal=True):
        if not all(samples):
            add, target = services.documents.add_samples, collections.current(services).id
            kind = "secondary" if ready else "primary"
            button("Load the sample documents", add, owner(), target, icon="auto_stories", type=kind)
        st.page_link(navigation.DOCUMENTS, label="Add your own documents", icon=":material/upload_file:")
    if waiting:
        _wait_for_documents(services)
    elif ready:
        st.caption(f"{text.count(ready, 'document')} ready to search.")
    st.markdown("**Questions to try**" if samples_ready else "**Questions to try with the samples**")
    for number, question in enumerate(SAMPLE_QUESTIONS):
        disabled, key = not samples_ready, f"try-{number}"
        button(question, ask, services, question, None, icon="chat", key=key, type="tertiary", disabled=disabled)


def _wait_for_documents(services: Services) -> None:
    def draw_progress() -> None:
        queues = [services.documents.queue(owner(), one.id) for one in collections.searched(services)]
        reading = [document for queue in queues for document in queue.reading or queue.next]
        if not reading:
            st.rerun()
        more = sum(len(queue.reading) + queue.waiting for queue in queues) - 1
        others = f" {more:,} more to read." if more else ""
        st.progress(reading[0].progress, f"Reading {text.literal(reading[0].name)} …{others}")

    live(0.5, draw_progress)
