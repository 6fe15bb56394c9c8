"""Messages of a conversation: questions, answers that are done, and the answer that is being written."""

from __future__ import annotations

import streamlit as st

from rag.schema import Citation, Finish, Message, Role
from services import Services
from ui import errors, sources, text
from ui.app import owner

AVATARS = {Role.USER: ":material/person:", Role.ASSISTANT: ":material/auto_stories:"}
POLL_S = 0.3
"""Seconds between two drawings of a running answer: a few messages a second, not one a token."""


def draw(message: Message) -> None:
    """A stored message."""
    with st.chat_message(message.role.value, avatar=AVATARS[message.role]):
        if message.role is Role.USER:
            st.markdown(text.literal(message.text))
            return
        if message.text:
            st.markdown(text.answer(_numbered(message.text, message.citations)))
        if message.finish is Finish.STOPPED:
            st.caption(":material/stop_circle: Stopped. What came so far is kept.")
        if message.finish is Finish.RUNNING:
            errors.show("This answer was interrupted and could not be stored.", "Ask again.")
        if message.error:
            errors.show(message.error["message"], message.error["hint"])
        for note in message.notes:
            st.caption(f":material/info: {text.literal(note)}")
        sources.chips(message.citations)
        label = "Nearest passages" if message.refused else f"Sources ({len(message.passages)} passages)"
        sources.draw(message.passages, message.citations, label=label)
        _figures(message)


def _numbered(answer: str, citations: tuple[Citation, ...]) -> str:
    """The answer with the number of its source behind each supported sentence."""
    supported = [citation for citation in citations if citation.answer_end]
    for citation in sorted(supported, key=lambda c: c.answer_end, reverse=True):
        mark = f" :green[**\\[{citation.n}\\]**]"
        answer = answer[: citation.answer_end] + mark + answer[citation.answer_end :]
    return answer


def _figures(message: Message) -> None:
    timings, usage = message.timings, message.usage
    if not usage.output_tokens or timings.first_token_s is None:
        return
    speaking = max(timings.total_s - timings.first_token_s, 1e-3)
    about = "about " if usage.estimated else ""
    st.caption(
        f"{text.literal(message.model)} · first word after {timings.first_token_s:.1f} s · "
        f"{about}{usage.output_tokens / speaking:.0f} tokens/s · "
        f"{about}{usage.input_tokens} tokens in, {usage.output_tokens} out"
    )


def draw_running(services: Services, message: Message) -> None:
    """The answer that is being written, drawn a few times a second until it is done."""

    @st.fragment(run_every=POLL_S)
    @errors.guarded
    def live() -> None:
        turn = services.turns.get(owner(), message.id)
        if turn is None:
            st.rerun()
        with st.chat_message(message.role.value, avatar=AVATARS[message.role]):
            found = turn.retrieval
            if found is None:
                st.markdown(":shimmer[Searching your documents …]")
            else:
                if turn.text:
                    st.markdown(text.answer(turn.text) + " ▌")
                else:
                    loading = services.manager.status(message.backend, message.model).progress
                    st.markdown(f":shimmer[{text.literal(loading.text) if loading else 'Reading the passages …'}]")
                sources.draw(found.passages, label=f"Sources ({len(found.passages)} passages)")
            st.button(
                "Stop",
                key=f"stop-{message.id}",
                icon=":material/stop_circle:",
                on_click=errors.guarded(services.turns.cancel),
                args=(owner(), message.id),
            )

    live()
