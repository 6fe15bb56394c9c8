"""One model of one backend: its state, the load under way, and who uses it.

What `manager.py` keeps of each model and guards by its lock. Knows nothing of threads, or of other models.
"""

from __future__ import annotations

import logging
import traceback
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Event, main_thread

from backends.base import Backend, State, Status
from backends.translate import translate
from errors import AppError, BackendError

logger = logging.getLogger(__name__)

UNLOADED = Status(State.UNLOADED)


class LoadCancelledError(Exception):
    """Ends a load from inside."""


@dataclass(eq=False)
class Load:
    """One attempt to make a model ready."""

    pull: bool
    """Fetch the model first."""
    done: Future[None] = field(default_factory=Future)
    cancelled: Event = field(default_factory=Event)
    waiters: int = 0
    """Uses that get a lease the moment it is ready."""
    leased: bool = False
    """They got it."""

    def check(self) -> None:
        """Raise LoadCancelledError if it was cancelled."""
        if self.cancelled.is_set():
            raise LoadCancelledError


@dataclass(eq=False)
class Entry:
    """One model of one backend."""

    backend: Backend
    model: str
    status: Status = UNLOADED
    loading: Load | None = None
    leases: int = 0
    resident: bool = False
    """It takes this process's memory, also while it is being evicted."""

    def translate(self, error: Exception) -> AppError | None:
        """`error` as one of the application's own, in the words of the backend; None where it is a bug."""
        return translate(error, self.backend.place, self.backend.start_hint)

    def explain(self, error: BaseException) -> tuple[BaseException, AppError]:
        """What to raise and what to show of a failed load: the translation as both, or a bug and a sentence of it."""
        what = f"{self.model} could not be loaded."
        translated = self.translate(error) if isinstance(error, Exception) else None
        # A process that ends while a model loads takes its thread pools away from under the load: no bug.
        if translated is None and main_thread().is_alive() and not isinstance(error, LoadCancelledError):
            logger.error(what, exc_info=error)
        # The status keeps the error, whose frames keep what was half loaded.
        link: BaseException | None = error
        while link:
            traceback.clear_frames(link.__traceback__)
            link = link.__cause__
        if translated is None:
            return error, BackendError(what, "The log says why.")
        if translated is not error:
            translated.__cause__ = error
        return translated, translated
