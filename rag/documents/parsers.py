"""A pool of processes that read documents under limits, so that a bomb or a crash costs only that file.

A worker reads requests from stdin and writes answers to stdout, each a line of JSON, never pickle, because a hostile
file may have taken control of it: progress, pages or a drawn page, then warnings or the error. It exits with stdin.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import psutil

import errors
from errors import DocumentError, UnreadableDocument
from rag.documents.loaders import LoadedDocument, Report, load
from rag.documents.page_image import PageImage, draw_page
from rag.schema import Page, Span

COMMAND = (sys.executable, "-m", "rag.documents.parsers")
POLL_S = 0.1  # between checks whether to stop reading
TOTAL_FACTOR = 10  # a whole document may take this many times the limit without progress
MAX_FILES = 500  # read by a worker before it is replaced,
MAX_RETAINED = 0.25  # as when it keeps this share of its memory limit, because of leaks
OUT_OF_MEMORY = 77  # exit status
# What an interpreter and Tesseract need, and nothing that may contain a key.
_ENVIRONMENT = re.compile(
    r"(?i)PATH|HOME|USERPROFILE|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|(LD|DYLD)_\w+|PYTHON\w*|TESSDATA_PREFIX"
)
T = TypeVar("T")


class Parsers:
    """A pool of worker processes, started on demand. Thread-safe; each call uses one worker and waits for it."""

    def __init__(
        self, workers: int = 1, seconds: float = 120.0, memory_mb: int = 1000, *, command: Sequence[str] = COMMAND
    ) -> None:
        """`seconds` may pass without progress; `command` is run with the arguments of `main`."""
        self.seconds = seconds
        self._command = [*command, str(memory_mb * 2**20), str(int(TOTAL_FACTOR * seconds))]
        self._workers, self._closed = workers, False
        self._idle: queue.Queue[_Worker | None] = queue.LifoQueue()  # running ones first
        for _ in range(workers):
            self._idle.put(None)

    def read(
        self, path: Path, name: str, *, password: str | None = None, report: Report | None = None
    ) -> LoadedDocument:
        """Run `loaders.load` in a worker; `report` is called regularly, even without progress, and may raise.

        Raises DocumentError, also for a crash or too much time or memory, RuntimeError if the pool is closed.
        """
        pages, warnings = self._ask(report, path, name, password)
        return LoadedDocument([Page(*values) for values in pages], tuple(warnings))

    def draw(self, path: Path, name: str, index: int, text: str, spans: Sequence[Span]) -> PageImage:
        """Run `page_image.draw_page` in a worker; raises like `read`."""
        [(picture, is_marked)], _ = self._ask(None, path, name, None, index, text, spans)
        return PageImage(b64decode(picture), is_marked)

    def _ask(self, report: Report | None, path: Path, name: str, *request: object) -> tuple[list[list[Any]], list[str]]:
        """Return what a worker found, and its warnings."""

        def check(done: int = 0, total: int = 0) -> None:
            if self._closed:
                raise RuntimeError("The parsers are closed.")
            if report is not None:
                report(done, total)

        worker = _get(self._idle, check)
        try:
            worker = (worker and worker.if_reusable()) or _Worker(self._command)
            worker.send(str(path.absolute()), name, *request)
            return self._answer(worker, name, check)
        finally:
            self._idle.put(worker and worker.if_reusable())

    def close(self) -> None:
        """End all workers and abandon what they read. Idempotent."""
        if not self._closed:
            self._closed = True
            for _ in range(self._workers):
                if worker := self._idle.get():
                    worker.end()

    def _answer(self, worker: _Worker, name: str, report: Report) -> tuple[list[list[Any]], list[str]]:
        found: list[list[Any]] = []
        progress = (0, 0)
        started = last = time.monotonic()

        def check() -> None:
            report(*progress)
            now = time.monotonic()
            if now - last > self.seconds or now - started > TOTAL_FACTOR * self.seconds:
                raise UnreadableDocument(
                    f"{name} takes too long to read: it was stopped after {now - started:.0f} seconds.",
                    "Split it into smaller files, or save it again from the program it comes from.",
                )

        while (line := _get(worker.lines, check)).endswith(b"\n"):
            last = time.monotonic()
            match json.loads(line):
                case ["progress", done, total]:
                    progress = (done, total)
                    check()
                case ["page", *values]:
                    found.append(values)
                case ["end", reusable, *warnings]:
                    worker.reusable = reusable
                    return found, warnings
                case [kind, reusable, message, hint]:
                    worker.reusable = reusable
                    raise getattr(errors, kind)(message, hint)
        worker.end()
        if worker.returncode == OUT_OF_MEMORY:
            raise UnreadableDocument(
                f"{name} needs more memory than a document may take.",
                "Split it into smaller files, or save its text without pictures.",
            )
        raise UnreadableDocument(
            f"Reading {name} failed: the program that reads it crashed.",
            "Open it in the program it comes from and save a new copy, or export it as PDF.",
        )


class _Worker(subprocess.Popen[bytes]):
    """A process that reads documents, seen from the server."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def __init__(self, command: Sequence[str]) -> None:
        root = Path(__file__).resolve().parents[2]
        environment = {key: value for key, value in os.environ.items() if _ENVIRONMENT.fullmatch(key)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), environment.get("PYTHONPATH")]))
        # For decrypted and unpacked files, which a killed worker cannot remove.
        self.folder = tempfile.mkdtemp(prefix="gestalt-")
        command, pipe = [*command, self.folder], subprocess.PIPE
        super().__init__(command, stdin=pipe, stdout=pipe, cwd=root, env=environment, start_new_session=True)
        self.reusable = True  # for another file
        self.lines: queue.Queue[bytes] = queue.Queue()
        _read_lines(self.stdout, self.lines.put)

    def send(self, *request: object) -> None:
        self.reusable = False  # until the end of its answer
        with suppress(OSError):  # it has died, which `_answer` notices
            _send(self.stdin, *request)

    def if_reusable(self) -> _Worker | None:
        """Return the worker if it can read another file; otherwise end it."""
        if self.reusable and self.poll() is None:
            return self
        self.end()
        return None

    def end(self) -> None:
        if self.returncode is None:  # else its id may have been reused
            _kill_group(self.pid)
            self.kill()
            self.wait()
        with suppress(OSError):
            self.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill_group(pid: int) -> None:
    """Kill a worker and the programs that it has started; not on Windows."""
    if sys.platform != "win32":
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


def _get(source: queue.Queue[T], check: Callable[[], None]) -> T:
    while True:
        try:
            return source.get(timeout=POLL_S)
        except queue.Empty:
            check()


def _send(file: IO[bytes], *values: object) -> None:
    file.write(json.dumps(values).encode() + b"\n")
    file.flush()


def _read_lines(file: IO[bytes], handle: Callable[[bytes], object]) -> None:
    """Call `handle` with each line, and with b"" at the end, in a new thread."""

    def read() -> None:
        with file:
            for line in file:
                handle(line)
        handle(b"")

    threading.Thread(target=read, daemon=True).start()


def main() -> None:
    """Run a worker. Arguments: limits per document in bytes and seconds, and a folder for temporary files."""
    memory, seconds = map(int, sys.argv[1:3])
    tempfile.tempdir = sys.argv[3]
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    for standard in (0, 1):  # libraries may print
        os.dup2(os.open(os.devnull, os.O_RDWR), standard)
    for ignored in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a service; the server ends workers
        signal.signal(ignored, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        for what, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_DATA, memory)):
            with suppress(ValueError, OSError):  # the limit may already be lower
                resource.setrlimit(what, (limit, limit))
    alarm = getattr(signal, "alarm", int)  # ends an orphan in a call that holds the GIL; not on Windows
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    _read_lines(requests, lambda line: received.put(line) if line else _exit())
    for left in reversed(range(MAX_FILES)):
        request = json.loads(received.get())
        alarm(seconds + 5)
        end, *values = _read(answers, *request)
        alarm(0)
        _send(answers, end, left > 0 and psutil.Process().memory_info().rss < MAX_RETAINED * memory, *values)


def _exit() -> None:
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    _kill_group(os.getpid())
    os._exit(0)


def _read(answers: IO[bytes], path: str, name: str, password: str | None, *drawn: Any) -> tuple[str, ...]:
    """Send the pages of a file, or a drawn page; return the end of the answer."""
    try:
        if drawn:
            image = draw_page(Path(path), name, *drawn)
            _send(answers, "page", b64encode(image.data).decode(), image.is_marked)
            return ("end",)
        reading = load(Path(path), name, partial(_send, answers, "progress"), password=password)
        for page in reading.pages:
            _send(answers, "page", *astuple(page))
    except DocumentError as error:
        return type(error).__name__, error.message, error.hint
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    return "end", *reading.warnings


if __name__ == "__main__":
    main()
