"""Gemini's protocol as it is spoken; see `wire.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from typing_extensions import override

from backends.wire import BrokeOffError, Reader, Wire

LENGTH = "MAX_TOKENS"
BLOCKED = {
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "OTHER", "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL", "IMAGE_SAFETY", "NO_IMAGE",
}  # fmt: skip
"""Finish reasons that mean that there is no answer. With one that is not known there may be, so it counts as `STOP`."""


class GeminiWire(Wire):
    """Google's API, and proxies of it."""

    @override
    def reader(self, request: httpx.Request) -> Reader | None:
        return _Reader() if request.url.path.endswith(":streamGenerateContent") else None


class _Reader(Reader):
    def __init__(self) -> None:
        self._has_candidate = False

    @override
    def read(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        candidates = [_plain(candidate) for candidate in event.get("candidates") or ()]
        event = {**event, "candidates": candidates}
        self._has_candidate |= bool(candidates)
        self.is_done |= any("finishReason" in candidate for candidate in candidates)
        self.is_done |= bool((event.get("promptFeedback") or {}).get("blockReason"))
        if not self.is_done:
            # It grows from event to event.
            event = {name: value for name, value in event.items() if name != "usageMetadata"}
        if candidates or self.is_done:
            yield event

    @override
    def end(self) -> Iterator[dict[str, Any]]:
        if self._has_candidate and not self.is_done:
            raise BrokeOffError("The stream ended without a reason.")
        yield from ()


def _plain(candidate: dict[str, Any]) -> dict[str, Any]:
    """A candidate with text alone, and a finish reason that the client knows."""
    content, reason = candidate.get("content") or {}, candidate.get("finishReason")
    parts = [part for part in content.get("parts") or () if "text" in part]
    known = reason in BLOCKED or reason == LENGTH
    plain = {"index": candidate.get("index", 0), "content": {"role": "model", "parts": parts}}
    return {**plain, "finishReason": reason if known else "STOP"} if reason else plain
