"""What real servers send, against what public bug reports tell of: every case is one that clients choked on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import pytest

from errors import AnswerBlocked, AppError, BackendBusy, BackendError, BackendUnavailable, ContextTooLong
from tests.stubs.client import Client
from tests.stubs.gemini_server import GeminiStub
from tests.stubs.ollama_server import OllamaStub
from tests.stubs.openai_server import OpenAIStub
from tests.stubs.wire import Reply, Request, Stream, WireStub

each_mode = pytest.mark.parametrize("mode", ["sync", "async"])
SAID = "The ferry leaves at nine."
WORDS = ("The ferry ", "leaves ", "at nine.")


def chunk(content: Any = None, *, finish: Any = None, **delta: Any) -> dict[str, Any]:
    """A chunk of OpenAI's protocol."""
    said = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": said | delta, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [choice]}


def usage(tokens: int, thoughts: int = 0) -> dict[str, Any]:
    counted = {"prompt_tokens": 700, "completion_tokens": tokens, "total_tokens": 700 + tokens}
    return {"usage": {**counted, "completion_tokens_details": {"reasoning_tokens": thoughts}}}


def part(content: str = "", *, done: bool = False, **more: Any) -> dict[str, Any]:
    """A line of Ollama's protocol."""
    thinking = {"thinking": more.pop("thinking")} if "thinking" in more else {}
    message = {"role": "assistant", "content": content, **thinking, **more.pop("message", {})}
    return {"model": "tiny", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": done, **more}


def candidate(*texts: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """An event of Gemini's protocol."""
    parts = [{"text": text} if isinstance(text, str) else text for text in texts]
    reason = {"finishReason": finish} if finish else {}
    counted = {"promptTokenCount": 700, "candidatesTokenCount": 9, "totalTokenCount": 709}
    return {"candidates": [{"content": {"role": "model", "parts": parts}, **reason}], "usageMetadata": counted, **more}


def sse(*events: Any) -> str:
    """Server-sent events; a text is sent as it is."""
    return "".join(each if isinstance(each, str) else f"data: {json.dumps(each)}\n\n" for each in events)


def lines(*events: Any) -> str:
    return "".join(each if isinstance(each, str) else f"{json.dumps(each)}\n" for each in events)


SPOKEN = [chunk(word) for word in WORDS]
DONE = "data: [DONE]\n\n"
STOP = chunk(finish="stop")
OPENAI: dict[str, Any] = {
    "plain": sse(*SPOKEN, STOP, DONE),
    "no-space": sse(*(f"data:{json.dumps(each)}\n\n" for each in (*SPOKEN, STOP)), "data:[DONE]\n\n"),
    "carriage-returns": sse(*SPOKEN, STOP, DONE).replace("\n", "\r\n"),
    "comments": sse(": PROCESSING\n\n", SPOKEN[0], ":\n\n", ": keep-alive\n\n", *SPOKEN[1:], STOP, DONE),
    "retry-and-id": sse("retry: 3000\n\n", f"id: 4\ndata: {json.dumps(SPOKEN[0])}\n\n", *SPOKEN[1:], STOP, DONE),
    "ping": sse(SPOKEN[0], "event: ping\ndata: {}\n\n", "event: ping\ndata: now\n\n", *SPOKEN[1:], STOP, DONE),
    "empty-data": sse(SPOKEN[0], "data:\n\n", "data: null\n\n", *SPOKEN[1:], STOP, DONE),
    "no-last-line": sse(*SPOKEN, STOP, DONE).rstrip(),
    "done-without-a-reason": sse(*SPOKEN, DONE),
    "reason-without-done": sse(*SPOKEN, STOP),
    "reason-with-the-last-word": sse(*SPOKEN[:2], chunk(WORDS[2], finish="stop"), DONE),
    "another-reason": sse(*SPOKEN, chunk(finish="eos"), DONE),
    "null-fields": sse({**chunk(), "choices": []}, {**chunk(role="assistant"), "usage": None}, *SPOKEN, STOP, DONE),
    "blocks": sse(*(chunk([{"type": "text", "text": word}]) for word in WORDS), STOP, DONE),
    "line-separator": sse(*SPOKEN, STOP, DONE).replace("leaves ", "leaves\u2028"),
    "whole": {"choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}]},
    "whole-as-text": json.dumps({"choices": [{"message": {"content": SAID}, "finish_reason": "stop"}]}),
}
OLLAMA = {
    "plain": lines(*map(part, WORDS), part(done=True, done_reason="stop")),
    "no-reason": lines(*map(part, WORDS), part(done=True)),
    "blank-lines": lines("\n", part(WORDS[0]), "\n\n", *map(part, WORDS[1:]), part(done=True), "\n"),
    "loads-first": lines(part(done_reason="load"), *map(part, WORDS), part(done=True)),
    "no-last-line": lines(*map(part, WORDS), part(done=True)).rstrip(),
}
GEMINI = {
    "plain": sse(*map(candidate, WORDS[:2]), candidate(WORDS[2], finish="STOP")),
    "empty-end": sse(candidate(SAID), candidate("", finish="STOP")),
    "many-parts": sse(candidate(*WORDS, finish="STOP")),
    "unknown-reason": sse(candidate(SAID, finish="SOMETHING_NEW")),
    "code": sse(candidate({"executableCode": {"language": "PYTHON", "code": "1"}}, SAID, finish="STOP")),
    "list": [candidate(*WORDS[:2]), candidate(WORDS[2], finish="STOP")],
}
COMPLETE = {"vllm": OPENAI, "ollama": OLLAMA, "gemini": GEMINI}
STUBS: dict[str, type[WireStub]] = {"vllm": OpenAIStub, "ollama": OllamaStub, "gemini": GeminiStub}


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Client]]:
    started = {name: stub("key") if name == "gemini" else stub() for name, stub in STUBS.items()}
    with started["vllm"], started["ollama"], started["gemini"]:
        yield {name: Client(name, stub) for name, stub in started.items()}


def sent(client: Client, body: Any) -> AbstractContextManager[None]:
    return client.stub.failing(200, body)


def table(cases: dict[str, dict[str, Any]]) -> pytest.MarkDecorator:
    rows = [
        pytest.param(name, *(row if isinstance(row, tuple) else (row,)), id=f"{name}-{case}")
        for name, rows in cases.items()
        for case, row in rows.items()
    ]
    names = ("name", "body", "kind", "words") if any(len(row.values) == 4 for row in rows) else ("name", "body")
    return pytest.mark.parametrize(names, rows)


@each_mode
@table(COMPLETE)
@pytest.mark.parametrize("labelled", ["", "application/json", "text/event-stream; charset=utf-8"])
def test_a_complete_answer(clients: dict[str, Client], name: str, body: Any, mode: str, labelled: str) -> None:
    kind = {"Content-Type": labelled} if labelled else None
    outcome = clients[name].ask(mode, clients[name].stub.failing(200, body, kind))
    assert (" ".join(outcome.text.split()), outcome.error, outcome.finish) == (SAID, None, "stop")


BROKEN: dict[str, dict[str, Any]] = {
    "vllm": {
        "no-end": (sse(*SPOKEN[:2]), BackendUnavailable, "broke off"),
        "error": (
            sse(*SPOKEN[:2], {"error": {"message": "The engine died.", "code": 500}}),
            BackendUnavailable,
            "failed",
        ),
        "error-text": (sse(*SPOKEN[:2], {"error": "upstream overloaded"}), BackendBusy, "overloaded"),
        "error-object": (
            sse(*SPOKEN[:2], {"object": "error", "message": "CUDA out of memory", "code": "500"}),
            BackendUnavailable,
            "memory",
        ),
        "error-type": (
            sse(*SPOKEN[:2], {"error": {"message": "Slow down.", "type": "rate_limit_error", "code": None}}),
            BackendBusy,
            "overloaded",
        ),
        "error-event": (
            sse(*SPOKEN[:2], 'event: error\ndata: {"error": {"message": "x", "code": 503}}\n\n'),
            BackendBusy,
            "overloaded",
        ),
        "not-json": (sse(*SPOKEN[:2], "data: {broken\n\n"), BackendUnavailable, "not as expected"),
        "filter": (sse(*SPOKEN[:2], chunk(finish="content_filter"), DONE), AnswerBlocked, "content filter"),
        "reason-error": (sse(*SPOKEN[:2], chunk(finish="error"), DONE), BackendUnavailable, "failed"),
    },
    "ollama": {
        "no-end": (lines(*map(part, WORDS[:2])), BackendUnavailable, "broke off"),
        "error": (lines(*map(part, WORDS[:2]), {"error": "an error was encountered"}), BackendUnavailable, "failed"),
        "memory": (
            lines(*map(part, WORDS[:2]), {"error": "CUDA error: out of memory"}),
            BackendUnavailable,
            "memory",
        ),
    },
    "gemini": {
        "no-end": (sse(*map(candidate, WORDS[:2])), BackendUnavailable, "broke off"),
        "error": (
            sse(*map(candidate, WORDS[:2]), {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}),
            BackendBusy,
            "overloaded",
        ),
        "recitation": (
            sse(*map(candidate, WORDS[:2]), candidate(finish="RECITATION")),
            AnswerBlocked,
            "recitation",
        ),
    },
}


@each_mode
@table(BROKEN)
def test_what_came_before_an_end_or_an_error_is_kept(
    clients: dict[str, Client], name: str, body: Any, kind: type[AppError], words: str, mode: str
) -> None:
    outcome = clients[name].ask(mode, sent(clients[name], body))
    assert outcome.text == "The ferry leaves "
    assert type(outcome.error) is kind
    assert words in str(outcome.error)


TOOL = {"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "find", "arguments": "{}"}}]}
LONG = "This model's maximum context length is 512 tokens. However, you requested 900."
FAILED: dict[str, dict[str, Any]] = {
    "vllm": {
        "error": (sse({"error": {"message": LONG, "type": "BadRequestError", "code": 400}}), ContextTooLong, "window"),
        "error-json": ({"error": {"message": "model overloaded", "code": 503}}, BackendBusy, "overloaded"),
        "error-string": ({"error": "Rate limit reached"}, BackendBusy, "overloaded"),
        "tool": (sse(chunk(**TOOL), chunk(finish="tool_calls"), DONE), BackendError, "called a tool"),
        "page": ("<html><body>It works.</body></html>", BackendUnavailable, "not as expected"),
        "loading": (sse({"error": {"message": "Loading model", "code": 503}}), BackendBusy, "still loading"),
    },
    "ollama": {
        "error": (lines({"error": "model requires more system memory (9 GiB)"}), BackendUnavailable, "memory"),
        "load-only": (lines(part(done=True, done_reason="load")), BackendUnavailable, "gave no answer"),
        "tool": (
            lines(part(message={"tool_calls": [{"function": {"name": "x", "arguments": {}}}]}), part(done=True)),
            BackendError,
            "called a tool",
        ),
    },
    "gemini": {
        "error": (
            sse({"error": {"code": 400, "message": "User location is not supported for the API use."}}),
            BackendUnavailable,
            "country",
        ),
        "nothing": (sse({"usageMetadata": {"promptTokenCount": 3}}), BackendUnavailable, "gave no answer"),
        "no-candidates": (sse({"candidates": []}), BackendUnavailable, "gave no answer"),
        "function": (sse(candidate(finish="MALFORMED_FUNCTION_CALL")), AnswerBlocked, "function call"),
    },
}


@each_mode
@table(FAILED)
def test_an_error_in_the_first_event_is_as_an_error_without_a_stream(
    clients: dict[str, Client], name: str, body: Any, kind: type[AppError], words: str, mode: str
) -> None:
    outcome = clients[name].ask(mode, sent(clients[name], body))
    assert outcome.text == ""
    assert type(outcome.error) is kind
    assert words in str(outcome.error)


THOUGHT = "It is in the timetable. Or at ten?"
BOTH = ("It is in the timetable. ", "Or at ten?")
THINKING: dict[str, dict[str, Any]] = {
    "vllm": {
        "reasoning-content": sse(*(chunk(reasoning_content=each) for each in BOTH), *SPOKEN, STOP, DONE),
        "reasoning": sse(*(chunk("", reasoning=each) for each in BOTH), *SPOKEN, STOP, DONE),
        "blocks": sse(
            *(chunk([{"type": "thinking", "thinking": [{"type": "text", "text": each}]}]) for each in BOTH),
            *(chunk([{"type": "text", "text": word}]) for word in WORDS),
            STOP,
            DONE,
        ),
        "whole": {
            "choices": [{"message": {"content": SAID, "reasoning_content": THOUGHT}, "finish_reason": "stop"}],
        },
    },
    "ollama": {"thinking": lines(*(part(thinking=each) for each in BOTH), *map(part, WORDS), part(done=True))},
    "gemini": {
        "thought": sse(
            *(candidate({"text": each, "thought": True}) for each in BOTH),
            candidate(SAID, finish="STOP"),
        )
    },
}


@each_mode
@table(THINKING)
def test_thoughts_are_apart(clients: dict[str, Client], name: str, body: Any, mode: str) -> None:
    outcome = clients[name].ask(mode, sent(clients[name], body))
    assert (outcome.text, outcome.thoughts, outcome.error) == (SAID, THOUGHT, None)


@each_mode
@table(
    {
        "vllm": {
            "each-chunk": sse(*({**each, **usage(n)} for n, each in enumerate(SPOKEN)), {**STOP, **usage(9)}, DONE),
            "at-the-end": sse(*SPOKEN, STOP, {**STOP, "choices": [], **usage(9)}, DONE),
        },
        "gemini": {"each-event": sse(*map(candidate, WORDS[:2]), candidate(WORDS[2], finish="STOP"))},
        "ollama": {"end": lines(*map(part, WORDS), part(done=True, prompt_eval_count=700, eval_count=9))},
    }
)
def test_the_last_usage_counts(clients: dict[str, Client], name: str, body: Any, mode: str) -> None:
    assert clients[name].ask(mode, sent(clients[name], body)).usage == (700, 9)


@pytest.mark.parametrize("counted", [{}, {"prompt_eval_count": 1}, {"prompt_eval_count": None}])
def test_ollama_does_not_count_a_prompt_that_it_had_cached(clients: dict[str, Client], counted: dict[str, Any]) -> None:
    body = lines(*map(part, WORDS), part(done=True, eval_count=9, **counted))
    outcome = clients["ollama"].ask("async", sent(clients["ollama"], body))
    assert (outcome.text, outcome.usage) == (SAID, None)


class Refusing(OpenAIStub):
    """Refuses a field, or the system role, in the words of a server."""

    field: ClassVar[str]

    def __init__(self, field: str, words: Any, status: int = 400) -> None:
        super().__init__()
        self.refused, self.words, self.status = field, words, status

    def respond(self, request: Request) -> Reply | Stream:
        body = request.body or {}
        roles = [message["role"] for message in body.get("messages", [])]
        if self.refused in body or self.refused in roles:
            return Reply(self.status, self.words)
        return super().respond(request)


@each_mode
@pytest.mark.parametrize(
    ("field", "words", "status"),
    [
        ("top_k", {"error": {"message": "Unrecognized request argument supplied: top_k"}}, 400),
        ("top_k", {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs"}]}, 422),
        ("stream_options", {"error": {"message": "Unknown parameter: stream_options"}}, 400),
        ("seed", {"message": "property 'seed' is unsupported"}, 400),
        ("temperature", {"error": {"message": "Unsupported value: 'temperature' does not support 0.2."}}, 400),
        (
            "max_tokens",
            {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}},
            400,
        ),
        ("system", {"object": "error", "message": "System role not supported", "code": 400}, 400),
        ("system", {"error": {"message": "Unsupported: messages with role 'system'"}}, 400),
    ],
)
def test_what_a_server_refuses_is_left_out_and_remembered(field: str, words: Any, status: int, mode: str) -> None:
    with Refusing(field, words, status) as stub:
        client = Client("vllm", stub)
        for asked in (2, 1):
            outcome = client.ask(mode, nullcontext(), max_new_tokens=3, seed=4)
            assert (outcome.text.count(" "), outcome.error) == (2, None)
            bodies = [request.body for request in stub.requests if request.body]
            assert len(bodies) == asked
            assert not {"max_tokens", "max_completion_tokens"}.isdisjoint(bodies[-1])
            assert "Answer in words." in json.dumps(bodies[-1]["messages"])
        assert client.backend.left_out(client.model) == (field,)


def test_a_refused_value_is_an_error() -> None:
    with Refusing("top_k", {"error": {"message": "top_k must be -1 or at least 1."}}) as stub:
        client = Client("vllm", stub)
        assert "refused the request" in str(client.ask("async", nullcontext()).error)
        assert client.backend.left_out(client.model) == ()


class Placed(OpenAIStub):
    """Serves its endpoints at another path, or moves a client there."""

    def __init__(self, root: str, moved: str = "") -> None:
        super().__init__()
        self.root, self.moved = root, moved

    def respond(self, request: Request) -> Reply | Stream:
        if self.moved and request.path.startswith(self.moved):
            return Reply(307, "", {"Location": self.root + request.path.removeprefix(self.moved)})
        if not request.path.startswith(self.root):
            return Reply(404, "<html>nginx</html>")
        return super().respond(request._replace(path="/v1" + request.path.removeprefix(self.root)))


@each_mode
@pytest.mark.parametrize(
    ("root", "given", "requests"),
    [
        ("/v1", "", 3),
        ("/v1", "/", 3),
        ("/v1", "/v1", 2),
        ("/openai", "/openai", 2),
        ("/api/v3", "/api/v3/", 2),
        ("/behind/proxy/v1", "/behind/proxy", 3),
    ],
)
def test_the_address_is_tried_as_given_and_then_with_v1(root: str, given: str, requests: int, mode: str) -> None:
    with Placed(root) as stub:
        client = Client("vllm", stub, stub.url + given)
        listed = len(client.backend.list_models()), len(stub.requests)
        assert listed == (1, requests - 1)
        for _ in range(2):
            outcome = client.ask(mode, nullcontext(), max_new_tokens=3)
            assert (outcome.text, outcome.error) == ("one two three", None)
            assert len(stub.requests) == 1


@each_mode
def test_a_redirect_on_the_same_host_is_followed(mode: str) -> None:
    with Placed("/v1", moved="/old") as stub:
        outcome = Client("vllm", stub, f"{stub.url}/old").ask(mode, nullcontext(), max_new_tokens=3)
        assert (outcome.text, outcome.error) == ("one two three", None)


def test_a_redirect_to_another_host_is_not_followed() -> None:
    with OpenAIStub() as other, OpenAIStub() as stub:
        client = Client("vllm", stub)
        elsewhere = {"Location": other.url.replace("127.0.0.1", "localhost") + "/v1/chat/completions"}
        outcome = client.ask("async", stub.failing(307, "", elsewhere))
        assert outcome.error
        assert other.requests == []


def test_models_of_a_bare_list_and_with_null_fields() -> None:
    with OpenAIStub() as stub, stub.failing_all(200, [{"id": "a/b:q4", "max_model_len": None, "meta": None}]):
        assert [model.name for model in Client("vllm", stub).backend.list_models()] == ["a/b:q4"]


OLLAMA_LISTS = {
    "null": ({"models": None}, []),
    "name-only": ({"models": [{"name": "tiny:latest", "size": 5, "digest": "d"}]}, ["tiny:latest"]),
    "null-details": (
        {"models": [{"model": "tiny:latest", "details": None, "size": None, "modified_at": None}]},
        ["tiny:latest"],
    ),
}


class Sparse(OllamaStub):
    """Tells less than it should."""

    def __init__(self, **replies: Reply) -> None:
        super().__init__()
        self.replies = replies

    def respond(self, request: Request) -> Reply | Stream:
        return self.replies.get(request.path.rpartition("/")[2]) or super().respond(request)


@pytest.mark.parametrize(("listed", "names"), OLLAMA_LISTS.values(), ids=OLLAMA_LISTS)
def test_ollamas_list_may_lack_fields(listed: dict[str, Any], names: list[str]) -> None:
    with Sparse(tags=Reply(200, listed)) as stub:
        assert [model.name for model in Client("ollama", stub).backend.list_models()] == names


@pytest.mark.parametrize("ps", [Reply(404, {"error": "not found"}), Reply(200, {"models": None})])
@pytest.mark.parametrize("show", [Reply(410, {"error": "retired"}), Reply(200, {"model_info": None})])
def test_ollamas_details_may_be_missing(ps: Reply, show: Reply) -> None:
    with Sparse(ps=ps, show=show) as stub:
        client = Client("ollama", stub)
        assert client.model in [model.label for model in client.backend.list_models()]
        outcome = client.ask("async", nullcontext(), max_new_tokens=3)
        assert (outcome.text, outcome.error) == ("one two three", None)


def test_geminis_list_may_lack_what_a_model_does() -> None:
    with GeminiStub("key") as stub, stub.failing_all(200, {"models": [{"name": "gemini-x"}]}):
        assert [model.name for model in Client("gemini", stub).backend.list_models()] == ["gemini-x"]


def test_what_servers_tell_of_a_model_is_known() -> None:
    card = {
        "id": "a/thinker",
        "context_length": 128_000,
        "architecture": {"input_modalities": ["text", "image"]},
        "supported_parameters": ["reasoning", "seed"],
        "pricing": {"prompt": "0.00000015", "completion": "0.0000006"},
    }
    with OpenAIStub() as stub, stub.failing_all(200, {"data": [card, {"id": "plain", "pricing": None}]}):
        thinker, plain = Client("vllm", stub).backend.list_models()
    assert (thinker.context_window, thinker.thinks, thinker.sees) == (128_000, True, True)
    assert thinker.price == pytest.approx((0.15, 0.6))
    assert (plain.thinks, plain.sees, plain.price) == (False, False, None)
    with Sparse(show=Reply(200, {"capabilities": ["completion", "vision", "thinking"]})) as ollama:
        shown = Client("ollama", ollama).backend.list_models()
    assert all(model.thinks and model.sees for model in shown)
