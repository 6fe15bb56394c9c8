"""Stub of Ollama's API, https://docs.ollama.com/api. Like Ollama, it silently truncates a prompt over `num_ctx`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, ClassVar

from tests.stubs.wire import Answer, Reply, Request, Stream, WireStub, count_tokens

SIZE = 1_321_098_329
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "1.2B",
    "quantization_level": "Q8_0",
}
MODEL_INFO = {
    "general.architecture": "llama",
    "general.parameter_count": 1_235_814_432,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.block_count": 16,
    "llama.context_length": 131_072,
    "llama.embedding_length": 2048,
}
FAILED = Reply(500, {"error": "llama runner process has terminated: exit status 2"})
OVERLOADED = Reply(503, {"error": "server busy, please try again.  maximum pending requests exceeded"})


@dataclass
class _Loaded:
    context_length: int
    expires_at: datetime


def _line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()


def _seconds(keep_alive: str | float | None) -> float:
    """Parse a duration of Go: 300, "300", "5m"; negative means for ever."""
    text = str(300 if keep_alive is None else keep_alive)
    seconds = float(text.rstrip("smh")) * {"m": 60, "h": 3600}.get(text[-1], 1)
    return seconds if seconds >= 0 else timedelta(days=36500).total_seconds()


class OllamaStub(WireStub):
    answers: ClassVar[tuple[str, ...]] = ("/api/chat", "/api/generate")

    def __init__(self, models: Sequence[str] = ("tiny",), num_ctx: int = 2048) -> None:
        super().__init__()
        self.models = [_full(name) for name in models]
        self.num_ctx = num_ctx
        """The window if a request does not set one."""
        self.size_vram = SIZE
        """Bytes of a loaded model on the GPU."""
        self.loaded: dict[str, _Loaded] = {}

    def respond(self, request: Request) -> Reply | Stream:
        body = request.body or {}
        match request.method, request.path:
            case "GET", "/api/version":
                return Reply(200, {"version": "0.13.5"})
            case "GET", "/api/tags":
                return Reply(200, {"models": [self._card(name) for name in self.models]})
            case "GET", "/api/ps":
                return Reply(200, {"models": self._running()})
            case "POST", "/api/pull":
                return self._pull(_named(body), stream=body.get("stream", True))
            case "POST", ("/api/show" | "/api/chat" | "/api/generate") as path:
                name = _full(_named(body))
                if name not in self.models:
                    return Reply(404, {"error": f"model '{_named(body)}' not found"})
                return self._show() if path == "/api/show" else self._run(name, body, chat=path == "/api/chat")
        return Reply(404, "404 page not found")

    def _card(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "model": name,
            "modified_at": "2026-01-02T03:04:05.678901234Z",
            "size": SIZE,
            "digest": _digest(name),
            "details": DETAILS,
        }

    def _running(self) -> list[dict[str, Any]]:
        now = datetime.now(UTC)
        return [
            {
                **self._card(name),
                "size_vram": self.size_vram,
                "context_length": model.context_length,
                "expires_at": model.expires_at.isoformat(),
            }
            for name, model in self.loaded.items()
            if model.expires_at > now
        ]

    def _show(self) -> Reply:
        capabilities = ["completion"]
        return Reply(200, {"template": "", "details": DETAILS, "model_info": MODEL_INFO, "capabilities": capabilities})

    def _run(self, name: str, body: dict[str, Any], *, chat: bool) -> Reply | Stream:
        options = body.get("options") or {}
        window = options.get("num_ctx") or self.num_ctx
        stay = _seconds(body.get("keep_alive"))
        self.loaded[name] = _Loaded(window, datetime.now(UTC) + timedelta(seconds=stay))
        texts = [message["content"] for message in body.get("messages", ())] if chat else [body.get("prompt", "")]

        def part(text: str, *, done: bool = False, **more: Any) -> dict[str, Any]:
            said = {"message": {"role": "assistant", "content": text}} if chat else {"response": text}
            return {"model": body["model"], "created_at": datetime.now(UTC).isoformat(), **said, "done": done, **more}

        if not any(texts):
            return Reply(200, part("", done=True, done_reason="load" if stay else "unload"))
        limit = options.get("num_predict", -1)
        answer = self.compose(
            limit=limit if limit >= 0 else None,
            stop=options.get("stop"),
            temperature=options.get("temperature"),
            seed=options.get("seed"),
        )
        asked = count_tokens(texts)
        figures = _figures(answer, asked if asked <= window else window // 2)
        if not body.get("stream", True):
            return Reply(200, part(answer.text, done=True, **figures))
        return _stream(answer, figures, part)

    def _pull(self, name: str, *, stream: bool) -> Reply | Stream:
        if name == "no-such/model" or "missing" in name:
            error = {"error": "pull model manifest: file does not exist"}
            pieces, ending = [], iter([_line(error)])
            whole = Reply(500, error)
        else:
            digest, step = f"sha256:{_digest(name)}", SIZE // 20
            pulling = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": SIZE}
            pieces = [{**pulling, "completed": done} for done in (*range(0, SIZE - step, step), SIZE)]
            ending = self._pulled(name)
            whole = Reply(200, {"status": "success"})
        if not stream:
            list(ending)
            return whole
        return Stream(
            "application/x-ndjson",
            opening=[_line({"status": "pulling manifest"})],
            pieces=map(_line, pieces),
            closing=ending,
            broken=_line({"error": "max retries exceeded: unexpected EOF"}),
        )

    def _pulled(self, name: str) -> Iterator[bytes]:
        for status in ("verifying sha256 digest", "writing manifest"):
            yield _line({"status": status})
        if _full(name) not in self.models:
            self.models.append(_full(name))
        yield _line({"status": "success"})


def _named(body: dict[str, Any]) -> str:
    return str(body.get("model") or body.get("name") or "")


def _figures(answer: Answer, asked: int) -> dict[str, Any]:
    made = len(answer.pieces)
    return {
        "done_reason": answer.finish,
        "total_duration": 5_000_000 + made * 2_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": asked,
        "prompt_eval_duration": 4_000_000,
        "eval_count": made,
        "eval_duration": made * 2_000_000,
    }


def _stream(answer: Answer, figures: dict[str, Any], part: Callable[..., dict[str, Any]]) -> Stream:
    return Stream(
        "application/x-ndjson",
        pieces=(_line(part(piece)) for piece in answer.pieces),
        closing=[_line(part("", done=True, **figures))],
        broken=_line({"error": "an error was encountered while running the model: unexpected EOF"}),
    )
