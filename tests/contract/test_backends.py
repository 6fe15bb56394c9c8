"""The contract of every backend in the table. A new backend adds a subclass of BackendContract at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
from functools import reduce
from operator import add
from typing import Any, ClassVar, cast

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage

from backends import BACKENDS, embedded_model
from backends.base import Backend
from backends.huggingface import HuggingFaceBackend
from backends.local_chat_model import LocalChatModel
from backends.translate import translate
from errors import AppError, ModelNotFound
from options import GenerationOptions
from settings import ROOT, Settings
from tests.stubs.connect import MODELS, STUBS, connect
from tests.stubs.wire import WireStub, eventually
from tests.tiny_model import save

QUESTION = [HumanMessage("Count from one to ten in words.")]


def join(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    return reduce(add, chunks)


class BackendContract:
    """Subclasses set `name` and implement `backend`, `model` and `failing`."""

    name: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Iterator[Backend]:
        """Return a backend that has loaded `model`."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> str:
        raise NotImplementedError

    def failing(self, backend: Backend, model: str) -> AbstractContextManager[None]:
        """Make answers fail within the block."""
        raise NotImplementedError

    def stream(self, backend: Backend, model: str, **options: Any) -> list[AIMessageChunk]:
        settings = GenerationOptions(**{"max_new_tokens": 24, **options})
        return list(backend.chat_model(model, settings).stream(QUESTION))

    def test_it_describes_itself(self, backend: Backend, model: str) -> None:
        assert backend.name == self.name
        assert backend.label
        assert backend.start_hint
        backend.check()
        models = backend.list_models()
        assert all(info.name and info.label for info in models)
        assert models or not backend.capabilities.lists_models

    def test_it_counts_tokens(self, backend: Backend, model: str) -> None:
        assert 0 < backend.count_tokens(model, "one") < backend.count_tokens(model, "one two three four five")

    def test_streaming_and_invoking_give_the_same_answer(self, backend: Backend, model: str) -> None:
        chunks = self.stream(backend, model)
        assert sum(bool(chunk.content) for chunk in chunks) > 1
        chat_model = backend.chat_model(model, GenerationOptions(max_new_tokens=24))
        assert join(chunks).content == chat_model.invoke(QUESTION).content

    def test_it_reports_finish_reason_and_usage(self, backend: Backend, model: str) -> None:
        answer = join(self.stream(backend, model, max_new_tokens=5))
        assert answer.response_metadata["finish_reason"] == "length"
        if backend.capabilities.reports_usage:
            assert answer.usage_metadata
            assert answer.usage_metadata["output_tokens"] == 5
            assert answer.usage_metadata["input_tokens"] > 5

    def test_it_stops_before_a_stop_sequence(self, backend: Backend, model: str) -> None:
        if "stop" not in backend.capabilities.options:
            pytest.skip("not supported")
        text = str(join(self.stream(backend, model)).content)
        stop = text[len(text) // 2 :][:3]
        answer = join(self.stream(backend, model, stop=(stop,)))
        assert answer.content == text[: text.index(stop)]
        assert answer.response_metadata["finish_reason"] == "stop"

    def test_a_seed_repeats_its_answer(self, backend: Backend, model: str) -> None:
        if "seed" not in backend.capabilities.options:
            pytest.skip("not supported")
        one, two = (join(self.stream(backend, model, temperature=1.0, seed=7)).content for _ in range(2))
        assert one == two

    def test_it_answers_again_after_a_stream_was_closed(self, backend: Backend, model: str) -> None:
        stream = backend.chat_model(model, GenerationOptions(max_new_tokens=400)).stream(QUESTION)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        next(backend.chat_model(model, GenerationOptions()).stream(QUESTION))

    def test_it_answers_again_after_a_cancellation_before_the_first_token(self, backend: Backend, model: str) -> None:
        chat_model = backend.chat_model(model, GenerationOptions(max_new_tokens=400))

        async def cancel_and_ask_again() -> str:
            task = asyncio.create_task(chat_model.ainvoke(QUESTION))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await backend.chat_model(model, GenerationOptions(max_new_tokens=2)).ainvoke(QUESTION)).text

        assert asyncio.run(cancel_and_ask_again())

    def test_concurrent_questions_are_both_answered(self, backend: Backend, model: str) -> None:
        chat_model = backend.chat_model(model, GenerationOptions(max_new_tokens=8))

        async def two() -> list[Any]:
            return [*await asyncio.gather(chat_model.ainvoke(QUESTION), chat_model.ainvoke(QUESTION))]

        one, other = asyncio.run(two())
        assert one.content == other.content

    def test_a_failure_is_translated_to_an_app_error(self, backend: Backend, model: str) -> None:
        with self.failing(backend, model), pytest.raises(Exception) as raised:  # noqa: PT011 - depends on the backend
            self.stream(backend, model)
        assert isinstance(translate(raised.value), AppError)
        assert self.stream(backend, model)

    def test_an_unknown_model_is_not_found(self, backend: Backend, model: str) -> None:
        with pytest.raises(ModelNotFound, match="no-such/model"):
            backend.load("no-such/model", lambda progress: None)


def test_every_backend_in_the_table_is_tested() -> None:
    assert {subclass.name for subclass in BackendContract.__subclasses__()} == set(BACKENDS)


class LocalContract(BackendContract):
    name = "local"

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, model: str) -> Iterator[Backend]:
        # Kept between runs, because converting the embedded model takes time.
        backend = HuggingFaceBackend(Settings(data_dir=ROOT / "build"))
        backend.load(model, lambda progress: None)
        yield backend
        backend.unload(model)

    @contextmanager
    def failing(self, backend: Backend, model: str) -> Iterator[None]:
        def fail(*_: object) -> None:
            raise MemoryError

        chat_model = backend.chat_model(model, GenerationOptions())
        assert isinstance(chat_model, LocalChatModel)
        hook = chat_model.runtime.model.register_forward_hook(fail)
        yield
        hook.remove()


class TestLocalTiny(LocalContract):
    """A random model from a folder, fast enough for every run."""

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        return str(save(tmp_path_factory.mktemp("tiny")))


@pytest.mark.models
class TestLocalEmbedded(LocalContract):
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> str:
        return embedded_model.NAME

    def test_it_finds_a_fact_in_a_passage(self, backend: Backend, model: str) -> None:
        passage = "The lighthouse of Skerry was built in 1842 by Ada Stone."
        answer = backend.chat_model(model, GenerationOptions(max_new_tokens=32)).invoke(
            f"{passage}\n\nIn which year was the lighthouse built?"
        )
        assert "1842" in str(answer.content)


class ServerContract:
    """The contract of server backends. Every test runs with sync and async streaming."""

    name: ClassVar[str]
    stub: ClassVar[WireStub]
    mode: str

    @pytest.fixture(autouse=True, params=["sync", "async"])
    def _mode(self, request: pytest.FixtureRequest) -> None:
        self.mode = request.param

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, model: str) -> Iterator[Backend]:
        with STUBS[cls.name]() as cls.stub:
            cls.stub.keep_alive = True
            backend = connect(cls.name, cls.stub)
            backend.load(model, lambda progress: None)
            yield backend

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> str:
        return MODELS[cls.name]

    def failing(self, backend: Backend, model: str) -> AbstractContextManager[None]:
        return self.stub.breaking(after=3)

    def stream(self, backend: Backend, model: str, **options: Any) -> list[AIMessageChunk]:
        chat_model = backend.chat_model(model, GenerationOptions(**{"max_new_tokens": 24, **options}))

        async def read() -> list[AIMessageChunk]:
            return [chunk async for chunk in chat_model.astream(QUESTION)]

        return asyncio.run(read()) if self.mode == "async" else list(chat_model.stream(QUESTION))

    def test_closing_a_stream_closes_its_request(self, backend: Backend, model: str) -> None:
        closed = self.stub.closed
        chat_model = backend.chat_model(model, GenerationOptions(max_new_tokens=400))

        async def read_one() -> None:
            async with aclosing(cast("AsyncGenerator[AIMessageChunk]", chat_model.astream(QUESTION))) as stream:
                await anext(stream)

        if self.mode == "async":
            asyncio.run(read_one())
        else:
            with closing(cast("Generator[AIMessageChunk]", chat_model.stream(QUESTION))) as stream:
                next(stream)
        assert eventually(lambda: self.stub.closed == closed + 1)

    def test_it_leaves_no_connection_open(self, backend: Backend, model: str) -> None:
        backend.load(model, lambda progress: None)
        assert self.stream(backend, model)
        assert eventually(lambda: self.stub.connections == 0)

    def test_cancelling_before_the_first_token_closes_its_request(self, backend: Backend, model: str) -> None:
        requests, closed = len(self.stub.requests), self.stub.closed
        chat_model = backend.chat_model(model, GenerationOptions())

        async def ask_and_cancel() -> None:
            task = asyncio.create_task(chat_model.ainvoke(QUESTION))
            while len(self.stub.requests) == requests:  # noqa: ASYNC110 - set by the server's thread
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        with self.stub.silent(60):
            asyncio.run(ask_and_cancel())
            assert eventually(lambda: self.stub.closed == closed + 1)


class TestOllama(ServerContract, BackendContract):
    name = "ollama"


class TestVllm(ServerContract, BackendContract):
    name = "vllm"


class TestInstructLab(ServerContract, BackendContract):
    name = "instructlab"


class TestGemini(ServerContract, BackendContract):
    name = "gemini"
