"""The models in use: loaded, leased, unloaded; one state machine for all backends.

    unloaded -> loading (progress) -> ready | error        per backend and model

A load runs in a thread of its own, is shared by all who wait for it and can be cancelled. `use` loads where that is
needed and holds a lease, so that nobody unloads a model that is answering. Of the models that take this process's
memory one is resident at a time: loading another lets nobody else begin with it, waits for its leases, then unloads it.
Who holds a lease on one of these must not wait for another. Knows no backend by name and nothing of documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from threading import Condition, Lock, Thread

from langchain_core.language_models import BaseChatModel

from backends import BACKENDS, backend_class
from backends.base import Backend, Progress, Report, State, Status
from backends.checks import Checked, Checks, check_all
from backends.loading import UNLOADED, Entry, Load, LoadCancelledError
from errors import (
    AuthenticationFailed,
    BackendBusy,
    BackendUnavailable,
    ConfigurationError,
    ModelNotFound,
)
from options import GenerationOptions
from settings import Settings

SERVER_GONE = BackendUnavailable, AuthenticationFailed, ModelNotFound
"""After one of these a server that was ready is so no longer."""


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
        self._entries: dict[tuple[str, str], Entry] = {}
        # Guards the fields above and the entries; notified when a lease ends or a load is cancelled.
        self._changed = Condition()
        # Held while weights are loaded or unloaded: one after another.
        self._memory = Lock()
        self.checks = Checks(self.backend)

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

    def known(self, backend: str) -> dict[str, Status]:
        """The models of a backend that were loaded, tried or unloaded here, and where they are."""
        with self._changed:
            entries = [entry for entry in self._entries.values() if entry.backend.name == backend]
            return {entry.model: entry.status for entry in entries if entry.status != UNLOADED}

    def load(self, backend: str, model: str, *, pull: bool = False) -> Future[None]:
        """Begin to load a model, unless it is loading or ready; return at once.

        Args:
            backend: name of the backend.
            model: name of the model.
            pull: fetch it first.

        Returns:
            Done when the load is. Its exception is what the load raised, translated; the status shows the same.

        Raises:
            ConfigurationError: no such backend.
        """
        entry = self._entry(backend, model)
        with self._changed:
            if entry.status.state is State.READY:
                ready: Future[None] = Future()
                ready.set_result(None)
                return ready
            return self._join(entry, pull).done

    def cancel(self, backend: str, model: str) -> None:
        """End a load; nothing where the model is not loading. Who waits for it gets a BackendUnavailable."""
        entry = self._entry(backend, model)
        with self._changed:
            if load := entry.loading:
                load.cancelled.set()
                entry.status, entry.loading = UNLOADED, None
                load.done.set_exception(BackendUnavailable(f"Loading {model} was cancelled.", "Load it to use it."))
                self._changed.notify_all()

    def unload(self, backend: str, model: str) -> None:
        """Give back what a model takes; return when it is done. Nothing where it is not loaded.

        Raises:
            BackendBusy: it is loading or answering.
            BackendError: its server did not do it.
        """
        entry = self._entry(backend, model)
        memory = self._memory if entry.backend.capabilities.loads_weights else Lock()
        # A load that holds this lock unloads what is resident itself.
        if not memory.acquire(blocking=False):
            raise BackendBusy("Another model is being loaded.", "Wait until it is.")
        try:
            with self._changed:
                if entry.loading or entry.leases:
                    raise BackendBusy(f"{model} is in use.", "Wait until it has answered, or stop the answer.")
                ready = entry.status.state is State.READY
                entry.status = UNLOADED
            if ready:
                self._unload(entry)
        finally:
            memory.release()

    def reload(self, backend: str, model: str) -> Future[None]:
        """Unload a model and begin to load it again, as `unload` and `load` do."""
        self.unload(backend, model)
        return self.load(backend, model)

    @asynccontextmanager
    async def use(self, backend: str, model: str, options: GenerationOptions) -> AsyncIterator[BaseChatModel]:
        """A chat model that is ready, for as long as the block runs; loads it first where that is needed.

        May be cancelled while it waits. An exception that leaves the block is translated; a bug stays what it is.

        Raises:
            AppError: the model could not be loaded, or could not answer.
        """
        entry = self._entry(backend, model)
        with self._lease(entry) as load, self._translated(entry):
            if load:
                await asyncio.wrap_future(load.done)
            # Imports the provider's package, which may take seconds.
            yield await asyncio.to_thread(entry.backend.chat_model, model, self._within_window(entry, options))

    def _within_window(self, entry: Entry, options: GenerationOptions) -> GenerationOptions:
        """An answer gets a quarter of the window at most: servers refuse a prompt that leaves no room for it."""
        loaded = entry.status.loaded
        if loaded is None or loaded.context_window is None:
            return options
        return options.replace(max_new_tokens=min(options.max_new_tokens, max(1, loaded.context_window // 4)))

    def check_all(self, timeout: float = 3.0) -> list[Checked]:
        """Look at all backends side by side. What goes wrong with one is its finding.

        Args:
            timeout: seconds that each may take.

        Raises:
            ConfigurationError: a backend's settings cannot be used.
        """
        return check_all(self.backends(), timeout)

    def close(self) -> None:
        """Give back all that this process holds, ending what is answering; for the end of the process."""
        with self._changed:
            residents = [entry for entry in self._entries.values() if entry.resident]
            for entry in residents:
                entry.status = UNLOADED
        for entry in residents:
            entry.backend.unload(entry.model)

    def _entry(self, backend: str, model: str) -> Entry:
        with self._changed:
            return self._entries.setdefault((backend, model), Entry(self.backend(backend), model))

    def _join(self, entry: Entry, pull: bool = False) -> Load:
        """The load under way, else a new one. Under the lock."""
        if entry.loading is None:
            load = entry.loading = Load(pull)
            # Running from now on: a waiter that is cancelled cannot cancel it for the others.
            load.done.set_running_or_notify_cancel()
            entry.status = Status(State.LOADING, Progress("Starting"))
            Thread(target=self._load, args=(entry, load), name=f"load {entry.model}", daemon=True).start()
        return entry.loading

    @contextmanager
    def _lease(self, entry: Entry) -> Iterator[Load | None]:
        """Holds a lease, or waits for the load that will give one."""
        with self._changed:
            load = None if entry.status.state is State.READY else self._join(entry)
            if load:
                load.waiters += 1
            else:
                entry.leases += 1
        try:
            yield load
        finally:
            with self._changed:
                if load and not load.leased:
                    load.waiters -= 1
                else:
                    entry.leases -= 1
                self._changed.notify_all()

    @contextmanager
    def _translated(self, entry: Entry) -> Iterator[None]:
        backend = entry.backend
        try:
            yield
        except Exception as error:
            translated = entry.translate(error)
            if isinstance(translated, SERVER_GONE) and not backend.capabilities.loads_weights:
                # Shown, and looked for again by the next use.
                with self._changed:
                    if entry.loading is None:
                        entry.status = Status(State.ERROR, error=translated)
            if translated is None or translated is error:
                raise
            raise translated from error

    def _load(self, entry: Entry, load: Load) -> None:
        """Runs in a thread of its own, and ends with `load.done` in any case."""
        try:
            if entry.backend.capabilities.loads_weights:
                self._load_weights(entry, load)
            else:
                self._load_one(entry, load)
        except BaseException as error:  # noqa: BLE001 - those who wait get it
            failure, shown = entry.explain(error)
            with self._changed:
                if entry.loading is load:
                    entry.status, entry.loading = Status(State.ERROR, error=shown), None
                    load.done.set_exception(failure)

    def _load_weights(self, entry: Entry, load: Load) -> None:
        report = self._reporter(entry, load)
        if self._memory.locked():
            report(Progress("Waiting for another model to be loaded"))
        while not self._memory.acquire(timeout=0.1):
            load.check()
        try:
            with self._changed:
                others = [other for other in self._entries.values() if other.resident]
            for other in others:
                self._evict(other, report, load)
            self._load_one(entry, load)
        finally:
            self._memory.release()

    def _load_one(self, entry: Entry, load: Load) -> None:
        report = self._reporter(entry, load)
        if load.pull:
            entry.backend.pull(entry.model, report)
        loaded = entry.backend.load(entry.model, report)
        with self._changed:
            wanted = entry.loading is load
            if wanted:
                entry.status, entry.loading = Status(State.READY, loaded=loaded), None
                entry.resident = entry.backend.capabilities.loads_weights
                entry.leases, load.leased = load.waiters, True
                load.done.set_result(None)
            # Cancelled too late to notice: given back, unless somebody asked for it again meanwhile.
            abandoned = not wanted and not entry.loading and entry.status.state is not State.READY
        if abandoned:
            entry.backend.unload(entry.model)

    def _reporter(self, entry: Entry, load: Load) -> Report:
        def report(progress: Progress) -> None:
            load.check()
            with self._changed:
                if entry.loading is load:
                    entry.status = Status(State.LOADING, progress)

        return report

    def _evict(self, other: Entry, report: Report, load: Load) -> None:
        with self._changed:
            loaded, other.status = other.status, UNLOADED
            if other.leases:
                report(Progress(f"Waiting until {other.model} has answered"))
            self._changed.wait_for(lambda: not other.leases or load.cancelled.is_set())
            if load.cancelled.is_set():
                if other.loading is None:
                    other.status = loaded
                raise LoadCancelledError
        report(Progress(f"Unloading {other.model}"))
        self._unload(other)

    def _unload(self, entry: Entry) -> None:
        with self._translated(entry):
            released = entry.backend.unload(entry.model)
        with self._changed:
            entry.resident = False
            if entry.loading is None:
                entry.status = Status(State.UNLOADED, released=released)
