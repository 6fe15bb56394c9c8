"""The servers of models: those that users set up on the page, over those of the environment."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from langchain_core.messages import HumanMessage
from sqlalchemy import delete, select, update

from backends import BACKENDS, KINDS, backend_class
from backends.manager import ModelManager
from backends.server import ServerBackend, StoredServer
from backends.translate import translate
from errors import AppError, BackendError, ConfigurationError
from options import GenerationOptions
from rag.db import Database, ServerRow
from rag.schema import LOCAL_OWNER
from services.keys import Keys
from settings import Settings

log = logging.getLogger(__name__)

LONGEST_NAME = 60
OWNER = LOCAL_OWNER
"""All servers are of the installation."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a test of a server found."""

    seconds: float = 0.0
    """Until it answered that it is there."""
    models: Sequence[str] = ()
    asked: str = ""
    """The model that was asked for a word; empty if there is none to ask."""
    answer_s: float = 0.0
    error: AppError | None = None


class Servers:
    """Sets up servers, and keeps the manager's backends as they are set up."""

    def __init__(self, settings: Settings, database: Database, keys: Keys, manager: ModelManager) -> None:
        self._settings, self._database, self._keys, self._manager = settings, database, keys, manager

    def open(self) -> None:
        """Set up what is stored."""
        for stored in self.list():
            try:
                self._apply(stored)
            except ConfigurationError as error:
                log.warning("The server %s cannot be set up: %s", stored.label, error)

    def list(self) -> list[StoredServer]:
        """What is stored, in the order of its names."""
        with self._database.session() as session:
            rows = session.scalars(select(ServerRow).filter_by(owner=OWNER)).all()
        found = [self._stored(row) for row in rows]
        return sorted(found, key=lambda stored: stored.label.casefold())

    def get(self, name: str) -> StoredServer | None:
        """What is stored for a backend."""
        return next((stored for stored in self.list() if stored.name == name), None)

    def fields(self, kind: str) -> Mapping[str, Any]:
        """The settings of a kind of server, with their defaults."""
        return {name: info.default for name, info in _server_class(kind).settings_class.model_fields.items()}

    def from_environment(self, name: str) -> Mapping[str, Any]:
        """The settings of a backend that the environment names, and that cannot be changed here."""
        server = _server_class(name) if name in BACKENDS else None
        return server.from_environment() if server else {}

    def current(self, name: str) -> StoredServer:
        """A server as it is set up now, to be changed. Raises ConfigurationError if there is none of that name."""
        backend = self._manager.backend(name)
        if stored := self.get(name):
            return stored
        if not isinstance(backend, ServerBackend):
            raise ConfigurationError(f"{backend.label} is no server.", "Choose one.")
        return StoredServer(name, name, backend.label, {"base_url": backend.server.base_url})

    def save(self, stored: StoredServer) -> StoredServer:
        """Store a server and use it from now on; a new one has no name yet.

        Raises ConfigurationError if it cannot be used, or its label is empty, too long or taken.
        """
        stored = replace(stored, label=" ".join(stored.label.split()))
        if not 0 < len(stored.label) <= LONGEST_NAME:
            raise ConfigurationError(f"A name has 1 to {LONGEST_NAME} characters.", "Type one, or shorten it.")
        others = [other for other in self._manager.backends() if other.name != stored.name]
        if stored.label.casefold() in {other.label.casefold() for other in others}:
            raise ConfigurationError(f"There is a server called {stored.label}.", "Choose another name.")
        stored = replace(stored, name=stored.name or self._new_name(stored.label))
        self._make(stored)
        values = dict(stored.values)
        key = values.pop("api_key", None)
        GenerationOptions.read(dict(stored.options))
        row = {"kind": stored.kind, "label": stored.label, "values": values, "disabled": stored.disabled}
        row["options"] = dict(stored.options)
        row["key"] = self._keys.encrypt(key) if key else ""
        with self._database.session() as session:
            session.execute(delete(ServerRow).filter_by(owner=OWNER, id=stored.name))
            session.add(ServerRow(owner=OWNER, id=stored.name, **row))
        self._apply(stored)
        return stored

    def _new_name(self, label: str) -> str:
        """A name to type on the command line: “The big box” is the-big-box."""
        plain = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "server"
        taken = {*KINDS, *(stored.name for stored in self.list())}
        return next(name for n in count(1) if (name := plain if n == 1 else f"{plain}-{n}") not in taken)

    def disable(self, name: str, disabled: bool) -> None:
        """Do not offer a server, or offer it again."""
        if stored := self.get(name):
            with self._database.session() as session:
                session.execute(update(ServerRow).filter_by(owner=OWNER, id=name).values(disabled=disabled))
            self._apply(replace(stored, disabled=disabled))

    def remove(self, name: str) -> None:
        """Forget a server and its key; one of the table is again as the environment says."""
        with self._database.session() as session:
            session.execute(delete(ServerRow).filter_by(owner=OWNER, id=name))
        self._manager.remove(name)
        if name in BACKENDS:
            self._manager.put(_server_class(name)(self._settings))

    def test(self, stored: StoredServer, model: str = "") -> Tried:
        """Whether a server answers, with which models, and how fast one of them gives a word. Blocks for seconds."""
        try:
            backend = self._make(stored)
        except ConfigurationError as error:
            return Tried(error=error)
        tried = Tried()
        try:
            started = time.perf_counter()
            backend.check()
            tried = replace(tried, seconds=time.perf_counter() - started)
            tried = replace(tried, models=[info.name for info in backend.list_models()])
            if asked := model or next(iter(tried.models), ""):
                started = time.perf_counter()
                backend.load(asked, lambda _: None)
                backend.chat_model(asked, GenerationOptions(max_new_tokens=1)).invoke([HumanMessage("Say: yes")])
                tried = replace(tried, asked=asked, answer_s=time.perf_counter() - started)
        except Exception as error:
            shown = translate(error, backend.location, backend.start_hint)
            if shown is None:
                log.exception("The test of a server failed")
                shown = BackendError(f"{backend.label} could not be tested.", "The log has the reason.")
            return replace(tried, error=shown)
        return tried

    def _stored(self, row: ServerRow) -> StoredServer:
        key = self._keys.decrypt(row.key) if row.key else None
        if row.key and key is None:
            log.warning("The key of %s cannot be decrypted: type it again", row.label)
        values = {**row.values, **({"api_key": key} if key else {})}
        return StoredServer(row.id, row.kind, row.label, values, row.options, row.disabled)

    def _make(self, stored: StoredServer) -> ServerBackend:
        return _server_class(stored.kind)(self._settings, stored)

    def _apply(self, stored: StoredServer) -> None:
        if stored.disabled:
            self._manager.remove(stored.name)
        else:
            self._manager.put(self._make(stored))


def _server_class(kind: str) -> type[ServerBackend]:
    found = backend_class(kind)
    if not issubclass(found, ServerBackend):
        raise ConfigurationError(f"{found.label} is no server.", "Choose one.")
    return found
