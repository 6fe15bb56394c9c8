"""Looks at backends: which answer, how fast, with which models.

Never raises and never waits longer than it was told: what goes wrong is a finding. `check_all` looks at all side by
side and waits; `Checks` looks in the background and remembers, for pages that must not wait. Knows no backend by name.
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

PATIENCE = 3.0
"""Seconds after which a look counts as failed; it is kept all the same when it comes."""
FRESH = 30.0
FRESH_ERROR = 5.0
"""Seconds for which a finding is taken as it is."""


class Checked(NamedTuple):
    """What a look at a backend found."""

    backend: Backend
    models: list[ModelInfo]
    error: AppError | None
    seconds: float
    """How long the answer took: the round trip of the check, without the list of models."""
    at: float
    """When it was taken, in seconds of `time.monotonic`."""


def check_all(backends: Iterable[Backend], timeout: float) -> list[Checked]:
    """One finding for each of `backends`, in that order; never raises.

    Args:
        backends: those to look at, each in a thread of its own.
        timeout: seconds that each may take.
    """
    looks = [(backend, _look_at(backend)) for backend in backends]
    wait([found for _, found in looks], timeout)
    return [found.result() if found.done() else _late(backend, timeout) for backend, found in looks]


class Checks:
    """The last finding of each backend. Looks again in the background when it has grown old.

    Args:
        backend: gives a backend by its name.
    """

    def __init__(self, backend: Callable[[str], Backend]) -> None:
        self._backend = backend
        self._found: dict[str, Checked] = {}
        self._looks: dict[str, tuple[float, Future[Checked]]] = {}
        self._lock = Lock()

    def last(self, name: str, patience: float = 0.0) -> Checked | None:
        """The newest finding, also an old one while a newer look is under way; None before the first.

        Args:
            name: of the backend.
            patience: seconds to wait where there is nothing to show yet.

        Raises:
            ConfigurationError: no such backend, or its settings cannot be used.
        """
        backend = self._backend(name)
        with self._lock:
            found = self._found.get(name)
            fresh = found and time.monotonic() - found.at < (FRESH_ERROR if found.error else FRESH)
            if not fresh and name not in self._looks:
                self._begin(backend)
            began, look = self._looks.get(name, (0.0, None))
        if found or look is None:
            return found
        wait([look], patience)
        if look.done():
            return look.result()
        return _late(backend, PATIENCE) if time.monotonic() - began > PATIENCE else None

    def looking(self, name: str) -> bool:
        """Whether a look is under way that has not taken too long."""
        with self._lock:
            began, _ = self._looks.get(name, (float("-inf"), None))
        return time.monotonic() - began < PATIENCE

    def refresh(self, name: str) -> None:
        """Look again now, and forget the last finding."""
        with self._lock:
            self._found.pop(name, None)
            if name not in self._looks:
                self._begin(self._backend(name))

    def _begin(self, backend: Backend) -> None:
        look: Future[Checked] = Future()
        self._looks[backend.name] = (time.monotonic(), look)

        def run() -> None:
            checked = _look(backend)
            with self._lock:
                self._found[backend.name] = checked
                del self._looks[backend.name]
            look.set_result(checked)

        _in_background(run, backend)


def _in_background(run: Callable[[], None], backend: Backend) -> None:
    # A daemon, so that a server that never answers does not keep the process alive.
    Thread(target=run, name=f"check {backend.name}", daemon=True).start()


def _look_at(backend: Backend) -> Future[Checked]:
    found: Future[Checked] = Future()
    _in_background(lambda: found.set_result(_look(backend)), backend)
    return found


def _late(backend: Backend, timeout: float) -> Checked:
    error = BackendUnavailable(f"{backend.place} did not answer within {timeout:g} seconds.", backend.start_hint)
    return Checked(backend, [], error, timeout, time.monotonic())


def _look(backend: Backend) -> Checked:
    began = time.monotonic()
    models: list[ModelInfo] = []
    shown: AppError | None = None
    seconds = 0.0
    try:
        backend.check()
        seconds = time.monotonic() - began
        models = backend.list_models()
    except Exception as error:
        shown = translate(error, backend.place, backend.start_hint)
        if shown is None:
            logger.exception("Checking the backend %s failed", backend.name)
            shown = BackendError(f"{backend.label} could not be checked.", "The log says why.")
    return Checked(backend, models, shown, seconds, time.monotonic())
