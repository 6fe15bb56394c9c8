"""Checks of backends: which respond, how fast, with which models.

`check_all` checks all of them in parallel and waits. `Checks` checks in the background and caches the results, for
pages that must not wait. Neither raises when a check fails: the error is part of the result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from threading import Lock, Thread
from typing import NamedTuple

from backends.base import Backend, ModelInfo
from backends.translate import translate
from errors import AppError, BackendError, BackendUnavailable

logger = logging.getLogger(__name__)

MAX_ERROR_AGE_S = 5.0


class BackendCheck(NamedTuple):
    """Result of checking a backend."""

    backend: Backend
    models: list[ModelInfo]
    error: AppError | None
    seconds: float
    """Round-trip time of the check, without the list of models."""
    at: float
    """When it finished, by `time.monotonic`."""


def check_all(backends: Iterable[Backend], timeout: float) -> list[BackendCheck]:
    """Check `backends` in parallel, each for at most `timeout` seconds; return the results in order."""
    checks = [(backend, _start(backend)) for backend in backends]
    wait([check for _, check in checks], timeout)
    return [check.result() if check.done() else _timed_out(backend, timeout) for backend, check in checks]


class Checks:
    """The latest check of each backend, renewed in the background when it is `max_age` seconds old (failed: 5).

    A check that takes longer than `timeout` seconds counts as failed; a late result is used once it arrives.
    """

    def __init__(self, backend: Callable[[str], Backend], *, timeout: float = 3.0, max_age: float = 30.0) -> None:
        self._backend, self._timeout, self._max_age = backend, timeout, max_age
        self._results: dict[str, BackendCheck] = {}
        self._running: dict[str, tuple[float, Future[BackendCheck]]] = {}
        self._lock = Lock()

    def latest(self, name: str, wait_s: float = 0.0) -> BackendCheck | None:
        """Return the latest result of a backend, even an old one; None if there is none after `wait_s` seconds."""
        backend = self._backend(name)
        with self._lock:
            result = self._results.get(name)
            max_age = MAX_ERROR_AGE_S if result and result.error else self._max_age
            if result is None or time.monotonic() - result.at >= max_age:
                self._check(backend)
            started, check = self._running.get(name, (0.0, None))
        if result or check is None:
            return result
        wait([check], wait_s)
        if check.done():
            return check.result()
        return _timed_out(backend, self._timeout) if time.monotonic() - started > self._timeout else None

    def is_checking(self, name: str) -> bool:
        """Whether a check is running that has not timed out."""
        with self._lock:
            started, _ = self._running.get(name, (float("-inf"), None))
        return time.monotonic() - started < self._timeout

    def forget(self, name: str) -> None:
        """Discard what is known of a backend."""
        with self._lock:
            self._results.pop(name, None)
            self._running.pop(name, None)

    def refresh(self, name: str) -> None:
        """Discard the latest result and check again."""
        backend = self._backend(name)
        with self._lock:
            self._results.pop(name, None)
            self._check(backend)

    def _check(self, backend: Backend) -> None:
        def store(result: BackendCheck) -> None:
            with self._lock:
                if self._running.get(backend.name, (0.0, None))[1] is started:
                    self._results[backend.name] = result
                    del self._running[backend.name]

        if backend.name not in self._running:
            started = _start(backend, store)
            self._running[backend.name] = (time.monotonic(), started)


def _start(backend: Backend, store: Callable[[BackendCheck], None] = lambda result: None) -> Future[BackendCheck]:
    future: Future[BackendCheck] = Future()

    def run() -> None:
        result = _check(backend)
        store(result)
        future.set_result(result)

    # A daemon, so that a server that never responds does not keep the process alive.
    Thread(target=run, name=f"check {backend.name}", daemon=True).start()
    return future


def _timed_out(backend: Backend, timeout: float) -> BackendCheck:
    error = BackendUnavailable(f"{backend.location} did not answer within {timeout:g} seconds.", backend.start_hint)
    return BackendCheck(backend, [], error, timeout, time.monotonic())


def _check(backend: Backend) -> BackendCheck:
    start = time.monotonic()
    models: list[ModelInfo] = []
    shown: AppError | None = None
    seconds = 0.0
    try:
        backend.check()
        seconds = time.monotonic() - start
        models = backend.list_models()
    except Exception as error:
        shown = translate(error, backend.location, backend.start_hint)
        if shown is None:
            logger.exception("Checking the backend %s failed", backend.name)
            shown = BackendError(f"{backend.label} could not be checked.", "The log has the reason.")
    return BackendCheck(backend, models, shown, seconds, time.monotonic())
