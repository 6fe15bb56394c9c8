"""OpenAI's protocol as its many servers speak it; see `wire.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any

import httpx
from typing_extensions import override

from backends.wire import CALLED_A_TOOL, BrokeOffError, Reader, StreamError, Wire, again
from errors import AnswerBlocked, BackendError

OPTIONAL = "top_k", "stream_options", "seed", "temperature", "top_p", "stop", "max_completion_tokens", "max_tokens"
"""Fields that a server may refuse, and that a question can be asked without."""
RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""What a refused field is sent as instead: an answer must have a limit."""
_REFUSED = re.compile(
    r"unknown|unrecognized|unsupported|not support|unexpected|not permitted|not allowed|not a valid"
    r"|extra.?(inputs|fields|forbidden)|invalid (parameter|argument|field)"
)
_NO_SYSTEM = re.compile(r"system.{0,20}(role|message|prompt)|(role|message).{0,30}system|developer instruction")


class OpenAIWire(Wire):
    """Where one server's endpoints are, and what each of its models refuses."""

    def __init__(self, root: str, label: str) -> None:
        """`root` is the address as it was given, with or without `/v1`."""
        self._label = label
        self._given = httpx.URL(root.rstrip("/"))
        versioned = self._given.path.rstrip("/") + "/v1"
        self._roots = [self._given, self._given.copy_with(path=versioned)]
        self._is_found = self._given.path.endswith("/v1")
        """The first of the roots is where the server is."""
        self._left_out: dict[str, list[str]] = {}

    def left_out(self, model: str) -> tuple[str, ...]:
        """What the server refused for a model, and is no longer sent."""
        return tuple(self._left_out.get(model, ()))

    @override
    def reader(self, request: httpx.Request) -> Reader | None:
        return _Reader(self._label, self.found) if request.url.path.endswith("/chat/completions") else None

    @override
    def exchange(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, httpx.Response]:
        endpoint = request.url.path.removeprefix(self._given.path.rstrip("/"))
        for root in self._roots[: 1 if self._is_found else 2]:
            url = request.url.copy_with(path=root.path.rstrip("/") + endpoint)
            response = yield from self._accepted(again(request, url=url))
            if not _is_elsewhere(response):
                self._roots.sort(key=lambda one: one != root)
                break
        return response

    def found(self) -> None:
        """Remember where the server is: it sent what can be read."""
        self._is_found = True

    def _accepted(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, httpx.Response]:
        """Send a request, and again without what the server refuses."""
        body = json.loads(request.content) if request.content else {}
        model = str(body.get("model", ""))
        for name in self._left_out.get(model, ()):
            _leave_out(body, name)
        tried = set[str]()
        while True:
            response = yield from super().exchange(again(request, body=body) if body else request)
            refused = _refused_field(body, _words(response)) if response.status_code in (400, 422) else None
            if refused is None or refused in tried:
                return response
            _leave_out(body, refused)
            tried.add(refused)
            learned = self._left_out.setdefault(model, [])
            if refused not in learned:  # another request may have learned it meanwhile
                learned.append(refused)


class _Reader(Reader):
    """An answer in the chunks that ChatOpenAI reads, with `reasoning_content` for what a model thinks."""

    def __init__(self, label: str, found: Callable[[], None]) -> None:
        self._label, self._found = label, found
        self._chunk: dict[str, Any] = {}
        self._usage: dict[str, Any] | None = None
        self._finish = ""
        self._has_text = self._has_tools = False

    @override
    def read(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._found()
        known = {name: event.get(name) for name in ("id", "created", "model")}
        self._chunk = {"object": "chat.completion.chunk", **known}
        # Some send it with every chunk, and it grows.
        self._usage = event.get("usage") or self._usage
        choice = next(iter(event.get("choices") or ()), None)
        if choice is None:
            return
        delta = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        said, thought = _parts(delta.get("content"))
        thought += _parts(delta.get("reasoning_content") or delta.get("reasoning"))[0]
        self._has_text |= bool(said.strip())
        self._has_tools |= bool(delta.get("tool_calls") or delta.get("function_call"))
        if said or thought:
            yield self._with({"role": "assistant", "content": said, "reasoning_content": thought})
        self._finish = choice.get("finish_reason") or self._finish

    @override
    def end(self) -> Iterator[dict[str, Any]]:
        if not self._chunk:
            return  # the chat model says what an empty stream means
        if not self._finish and not self.is_done:
            raise BrokeOffError("The stream ended without a reason.")
        if self._finish == "content_filter":
            hint = "Ask in other words, or choose another model."
            raise AnswerBlocked(f"{self._label} ended the answer (content filter).", hint)
        if self._has_tools and not self._has_text:
            raise BackendError(CALLED_A_TOOL.format(who=self._label), "Ask again, or choose another model.")
        if self._finish == "error":
            raise StreamError(500, "error")
        yield self._with({}, "length" if self._finish in ("length", "max_tokens") else "stop")
        if self._usage:
            yield {**self._chunk, "choices": [], "usage": self._usage}

    def _with(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**self._chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _parts(content: Any) -> tuple[str, str]:
    """What a content says, and what it thinks: a text, or a list of blocks, which may be nested."""
    if isinstance(content, str):
        return content, ""
    said = thought = ""
    for block in content if isinstance(content, list) else []:
        if isinstance(block, str):
            said += block
        elif isinstance(block, dict):
            inner = "".join(_parts(block.get("text") or block.get("thinking") or block.get("reasoning")))
            if block.get("type") in ("thinking", "reasoning"):
                thought += inner
            else:
                said += inner
    return said, thought


def _is_elsewhere(response: httpx.Response) -> bool:
    """Whether the endpoint is not at this address."""
    page = response.status_code == 200 and "html" in response.headers.get("content-type", "")
    return page or (response.status_code in (404, 405) and "model" not in _words(response))


def _words(response: httpx.Response) -> str:
    """What an error says, in lower case; empty for an answer."""
    return "" if response.status_code < 300 else response.text.lower()


def _refused_field(body: dict[str, Any], words: str) -> str | None:
    """The field of a request that an error says the server does not take; None if it says something else."""
    if not _REFUSED.search(words):
        return None
    roles = [message.get("role") for message in body.get("messages", [])]
    if "system" in roles and _NO_SYSTEM.search(words):
        return "system"
    named = [name for name in OPTIONAL if name in body and re.search(rf"\b{name}\b", words)]
    # “Use max_completion_tokens instead of max_tokens” names both: the one that was sent is refused.
    return named[0] if named else None


def _leave_out(body: dict[str, Any], refused: str) -> None:
    """Change a request so that it no longer has what was refused."""
    if refused == "system":
        first, *rest = body["messages"]
        if first.get("role") == "system" and rest:
            body["messages"] = [{**rest[0], "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]]
        return
    value = body.pop(refused, None)
    if value is not None and refused in RENAMED:
        body[RENAMED[refused]] = value
