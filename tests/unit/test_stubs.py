"""The stubs of the wire formats against the client libraries that the backends use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import httpx
import ollama
import openai
import pytest
from google import genai
from langchain_core.exceptions import ContextOverflowError, ModelAuthenticationError, ModelInvalidRequestError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.stubs import gemini_server, openai_server
from tests.stubs.gemini_server import GeminiStub
from tests.stubs.ollama_server import OllamaStub
from tests.stubs.openai_server import OpenAIStub
from tests.stubs.wire import WORDS, WireStub, eventually

QUESTION: list[BaseMessage] = [SystemMessage("Be short."), HumanMessage("Count to four hundred.")]
ASKED = 2 + 4 + 2 * 8


def openai_model(stub: WireStub, limit: int | None = None) -> BaseChatModel:
    return ChatOpenAI(
        model="tiny",
        base_url=f"{stub.url}/v1",
        api_key=SecretStr(stub.key or "none"),
        use_responses_api=False,
        stream_usage=True,
        max_retries=0,
        max_completion_tokens=limit,
        temperature=0,
    )


def ollama_model(stub: WireStub, limit: int | None = None) -> BaseChatModel:
    return ChatOllama(model="tiny", base_url=stub.url, num_predict=limit, temperature=0)


def gemini_model(stub: WireStub, limit: int | None = None) -> BaseChatModel:
    return ChatGoogleGenerativeAI(
        model="gemini-2.5-flash",
        base_url=stub.url,
        api_key=SecretStr(stub.key or "none"),
        max_retries=1,
        max_output_tokens=limit,
        temperature=0,
    )


TROUBLES = openai.APIError, ollama.ResponseError, genai.errors.APIError, httpx.RemoteProtocolError

Make = Callable[..., BaseChatModel]
TALKS = [(OpenAIStub, openai_model), (OllamaStub, ollama_model), (GeminiStub, gemini_model)]
NAMES = ["openai", "ollama", "gemini"]


@pytest.fixture(params=TALKS, ids=NAMES)
def talk(request: pytest.FixtureRequest) -> Iterator[tuple[WireStub, Make]]:
    kind, make = request.param
    with kind() as stub:
        yield stub, make


def ask(model: BaseChatModel, **options: Any) -> AIMessageChunk:
    chunks = list(model.stream(QUESTION, **options))
    return sum(chunks[1:], chunks[0])


def finish(answer: AIMessageChunk) -> str:
    metadata = answer.response_metadata
    return str(metadata.get("finish_reason") or metadata["done_reason"]).lower()


def tokens(answer: AIMessageChunk) -> tuple[int, int]:
    assert answer.usage_metadata
    return answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]


def test_an_answer_has_text_usage_and_finish(talk: tuple[WireStub, Make]) -> None:
    stub, make = talk
    stub.pace = 0
    answer = ask(make(stub))
    assert answer.text == " ".join(WORDS)
    assert tokens(answer) == (ASKED, 400)
    assert finish(answer) == "stop"


def test_an_answer_is_cut_at_the_limit_and_at_stop(talk: tuple[WireStub, Make]) -> None:
    stub, make = talk
    short = ask(make(stub, limit=5))
    assert (short.text, tokens(short), finish(short)[-6:]) == (
        "one two three four five",
        (ASKED, 5),
        finish(short)[-6:],
    )
    assert finish(short) in {"length", "max_tokens"}
    stopped = ask(make(stub), stop=["three"])
    assert (stopped.text, finish(stopped)) == ("one two ", "stop")


def test_an_answer_is_whole_without_streaming(talk: tuple[WireStub, Make]) -> None:
    stub, make = talk
    with stub.saying("Hello", " world"):
        assert make(stub).invoke(QUESTION).text == "Hello world"


def test_the_stub_sees_that_the_client_left(talk: tuple[WireStub, Make]) -> None:
    stub, make = talk
    with closing(cast("Any", make(stub).stream(QUESTION))) as stream:
        next(stream)
    assert eventually(lambda: stub.closed == 1)


@pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning")  # google-genai where aiohttp is
def test_the_stub_sees_a_cancelled_task_before_its_first_word(talk: tuple[WireStub, Make]) -> None:
    stub, make = talk

    async def read(model: BaseChatModel) -> None:
        async for _ in model.astream(QUESTION):
            pass

    async def ask_and_cancel() -> None:
        task = asyncio.create_task(read(make(stub)))
        while not stub.requests:  # noqa: ASYNC110 - set by the server's thread
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with stub.silent(60):
        asyncio.run(ask_and_cancel())
        assert eventually(lambda: stub.closed == 1)


def test_a_stream_that_drops_or_breaks_raises_after_what_it_said(talk: tuple[WireStub, Make]) -> None:
    stub, make = talk
    for trouble in stub.dropping(after=2), stub.breaking(after=2):
        said: list[str] = []
        with trouble, pytest.raises(TROUBLES):
            said.extend(chunk.text for chunk in make(stub).stream(QUESTION))
        assert "".join(said) == "one two"
    assert stub.closed == 0


def test_silence_ends_with_the_stub() -> None:
    began = time.monotonic()
    with OllamaStub() as stub, stub.silent(60), httpx.Client(base_url=stub.url) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/chat", json={"model": "tiny", "messages": []}, timeout=0.05)
        assert eventually(lambda: stub.closed == 1)
    assert time.monotonic() - began < 2


def test_openai_errors_and_what_instructlab_lacks() -> None:
    with OpenAIStub(key="right") as stub:
        model = openai_model(stub)
        with stub.failing(*openai_server.CONTEXT), pytest.raises(ModelInvalidRequestError, match="2048 tokens"):
            ask(model)
        stub.key = "other"
        with pytest.raises(ModelAuthenticationError):
            ask(model)
    with OpenAIStub(("a.gguf",), key="right", max_model_len=None, usage=False, checks=False) as stub:
        answer = ask(openai_model(stub, limit=3))
        assert (answer.text, answer.usage_metadata) == ("one two three", None)
        assert "max_model_len" not in httpx.get(f"{stub.url}/v1/models").json()["data"][0]


def test_openai_counts_tokens_and_refuses_what_does_not_fit() -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "How many?"}]}
    with OpenAIStub(max_model_len=64) as stub:
        assert httpx.post(f"{stub.url}/tokenize", json=body).json()["count"] == 10
        reply = httpx.post(f"{stub.url}/v1/chat/completions", json={**body, "max_tokens": 60})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input_tokens")


def test_a_seed_orders_the_words() -> None:
    with OpenAIStub() as stub:
        body: dict[str, Any] = {"model": "tiny", "messages": [], "temperature": 1, "max_tokens": 9}
        first, again, other = (
            httpx.post(f"{stub.url}/v1/chat/completions", json={**body, "seed": seed}).json()["choices"]
            for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other


def test_ollama_loads_pulls_and_shows() -> None:
    with OllamaStub(("tiny",)) as stub, ollama.Client(stub.url) as client:
        assert client.ps().models == []
        client.generate("tiny", options={"num_ctx": 512})
        assert [(model.model, model.context_length) for model in client.ps().models] == [("tiny:latest", 512)]
        assert client.generate("tiny", keep_alive=0).done_reason == "unload"
        assert client.ps().models == []
        told = list(client.pull("new", stream=True))
        assert told[-1].status == "success"
        assert [part.completed for part in told if part.total][-1] == told[1].total
        assert [model.model for model in client.list().models] == ["tiny:latest", "new:latest"]
        assert (client.show("new").modelinfo or {})["llama.block_count"] == 16
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            list(client.pull("missing", stream=True))
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            client.show("unknown")
        assert caught.value.status_code == 404


def test_ollama_cuts_a_long_prompt_in_silence() -> None:
    with OllamaStub(num_ctx=16) as stub:
        assert tokens(ask(ollama_model(stub, limit=1))) == (8, 1)


def test_gemini_lists_models_in_pages() -> None:
    with GeminiStub(key="k") as stub, genai.Client(api_key="k", http_options={"base_url": stub.url}) as client:
        models = list(client.models.list(config={"page_size": 2}))
        assert [request.query.get("pageToken") for request in stub.requests] == [None, "2", "4"]
        assert models[0].name == "models/gemini-2.5-pro"
        assert models[-1].supported_actions == ["embedContent", "countTextTokens"]
        assert client.models.count_tokens(model="gemini-2.5-pro", contents="How many?").total_tokens == 10


def test_gemini_refuses_blocks_and_stops() -> None:
    with GeminiStub() as stub:
        model = gemini_model(stub)
        with stub.failing(*gemini_server.TOO_LONG), pytest.raises(ContextOverflowError):
            ask(model)
        with stub.blocking_prompt():
            blocked = ask(model)
        assert (blocked.text, blocked.response_metadata["prompt_feedback"]["block_reason"]) == ("", "SAFETY")
        with stub.stopping(after=3):
            stopped = ask(model)
        assert (stopped.text, finish(stopped)) == ("one two three", "safety")
        stub.key = "other"
        with pytest.raises(ModelInvalidRequestError, match="API_KEY_INVALID"):
            ask(model)
