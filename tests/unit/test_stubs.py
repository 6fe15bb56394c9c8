"""The stubs of the servers behave like the servers, as the providers' own client libraries see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import httpx
import ollama
import openai
import pytest
from google import genai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.stubs.gemini_server import GeminiStub
from tests.stubs.ollama_server import OllamaStub
from tests.stubs.openai_server import OpenAIStub
from tests.stubs.wire import WORDS, WireStub, eventually

QUESTION: list[BaseMessage] = [SystemMessage("Be short."), HumanMessage("Count to four hundred.")]
QUESTION_TOKENS = 2 + 4 + 2 * 8
STREAM_ERRORS = openai.APIError, ollama.ResponseError, genai.errors.APIError, httpx.RemoteProtocolError
Connect = Callable[[WireStub], BaseChatModel]


def connect_openai(stub: WireStub) -> BaseChatModel:
    return ChatOpenAI(
        model="tiny", base_url=f"{stub.url}/v1", api_key=SecretStr("none"), stream_usage=True, max_retries=0
    )


def connect_ollama(stub: WireStub) -> BaseChatModel:
    return ChatOllama(model="tiny", base_url=stub.url)


def connect_gemini(stub: WireStub) -> BaseChatModel:
    return ChatGoogleGenerativeAI(
        model="gemini-2.5-flash", base_url=stub.url, api_key=SecretStr(stub.key or ""), max_retries=1, temperature=0
    )


@pytest.fixture(
    params=[(OpenAIStub, connect_openai), (OllamaStub, connect_ollama), (GeminiStub, connect_gemini)],
    ids=["openai", "ollama", "gemini"],
)
def served(request: pytest.FixtureRequest) -> Iterator[tuple[WireStub, BaseChatModel]]:
    stub_class, connect = request.param
    with stub_class() as stub:
        yield stub, connect(stub)


def ask(model: BaseChatModel, **options: Any) -> AIMessageChunk:
    chunks = list(model.stream(QUESTION, **options))
    return sum(chunks[1:], chunks[0])


def test_an_answer_has_text_usage_and_finish_reason(served: tuple[WireStub, BaseChatModel]) -> None:
    stub, model = served
    stub.pace = 0
    answer = ask(model)
    assert answer.text == " ".join(WORDS)
    assert answer.usage_metadata
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (QUESTION_TOKENS, 400)
    metadata = answer.response_metadata
    assert str(metadata.get("finish_reason") or metadata["done_reason"]).lower() == "stop"
    assert ask(model, stop=["three"]).text == "one two "


def test_the_stub_notices_a_client_that_leaves(served: tuple[WireStub, BaseChatModel]) -> None:
    stub, model = served
    with closing(cast("Any", model.stream(QUESTION))) as stream:
        next(stream)
    assert eventually(lambda: stub.closed == 1)


def test_a_dropped_or_broken_stream_raises_after_its_text(served: tuple[WireStub, BaseChatModel]) -> None:
    stub, model = served
    for failure in stub.dropping(after=2), stub.breaking(after=2):
        pieces: list[str] = []
        with failure, pytest.raises(STREAM_ERRORS):
            pieces.extend(chunk.text for chunk in model.stream(QUESTION))
        assert "".join(pieces) == "one two"
    assert stub.closed == 0


def test_openai_rejects_a_prompt_that_does_not_fit() -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "How many?"}], "max_tokens": 60}
    with OpenAIStub(max_model_len=64) as stub:
        reply = httpx.post(f"{stub.url}/v1/chat/completions", json=body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input_tokens")


def test_ollama_loads_unloads_and_truncates_silently() -> None:
    with OllamaStub(num_ctx=16) as stub, ollama.Client(stub.url) as client:
        assert client.ps().models == []
        client.generate("tiny", options={"num_ctx": 512})
        assert [(model.model, model.context_length) for model in client.ps().models] == [("tiny:latest", 512)]
        assert client.generate("tiny", keep_alive=0).done_reason == "unload"
        assert client.ps().models == []
        usage = ask(connect_ollama(stub), options={"num_predict": 1}).usage_metadata
        assert usage
        assert usage["input_tokens"] == 8


def test_gemini_lists_models_in_pages_and_blocks_prompts() -> None:
    with GeminiStub(key="k") as stub, genai.Client(api_key="k", http_options={"base_url": stub.url}) as client:
        assert len(list(client.models.list(config={"page_size": 2}))) == 5
        assert [request.query.get("pageToken") for request in stub.requests] == [None, "2", "4"]
        with stub.blocking_prompt():
            blocked = ask(connect_gemini(stub))
        assert (blocked.text, blocked.response_metadata["prompt_feedback"]["block_reason"]) == ("", "SAFETY")
