"""A ChatOpenAI for servers that answer one request at a time, or end a prompt that is too long without a word.

Imported when a chat model is made.
"""

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
"""Seconds between two looks whether it is one's turn: a lock of threads cannot be awaited."""


class OpenAIChatModel(ChatOpenAI):
    """A ChatOpenAI that waits its turn, where it has a gate.

    Raises while streaming:
        ContextTooLong: the server ended the stream before it began.
    """

    gate: Any = Field(default=None, exclude=True, repr=False)
    """A Lock, shared by those who ask the same server; None where it answers several at once."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        chunk = None
        with self.gate or nullcontext():
            for chunk in super()._stream(*args, **kwargs):
                yield chunk
        _require(chunk)

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
        _require(chunk)


def _require(chunk: ChatGenerationChunk | None) -> None:
    if chunk is None:
        raise ContextTooLong(
            "The server ended without a word: the prompt may not fit its context window.",
            "Use fewer or shorter passages, or start it with a larger window.",
        )
