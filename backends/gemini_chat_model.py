"""A ChatGoogleGenerativeAI that reports blocked answers, for which Google sends an empty one."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.outputs import ChatGenerationChunk
from langchain_google_genai import ChatGoogleGenerativeAI

from errors import AnswerBlocked, BackendUnavailable

LENGTH = "MAX_TOKENS"
ENDED = {"STOP", LENGTH, "FINISH_REASON_UNSPECIFIED"}
"""Finish reasons of the API that do not mean a blocked answer."""


class GeminiChatModel(ChatGoogleGenerativeAI):
    """A ChatGoogleGenerativeAI with the `finish_reason` of other chat models; raises AnswerBlocked while streaming."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        with _catch_bad_error_code():
            for chunk in super()._stream(*args, **kwargs):
                yield _normalise(chunk)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        with _catch_bad_error_code():
            async for chunk in super()._astream(*args, **kwargs):
                yield _normalise(chunk)


@contextmanager
def _catch_bad_error_code() -> Iterator[None]:
    """Catch google-genai's TypeError for an error within a stream whose code is text, as proxies send it."""
    try:
        yield
    except TypeError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_name.startswith("raise_error"):
            raise
        hint = "Ask again; its own log has the reason."
        raise BackendUnavailable("The server failed in the middle.", hint) from error


def _normalise(chunk: ChatGenerationChunk) -> ChatGenerationChunk:
    """Set the text of `chunk` as a string, and its finish reason to stop or length; raise AnswerBlocked for others."""
    message = chunk.message
    message.content = message.text
    metadata = {**(chunk.generation_info or {}), **message.response_metadata}
    if reason := (metadata.get("prompt_feedback") or {}).get("block_reason"):
        raise AnswerBlocked(
            f"Google Gemini blocked the question ({_words(reason)}).", "Ask it in other words, or choose another model."
        )
    if reason := metadata.get("finish_reason"):
        if reason not in ENDED:
            raise AnswerBlocked(
                f"Google Gemini ended the answer ({_words(reason)}).", "Ask in other words, or choose another model."
            )
        message.response_metadata["finish_reason"] = "length" if reason == LENGTH else "stop"
    return chunk


def _words(reason: Any) -> str:
    """Return a reason as words: `PROHIBITED_CONTENT` -> prohibited content."""
    return str(getattr(reason, "name", reason)).replace("_", " ").lower()
