"""A backend and a chat model that do as a test says: stream, wait, fail on cue.

model = ScriptedChatModel().enqueue("Hello", " world").enqueue("one", ServerError())
backend = ScriptedBackend(loads_weights=True, model=model).enqueue_load(ConfigurationError("no key"))
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from threading import Event
from typing import Any, ClassVar, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from backends.base import Backend, Capabilities, Loaded, ModelInfo, Progress, Released, Report
from options import GenerationOptions
from settings import Settings

Step = str | float | Event | BaseException
"""Text to stream, seconds to wait, an event to wait for, or an exception to raise."""


class ScriptedChatModel(BaseChatModel):
    """Streams what was enqueued, one answer a call; `Scripted answer.` when nothing is left."""

    model_name: str = "scripted"
    finish_reason: str = "stop"
    reads: float = 1.0
    """The share of a prompt that it takes in; it reports no more."""
    _answers: deque[tuple[Step, ...]] = PrivateAttr(default_factory=deque)
    _prompts: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _closed: int = PrivateAttr(default=0)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def prompts(self) -> list[list[BaseMessage]]:
        """What it was asked, call by call."""
        return self._prompts

    @property
    def closed(self) -> int:
        """Streams that ended before their script did."""
        return self._closed

    def enqueue(self, *steps: Step) -> Self:
        """Script the next answer."""
        self._answers.append(steps)
        return self

    def _begin(self, messages: list[BaseMessage]) -> tuple[Step, ...]:
        self._prompts.append(messages)
        return self._answers.popleft() if self._answers else ("Scripted", " answer.")

    def _last(self, messages: list[BaseMessage], steps: tuple[Step, ...]) -> ChatGenerationChunk:
        sent = round(self.reads * sum(len(str(message.content).split()) for message in messages))
        made = sum(isinstance(step, str) for step in steps)
        usage = UsageMetadata(input_tokens=sent, output_tokens=made, total_tokens=sent + made)
        metadata = {"finish_reason": self.finish_reason, "model_name": self.model_name}
        return ChatGenerationChunk(
            message=AIMessageChunk(content="", usage_metadata=usage, response_metadata=metadata, chunk_position="last")
        )

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        steps = self._begin(messages)
        try:
            for step in steps:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, Event):
                    step.wait()
                elif isinstance(step, str):
                    yield ChatGenerationChunk(message=AIMessageChunk(content=step))
                else:
                    time.sleep(step)
            yield self._last(messages, steps)
        except GeneratorExit:
            self._closed += 1
            raise

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        steps = self._begin(messages)
        try:
            for step in steps:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, Event):
                    while not step.is_set():  # noqa: ASYNC110 - set by a test in another thread
                        await asyncio.sleep(0.005)
                elif isinstance(step, str):
                    yield ChatGenerationChunk(message=AIMessageChunk(content=step))
                else:
                    await asyncio.sleep(step)
            yield self._last(messages, steps)
        except (GeneratorExit, asyncio.CancelledError):
            self._closed += 1
            raise

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, **kwargs))


class ScriptedBackend(Backend):
    """A backend whose loads and answers are scripted, and which keeps account of what is in memory."""

    name = "scripted"
    label = "Scripted"
    capabilities: ClassVar[Capabilities] = Capabilities()
    start_hint = "nothing to start"

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        name: str = "scripted",
        loads_weights: bool = False,
        pulls: bool = False,
        cannot: dict[str, str] | None = None,
        models: tuple[str, ...] = ("scripted",),
        model: ScriptedChatModel | None = None,
        check: tuple[Step, ...] = (),
    ) -> None:
        super().__init__(settings or Settings())
        self.name = name  # one class plays several backends
        self.label = name.capitalize()
        self.capabilities = Capabilities(  # type: ignore[misc]
            loads_weights=loads_weights, unloads=loads_weights, pulls=pulls, cannot=cannot or {}
        )
        self.models, self.model, self.check_steps = models, model or ScriptedChatModel(), check
        self.loads: list[str] = []
        self.pulled: list[str] = []
        self.resident: set[str] = set()
        self.options: list[GenerationOptions] = []
        self._script: deque[tuple[Step, ...]] = deque()

    def enqueue_load(self, *steps: Step) -> Self:
        """Script the next load: text is progress."""
        self._script.append(steps)
        return self

    def list_models(self) -> list[ModelInfo]:
        return [ModelInfo(name, name) for name in self.models]

    def check(self) -> None:
        self._run(self.check_steps, lambda progress: None)

    def load(self, model: str, report: Report) -> Loaded:
        self.loads.append(model)
        self._run(self._script.popleft() if self._script else (), report)
        self.resident.add(model)
        return Loaded(context_window=4096)

    def unload(self, model: str) -> Released | None:
        self.resident.discard(model)
        return Released("cpu", 1000, 1000) if self.capabilities.unloads else None

    def pull(self, model: str, report: Report) -> None:
        report(Progress("Pulling", 0.5))
        self.pulled.append(model)

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        self.options.append(options)
        return self.model

    @staticmethod
    def _run(steps: tuple[Step, ...], report: Report) -> None:
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, Event):
                step.wait()
            elif isinstance(step, str):
                report(Progress(step))
            else:
                time.sleep(step)
