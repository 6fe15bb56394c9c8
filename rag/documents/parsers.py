"""Documents are read in processes of their own, under limits: a bomb, or a parser's crash, costs that file alone.

A worker takes one file after the other, each a line of JSON on its stdin, and answers in such lines on its stdout: the
progress, then the pages or the picture of one, last the warnings or the error. When its stdin ends it ends, so none
outlives the server.
It must not know of formats, of the library or of who uploaded what.
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
from rag.documents.loaders import Reading, Report, load
from rag.documents.page_image import PageImage, Span, draw_page
from rag.schema import Page

COMMAND = (sys.executable, "-m", "rag.documents.parsers")
TICK = 0.1  # seconds between two looks at whether the reading shall go on
TOTAL = 10  # a whole document may take this many times what may pass without a page
FILES = 500  # a worker is replaced after so many files,
GROWN = 0.25  # or when it keeps this share of the memory that it may have, so that leaks do not add up
OUT_OF_MEMORY = 77  # exit status
# What an interpreter and Tesseract need, and nothing that may hold a key.
_ENVIRONMENT = re.compile(
    r"(?i)PATH|HOME|USERPROFILE|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|(LD|DYLD)_\w+|PYTHON\w*|TESSDATA_PREFIX"
)
T = TypeVar("T")


class Parsers:
    """A pool of worker processes, which start when they are needed. Several threads may read at once, one in each."""

    def __init__(
        self, workers: int = 1, seconds: float = 120.0, memory_mb: int = 1000, *, command: Sequence[str] = COMMAND
    ) -> None:
        """`seconds` may pass without a page; `command` is given the arguments of `main`."""
        self._seconds = seconds
        self._command = [*command, str(memory_mb * 2**20), str(int(TOTAL * seconds))]
        self._workers = workers
        self._idle: queue.Queue[_Worker | None] = queue.LifoQueue()  # the one that is warm first
        for _ in range(workers):
            self._idle.put(None)
        self._closed = False

    def read(self, path: Path, name: str, *, password: str | None = None, report: Report | None = None) -> Reading:
        """What `loaders.load` reads, in a worker; waits for one where all are busy.

        `report` is told the progress again and again, also while there is none: an exception that it raises passes
        through and ends the reading at once, in the middle of a page as well.

        Raises:
            DocumentError: as `loaders.load`; UnreadableDocument also for too long, too much memory and a crash.
            RuntimeError: the pool is closed.
        """
        pages, warnings = self._ask(report, path, name, password)
        return Reading([Page(*values) for values in pages], tuple(warnings))

    def draw(self, path: Path, name: str, index: int, text: str, spans: Sequence[Span]) -> PageImage:
        """What `page_image.draw_page` draws, in a worker; waits for one where all are busy.

        Raises:
            DocumentError: as `draw_page`; UnreadableDocument also for too long, too much memory and a crash.
            RuntimeError: the pool is closed.
        """
        [(picture, is_marked)], _ = self._ask(None, path, name, None, index, text, spans)
        return PageImage(b64decode(picture), is_marked)

    def _ask(self, report: Report | None, path: Path, name: str, *request: object) -> tuple[list[list[Any]], list[str]]:
        """What a worker found, and its warnings."""

        def tell(done: int = 0, total: int = 0) -> None:
            if self._closed:
                raise RuntimeError("The parsers are closed.")
            if report is not None:
                report(done, total)

        worker = _next(self._idle, tell)
        try:
            worker = (worker and worker.rested()) or _Worker(self._command)
            worker.ask(str(path.absolute()), name, *request)
            return self._answer(worker, name, tell)
        finally:
            self._idle.put(worker and worker.rested())

    def close(self) -> None:
        """End all workers; what is being read is given up. Can be repeated."""
        if not self._closed:
            self._closed = True
            for _ in range(self._workers):
                if worker := self._idle.get():
                    worker.end()

    def _answer(self, worker: _Worker, name: str, tell: Report) -> tuple[list[list[Any]], list[str]]:
        found: list[list[Any]] = []
        progress = (0, 0)
        started = last = time.monotonic()

        def check() -> None:
            tell(*progress)
            now = time.monotonic()
            if now - last > self._seconds or now - started > TOTAL * self._seconds:
                raise UnreadableDocument(
                    f"{name} takes too long to read: it was stopped after {now - started:.0f} seconds.",
                    "Split it into smaller files, or save it anew from the program it comes from.",
                )

        while (line := _next(worker.lines, check)).endswith(b"\n"):
            last = time.monotonic()
            match json.loads(line):
                case ["progress", done, total]:
                    progress = (done, total)
                    check()
                case ["page", *values]:
                    found.append(values)
                case ["end", is_fit, *warnings]:
                    worker.is_fit = is_fit
                    return found, warnings
                case [kind, is_fit, message, hint]:
                    worker.is_fit = is_fit
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
    """A process that reads documents, as the server sees it."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def __init__(self, command: Sequence[str]) -> None:
        root = Path(__file__).resolve().parents[2]
        environment = {key: value for key, value in os.environ.items() if _ENVIRONMENT.fullmatch(key)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), environment.get("PYTHONPATH")]))
        # Killed, it cannot take away what it unlocked or unpacked.
        self.folder = tempfile.mkdtemp(prefix="gestalt-")
        command, pipe = [*command, self.folder], subprocess.PIPE
        super().__init__(command, stdin=pipe, stdout=pipe, cwd=root, env=environment, start_new_session=True)
        self.is_fit = True  # for another file
        self.lines: queue.Queue[bytes] = queue.Queue()
        _listen(self.stdout, self.lines.put)

    def ask(self, *request: object) -> None:
        self.is_fit = False  # until it says so at the end of its answer
        with suppress(OSError):  # it died meanwhile, which is an answer too
            _say(self.stdin, *request)

    def rested(self) -> _Worker | None:
        """The worker where it may go on to another file; otherwise it is ended."""
        if self.is_fit and self.poll() is None:
            return self
        self.end()
        return None

    def end(self) -> None:
        if self.returncode is None:  # else its number may be another's by now
            _kill_group(self.pid)
            self.kill()
            self.wait()
        with suppress(OSError):
            self.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill_group(pid: int) -> None:
    """Kill a worker together with the programs that it has started, where the system knows such groups."""
    if sys.platform != "win32":
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


def _next(source: queue.Queue[T], check: Callable[[], None]) -> T:
    while True:
        try:
            return source.get(timeout=TICK)
        except queue.Empty:
            check()


def _say(file: IO[bytes], *values: object) -> None:
    file.write(json.dumps(values).encode() + b"\n")
    file.flush()


def _listen(file: IO[bytes], hear: Callable[[bytes], object]) -> None:
    """Hear each line as it comes, and b"" at the end, in a thread of its own."""

    def listen() -> None:
        with file:
            for line in file:
                hear(line)
        hear(b"")

    threading.Thread(target=listen, daemon=True).start()


def main() -> None:
    """A worker. Its arguments: the bytes and the seconds that a document may take, a folder for its own files."""
    memory, seconds = map(int, sys.argv[1:3])
    tempfile.tempdir = sys.argv[3]
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    for standard in (0, 1):  # what libraries print must not come between the answers
        os.dup2(os.open(os.devnull, os.O_RDWR), standard)
    for ignored in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a service; the server decides
        signal.signal(ignored, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        for what, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_DATA, memory)):
            with suppress(ValueError, OSError):  # it may be lower already
                resource.setrlimit(what, (limit, limit))
    alarm = getattr(signal, "alarm", int)  # ends an orphan in a call that lets no other thread run; not on Windows
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    _listen(requests, lambda line: asked.put(line) if line else _leave())
    for left in reversed(range(FILES)):
        request = json.loads(asked.get())
        alarm(seconds + 5)
        end, *values = _read(answers, *request)
        alarm(0)
        _say(answers, end, left > 0 and psutil.Process().memory_info().rss < GROWN * memory, *values)


def _leave() -> None:
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    _kill_group(os.getpid())
    os._exit(0)


def _read(answers: IO[bytes], path: str, name: str, password: str | None, *drawn: Any) -> tuple[str, ...]:
    """Send the pages of a file, or the picture of one; what is to be said at its end."""
    try:
        if drawn:
            image = draw_page(Path(path), name, *drawn)
            _say(answers, "page", b64encode(image.data).decode(), image.is_marked)
            return ("end",)
        reading = load(Path(path), name, partial(_say, answers, "progress"), password=password)
        for page in reading.pages:
            _say(answers, "page", *astuple(page))
    except DocumentError as error:
        return type(error).__name__, error.message, error.hint
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    return "end", *reading.warnings


if __name__ == "__main__":
    main()
