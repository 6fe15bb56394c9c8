"""A ChatOllama that reports how an answer ended as other chat models do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.outputs import ChatGenerationChunk
from langchain_ollama import ChatOllama


class OllamaChatModel(ChatOllama):
    """A ChatOllama whose last chunk has a `finish_reason`."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from map(_normalise, super()._stream(*args, **kwargs))

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in super()._astream(*args, **kwargs):
            yield _normalise(chunk)


def _normalise(chunk: ChatGenerationChunk) -> ChatGenerationChunk:
    info = chunk.generation_info or {}
    if reason := info.pop("done_reason", None):
        info["finish_reason"] = reason
    return chunk
