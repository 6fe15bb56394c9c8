"""A look at all backends side by side, for the status page and the command line: which answer, with which models.

Never raises and never waits longer than it was told: what goes wrong is a finding. Knows no backend by name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import Future, wait
from threading import Thread
from typing import NamedTuple

from backends.base import Backend, ModelInfo
from backends.translate import translate
from errors import AppError, BackendError, BackendUnavailable

logger = logging.getLogger(__name__)


class Checked(NamedTuple):
    """What a look at a backend found."""

    backend: Backend
    models: list[ModelInfo]
    error: AppError | None


def check_all(backends: Iterable[Backend], timeout: float) -> list[Checked]:
    """One finding for each of `backends`, in that order; never raises.

    Args:
        backends: those to look at, each in a thread of its own.
        timeout: seconds that each may take.
    """
    looks = [(backend, Future[Checked]()) for backend in backends]
    for backend, found in looks:
        # A daemon, so that a server that never answers does not keep the process alive.
        Thread(target=_look, args=(backend, found), name=f"check {backend.name}", daemon=True).start()
    wait([found for _, found in looks], timeout)
    return [found.result() if found.done() else _late(backend, timeout) for backend, found in looks]


def _late(backend: Backend, timeout: float) -> Checked:
    return Checked(backend, [], BackendUnavailable(f"No answer within {timeout:g} seconds.", backend.start_hint))


def _look(backend: Backend, found: Future[Checked]) -> None:
    try:
        backend.check()
        found.set_result(Checked(backend, backend.list_models(), None))
    except Exception as error:
        shown = translate(error)
        if shown is None:
            logger.exception("Checking the backend %s failed", backend.name)
            shown = BackendError(f"{backend.label} could not be checked.", "The log says why.")
        found.set_result(Checked(backend, [], shown))
