"""Base of the server stubs: a local HTTP server that streams, waits and fails on cue.

with OpenAIStub() as stub, stub.dropping(after=3):
    ...  # a client of stub.url

Subclasses implement `respond`. A connection serves one request unless `keep_alive` is set, so that no client keeps an
open socket when its test ends.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from random import Random
from threading import Thread
from typing import Any, ClassVar, Literal, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

_UNITS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def _spell(number: int) -> str:
    if number < 20:
        return _UNITS[number - 1]
    big, rest = divmod(number, 10 if number < 100 else 100)
    head = _TENS[big - 2] if number < 100 else f"{_spell(big)}-hundred"
    return f"{head}-{_spell(rest)}" if rest else head


_FOREVER = 3600.0
"""Longer than any test; leaving the stub ends the wait."""

WORDS = tuple(_spell(number) for number in range(1, 401))
"""An answer, one word per token."""


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """By name in lower case."""
    body: Any
    """Parsed JSON, or None."""


class Reply(NamedTuple):
    """A whole response; a text `body` is sent unchanged, anything else as JSON."""

    status: int
    body: Any
    headers: Mapping[str, str] | None = None


@dataclass
class Stream:
    """A streamed response: `pieces` are counted and paced; `broken` replaces the rest if the stream breaks."""

    content_type: str
    pieces: Iterable[bytes]
    closing: Iterable[bytes]
    broken: bytes
    opening: Iterable[bytes] = ()


class Answer(NamedTuple):
    pieces: list[str]
    finish: Literal["stop", "length"]

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def count_tokens(texts: Iterable[str]) -> int:
    """Return the tokens of a prompt: one per word and 8 per message."""
    return sum(len(text.split()) + 8 for text in texts)


def eventually(true: Callable[[], bool]) -> bool:
    """Whether it becomes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


class WireStub:
    """A context manager that serves on a free port of 127.0.0.1."""

    answers: ClassVar[tuple[str, ...]]
    """Endings of the paths that ask a model."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.url = ""
        self.requests: list[Request] = []
        self.left: list[Request] = []
        """Requests whose client left before the end of the response."""
        self.pace = 0.002
        self.ended = False
        self.silence = 0.0
        self.failure: Reply | None = None
        self.failure_of_all: Reply | None = None
        self.drop_after: int | None = None
        self.break_after: int | None = None
        self.stall_after: int | None = None
        self.keep_alive = False
        self.said: Sequence[str] | None = None

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended = True
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    @property
    def closed(self) -> int:
        """Number of responses that a client left before their end."""
        return len(self.left)

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._server.connections)

    def respond(self, request: Request) -> Reply | Stream:
        raise NotImplementedError

    @contextmanager
    def having(self, **attributes: object) -> Iterator[None]:
        """Set these attributes within the block."""
        before = {name: getattr(self, name) for name in attributes}
        vars(self).update(attributes)
        try:
            yield
        finally:
            vars(self).update(before)

    def failing(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> AbstractContextManager[None]:
        """Reply to requests for an answer with this; serve the others."""
        return self.having(failure=Reply(status, body, headers))

    def failing_all(
        self, status: int, body: Any, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[None]:
        return self.having(failure_of_all=Reply(status, body, headers))

    def dropping(self, after: int) -> AbstractContextManager[None]:
        """Drop the connection after `after` pieces, as if the server died."""
        return self.having(drop_after=after)

    def breaking(self, after: int) -> AbstractContextManager[None]:
        """End the stream after `after` pieces with an error of the format."""
        return self.having(break_after=after)

    def stalling(self, after: int) -> AbstractContextManager[None]:
        """Stop sending after `after` pieces, but keep the connection."""
        return self.having(stall_after=after)

    def silent(self, seconds: float) -> AbstractContextManager[None]:
        """Wait before the first byte of an answer."""
        return self.having(silence=seconds)

    def saying(self, *pieces: str) -> AbstractContextManager[None]:
        return self.having(said=pieces)

    def compose(
        self, *, limit: int | None, stop: Sequence[str] | None, temperature: float | None, seed: int | None
    ) -> Answer:
        """The answer under these options: at a temperature above 0 the seed orders its words."""
        said = self.said
        if said is None:
            words = Random(seed).sample(WORDS, len(WORDS)) if temperature else WORDS
            said = [words[0], *(f" {word}" for word in words[1:])]
        pieces = list(said[:limit])
        text = "".join(pieces)
        ends = [text.index(mark) for mark in stop or () if mark in text]
        if ends:
            return Answer(list(_cut(pieces, min(ends))), "stop")
        return Answer(pieces, "length" if len(pieces) < len(said) else "stop")


def _cut(pieces: Iterable[str], length: int) -> Iterator[str]:
    for piece in pieces:
        if length <= 0:
            return
        yield piece[:length]
        length -= len(piece)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close joins them
    request_queue_size = 64

    def __init__(self, stub: WireStub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stub = stub
        self.connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Shut down all connections."""
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        stub = self.server.stub
        request = self._read()
        stub.requests.append(request)
        try:
            self._send(stub, request)
        except ConnectionError:
            self.close_connection = True
            if not stub.ended:
                stub.left.append(request)

    do_POST = do_GET  # noqa: N815 - the base class names it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        pass

    def _read(self) -> Request:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        return Request(
            self.command,
            unquote(url.path),
            dict(parse_qsl(url.query)),
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(body) if body else None,
        )

    def _send(self, stub: WireStub, request: Request) -> None:
        answer = request.path.endswith(stub.answers)
        if answer:
            self._pause(stub.silence)
        reply = stub.failure_of_all or (answer and stub.failure) or stub.respond(request)
        if isinstance(reply, Stream):
            self._send_stream(stub, reply)
        else:
            self._send_whole(stub, reply)

    def _send_whole(self, stub: WireStub, reply: Reply) -> None:
        plain = isinstance(reply.body, str)
        body = (reply.body if plain else json.dumps(reply.body)).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "text/plain" if plain else "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (reply.headers or {}).items():
            self.send_header(name, value)
        self._end_headers(stub)
        self.wfile.write(body)

    def _send_stream(self, stub: WireStub, stream: Stream) -> None:
        drop, broken = stub.drop_after, stub.break_after
        self.send_response(200)
        self.send_header("Content-Type", stream.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self._end_headers(stub)
        self._write(stream.opening)
        for made, piece in enumerate(islice(stream.pieces, broken if drop is None else drop)):
            self._pause(_FOREVER if made == stub.stall_after else stub.pace)
            self._write([piece])
        if drop is None:
            self._write(stream.closing if broken is None else [stream.broken])
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def _end_headers(self, stub: WireStub) -> None:
        if not stub.keep_alive:
            self.send_header("Connection", "close")
        self.end_headers()

    def _write(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    def _pause(self, seconds: float) -> None:
        """Wait. The socket only becomes readable if the client leaves or the stub hangs up."""
        if select.select([self.connection], [], [], seconds)[0]:
            raise ConnectionAbortedError
