"""The models in use: loaded, leased, unloaded; one state machine for all backends.

    unloaded -> loading (progress) -> ready | error        per backend and model

A load runs in a thread of its own and is shared by all who wait for it. `use` loads where that is needed and holds a
lease, so that nobody unloads a model that is answering. Of the models that take this machine's memory one is resident
at a time: loading another waits for its leases, then unloads it. Knows no backend by name and nothing of documents.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from threading import Condition, Lock, Thread, main_thread

from langchain_core.language_models import BaseChatModel

from backends import BACKENDS, backend_class
from backends.base import Backend, GenerationOptions, Progress, Report, State, Status
from backends.checks import Checked, check_all
from backends.translate import translate
from errors import (
    AppError,
    AuthenticationFailed,
    BackendBusy,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    ModelNotFound,
)
from settings import Settings

logger = logging.getLogger(__name__)


UNLOADED = Status(State.UNLOADED)
SERVER_GONE = BackendUnavailable, AuthenticationFailed, ModelNotFound
"""After one of these a server that was ready is so no longer."""


@dataclass
class _Entry:
    """One model of one backend."""

    backend: Backend
    model: str
    status: Status = UNLOADED
    loading: Future[None] | None = None
    leases: int = 0
    """Uses under way, and those that wait for the load."""


class ModelManager:
    """The models in use. All methods may be called from any thread, `use` from any event loop.

    Args:
        settings: the application's.
        backends: those to offer; all of the table by default, each made when it is first asked for.
    """

    def __init__(self, settings: Settings, backends: Iterable[Backend] | None = None) -> None:
        self._settings = settings
        self._backends = {backend.name: backend for backend in backends or ()}
        self._names = tuple(BACKENDS if backends is None else self._backends)
        self._entries: dict[tuple[str, str], _Entry] = {}
        # Guards the fields above and the entries; notified when a lease ends.
        self._changed = Condition()
        # Held while weights are loaded or unloaded: one after another.
        self._memory = Lock()

    def backends(self) -> list[Backend]:
        """All backends, in the table's order.

        Raises:
            ConfigurationError: a backend's settings cannot be used.
        """
        return [self.backend(name) for name in self._names]

    def backend(self, name: str) -> Backend:
        """The backend of that name.

        Raises:
            ConfigurationError: no such backend (names those there are), or its settings cannot be used.
        """
        with self._changed:
            if name not in self._names:
                raise ConfigurationError(f"There is no backend {name!r}.", f"Choose one of {', '.join(self._names)}.")
            if name not in self._backends:
                self._backends[name] = backend_class(name)(self._settings)
            return self._backends[name]

    def status(self, backend: str, model: str) -> Status:
        """Where a model is; `unloaded` for one never heard of."""
        with self._changed:
            entry = self._entries.get((backend, model))
            return entry.status if entry else UNLOADED

    def load(self, backend: str, model: str) -> Future[None]:
        """Begin to load a model, unless it is loading or ready; return at once.

        Returns:
            Done when the load is. Its exception is what the load raised, translated; the status shows the same.

        Raises:
            ConfigurationError: no such backend.
        """
        entry = self._entry(backend, model)
        with self._changed:
            if entry.loading:
                return entry.loading
            done: Future[None] = Future()
            # Running from now on: a waiter that is cancelled cannot cancel it for the others.
            done.set_running_or_notify_cancel()
            if entry.status.state is State.READY:
                done.set_result(None)
                return done
            entry.status = Status(State.LOADING, Progress("Starting"))
            entry.loading = done
        Thread(target=self._load, args=(entry, done), name=f"load {model}", daemon=True).start()
        return done

    def unload(self, backend: str, model: str) -> None:
        """Give back what a model takes; return when it is done. Nothing where it is not loaded.

        Raises:
            BackendBusy: it is loading or answering.
        """
        entry = self._entry(backend, model)
        # A load that holds this lock unloads what is resident itself.
        if not self._memory.acquire(blocking=False):
            raise BackendBusy("Another model is being loaded.", "Wait until it is.")
        try:
            with self._changed:
                if entry.loading or entry.leases:
                    raise BackendBusy(f"{model} is in use.", "Wait until it has answered, or stop the answer.")
                if entry.status.state is not State.READY:
                    return
                entry.status = UNLOADED
            entry.backend.unload(model)
        finally:
            self._memory.release()

    @asynccontextmanager
    async def use(self, backend: str, model: str, options: GenerationOptions) -> AsyncIterator[BaseChatModel]:
        """A chat model that is ready, for as long as the block runs; loads it first where that is needed.

        May be cancelled while it waits. An exception that leaves the block is translated; a bug stays what it is.

        Raises:
            AppError: the model could not be loaded, or could not answer.
        """
        entry = self._entry(backend, model)
        with self._lease(entry), self._translated(entry):
            await asyncio.wrap_future(self.load(backend, model))
            # Imports the provider's package, which may take seconds.
            yield await asyncio.to_thread(entry.backend.chat_model, model, options)

    def check_all(self, timeout: float = 3.0) -> list[Checked]:
        """Look at all backends side by side. What goes wrong with one is its finding.

        Args:
            timeout: seconds that each may take.

        Raises:
            ConfigurationError: a backend's settings cannot be used.
        """
        return check_all(self.backends(), timeout)

    def close(self) -> None:
        """Give back all that is loaded, ending what is answering; for the end of the process."""
        for entry in self._resident():
            with self._changed:
                entry.status = UNLOADED
            entry.backend.unload(entry.model)

    def _entry(self, backend: str, model: str) -> _Entry:
        with self._changed:
            return self._entries.setdefault((backend, model), _Entry(self.backend(backend), model))

    @contextmanager
    def _lease(self, entry: _Entry) -> Iterator[None]:
        with self._changed:
            entry.leases += 1
        try:
            yield
        finally:
            with self._changed:
                entry.leases -= 1
                self._changed.notify_all()

    @contextmanager
    def _translated(self, entry: _Entry) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            translated = translate(error)
            if isinstance(translated, SERVER_GONE) and not entry.backend.capabilities.loads_weights:
                # Shown, and looked for again by the next use.
                self._set(entry, Status(State.ERROR, error=translated))
            if translated is None or translated is error:
                raise
            raise translated from error

    def _set(self, entry: _Entry, status: Status) -> None:
        with self._changed:
            if entry.loading is None:
                entry.status = status

    def _load(self, entry: _Entry, done: Future[None]) -> None:
        """Runs in a thread of its own, and ends with `done` in any case."""
        failure: BaseException | None = None
        try:
            status = self._loaded(entry)
        except BaseException as error:  # noqa: BLE001 - those who wait get it
            failure, shown = _explain(error, f"{entry.model} could not be loaded.")
            status = Status(State.ERROR, error=shown)
        with self._changed:
            entry.status, entry.loading = status, None
        if failure:
            done.set_exception(failure)
        else:
            done.set_result(None)

    def _loaded(self, entry: _Entry) -> Status:
        def report(progress: Progress) -> None:
            with self._changed:
                entry.status = Status(State.LOADING, progress)

        if not entry.backend.capabilities.loads_weights:
            return Status(State.READY, loaded=entry.backend.load(entry.model, report))
        if self._memory.locked():
            report(Progress("Waiting for another model to be loaded"))
        with self._memory:
            for other in self._resident():
                self._evict(other, report)
            return Status(State.READY, loaded=entry.backend.load(entry.model, report))

    def _resident(self) -> list[_Entry]:
        with self._changed:
            return [
                entry
                for entry in self._entries.values()
                if entry.backend.capabilities.loads_weights and entry.status.state is State.READY
            ]

    def _evict(self, other: _Entry, report: Report) -> None:
        report(Progress(f"Waiting until {other.model} has answered"))
        with self._changed:
            self._changed.wait_for(lambda: not other.leases)
            other.status = UNLOADED
        report(Progress(f"Unloading {other.model}"))
        other.backend.unload(other.model)


def _explain(error: BaseException, what: str) -> tuple[BaseException, AppError]:
    """What to raise and what to show: the translation as both, or a bug as it is and a sentence about it."""
    translated = translate(error) if isinstance(error, Exception) else None
    # A process that ends while a model loads takes its thread pools away from under the load: no bug.
    if translated is None and main_thread().is_alive():
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
