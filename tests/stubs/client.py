"""Asks a backend that is connected to a stub, and tells all that came."""

from __future__ import annotations

import asyncio
import re
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage

from backends.manager import ModelManager
from backends.server import ServerBackend
from backends.translate import translate
from errors import AppError
from options import GenerationOptions
from settings import Settings
from tests.stubs.connect import MODELS, connect
from tests.stubs.wire import WireStub

QUESTION = [SystemMessage("Answer in words."), HumanMessage("Count to four hundred.")]
TIMEOUT = 1.0


class Outcome(NamedTuple):
    """Result of a question."""

    text: str
    """What was received before the error."""
    error: AppError | None
    thoughts: str = ""
    finish: str = ""
    usage: tuple[int, int] | None = None
    """Tokens in and out."""


class Client:
    """A backend connected to its stub, which asks in two modes."""

    def __init__(self, name: str, stub: WireStub, address: str = "") -> None:
        self.stub, self.model = stub, MODELS[name]
        self.backend = connect(name, address or stub.url, api_key=stub.key or "key", timeout=TIMEOUT)
        self.manager = ModelManager(Settings(), [self.backend])

    def ask(self, mode: str, failure: AbstractContextManager[None], **options: Any) -> Outcome:
        """Ask a loaded model: through the manager like the application (async), or only its chat model (sync)."""
        generation = GenerationOptions(**{"max_new_tokens": 400, **options})
        outcome = Outcome("", None)
        self.manager.load(self.backend.name, self.model).result(5)
        chat_model = self.backend.chat_model(self.model, generation)
        self.stub.requests.clear()

        def take(chunk: AIMessageChunk) -> None:
            nonlocal outcome
            used = chunk.usage_metadata
            outcome = outcome._replace(
                text=outcome.text + chunk.text,
                thoughts=outcome.thoughts + chunk.additional_kwargs.get("reasoning_content", ""),
                finish=chunk.response_metadata.get("finish_reason") or outcome.finish,
                usage=(used["input_tokens"], used["output_tokens"]) if used else outcome.usage,
            )

        async def read() -> None:
            async with self.manager.use(self.backend.name, self.model, generation) as used:
                async for chunk in used.astream(QUESTION):
                    take(chunk)

        error = None
        with failure:
            try:
                if mode == "async":
                    asyncio.run(read())
                else:
                    for chunk in chat_model.stream(QUESTION):
                        take(chunk)
            except Exception as raised:  # noqa: BLE001 - its translation is tested
                error = translated(raised, self.backend)
        return outcome._replace(error=error)

    def load(self) -> Outcome:
        """Load the model, which must fail."""
        with pytest.raises(AppError) as raised:
            self.manager.load(self.backend.name, self.model).result(5)
        return Outcome("", translated(raised.value, self.backend))

    def list_models(self, failure: AbstractContextManager[None]) -> Outcome:
        """List the models, which must fail."""
        with failure, pytest.raises(Exception) as raised:  # noqa: PT011 - as above
            self.backend.list_models()
        return Outcome("", translated(raised.value, self.backend))


def translated(raised: Exception, backend: ServerBackend) -> AppError:
    error = translate(raised, backend.location, backend.start_hint)
    assert error, f"no translation of {raised!r}"
    for text in (error.message, error.hint):
        assert re.fullmatch(r"([A-Z]|vLLM )[^\n]*\.", text), text
        assert not re.search(r"traceback|exception|\berror|[{<]", text, re.IGNORECASE), text
    return error
