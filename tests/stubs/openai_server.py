"""Stub of OpenAI's chat completions as vLLM serves them.

https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html. Arguments remove what llama-cpp-python lacks:
OpenAIStub(max_model_len=None, usage=False, checks=False).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from tests.stubs.wire import Answer, Reply, Request, Stream, WireStub, count_tokens

CREATED = 1_760_000_000


def _error(status: int, message: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": status, **more}}


def context_error(window: int, output: int) -> Reply:
    """Return vLLM's error for a prompt that leaves no room for `output` tokens: it counts one token past the room."""
    room = max(window - output, 0)
    message = (
        f"This model's maximum context length is {window} tokens. However, you requested {output} output tokens and"
        f" your prompt contains at least {room + 1} input tokens, for a total of at least {room + 1 + output} tokens."
        " Please reduce the length of the input prompt or the number of requested output tokens."
        f" (parameter=input_tokens, value={room + 1})"
    )
    return Reply(400, _error(400, message, "BadRequestError", param="input_tokens"))


CONTEXT = context_error(2048, 512)
LLAMA_CONTEXT = Reply(
    400,
    {
        "error": {
            "code": 400,
            "message": "request (3000 tokens) exceeds the available context size (2048 tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 3000,
            "n_ctx": 2048,
        }
    },
)
UNAUTHORIZED = Reply(401, {"error": "Unauthorized"})
FORBIDDEN = Reply(403, _error(403, "The key may not use this model.", "PermissionDeniedError"))
RATE_LIMIT = Reply(
    429, _error(429, "Rate limit reached for requests.", "requests", code="rate_limit_exceeded"), {"Retry-After": "7"}
)
FAILED = Reply(500, _error(500, "EngineCore encountered an issue.", "InternalServerError"))
OVERLOADED = Reply(503, _error(503, "The engine is currently overloaded, please try again later.", "server_error"))


def _event(content: Any) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


class OpenAIStub(WireStub):
    answers: ClassVar[tuple[str, ...]] = ("/chat/completions",)

    def __init__(
        self,
        models: Sequence[str] = ("tiny",),
        key: str | None = None,
        max_model_len: int | None = 4096,
        *,
        usage: bool = True,
        checks: bool = True,
    ) -> None:
        super().__init__(key)
        self.models, self.max_model_len, self.usage, self.checks = tuple(models), max_model_len, usage, checks

    def respond(self, request: Request) -> Reply | Stream:
        guarded = self.checks and self.key and request.path.startswith("/v1/")
        if guarded and request.headers.get("authorization") != f"Bearer {self.key}":
            return UNAUTHORIZED
        match request.method, request.path:
            case "GET", "/v1/models":
                return Reply(200, {"object": "list", "data": [self._card(name) for name in self.models]})
            case "POST", "/v1/chat/completions":
                return self._unknown(request.body) or self._chat(request.body)
            case "POST", "/tokenize":
                return self._unknown(request.body) or self._tokenize(request.body)
            case "GET", "/health":
                return Reply(200, "")
            case "GET", "/version":
                return Reply(200, {"version": "0.32.0"})
        return Reply(404, {"detail": "Not Found"})

    def _card(self, name: str) -> dict[str, Any]:
        if self.max_model_len is None:
            return {"id": name, "object": "model", "owned_by": "me", "permissions": []}
        return {
            "id": name,
            "object": "model",
            "created": CREATED,
            "owned_by": "vllm",
            "root": f"/models/{name}",
            "parent": None,
            "max_model_len": self.max_model_len,
        }

    def _unknown(self, body: dict[str, Any]) -> Reply | None:
        name = body.get("model", self.models[0])
        if name in self.models or not self.checks:
            return None
        return Reply(404, _error(404, f"The model `{name}` does not exist.", "NotFoundError", param="model"))

    def _tokenize(self, body: dict[str, Any]) -> Reply:
        texts = [body["prompt"]] if "prompt" in body else _texts(body)
        count = count_tokens(texts)
        tokens = list(range(count))
        return Reply(200, {"count": count, "max_model_len": self.max_model_len, "tokens": tokens, "token_strs": None})

    def _chat(self, body: dict[str, Any]) -> Reply | Stream:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        asked = count_tokens(_texts(body))
        if self.max_model_len is not None and asked + (limit or 1) > self.max_model_len:
            return context_error(self.max_model_len, limit or 0)
        stop = body.get("stop")
        answer = self.compose(
            limit=limit,
            stop=[stop] if isinstance(stop, str) else stop,
            temperature=body.get("temperature"),
            seed=body.get("seed"),
        )
        made = len(answer.pieces)
        usage = {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}
        common = {"id": f"chatcmpl-{len(self.requests)}", "created": CREATED, "model": body["model"]}
        if body.get("stream"):
            return self._stream(common, answer, usage if self._wants_usage(body) else None)
        message = {"role": "assistant", "content": answer.text}
        choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}]
        return Reply(200, {**common, "object": "chat.completion", "choices": choices, "usage": usage})

    def _wants_usage(self, body: dict[str, Any]) -> bool:
        return self.usage and bool((body.get("stream_options") or {}).get("include_usage"))

    def _stream(self, common: dict[str, Any], answer: Answer, usage: dict[str, int] | None) -> Stream:
        def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return _event({**common, "object": "chat.completion.chunk", "choices": [choice]})

        def closing() -> Iterator[bytes]:
            yield chunk({"content": ""}, answer.finish)
            if usage:
                yield _event({**common, "object": "chat.completion.chunk", "choices": [], "usage": usage})
            yield DONE

        return Stream(
            "text/event-stream; charset=utf-8",
            opening=[chunk({"role": "assistant", "content": ""})],
            pieces=(chunk({"content": piece}) for piece in answer.pieces),
            closing=closing(),
            broken=_event(FAILED.body) + DONE,
        )


def _texts(body: dict[str, Any]) -> Iterator[str]:
    for message in body["messages"]:
        content = message["content"] or ""
        yield content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
