"""Loads, leases and unloads models: unloaded -> loading (progress) -> ready | error, for all backends.

A load has its own thread, is shared by all who wait for it and can be cancelled. Of the models that use this process's
memory one is resident: loading another blocks new leases on it, waits for the current ones, then unloads it. The holder
of such a lease must not wait for another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from threading import Condition, Lock, Thread

from langchain_core.language_models import BaseChatModel

from backends import BACKENDS, backend_class
from backends.base import Backend, LoadCancelledError, Progress, Report, State, Status
from backends.checks import Checks
from backends.loading import UNLOADED, Load, ModelEntry
from errors import AuthenticationFailed, BackendBusy, BackendUnavailable, ConfigurationError, ModelNotFound
from options import GenerationOptions
from settings import Settings

NOT_READY_ERRORS = BackendUnavailable, AuthenticationFailed, ModelNotFound
"""After one of these a server's model is no longer ready."""


class ModelManager:
    """The models in use. Thread-safe; `use` works in any event loop. Backends of the table are created on first use."""

    def __init__(self, settings: Settings, backends: Iterable[Backend] | None = None) -> None:
        self._settings = settings
        self._backends = {backend.name: backend for backend in backends or ()}
        self._names = list(BACKENDS if backends is None else self._backends)
        self._entries: dict[tuple[str, str], ModelEntry] = {}
        # Guards the fields above and the entries. Notified when a lease ends or a load is cancelled.
        self._changed = Condition()
        # Held while weights are loaded or unloaded.
        self._memory = Lock()
        self.checks = Checks(self.backend)

    def put(self, backend: Backend) -> None:
        """Add a backend, or replace the one of its name, of which answers that are being written go on."""
        with self._changed:
            self.remove(backend.name)
            known = list(BACKENDS)
            self._names.append(backend.name)
            self._names.sort(key=lambda name: known.index(name) if name in known else len(known))
            self._backends[backend.name] = backend

    def remove(self, name: str) -> None:
        """Forget a backend and the states of its models; a server keeps what it has loaded."""
        with self._changed:
            self._names = [each for each in self._names if each != name]
            self._backends.pop(name, None)
            self._entries = {key: entry for key, entry in self._entries.items() if key[0] != name}
        self.checks.forget(name)

    def backends(self) -> list[Backend]:
        """Return all backends, in the table's order, then those that were added.

        Raises ConfigurationError if the settings of one are invalid.
        """
        return [self.backend(name) for name in self._names]

    def backend(self, name: str) -> Backend:
        """Return a backend. Raises ConfigurationError if there is none of that name, or its settings are invalid."""
        with self._changed:
            if name not in self._names:
                raise ConfigurationError(f"There is no backend {name!r}.", f"Choose one of {', '.join(self._names)}.")
            if name not in self._backends:
                self._backends[name] = backend_class(name)(self._settings)
            return self._backends[name]

    def status(self, backend: str, model: str) -> Status:
        """Return the state of a model; `unloaded` if it is unknown."""
        with self._changed:
            entry = self._entries.get((backend, model))
            return entry.status if entry else UNLOADED

    def known(self, backend: str) -> dict[str, Status]:
        """Return the states of the models of a backend that were loaded, failed or unloaded in this process."""
        with self._changed:
            entries = [entry for (name, _), entry in self._entries.items() if name == backend]
            return {entry.model: entry.status for entry in entries if entry.status != UNLOADED}

    def load(self, backend: str, model: str, *, pull: bool = False) -> Future[None]:
        """Start to load a model, unless it is loading or ready, and return at once; with `pull`, download it first.

        The future is done when the load is, with its translated exception if it failed; the status shows the same.
        """
        entry = self._entry(backend, model)
        with self._changed:
            if entry.status.state is State.READY:
                ready: Future[None] = Future()
                ready.set_result(None)
                return ready
            return self._join(entry, pull).done

    def cancel(self, backend: str, model: str) -> None:
        """Cancel a load, if there is one. Those who wait for it get a BackendUnavailable."""
        entry = self._entry(backend, model)
        with self._changed:
            if load := entry.loading:
                load.cancelled.set()
                entry.status, entry.loading = UNLOADED, None
                load.done.set_exception(BackendUnavailable(f"Loading {model} was cancelled.", "Load it to use it."))
                self._changed.notify_all()

    def unload(self, backend: str, model: str) -> None:
        """Unload a model and wait until it is done. Raises BackendBusy if it is in use, BackendError if that failed."""
        entry = self._entry(backend, model)
        memory = self._memory if entry.backend.capabilities.loads_weights else Lock()
        # A load that holds this lock unloads the resident model itself.
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
        """Unload a model and start to load it again; see `unload` and `load`."""
        self.unload(backend, model)
        return self.load(backend, model)

    @asynccontextmanager
    async def use(self, backend: str, model: str, options: GenerationOptions) -> AsyncIterator[BaseChatModel]:
        """Lease a chat model for the block, loading it if needed. Exceptions leave as AppError, except for bugs."""
        entry = self._entry(backend, model)
        with self._lease(entry) as load, self._translated(entry):
            if load:
                await asyncio.wrap_future(load.done)
            loaded = entry.status.loaded
            if loaded and loaded.context_window:
                # Servers reject a prompt that leaves no room for the answer.
                limit = max(1, loaded.context_window // 4)
                options = options.replace(max_new_tokens=min(options.max_new_tokens, limit))
            # Imports the provider's package, which can take seconds.
            yield await asyncio.to_thread(entry.backend.chat_model, model, options)

    def likelihood(self, backend: str, model: str, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Lease a model, loading it if needed, for `Backend.likelihood`; raises like `use`. Blocks until it is done."""
        entry = self._entry(backend, model)
        with self._lease(entry) as load, self._translated(entry):
            if load:
                load.done.result()
            return entry.backend.likelihood(model, question, texts)

    def close(self) -> None:
        """Unload all models in this process, stopping their answers. For the end of the process."""
        with self._changed:
            residents = [entry for entry in self._entries.values() if entry.resident]
            for entry in residents:
                entry.status = UNLOADED
        for entry in residents:
            entry.backend.unload(entry.model)

    def _entry(self, backend: str, model: str) -> ModelEntry:
        with self._changed:
            return self._entries.setdefault((backend, model), ModelEntry(self.backend(backend), model))

    def _join(self, entry: ModelEntry, pull: bool = False) -> Load:
        """Return the current load, else start one. The caller holds the lock."""
        if entry.loading is None:
            load = entry.loading = Load(pull)
            # Marked as running, so that a cancelled waiter does not cancel it for the others.
            load.done.set_running_or_notify_cancel()
            entry.status = Status(State.LOADING, Progress("Starting"))
            Thread(target=self._load, args=(entry, load), name=f"load {entry.model}", daemon=True).start()
        return entry.loading

    @contextmanager
    def _lease(self, entry: ModelEntry) -> Iterator[Load | None]:
        """Hold a lease, or register as a waiter of the load that will grant one."""
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
    def _translated(self, entry: ModelEntry) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            translated = entry.translate(error)
            if isinstance(translated, NOT_READY_ERRORS) and not entry.backend.capabilities.loads_weights:
                # The next use checks the server again.
                with self._changed:
                    if entry.loading is None:
                        entry.status = Status(State.ERROR, error=translated)
            if translated is None or translated is error:
                raise
            raise translated from error

    def _load(self, entry: ModelEntry, load: Load) -> None:
        """Run in its own thread; always completes `load.done`."""
        report = partial(self._report, entry, load)
        try:
            if entry.backend.capabilities.loads_weights:
                self._load_weights(entry, load, report)
            else:
                self._load_one(entry, load, report)
        except BaseException as error:  # noqa: BLE001 - passed to the waiters
            failure, shown = entry.load_failure(error)
            with self._changed:
                if entry.loading is load:
                    entry.status, entry.loading = Status(State.ERROR, error=shown), None
                    load.done.set_exception(failure)

    def _load_weights(self, entry: ModelEntry, load: Load, report: Report) -> None:
        if self._memory.locked():
            report(Progress("Waiting for another model to be loaded"))
        while not self._memory.acquire(timeout=0.1):
            load.check()
        try:
            with self._changed:
                others = [other for other in self._entries.values() if other.resident]
            for other in others:
                self._evict(other, report, load)
            self._load_one(entry, load, report)
        finally:
            self._memory.release()

    def _load_one(self, entry: ModelEntry, load: Load, report: Report) -> None:
        if load.pull:
            entry.backend.pull(entry.model, report)
        loaded = entry.backend.load(entry.model, report)
        with self._changed:
            current = entry.loading is load
            if current:
                entry.status, entry.loading = Status(State.READY, loaded=loaded), None
                entry.resident = entry.backend.capabilities.loads_weights
                entry.leases, load.leased = load.waiters, True
                load.done.set_result(None)
            # Cancelled too late to notice: unload it, unless it was requested again meanwhile.
            abandoned = not current and not entry.loading and entry.status.state is not State.READY
        if abandoned:
            entry.backend.unload(entry.model)

    def _report(self, entry: ModelEntry, load: Load, progress: Progress) -> None:
        load.check()
        with self._changed:
            if entry.loading is load:
                entry.status = Status(State.LOADING, progress)

    def _evict(self, other: ModelEntry, report: Report, load: Load) -> None:
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

    def _unload(self, entry: ModelEntry) -> None:
        with self._translated(entry):
            released = entry.backend.unload(entry.model)
        with self._changed:
            entry.resident = False
            if entry.loading is None:
                entry.status = Status(State.UNLOADED, released=released)
