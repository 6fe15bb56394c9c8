"""Stub of the Gemini API, https://ai.google.dev/api; errors as in https://google.aip.dev/193."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from tests.stubs.wire import Answer, Reply, Request, Stream, WireStub, count_tokens

_RPC = "type.googleapis.com/google.rpc"


def error(code: int, status: str, message: str, *details: dict[str, Any]) -> Reply:
    body: dict[str, Any] = {"code": code, "message": message, "status": status}
    return Reply(code, {"error": {**body, "details": list(details)} if details else body})


_INVALID = "API key not valid. Please pass a valid API key."
BAD_KEY = error(
    400,
    "INVALID_ARGUMENT",
    _INVALID,
    {
        "@type": f"{_RPC}.ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    },
    {"@type": f"{_RPC}.LocalizedMessage", "locale": "en-US", "message": _INVALID},
)
TOO_LONG = error(
    400,
    "INVALID_ARGUMENT",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
)
FORBIDDEN = error(403, "PERMISSION_DENIED", "Your API key doesn't have the required permissions.")
RATE_LIMIT = error(
    429,
    "RESOURCE_EXHAUSTED",
    "You exceeded your current quota, please check your plan and billing details. For more information on this error,"
    " head to: https://ai.google.dev/gemini-api/docs/rate-limits.",
    {
        "@type": f"{_RPC}.QuotaFailure",
        "violations": [
            {
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
                "quotaValue": "10",
            }
        ],
    },
    {
        "@type": f"{_RPC}.Help",
        "links": [
            {
                "description": "Learn more about Gemini API quotas",
                "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
            }
        ],
    },
    {"@type": f"{_RPC}.RetryInfo", "retryDelay": "17s"},
)
FAILED = error(500, "INTERNAL", "An internal error has occurred. Please retry.")
UNAVAILABLE = error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")

SAFETY_RATINGS = [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}]


def _card(name: str, label: str, *methods: str, window: int = 1_048_576) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": label,
        "description": f"Stub of {label}.",
        "inputTokenLimit": window,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": list(methods),
    }


MODELS = (
    _card("gemini-2.5-pro", "Gemini 2.5 Pro", "generateContent", "countTokens"),
    _card("gemini-2.5-flash", "Gemini 2.5 Flash", "generateContent", "countTokens"),
    _card("gemini-2.5-flash-image", "Nano Banana", "generateContent", "countTokens", window=32_768),
    _card(
        "gemini-2.5-flash-preview-tts", "Gemini 2.5 Flash Preview TTS", "countTokens", "generateContent", window=8192
    ),
    _card("gemini-embedding-001", "Gemini Embedding 001", "embedContent", "countTextTokens", window=2048),
)

_PATH = re.compile(r"/v1beta/models/(?P<model>[^/:]+)(?::(?P<verb>\w+))?")


class GeminiStub(WireStub):
    answers: ClassVar[tuple[str, ...]] = (":generateContent", ":streamGenerateContent")

    def __init__(self, key: str = "key") -> None:
        super().__init__(key)
        self.models = {card["name"].removeprefix("models/"): card for card in MODELS}
        self.block_reason: str | None = None
        self.stop_after: int | None = None
        self.stop_finish = ""

    def blocking_prompt(self, reason: str = "SAFETY") -> AbstractContextManager[None]:
        """Block the prompt: no candidates."""
        return self.having(block_reason=reason)

    def stopping(self, after: int, finish: str = "SAFETY") -> AbstractContextManager[None]:
        """End the answer after `after` pieces, for the reason `finish`."""
        return self.having(stop_after=after, stop_finish=finish)

    def respond(self, request: Request) -> Reply | Stream:
        if request.headers.get("x-goog-api-key") != self.key:
            return BAD_KEY
        if request.path == "/v1beta/models":
            return self._list(request.query)
        found = _PATH.fullmatch(request.path)
        if not found:
            return Reply(404, "")
        model, verb = found["model"], found["verb"]
        card = self.models.get(model)
        if not card or (verb and verb.removeprefix("stream").lower() not in _verbs(card)):
            return error(
                404,
                "NOT_FOUND",
                f"models/{model} is not found for API version v1beta, or is not supported for {verb or 'getModel'}."
                " Call ListModels to see the list of available models and their supported methods.",
            )
        if verb is None:
            return Reply(200, card)
        if verb == "countTokens":
            return Reply(200, {"totalTokens": count_tokens(_texts(request.body))})
        return self._generate(model, request.body, stream=verb == "streamGenerateContent")

    def _list(self, query: dict[str, str]) -> Reply:
        cards = list(self.models.values())
        first, size = int(query.get("pageToken", 0)), int(query.get("pageSize", 50))
        page: dict[str, Any] = {"models": cards[first : first + size]}
        if first + size < len(cards):
            page["nextPageToken"] = str(first + size)
        return Reply(200, page)

    def _generate(self, model: str, body: dict[str, Any], *, stream: bool) -> Reply | Stream:
        asked = count_tokens(_texts(body))
        identity = {"modelVersion": model, "responseId": f"response-{len(self.requests)}"}

        def part(text: str, made: int, **more: Any) -> dict[str, Any]:
            usage = {"promptTokenCount": asked, "candidatesTokenCount": made, "totalTokenCount": asked + made}
            candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}
            return {"candidates": [candidate], "usageMetadata": usage, **identity}

        if self.block_reason:
            refusal = {
                "promptFeedback": {"blockReason": self.block_reason, "safetyRatings": SAFETY_RATINGS},
                "usageMetadata": {"promptTokenCount": asked, "totalTokenCount": asked},
                **identity,
            }
            return _stream([], refusal) if stream else Reply(200, refusal)
        answer = self._compose(body.get("generationConfig") or {})
        pieces = answer.pieces[: self.stop_after]
        ending: dict[str, Any] = {"finishReason": "STOP" if answer.finish == "stop" else "MAX_TOKENS"}
        if self.stop_after is not None:
            ending = {"finishReason": self.stop_finish, "safetyRatings": SAFETY_RATINGS}
        if not stream:
            return Reply(200, part("".join(pieces), len(pieces), **ending))
        parts = [part(piece, made) for made, piece in enumerate(pieces, 1)]
        return _stream(parts, part("", len(pieces), **ending))

    def _compose(self, config: dict[str, Any]) -> Answer:
        return self.compose(
            limit=config.get("maxOutputTokens"),
            stop=config.get("stopSequences"),
            temperature=config.get("temperature"),
            seed=config.get("seed"),
        )


def _verbs(card: dict[str, Any]) -> set[str]:
    return {method.lower() for method in card["supportedGenerationMethods"]}


def _texts(body: dict[str, Any]) -> Iterator[str]:
    for content in (*body.get("contents", ()), body.get("systemInstruction") or {}):
        if content:
            yield " ".join(part.get("text", "") for part in content["parts"])


def _event(content: Any) -> bytes:
    return f"data: {json.dumps(content)}\r\n\r\n".encode()


def _stream(parts: list[dict[str, Any]], last: dict[str, Any]) -> Stream:
    return Stream(
        "text/event-stream", pieces=map(_event, parts), closing=[_event(last)], broken=_event(UNAVAILABLE.body)
    )
