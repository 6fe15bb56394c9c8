"""The three protocols of the real servers, in plain httpx.

Does not import the backends, to distinguish a server's behaviour from a backend's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx

from tests.integration.servers import Server

Json = dict[str, Any]


@dataclass(slots=True)
class Answer:
    """A streamed answer so far."""

    status: int
    headers: httpx.Headers
    body: str = ""
    """The raw response."""
    pieces: list[str] = field(default_factory=list)
    finish: str | None = None
    usage: tuple[int, int] | None = None
    """Tokens of question and answer."""
    error: Any = None
    """An error within a stream with status 200."""
    seconds_to_first: float = 0.0
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """The text of the answer."""
        return "".join(self.pieces)


@dataclass(slots=True)
class Ask:
    """A question to a server; None means the server's own value."""

    question: str
    system: str = ""
    key: str | None = None
    model: str | None = None
    options: Json = field(default_factory=dict)
    """By their names in the protocol."""


class OpenAI:
    """POST /v1/chat/completions, with server-sent events."""

    names: ClassVar = {name: name for name in ("max_tokens", "temperature", "top_k", "seed", "stop")}
    """Its names of the common options."""

    def request(self, server: Server, ask: Ask) -> tuple[str, Json, dict[str, str]]:
        messages = [{"role": "user", "content": ask.question}]
        if ask.system:
            messages.insert(0, {"role": "system", "content": ask.system})
        body = {"model": ask.model or server.model, "messages": messages, "stream": True}
        body |= {"stream_options": {"include_usage": True}} | ask.options
        key = server.key if ask.key is None else ask.key
        return "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"} if key else {}

    def read(self, event: Json, answer: Answer) -> None:
        answer.error = event.get("error", answer.error)
        for choice in event.get("choices") or []:
            if choice["delta"].get("content"):
                answer.pieces.append(choice["delta"]["content"])
            answer.finish = choice.get("finish_reason") or answer.finish
        if usage := event.get("usage"):
            answer.usage = usage["prompt_tokens"], usage["completion_tokens"]


class Ollama:
    """POST /api/chat, with JSON lines."""

    names: ClassVar = OpenAI.names | {"max_tokens": "num_predict"}

    def request(self, server: Server, ask: Ask) -> tuple[str, Json, dict[str, str]]:
        messages = [{"role": "user", "content": ask.question}]
        if ask.system:
            messages.insert(0, {"role": "system", "content": ask.system})
        body = {"model": ask.model or server.model, "messages": messages, "options": ask.options}
        return "/api/chat", body, {"Authorization": f"Bearer {ask.key}"} if ask.key else {}

    def read(self, event: Json, answer: Answer) -> None:
        answer.error = event.get("error", answer.error)
        if text := event.get("message", {}).get("content"):
            answer.pieces.append(text)
        if event.get("done"):
            answer.finish = event.get("done_reason")
            if "eval_count" in event:
                answer.usage = event["prompt_eval_count"], event["eval_count"]


class Gemini:
    """POST /v1beta/models/<model>:streamGenerateContent?alt=sse, with server-sent events."""

    names: ClassVar = OpenAI.names | {"max_tokens": "maxOutputTokens", "top_k": "topK", "stop": "stopSequences"}

    def request(self, server: Server, ask: Ask) -> tuple[str, Json, dict[str, str]]:
        body: Json = {"contents": [{"role": "user", "parts": [{"text": ask.question}]}]}
        body["generationConfig"] = ask.options
        if ask.system:
            body["systemInstruction"] = {"parts": [{"text": ask.system}]}
        path = f"/v1beta/models/{ask.model or server.model}:streamGenerateContent?alt=sse"
        return path, body, {"x-goog-api-key": server.key if ask.key is None else ask.key}

    def read(self, event: Json, answer: Answer) -> None:
        answer.error = event.get("error", answer.error)
        for candidate in event.get("candidates") or []:
            parts = candidate.get("content", {}).get("parts") or []
            answer.pieces += [part["text"] for part in parts if part.get("text")]
            answer.finish = candidate.get("finishReason") or answer.finish
        if usage := event.get("usageMetadata"):
            answer.usage = usage["promptTokenCount"], usage["candidatesTokenCount"]


PROTOCOLS: dict[str, OpenAI | Ollama | Gemini] = {
    "vllm": OpenAI(),
    "instructlab": OpenAI(),
    "llama": OpenAI(),
    "ollama": Ollama(),
    "gemini": Gemini(),
}


@contextmanager
def streaming(server: Server, ask: Ask) -> Iterator[Iterator[Answer]]:
    """Yield the answer after each line. Leaving the block closes the connection.

    Raises:
        httpx.TransportError: the connection broke.
    """
    protocol = PROTOCOLS[server.name]
    path, body, headers = protocol.request(server, ask)
    began = time.monotonic()
    with httpx.stream("POST", server.url + path, json=body, headers=headers, timeout=120) as response:

        def lines() -> Iterator[Answer]:
            answer = Answer(response.status_code, response.headers)
            yield answer
            for line in response.iter_lines():
                answer.body += line + "\n"
                line = line.removeprefix("data: ").strip()
                if response.status_code == 200 and line.startswith("{"):
                    protocol.read(json.loads(line), answer)
                answer.seconds = time.monotonic() - began
                if answer.pieces and not answer.seconds_to_first:
                    answer.seconds_to_first = answer.seconds
                yield answer

        yield lines()


def whole(server: Server, what: Ask) -> Answer:
    """Return the whole answer."""
    with streaming(server, what) as answers:
        return list(answers)[-1]


def ask(server: Server, question: str, *, max_tokens: int = 24, temperature: float = 0, **options: Any) -> Answer:
    """Return the whole answer; options have their names in OpenAI's protocol, and unknown ones are passed unchanged."""
    names = PROTOCOLS[server.name].names
    options |= {"max_tokens": max_tokens, "temperature": temperature}
    return whole(server, Ask(question, options={names.get(name, name): value for name, value in options.items()}))
