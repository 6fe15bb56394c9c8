"""Errors shown when a server fails: every failure, for every server backend, in both modes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import pytest

from backends.base import State
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
from tests.stubs import gemini_server, ollama_server, openai_server
from tests.stubs.client import Client, Outcome
from tests.stubs.connect import STUBS, connect
from tests.stubs.gemini_server import GeminiStub
from tests.stubs.wire import Reply, WireStub

ANSWERS = "/chat/completions", "/api/chat", ":streamGenerateContent"

each_backend = pytest.mark.parametrize("name", list(STUBS))
each_mode = pytest.mark.parametrize("mode", ["sync", "async"])


@contextmanager
def stopping(stub: WireStub) -> Iterator[None]:
    """Stop the stub within the block."""
    stub.__exit__()
    yield
    stub.__enter__()


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Client]]:
    with ExitStack() as stack:
        yield {name: Client(name, stack.enter_context(make())) for name, make in STUBS.items()}


@pytest.fixture
def client(name: str, clients: dict[str, Client]) -> Client:
    clients[name].stub.requests.clear()
    return clients[name]


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
    "overloaded": (openai_server.OVERLOADED, BackendBusy, "overloaded"),
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
    "overloaded": (ollama_server.OVERLOADED, BackendBusy, "overloaded"),
    "failed": (ollama_server.FAILED, BackendUnavailable, "failed"),
    "bad gateway": (Reply(502, PROXY.format("502 Bad Gateway")), BackendUnavailable, "failed"),
    "refused": (Reply(400, {"error": "invalid option"}), RequestRejected, "refused"),
    "too long": (Reply(400, {"error": "the input length exceeds the context length"}), ContextTooLong, "window"),
}
GEMINI = {
    "no key": (gemini_server.BAD_KEY, AuthenticationFailed, "the key"),
    "no right": (gemini_server.FORBIDDEN, AuthenticationFailed, "the key"),
    "no model": (
        gemini_server.error(404, "NOT_FOUND", "models/gemini-0 is not found for API version v1beta."),
        ModelNotFound,
        "no such model",
    ),
    "another server": (Reply(404, {"detail": "Not Found"}), BackendUnavailable, "address"),
    "another site": (Reply(404, HTML), BackendUnavailable, "address"),
    "rate limit": (gemini_server.RATE_LIMIT, BackendBusy, "Wait 17 seconds"),
    "overloaded": (gemini_server.UNAVAILABLE, BackendBusy, "overloaded"),
    "failed": (gemini_server.FAILED, BackendUnavailable, "failed"),
    "bad gateway": (Reply(502, PROXY.format("502 Bad Gateway")), BackendUnavailable, "failed"),
    "refused": (
        gemini_server.error(400, "INVALID_ARGUMENT", "Unable to submit request: topK must be positive."),
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


def check_error(outcome: Outcome, client: Client, kind: type[AppError], words: str) -> None:
    assert outcome.error
    assert type(outcome.error) is kind
    assert words in str(outcome.error)
    assert kind is ContextTooLong or client.backend.location in outcome.error.message


@each_mode
@table(lambda name, reply, kind: True)
def test_a_failed_answer(client: Client, mode: str, reply: Reply, kind: type[AppError], words: str) -> None:
    check_error(client.ask(mode, client.stub.failing(*reply)), client, kind, words)
    # No hidden retries: by default, Google's client retries five times.
    assert sum(request.path.endswith(ANSWERS) for request in client.stub.requests) == 1


# A list has no prompt, and only Ollama needs one.
@table(lambda name, reply, kind: kind is not ContextTooLong and (name == "ollama" or reply.status != 404))
def test_a_failed_list_of_models(client: Client, reply: Reply, kind: type[AppError], words: str) -> None:
    client.backend.list_models()  # from now on its address is known
    client.stub.requests.clear()
    check_error(client.list_models(client.stub.failing_all(*reply)), client, kind, words)
    assert len(client.stub.requests) == 1


@pytest.mark.parametrize("name", ["vllm", "instructlab", "gemini"])
@pytest.mark.parametrize("body", [{"detail": "Not Found"}, HTML])
def test_a_server_without_a_list_of_models(client: Client, body: object) -> None:
    with client.stub.failing_all(404, body):
        assert client.backend.list_models() == []
        assert client.manager.load(client.backend.name, "typed").result(5) is None
    assert client.backend.capabilities.free_model_name


@pytest.mark.parametrize(
    ("name", "body"),
    [
        *((name, body) for name in STUBS for body in (HTML, '{"data": 1, "models": 1}')),
        # For Google's client these are empty lists.
        *((name, body) for name in STUBS if name != "gemini" for body in ("", "[]", '{"hello": "world"}')),
    ],
)
def test_an_invalid_list_of_models(client: Client, body: str) -> None:
    outcome = client.list_models(client.stub.failing_all(200, body))
    check_error(outcome, client, BackendUnavailable, "answers, but not as expected. Correct its address.")


@each_mode
@each_backend
def test_an_empty_answer(client: Client, mode: str) -> None:
    outcome = client.ask(mode, client.stub.failing(200, ""))
    # llama-cpp-python sends an empty answer if a prompt is too long.
    kind = ContextTooLong if client.backend.name in ("vllm", "instructlab") else BackendUnavailable
    check_error(outcome, client, kind, "fewer or shorter passages")


@each_mode
@each_backend
def test_the_server_does_not_respond(client: Client, mode: str) -> None:
    outcome = client.ask(mode, client.stub.silent(60))
    check_error(outcome, client, BackendUnavailable, "did not answer in time")
    assert len(client.stub.requests) == 1


@each_mode
@each_backend
def test_the_server_stalls_during_an_answer(client: Client, mode: str) -> None:
    outcome = client.ask(mode, client.stub.stalling(after=3))
    check_error(outcome, client, BackendUnavailable, "did not answer in time")
    assert outcome.text == "one two three"


@each_mode
@each_backend
@pytest.mark.parametrize("after", [0, 3])
def test_the_connection_drops_during_an_answer(client: Client, mode: str, after: int) -> None:
    outcome = client.ask(mode, client.stub.dropping(after))
    check_error(outcome, client, BackendUnavailable, "broke off")
    assert outcome.text == "one two three"[: 5 * after]


@each_mode
@each_backend
@pytest.mark.parametrize("after", [0, 3])
def test_the_server_reports_an_error_during_an_answer(client: Client, mode: str, after: int) -> None:
    outcome = client.ask(mode, client.stub.breaking(after))
    # Gemini's stub reports that it is overloaded.
    kind, words = (BackendBusy, "overloaded") if client.backend.name == "gemini" else (BackendUnavailable, "failed")
    check_error(outcome, client, kind, words)
    assert outcome.text == "one two three"[: 5 * after]


@each_backend
def test_the_server_is_down(name: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = Client(name, WireStub(), address)
    for outcome in client.list_models(nullcontext()), client.load():
        check_error(outcome, client, BackendUnavailable, client.backend.start_hint)
        assert "cannot be reached" in str(outcome.error)
    assert client.manager.status(name, client.model).state is State.ERROR


@each_mode
@each_backend
def test_the_server_goes_down(name: str, mode: str) -> None:
    with STUBS[name]() as stub:
        client = Client(name, stub)
        outcome = client.ask(mode, stopping(stub))
    check_error(outcome, client, BackendUnavailable, client.backend.start_hint)
    assert "cannot be reached" in str(outcome.error)


@each_backend
def test_an_unknown_host(name: str) -> None:
    client = Client(name, WireStub(), "http://no-such-host.invalid:8000")
    check_error(client.list_models(nullcontext()), client, BackendUnavailable, client.backend.start_hint)


def test_another_kind_of_server() -> None:
    with STUBS["vllm"]() as other:
        client = Client("ollama", other)
        for outcome in client.list_models(nullcontext()), client.load():
            check_error(outcome, client, BackendUnavailable, "answers, but not as expected. Correct its address.")


@pytest.mark.parametrize("name", ["vllm", "instructlab", "gemini"])
def test_a_wrong_server_without_a_list_is_noticed_when_it_answers(name: str) -> None:
    with STUBS["ollama"]() as other:
        client = Client(name, other)
        assert client.backend.list_models() == []
        outcome = client.ask("async", nullcontext())
    check_error(outcome, client, BackendUnavailable, "answers, but not as expected. Correct its address.")


def test_gemini_without_a_key() -> None:
    with GeminiStub() as stub:
        backend = connect("gemini", stub, api_key=None)
        for use in (
            backend.check,
            backend.list_models,
            lambda: backend.load("gemini-2.5-flash", lambda progress: None),
            lambda: backend.chat_model("gemini-2.5-flash", GenerationOptions()),
        ):
            with pytest.raises(ConfigurationError, match="Google Gemini has no key"):
                use()
        assert stub.requests == []


@each_mode
@pytest.mark.parametrize("name", ["gemini"])
@pytest.mark.parametrize(
    ("reason", "words"), [("SAFETY", "safety"), ("PROHIBITED_CONTENT", "prohibited content"), ("OTHER", "other")]
)
def test_gemini_blocks_the_question(client: Client, mode: str, reason: str, words: str) -> None:
    assert isinstance(client.stub, GeminiStub)
    outcome = client.ask(mode, client.stub.blocking_prompt(reason))
    assert outcome.text == ""
    assert isinstance(outcome.error, AnswerBlocked)
    assert outcome.error.message == f"Google Gemini blocked the question ({words})."


@each_mode
@pytest.mark.parametrize("name", ["gemini"])
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(("reason", "words"), [("SAFETY", "safety"), ("RECITATION", "recitation")])
def test_gemini_blocks_the_answer(client: Client, mode: str, after: int, reason: str, words: str) -> None:
    assert isinstance(client.stub, GeminiStub)
    outcome = client.ask(mode, client.stub.stopping(after, reason))
    assert outcome.text == "one two three"[: 5 * after]
    assert isinstance(outcome.error, AnswerBlocked)
    assert outcome.error.message == f"Google Gemini ended the answer ({words})."


@each_mode
@each_backend
def test_a_complete_answer_is_not_an_error(client: Client, mode: str) -> None:
    outcome = client.ask(mode, nullcontext(), max_new_tokens=3)
    assert (outcome.text, outcome.error) == ("one two three", None)
