"""A ChatGoogleGenerativeAI that says where an answer was blocked, which Google tells with an empty one.

Imported when a chat model is made.
"""

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
"""Finish reasons of the API that are no blocking."""


class GeminiChatModel(ChatGoogleGenerativeAI):
    """A ChatGoogleGenerativeAI that tells its `finish_reason` as other chat models do.

    Raises while streaming:
        AnswerBlocked: a filter held back the question or the answer.
    """

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        with _understood():
            for chunk in super()._stream(*args, **kwargs):
                yield _checked(chunk)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        with _understood():
            async for chunk in super()._astream(*args, **kwargs):
                yield _checked(chunk)


@contextmanager
def _understood() -> Iterator[None]:
    """google-genai compares the code of an error that comes within a stream; proxies give it as text."""
    try:
        yield
    except TypeError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_name.startswith("raise_error"):
            raise
        raise BackendUnavailable("The server failed in the middle.", "Ask again; its own log says why.") from error


def _checked(chunk: ChatGenerationChunk) -> ChatGenerationChunk:
    """`chunk` with its text as a string and its finish reason in the field's usual words.

    Raises:
        AnswerBlocked: a filter held back the prompt (`promptFeedback.blockReason`) or the answer (`finishReason`).
    """
    message = chunk.message
    message.content = message.text
    told = {**(chunk.generation_info or {}), **message.response_metadata}
    feedback = told.get("prompt_feedback") or {}
    if reason := feedback.get("block_reason"):
        raise AnswerBlocked(
            f"Google Gemini blocked the question ({_plain(reason)}).", "Ask it in other words, or choose another model."
        )
    if reason := told.get("finish_reason"):
        if reason not in ENDED:
            raise AnswerBlocked(
                f"Google Gemini ended the answer ({_plain(reason)}).", "Ask in other words, or choose another model."
            )
        message.response_metadata["finish_reason"] = "length" if reason == LENGTH else "stop"
    return chunk


def _plain(reason: Any) -> str:
    """A reason of the API as words: `PROHIBITED_CONTENT` -> prohibited content."""
    return str(getattr(reason, "name", reason)).replace("_", " ").lower()
