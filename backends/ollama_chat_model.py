"""A ChatOllama that reports how an answer ended as other chat models do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.outputs import ChatGenerationChunk
from langchain_ollama import ChatOllama

from errors import BackendUnavailable


class OllamaChatModel(ChatOllama):
    """A ChatOllama whose last chunk has a `finish_reason`."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in super()._stream(*args, **kwargs):
            yield _normalise(chunk)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in super()._astream(*args, **kwargs):
            yield _normalise(chunk)


def _normalise(chunk: ChatGenerationChunk) -> ChatGenerationChunk:
    info = chunk.generation_info or {}
    if info.get("done_reason") == "error":
        hint = "Ask again; its own log has the reason."
        raise BackendUnavailable("The server failed in the middle of the answer.", hint)
    if reason := info.pop("done_reason", None):
        info["finish_reason"] = reason
    return chunk
