"""A ChatGoogleGenerativeAI that reports blocked answers, for which Google sends an empty one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.outputs import ChatGenerationChunk
from langchain_google_genai import ChatGoogleGenerativeAI

from backends.gemini_wire import BLOCKED, LENGTH
from errors import AnswerBlocked


class GeminiChatModel(ChatGoogleGenerativeAI):
    """A ChatGoogleGenerativeAI with the `finish_reason` of other chat models; raises AnswerBlocked while streaming."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from map(_normalise, super()._stream(*args, **kwargs))

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in super()._astream(*args, **kwargs):
            yield _normalise(chunk)


def _normalise(chunk: ChatGenerationChunk) -> ChatGenerationChunk:
    """Set the text of `chunk` as a string, and its finish reason to stop or length; raise AnswerBlocked for others."""
    message = chunk.message
    blocks = [block for block in message.content if isinstance(block, dict)]
    if thought := "".join(str(block["thinking"]) for block in blocks if block.get("type") == "thinking"):
        message.additional_kwargs["reasoning_content"] = thought
    message.content = message.text
    metadata = {**(chunk.generation_info or {}), **message.response_metadata}
    if reason := (metadata.get("prompt_feedback") or {}).get("block_reason"):
        raise AnswerBlocked(
            f"Google Gemini blocked the question ({_words(reason)}).", "Ask it in other words, or choose another model."
        )
    if reason := metadata.get("finish_reason"):
        if reason in BLOCKED:
            raise AnswerBlocked(
                f"Google Gemini ended the answer ({_words(reason)}).", "Ask in other words, or choose another model."
            )
        message.response_metadata["finish_reason"] = "length" if reason == LENGTH else "stop"
    return chunk


def _words(reason: Any) -> str:
    """Return a reason as words: `PROHIBITED_CONTENT` -> prohibited content."""
    return str(getattr(reason, "name", reason)).replace("_", " ").lower()
