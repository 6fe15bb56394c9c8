"""The chat page: the first screen, the conversation and the question box."""

from __future__ import annotations

import streamlit as st

from errors import AppError
from rag.schema import DocumentState, Finish, Message, Role
from services import Services
from services.documents import SAMPLE_QUESTIONS, sample_files
from ui import answer, collections, errors, passage_view, sidebar, text
from ui.app import owner


def conversation_id() -> str | None:
    """The conversation that the address names."""
    return st.query_params.get("c")


def ask(services: Services, question: str, conversation: str | None) -> None:
    """Start a turn and show it; the address then names its conversation."""
    try:
        message, _ = services.asking.ask(owner(), sidebar.chosen(question, conversation))
    except AppError as error:
        # What was typed goes back into the box.
        st.session_state["chat_error"], st.session_state["asked_again"] = error, question
        return
    st.query_params["c"] = message.conversation_id


def draw(services: Services) -> None:
    """The whole page."""
    current = conversation_id()
    messages = services.conversations.messages(owner(), current) if current else ()
    if current and not messages:
        st.info("There is no such conversation. It may have been deleted.", icon=":material/search_off:")
    if not messages:
        _welcome(services)
    running = _conversation(services, messages)
    if error := st.session_state.pop("chat_error", None):
        errors.show(error.message, error.hint)
    if again := st.session_state.pop("asked_again", None):
        st.session_state["question"] = again
    question = st.chat_input(
        "Answering …" if running else "Ask your documents", key="question", disabled=running, max_chars=4000
    )
    if question:
        ask(services, question, current if messages else None)
        st.rerun()
    passage_view.draw()


def _conversation(services: Services, messages: tuple[Message, ...]) -> bool:
    """Draw the messages; whether the last one is still being written."""
    running, asked = False, ""
    for message in messages:
        if message.role is Role.USER:
            asked = message.text
        if message.finish is not Finish.RUNNING:
            answer.draw(message, asked)
        elif services.turns.get(owner(), message.id):
            answer.draw_running(services, message)
            running = True
        else:
            # It ended between the two looks: what is stored now is how.
            answer.draw(services.conversations.messages(owner(), message.conversation_id)[-1], asked)
    return running


def _welcome(services: Services) -> None:
    st.title("Ask your own documents")
    st.markdown(
        "Gestalt answers questions from the files you give it, with the model you choose, and shows the passage "
        "behind each answer. Everything stays on this machine until you choose a backend elsewhere."
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
            st.button(
                "Load the sample documents",
                type="secondary" if ready else "primary",
                icon=":material/auto_stories:",
                on_click=errors.guarded(services.documents.add_samples),
                args=(owner(), found[0].id),
            )
        st.page_link("pages/library/documents.py", label="Add your own documents", icon=":material/upload_file:")
    if waiting:
        _wait_for_documents(services)
    elif ready:
        st.caption(f"{ready:,} document{'' if ready == 1 else 's'} ready to be asked.")
    st.markdown("**Questions to try**" if samples_ready else "**Questions to try with the samples**")
    for number, question in enumerate(SAMPLE_QUESTIONS):
        st.button(
            question,
            key=f"try-{number}",
            icon=":material/chat:",
            type="tertiary",
            disabled=not samples_ready,
            on_click=errors.guarded(ask),
            args=(services, question, None),
        )


def _wait_for_documents(services: Services) -> None:
    @st.fragment(run_every=0.5)
    @errors.guarded
    def live() -> None:
        queues = [services.documents.queue(owner(), one.id) for one in collections.searched(services)]
        reading = [document for queue in queues for document in queue.reading or queue.next]
        if not reading:
            st.rerun()
        more = sum(len(queue.reading) + queue.waiting for queue in queues) - 1
        others = f" {more:,} more wait." if more else ""
        st.progress(reading[0].progress, f"Reading {text.literal(reading[0].name)} …{others}")

    live()
