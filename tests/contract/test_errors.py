"""What a person reads when a server fails: each way to fail, for each server backend, asked in each way."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import pytest
from langchain_core.messages import HumanMessage

from backends.base import State
from backends.manager import ModelManager
from backends.server import ServerBackend
from backends.translate import translate
from errors import (
    AnswerBlocked,
    AppError,
    AuthenticationFailed,
    BackendBusy,
    BackendUnavailable,
    ConfigurationError,
    ContextTooLong,
    ModelNotFound,
    RequestRejected,
)
from options import GenerationOptions
from settings import Settings
from tests.stubs import gemini_server, ollama_server, openai_server
from tests.stubs.connect import MODELS, STUBS, connect
from tests.stubs.gemini_server import GeminiStub
from tests.stubs.wire import Reply, WireStub

QUESTION = [HumanMessage("Count to four hundred.")]
ANSWERS = "/chat/completions", "/api/chat", ":streamGenerateContent"
TIMEOUT = 0.6
PROMPT = 3.0
"""Seconds for what needs no waiting."""

each_backend = pytest.mark.parametrize("name", list(STUBS))
each_way = pytest.mark.parametrize("way", ["sync", "async"])


class Heard(NamedTuple):
    """What came of a question."""

    said: str
    """What was said before the error."""
    error: AppError | None
    seconds: float


class Desk:
    """A backend with its stub, and the two ways to ask."""

    def __init__(self, name: str, stub: WireStub, address: str = "") -> None:
        self.stub, self.model = stub, MODELS[name]
        self.backend = connect(name, address or stub.url, api_key=stub.key or "key", timeout=TIMEOUT)
        self.manager = ModelManager(Settings(), [self.backend])

    def ask(self, way: str, trouble: AbstractContextManager[None], **options: Any) -> Heard:
        """Ask a model that is loaded: as the application does (async), or its chat model alone (sync)."""
        how, said = GenerationOptions(**{"max_new_tokens": 400, **options}), ""
        self.manager.load(self.backend.name, self.model).result(5)
        chat_model = self.backend.chat_model(self.model, how)
        self.stub.requests.clear()

        async def read() -> None:
            nonlocal said
            async with self.manager.use(self.backend.name, self.model, how) as used:
                async for chunk in used.astream(QUESTION):
                    said += chunk.text

        error, began = None, time.monotonic()
        with trouble:
            try:
                if way == "async":
                    asyncio.run(read())
                else:
                    for chunk in chat_model.stream(QUESTION):
                        said += chunk.text
            except Exception as raised:  # noqa: BLE001 - what it is translated to is looked at
                error = explained(raised, self.backend)
        return Heard(said, error, time.monotonic() - began)

    def load(self) -> Heard:
        """Load the model."""
        began = time.monotonic()
        with pytest.raises(AppError) as raised:
            self.manager.load(self.backend.name, self.model).result(5)
        return Heard("", explained(raised.value, self.backend), time.monotonic() - began)

    def look(self, trouble: AbstractContextManager[None]) -> Heard:
        """List the models."""
        began = time.monotonic()
        with trouble, pytest.raises(Exception) as raised:  # noqa: PT011 - as above
            self.backend.list_models()
        return Heard("", explained(raised.value, self.backend), time.monotonic() - began)


@contextmanager
def stopped(stub: WireStub) -> Iterator[None]:
    """While it lasts, nothing listens where the stub did."""
    stub.__exit__()
    yield
    stub.__enter__()


def explained(raised: Exception, backend: ServerBackend) -> AppError:
    error = translate(raised, backend.place, backend.start_hint)
    assert error, f"no translation of {raised!r}"
    for text in (error.message, error.hint):
        assert re.fullmatch(r"([A-Z]|vLLM )[^\n]*\.", text), text
        assert not re.search(r"traceback|exception|\berror|[{<]", text, re.IGNORECASE), text
    return error


@pytest.fixture(scope="module")
def desks() -> Iterator[dict[str, Desk]]:
    with ExitStack() as stack:
        yield {name: Desk(name, stack.enter_context(make())) for name, make in STUBS.items()}


@pytest.fixture
def desk(name: str, desks: dict[str, Desk]) -> Desk:
    desks[name].stub.requests.clear()
    return desks[name]


HTML = "<html><head><title>Welcome</title></head><body>It works.</body></html>"
PROXY = "<html><body><h1>{}</h1><hr>nginx</body></html>"


def openai(message: str) -> dict[str, object]:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}


OPENAI = {
    "no key": (openai_server.UNAUTHORIZED, AuthenticationFailed, "the key"),
    "no right": (openai_server.FORBIDDEN, AuthenticationFailed, "the key"),
    "no model": (Reply(404, openai("The model `tiny` does not exist.")), ModelNotFound, "no such model"),
    "another server": (Reply(404, {"detail": "Not Found"}), BackendUnavailable, "address"),
    "another site": (Reply(404, HTML), BackendUnavailable, "address"),
    "another method": (Reply(405, {"detail": "Method Not Allowed"}), BackendUnavailable, "address"),
    "rate limit": (openai_server.RATE_LIMIT, BackendBusy, "Wait 7 seconds"),
    "rate limit, a second": (Reply(429, {}, {"Retry-After": "1"}), BackendBusy, "Wait 1 second,"),
    "rate limit, a while": (Reply(429, {}), BackendBusy, "Wait a moment"),
    "overloaded": (openai_server.OVERLOADED, BackendBusy, "too much to do"),
    "failed": (openai_server.FAILED, BackendUnavailable, "failed"),
    "bad gateway": (Reply(502, PROXY.format("502 Bad Gateway")), BackendUnavailable, "failed"),
    "slow gateway": (Reply(504, PROXY.format("504 Gateway Time-out")), BackendUnavailable, "in time"),
    "refused": (Reply(400, openai("top_k must be -1 or at least 1.")), RequestRejected, "refused"),
    "too long": (openai_server.CONTEXT, ContextTooLong, "window"),
    "too long, llama.cpp": (openai_server.LLAMA_CONTEXT, ContextTooLong, "window"),
    "too long, llama-cpp-python": (
        Reply(400, openai("Requested tokens (3012) exceed context window of 2048")),
        ContextTooLong,
        "window",
    ),
    "too large": (Reply(413, PROXY.format("413 Request Entity Too Large")), ContextTooLong, "window"),
}
OLLAMA = {
    "no key": (Reply(401, {"error": "unauthorized"}), AuthenticationFailed, "the key"),
    "no right": (Reply(403, ""), AuthenticationFailed, "the key"),
    "no model": (Reply(404, {"error": "model 'tiny' not found"}), ModelNotFound, "no such model"),
    "another server": (Reply(404, {"detail": "Not Found"}), BackendUnavailable, "address"),
    "another site": (Reply(404, HTML), BackendUnavailable, "address"),
    "another path": (Reply(404, "404 page not found"), BackendUnavailable, "address"),
    "rate limit": (Reply(429, {"error": "too many requests"}, {"Retry-After": "7"}), BackendBusy, "Wait 7 seconds"),
    "overloaded": (ollama_server.OVERLOADED, BackendBusy, "too much to do"),
    "failed": (ollama_server.FAILED, BackendUnavailable, "failed"),
    "bad gateway": (Reply(502, PROXY.format("502 Bad Gateway")), BackendUnavailable, "failed"),
    "refused": (Reply(400, {"error": "invalid option"}), RequestRejected, "refused"),
    "too long": (Reply(400, {"error": "the input length exceeds the context length"}), ContextTooLong, "window"),
}
GEMINI = {
    "no key": (gemini_server.BAD_KEY, AuthenticationFailed, "the key"),
    "no right": (gemini_server.FORBIDDEN, AuthenticationFailed, "the key"),
    "no model": (
        gemini_server._error(404, "NOT_FOUND", "models/gemini-0 is not found for API version v1beta."),
        ModelNotFound,
        "no such model",
    ),
    "another server": (Reply(404, {"detail": "Not Found"}), BackendUnavailable, "address"),
    "another site": (Reply(404, HTML), BackendUnavailable, "address"),
    "rate limit": (gemini_server.RATE_LIMIT, BackendBusy, "Wait 17 seconds"),
    "overloaded": (gemini_server.UNAVAILABLE, BackendBusy, "too much to do"),
    "failed": (gemini_server.FAILED, BackendUnavailable, "failed"),
    "bad gateway": (Reply(502, PROXY.format("502 Bad Gateway")), BackendUnavailable, "failed"),
    "refused": (
        gemini_server._error(400, "INVALID_ARGUMENT", "Unable to submit request: topK must be positive."),
        RequestRejected,
        "refused",
    ),
    "too long": (gemini_server.TOO_LONG, ContextTooLong, "window"),
}
REPLIES = {"ollama": OLLAMA, "vllm": OPENAI, "instructlab": OPENAI, "gemini": GEMINI}


def table(keep: Callable[[str, Reply, type[AppError]], bool]) -> pytest.MarkDecorator:
    rows = [
        pytest.param(name, *row, id=f"{name}-{case}")
        for name, replies in REPLIES.items()
        for case, row in replies.items()
        if keep(name, row[0], row[1])
    ]
    return pytest.mark.parametrize(("name", "reply", "kind", "words"), rows)


def check_row(heard: Heard, desk: Desk, kind: type[AppError], words: str) -> None:
    assert heard.error
    assert type(heard.error) is kind
    assert words in str(heard.error)
    assert kind is ContextTooLong or desk.backend.place in heard.error.message
    assert heard.seconds < PROMPT


@each_way
@table(lambda name, reply, kind: True)
def test_an_answer_is_refused(desk: Desk, way: str, reply: Reply, kind: type[AppError], words: str) -> None:
    check_row(desk.ask(way, desk.stub.failing(*reply)), desk, kind, words)
    # Nobody tries again on the quiet; Google's client would, five times.
    assert sum(request.path.endswith(ANSWERS) for request in desk.stub.requests) == 1


# A list takes no prompt, and a proxy of Gemini without a list is believed.
@table(lambda name, reply, kind: kind is not ContextTooLong and (name, reply.status) != ("gemini", 404))
def test_the_list_is_refused(desk: Desk, reply: Reply, kind: type[AppError], words: str) -> None:
    check_row(desk.look(desk.stub.failing_all(*reply)), desk, kind, words)
    assert len(desk.stub.requests) == 1


@pytest.mark.parametrize(
    ("name", "body"),
    [
        *((name, body) for name in STUBS for body in (HTML, '{"data": 1, "models": 1}')),
        # To Google's client these list nothing.
        *((name, body) for name in STUBS if name != "gemini" for body in ("", "[]", '{"hello": "world"}')),
    ],
)
def test_the_list_is_none(desk: Desk, body: str) -> None:
    heard = desk.look(desk.stub.failing_all(200, body))
    check_row(heard, desk, BackendUnavailable, "answers, but not as expected. Correct its address.")


@each_way
@each_backend
def test_the_answer_is_none(desk: Desk, way: str) -> None:
    heard = desk.ask(way, desk.stub.failing(200, ""))
    # llama-cpp-python says nothing more to a prompt that is too long.
    kind = ContextTooLong if desk.backend.name in ("vllm", "instructlab") else BackendUnavailable
    check_row(heard, desk, kind, "fewer or shorter passages")


@each_way
@each_backend
def test_the_server_is_silent(desk: Desk, way: str) -> None:
    heard = desk.ask(way, desk.stub.silent(60))
    check_row(heard, desk, BackendUnavailable, "did not answer in time")
    assert TIMEOUT <= heard.seconds < TIMEOUT + 2
    assert len(desk.stub.requests) == 1


@each_way
@each_backend
def test_the_server_falls_silent_in_mid_answer(desk: Desk, way: str) -> None:
    heard = desk.ask(way, desk.stub.stalling(after=3))
    check_row(heard, desk, BackendUnavailable, "did not answer in time")
    assert heard.said == "one two three"
    assert TIMEOUT <= heard.seconds < TIMEOUT + 2


@each_way
@each_backend
@pytest.mark.parametrize("after", [0, 3])
def test_the_server_goes_in_mid_answer(desk: Desk, way: str, after: int) -> None:
    heard = desk.ask(way, desk.stub.dropping(after))
    check_row(heard, desk, BackendUnavailable, "broke off")
    assert heard.said == "one two three"[: 5 * after]


@each_way
@each_backend
@pytest.mark.parametrize("after", [0, 3])
def test_the_server_says_in_mid_answer_that_it_failed(desk: Desk, way: str, after: int) -> None:
    heard = desk.ask(way, desk.stub.breaking(after))
    # What Gemini's stub says is that it is overloaded.
    kind, words = (BackendBusy, "too much") if desk.backend.name == "gemini" else (BackendUnavailable, "failed")
    check_row(heard, desk, kind, words)
    assert heard.said == "one two three"[: 5 * after]


@each_backend
def test_the_server_is_down(name: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    desk = Desk(name, WireStub(), address)
    for heard in desk.look(nullcontext()), desk.load():
        check_row(heard, desk, BackendUnavailable, desk.backend.start_hint)
        assert "cannot be reached" in str(heard.error)
    assert desk.manager.status(name, desk.model).state is State.ERROR


@each_way
@each_backend
def test_the_server_goes_down(name: str, way: str) -> None:
    with STUBS[name]() as stub:
        desk = Desk(name, stub)
        heard = desk.ask(way, stopped(stub))
    check_row(heard, desk, BackendUnavailable, desk.backend.start_hint)
    assert "cannot be reached" in str(heard.error)


@each_backend
def test_there_is_no_such_host(name: str) -> None:
    desk = Desk(name, WireStub(), "http://no-such-host.invalid:8000")
    check_row(desk.look(nullcontext()), desk, BackendUnavailable, desk.backend.start_hint)


@pytest.mark.parametrize("name", ["ollama", "vllm", "instructlab"])
def test_another_server_is_there(name: str) -> None:
    with STUBS["vllm" if name == "ollama" else "ollama"]() as other:
        desk = Desk(name, other)
        for heard in desk.look(nullcontext()), desk.load():
            check_row(heard, desk, BackendUnavailable, "answers, but not as expected. Correct its address.")


def test_a_proxy_of_gemini_without_a_list_is_believed_until_it_is_asked() -> None:
    with STUBS["ollama"]() as other:
        desk = Desk("gemini", other)
        assert desk.backend.list_models() == []
        heard = desk.ask("async", nullcontext())
    check_row(heard, desk, BackendUnavailable, "answers, but not as expected. Correct its address.")


def test_gemini_has_no_key() -> None:
    with GeminiStub() as stub:
        backend = connect("gemini", stub, api_key=None)
        for use in (
            backend.check,
            backend.list_models,
            lambda: backend.load("gemini-2.5-flash", lambda progress: None),
            lambda: backend.chat_model("gemini-2.5-flash", GenerationOptions()),
        ):
            with pytest.raises(ConfigurationError, match="GOOGLE_API_KEY is not set"):
                use()
        assert stub.requests == []


@each_way
@pytest.mark.parametrize("name", ["gemini"])
@pytest.mark.parametrize(
    ("reason", "words"), [("SAFETY", "safety"), ("PROHIBITED_CONTENT", "prohibited content"), ("OTHER", "other")]
)
def test_gemini_blocks_the_question(desk: Desk, way: str, reason: str, words: str) -> None:
    assert isinstance(desk.stub, GeminiStub)
    heard = desk.ask(way, desk.stub.blocking_prompt(reason))
    assert heard.said == ""
    assert isinstance(heard.error, AnswerBlocked)
    assert heard.error.message == f"Google Gemini blocked the question ({words})."


@each_way
@pytest.mark.parametrize("name", ["gemini"])
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(("reason", "words"), [("SAFETY", "safety"), ("RECITATION", "recitation")])
def test_gemini_ends_the_answer(desk: Desk, way: str, after: int, reason: str, words: str) -> None:
    assert isinstance(desk.stub, GeminiStub)
    heard = desk.ask(way, desk.stub.stopping(after, reason))
    assert heard.said == "one two three"[: 5 * after]
    assert isinstance(heard.error, AnswerBlocked)
    assert heard.error.message == f"Google Gemini ended the answer ({words})."


@each_way
@each_backend
def test_a_full_answer_is_no_error(desk: Desk, way: str) -> None:
    heard = desk.ask(way, nullcontext(), max_new_tokens=3)
    assert (heard.said, heard.error) == ("one two three", None)
