"""What servers send, made into what the providers' clients expect.

Real servers end streams early, report errors inside them, refuse fields, redirect, answer with plain JSON, and send
events that clients choke on. A `Wire` knows one protocol: what to send again when a request is refused, and how to read
an answer as events. `transport.py`, under LangChain's clients, sends these on in the protocol's plainest form. An error
in the first event becomes a response with its status, so that clients see what they would have seen without a stream.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from typing import Any, ClassVar

import httpx

REDIRECTS = 3
CALLED_A_TOOL = "{who} called a tool instead of answering."
_STATUS_BY_NAME = {
    "unavailable": 503, "overloaded": 503, "overloaded_error": 503, "unavailable_error": 503, "resource_exhausted": 429,
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "insufficient_quota": 429, "unauthenticated": 401,
    "invalid_api_key": 401, "authentication_error": 401, "permission_denied": 403, "permission_error": 403,
    "not_found": 404, "not_found_error": 404, "model_not_found": 404, "invalid_argument": 400, "badrequesterror": 400,
    "invalid_request_error": 400, "failed_precondition": 400, "context_length_exceeded": 400, "deadline_exceeded": 504,
    "timeout": 504,
}  # fmt: skip
_STATUS_BY_WORDS = (
    (r"rate limit|too many requests|quota", 429),
    (r"overloaded|busy|capacity|loading model", 503),
    (r"api[ _]key|unauthori[sz]ed", 401),
    (r"context (length|window|size)|maximum context|not supported|invalid|too long", 400),
)


class StreamError(Exception):
    """An error that a server reported inside of a response that began well; its text is the server's words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status_code = status


class BrokeOffError(httpx.RemoteProtocolError):
    """A stream ended before the answer did."""


class NotThisProtocolError(Exception):
    """What the server sent cannot be read."""


class Reader(ABC):
    """Reads the events of one answer."""

    is_done = False
    """The server said that the stream is complete."""

    @abstractmethod
    def read(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The event as the client expects it, or several, or none. Raises StreamError, AppError."""

    @abstractmethod
    def end(self) -> Iterator[dict[str, Any]]:
        """What is still to be sent at the end of the stream. Raises BrokeOffError if the answer did not end."""


class Wire(ABC):
    """One server's way to speak a protocol, as learned from its answers. Thread-safe."""

    sse: ClassVar[bool] = True
    """Events are server-sent, else lines of JSON."""

    @abstractmethod
    def reader(self, request: httpx.Request) -> Reader | None:
        """A reader for the answer to a request; None if its response is not an answer of a model."""

    def exchange(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, httpx.Response]:
        """The requests to send, one after the other, until a response is for the client: redirects are followed.

        It returns the last response that it was sent.
        """
        response = yield request
        for _ in range(REDIRECTS):
            place = _moved_to(request, response)
            if place is None:
                break
            request = again(request, url=place)
            response = yield request
        return response

    def done(self) -> bytes:
        """What ends a stream."""
        return b""

    def encode(self, event: Mapping[str, Any]) -> bytes:
        """An event as the client reads it."""
        text = json.dumps(event, ensure_ascii=False).encode()
        return b"data: " + text + b"\n\n" if self.sse else text + b"\n"


def parsed(data: str | bytes) -> Any:
    """JSON. Raises NotThisProtocolError."""
    try:
        return json.loads(data)
    except ValueError:
        raise NotThisProtocolError from None


def error_in(event: Mapping[str, Any]) -> StreamError | None:
    """The error that an event reports, in any of the shapes that servers use."""
    found = event.get("error")
    if not found and (event.get("object") == "error" or ("detail" in event and "choices" not in event)):
        found = event
    if not found:
        return None
    details = found if isinstance(found, dict) else {"message": found}
    words = details.get("message") or details.get("detail") or details
    words = words if isinstance(words, str) else json.dumps(words)
    return StreamError(_status_of(details, words), words)


def _status_of(details: Mapping[str, Any], words: str) -> int:
    """The status that an error would have had without a stream; 500 if nothing tells it."""
    for code in (details.get(name) for name in ("code", "status_code", "status", "type")):
        if str(code).isdigit() and 400 <= int(str(code)) < 600:
            return int(str(code))
        if found := _STATUS_BY_NAME.get(str(code).lower()):
            return found
    return next((status for pattern, status in _STATUS_BY_WORDS if re.search(pattern, words.lower())), 500)


def refusal(error: StreamError) -> httpx.Response:
    """The response that a server would have sent without a stream."""
    body = {"error": {"message": str(error), "code": error.status_code}}
    return httpx.Response(error.status_code, json=body)


def _moved_to(request: httpx.Request, response: httpx.Response) -> httpx.URL | None:
    """Where a request is to be sent instead; never to another host, which would get prompt and key."""
    if response.status_code not in (307, 308, *((301, 302) if request.method == "GET" else ())):
        return None
    place = request.url.join(response.headers.get("location", ""))
    return place if place.host == request.url.host and place != request.url else None


def again(
    request: httpx.Request, *, url: httpx.URL | None = None, body: Mapping[str, Any] | None = None
) -> httpx.Request:
    """The request with another address, or another JSON body."""
    content = request.content if body is None else json.dumps(body).encode()
    headers = {name: value for name, value in request.headers.items() if name not in ("content-length", "host")}
    return httpx.Request(
        request.method, url or request.url, headers=headers, content=content, extensions=request.extensions
    )
