"""Ollama's protocol as it is spoken; see `wire.py`."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Any, ClassVar

import httpx
from typing_extensions import override

from backends.wire import CALLED_A_TOOL, BrokeOffError, Reader, StreamError, Wire, again
from errors import BackendError, BackendUnavailable


class OllamaWire(Wire):
    """Ollama, and servers with its protocol."""

    sse: ClassVar[bool] = False

    def __init__(self, label: str) -> None:
        self._label = label

    @override
    def reader(self, request: httpx.Request) -> Reader | None:
        return _Reader(self._label) if request.url.path.endswith("/api/chat") else None

    @override
    def exchange(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, httpx.Response]:
        body = json.loads(request.content) if request.content else {}
        # ChatOllama reports what a model thinks only if it asks for it, which models that cannot think refuse.
        if body.pop("think", None) is not None:
            request = again(request, body=body)
        return (yield from super().exchange(request))


class _Reader(Reader):
    def __init__(self, label: str) -> None:
        self._label = label
        self._has_any = self._has_text = self._has_tools = False

    @override
    def read(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._has_any = True
        message = event.get("message") or {}
        said, thought = message.get("content") or "", message.get("thinking") or ""
        self._has_text |= bool(said.strip() or thought)
        self._has_tools |= bool(message.get("tool_calls"))
        plain = {"role": "assistant", "content": said, **({"thinking": thought} if thought else {})}
        known = {name: event[name] for name in ("model", "created_at") if event.get(name)}
        if not event.get("done"):
            if said or thought:
                yield {**known, "message": plain, "done": False}
            return
        self.is_done = True
        reason = event.get("done_reason") or "stop"
        if reason == "error":
            raise StreamError(500, "error")
        if self._has_tools and not self._has_text:
            raise BackendError(CALLED_A_TOOL.format(who=self._label), "Ask again, or choose another model.")
        if reason == "load" and not self._has_text:
            raise BackendUnavailable(f"{self._label} loaded the model, but gave no answer.", "Ask again.")
        counts = {name: event[name] for name in ("eval_count", "eval_duration", "total_duration") if event.get(name)}
        # Of a prompt that it had cached, it may count the last token only.
        if (event.get("prompt_eval_count") or 0) > 1:
            counts["prompt_eval_count"] = event["prompt_eval_count"]
        yield {**known, "message": plain, "done": True, "done_reason": reason, **counts}

    @override
    def end(self) -> Iterator[dict[str, Any]]:
        if self._has_any and not self.is_done:
            raise BrokeOffError("The stream ended without “done”.")
        yield from ()
