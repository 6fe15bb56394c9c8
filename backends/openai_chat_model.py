"""A ChatOpenAI for servers that answer one request at a time, or send nothing at all if a prompt is too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from threading import Lock
from typing import Any

from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from pydantic import Field

from errors import ContextTooLong

POLL_S = 0.05
"""Interval for polling the gate: a threading.Lock cannot be awaited."""


class OpenAIChatModel(ChatOpenAI):
    """A ChatOpenAI that waits for its gate, if it has one. An empty stream raises ContextTooLong."""

    gate: Any = Field(default=None, exclude=True, repr=False)
    """A Lock shared by all chat models of a server; None if the server answers several requests at once."""

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        """Keep what a model thinks, which ChatOpenAI drops, where other chat models have it."""
        found = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        delta = next((choice.get("delta") or {} for choice in chunk.get("choices") or ()), {})
        if found and (thought := delta.get("reasoning_content")):
            found.message.additional_kwargs["reasoning_content"] = thought
        return found

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        chunk = None
        with self.gate or nullcontext():
            for chunk in super()._stream(*args, **kwargs):
                yield chunk
        _check_not_empty(chunk)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        chunk = None
        gate: Lock = self.gate or Lock()
        while not gate.acquire(blocking=False):  # noqa: ASYNC110 - see POLL_S
            await asyncio.sleep(POLL_S)
        try:
            async for chunk in super()._astream(*args, **kwargs):
                yield chunk
        finally:
            gate.release()
        _check_not_empty(chunk)


def _check_not_empty(chunk: ChatGenerationChunk | None) -> None:
    if chunk is None:
        message = "The server ended without an answer: the prompt may not fit its context window."
        raise ContextTooLong(message, "Use fewer or shorter passages, or start it with a larger window.")
