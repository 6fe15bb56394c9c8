"""A LangChain chat model over a model in this process's memory.

Streaming, async and whole answers share one path: a Generation in the model's thread and a queue. Leaving the stream in
any way (close, cancel, an error in the consumer) ends the generation, even before its first token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from queue import SimpleQueue
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field

from backends.generation import Emit, End, Event, Generation
from options import GenerationOptions


class LocalChatModel(BaseChatModel):
    """A chat model that answers with `runtime`.

    Fields of GenerationOptions can be overridden for one call: `model.stream(messages, temperature=0.7)`. The last
    chunk has `usage_metadata` and, in its `response_metadata`, a `finish_reason`. Streaming raises ContextTooLong,
    BackendUnavailable if the model was unloaded, and exceptions of torch, which `backends/translate.py` translates.
    """

    model_name: str
    options: GenerationOptions = GenerationOptions()
    runtime: Any = Field(exclude=True, repr=False)
    """A Runtime; neither dumped nor printed."""

    @property
    def _llm_type(self) -> str:
        return "local"

    def _start(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], emit: Emit
    ) -> Generation:
        options = self.options.replace(**kwargs)
        options = options.replace(stop=(*options.stop, *(stop or ())))
        generation = Generation(convert_to_openai_messages(messages, text_format="string"), options, emit)
        self.runtime.submit(generation)
        return generation

    def _chunk(self, event: Event) -> ChatGenerationChunk:
        if isinstance(event, BaseException):
            raise event
        if isinstance(event, str):
            return ChatGenerationChunk(message=AIMessageChunk(content=event))
        read, written = event.input_tokens, event.output_tokens
        last = AIMessageChunk(
            content="",
            usage_metadata=UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written),
            response_metadata={"finish_reason": event.finish_reason, "model_name": self.model_name},
            chunk_position="last",
        )
        return ChatGenerationChunk(message=last)

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        events: SimpleQueue[Event] = SimpleQueue()
        generation = self._start(messages, stop, kwargs, events.put)
        try:
            event: Event = ""
            while not isinstance(event, End):
                event = events.get()
                yield self._chunk(event)
        finally:
            generation.cancel()

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def emit(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        generation = self._start(messages, stop, kwargs, emit)
        try:
            event: Event = ""
            while not isinstance(event, End):
                event = await events.get()
                yield self._chunk(event)
        finally:
            generation.cancel()

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return generate_from_stream(self._stream(*args, **kwargs))

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return await agenerate_from_stream(self._astream(*args, **kwargs))
