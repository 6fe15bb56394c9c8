"""Presets: answer options by name, one of which may be the default for new chats."""

from __future__ import annotations

import builtins
import logging

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert

from errors import ConfigurationError
from options import AnswerOptions
from rag.db import Database, PresetRow
from rag.schema import Preset

log = logging.getLogger(__name__)

LONGEST_NAME = 60


class Presets:
    """An owner's presets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, owner: str) -> list[Preset]:
        """All presets, by name; those that cannot be read are left out."""
        query = select(PresetRow).filter_by(owner=owner)
        with self._database.session() as session:
            rows = session.scalars(query).all()
        found = []
        for row in rows:
            try:
                found.append(Preset(row.name, AnswerOptions.read(row.options), row.is_default))
            except ConfigurationError as error:
                log.warning("The preset %s cannot be read: %s", row.name, error)
        return sorted(found, key=lambda preset: preset.name.casefold())

    def default(self, owner: str) -> Preset | None:
        """The one that new chats start with, if any."""
        return next((preset for preset in self.list(owner) if preset.is_default), None)

    def save(self, owner: str, name: str, options: AnswerOptions) -> None:
        """Save options under a name, replacing its own. Raises ConfigurationError if it is empty or too long."""
        name = " ".join(name.split())
        if not 0 < len(name) <= LONGEST_NAME:
            what = f"The name of a preset has 1 to {LONGEST_NAME} characters."
            raise ConfigurationError(what, "Type a name, or shorten it.")
        values = {"options": options.model_dump(mode="json")}
        statement = insert(PresetRow).values(owner=owner, name=name, **values)
        with self._database.session() as session:
            session.execute(statement.on_conflict_do_update(index_elements=["owner", "name"], set_=values))

    def make_default(self, owner: str, name: str | None) -> None:
        """Start new chats with this one, or with none."""
        with self._database.session() as session:
            session.execute(update(PresetRow).filter_by(owner=owner).values(is_default=PresetRow.name == (name or "")))

    def delete(self, owner: str, names: builtins.list[str]) -> None:
        """Remove presets; chats that started with them keep their options."""
        with self._database.session() as session:
            session.execute(delete(PresetRow).where(PresetRow.owner == owner, PresetRow.name.in_(names)))
