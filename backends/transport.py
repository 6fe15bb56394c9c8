"""The transport under the providers' clients, which passes on what a `Wire` reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any

import httpx
from httpx_sse import EventSource
from typing_extensions import override

from backends.wire import NotThisProtocolError, Reader, StreamError, Wire, error_in, parsed, refusal

MOST_KEPT = 2**20
"""Bytes of a response without events that are kept, to be read as a whole."""


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport of httpx, for clients with and without asyncio, that speaks through a `Wire`."""

    def __init__(self, wire: Wire, *, verify: Any, retries: int = 0) -> None:
        self._wire = wire
        self._sync = httpx.HTTPTransport(verify=verify, retries=retries)
        self._async = httpx.AsyncHTTPTransport(verify=verify, retries=retries)

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        steps = self._wire.exchange(request)
        sent = next(steps)
        while True:
            response = self._sync.handle_request(sent)
            if response.status_code >= 300:
                response.read()
            try:
                sent = steps.send(response)
            except StopIteration:
                break
            response.close()
        reader = self._wire.reader(sent)
        if reader is None or response.status_code >= 300:
            return response
        events = _Events(self._wire, reader, response)
        pieces = events.pieces()
        try:
            first = next(pieces, b"")
        except StreamError as error:
            response.close()
            return refusal(error)
        except BaseException:
            response.close()
            raise
        return httpx.Response(200, headers=events.headers, stream=_Stream(first, pieces, response))

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        steps = self._wire.exchange(request)
        sent = next(steps)
        while True:
            response = await self._async.handle_async_request(sent)
            if response.status_code >= 300:
                await response.aread()
            try:
                sent = steps.send(response)
            except StopIteration:
                break
            await response.aclose()
        reader = self._wire.reader(sent)
        if reader is None or response.status_code >= 300:
            return response
        events = _Events(self._wire, reader, response)
        pieces = events.apieces()
        try:
            first = await anext(pieces, b"")
        except StreamError as error:
            await response.aclose()
            return refusal(error)
        except BaseException:
            await response.aclose()
            raise
        return httpx.Response(200, headers=events.headers, stream=_AsyncStream(first, pieces, response))

    @override
    def close(self) -> None:
        self._sync.close()

    @override
    async def aclose(self) -> None:
        await self._async.aclose()


class _Events:
    """The events of a response, read and encoded again."""

    def __init__(self, wire: Wire, reader: Reader, response: httpx.Response) -> None:
        self._wire, self._reader = wire, reader
        self._body = _Body(response)
        self._rest = b""
        kind = "text/event-stream" if wire.sse else "application/x-ndjson"
        self.headers = {"content-type": kind}
        # Types are no help: some send events as JSON, or JSON as events.
        self._source = EventSource(httpx.Response(200, headers=self.headers, stream=self._body))

    def pieces(self) -> Generator[bytes]:
        """The bytes to send on; one piece for each event."""
        if self._wire.sse:
            for event in self._source.iter_sse():
                yield from self._one(event.data, event.event)
        else:
            for data in self._body:
                for line in self._lines(data):
                    yield from self._one(line)
        yield from self._end()

    async def apieces(self) -> AsyncGenerator[bytes]:
        """The same, with asyncio."""
        if self._wire.sse:
            async with aclosing(self._source.aiter_sse()) as events:
                async for event in events:
                    for piece in self._one(event.data, event.event):
                        yield piece
        else:
            async for data in self._body:
                for line in self._lines(data):
                    for piece in self._one(line):
                        yield piece
        for piece in self._end():
            yield piece

    def _lines(self, data: bytes) -> list[bytes]:
        """The lines that more bytes complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines

    def _all(self, body: bytes) -> Iterator[bytes]:
        """A whole answer instead of a stream, or a list of its events."""
        found = parsed(body)
        for event in found if isinstance(found, list) else [found]:
            yield from self._read(event)

    def _one(self, data: str | bytes, name: str = "message") -> Iterator[bytes]:
        if not data.strip():
            return
        self._body.has_events = True
        if data == "[DONE]":
            self._reader.is_done = True
            return
        try:
            event = parsed(data)
        except NotThisProtocolError:
            if name == "message":
                raise
            return  # such as “ping”
        if event is not None:
            yield from self._read(event)

    def _read(self, event: Any) -> Iterator[bytes]:
        if not isinstance(event, dict):
            raise NotThisProtocolError
        if error := error_in(event):
            raise error
        yield from map(self._wire.encode, self._reader.read(event))

    def _end(self) -> Iterator[bytes]:
        if self._body.start.strip() and not self._body.has_events:
            yield from self._all(self._body.start)  # no stream, whatever its type says
        yield from map(self._wire.encode, self._reader.end())
        yield self._wire.done()


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The bytes of a response, and an empty line that ends the last event; what comes before the first is kept."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.start, self.has_events = b"", False

    @override
    def __iter__(self) -> Iterator[bytes]:
        for data in self._response.iter_bytes():
            self._keep(data)
            yield data
        yield b"\n\n"

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._response.aiter_bytes():
            self._keep(data)
            yield data
        yield b"\n\n"

    def _keep(self, data: bytes) -> None:
        self.start = b"" if self.has_events else (self.start + data)[:MOST_KEPT]


class _Stream(httpx.SyncByteStream):
    def __init__(self, first: bytes, rest: Generator[bytes], response: httpx.Response) -> None:
        self._first, self._rest, self._response = first, rest, response

    @override
    def __iter__(self) -> Iterator[bytes]:
        # Also if only the first piece is read, or an error ends it: not every client closes it then.
        with closing(self._response), closing(self._rest):
            yield self._first
            yield from self._rest

    @override
    def close(self) -> None:
        self._rest.close()
        self._response.close()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, first: bytes, rest: AsyncGenerator[bytes], response: httpx.Response) -> None:
        self._first, self._rest, self._response = first, rest, response

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self._response), aclosing(self._rest):
            yield self._first
            async for piece in self._rest:
                yield piece

    @override
    async def aclose(self) -> None:
        await self._rest.aclose()
        await self._response.aclose()
