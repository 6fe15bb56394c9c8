"""One model of one backend: its state, its current load, and its users. `manager.py` guards these by its lock."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Event, main_thread

from backends.base import Backend, LoadCancelledError, State, Status
from backends.translate import translate
from errors import AppError, BackendError

logger = logging.getLogger(__name__)

UNLOADED = Status(State.UNLOADED)


@dataclass(eq=False)
class Load:
    """One attempt to make a model ready."""

    pull: bool
    """Download the model first."""
    done: Future[None] = field(default_factory=Future)
    cancelled: Event = field(default_factory=Event)
    waiters: int = 0
    """Uses that get a lease as soon as it is ready."""
    leased: bool = False
    """They have got it."""

    def check(self) -> None:
        """Raise LoadCancelledError if it was cancelled."""
        if self.cancelled.is_set():
            raise LoadCancelledError


@dataclass(eq=False)
class ModelEntry:
    """One model of one backend."""

    backend: Backend
    model: str
    status: Status = UNLOADED
    loading: Load | None = None
    leases: int = 0
    resident: bool = False
    """It uses this process's memory, even while it is being evicted."""

    def translate(self, error: Exception) -> AppError | None:
        """Return `error` as an AppError about this backend; None if it is a bug."""
        return translate(error, self.backend.location, self.backend.start_hint)

    def load_failure(self, error: BaseException) -> tuple[BaseException, AppError]:
        """Return what to raise and what to show for a failed load: a bug is raised as it is and logged."""
        translated = self.translate(error) if isinstance(error, Exception) else None
        if translated:
            if translated is not error:
                translated.__cause__ = error
            return translated, translated
        what = f"{self.model} could not be loaded."
        # If the process ends during a load, the load fails because its thread pools are gone: not a bug.
        if main_thread().is_alive() and not isinstance(error, LoadCancelledError):
            logger.error(what, exc_info=error)
        return error, BackendError(what, "The log has the reason.")
