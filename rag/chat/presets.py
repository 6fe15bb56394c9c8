"""Settings of a chat by name: instructions, model, collections and how answers are made. One may be the default.

What the values are is the affair of the page that keeps them.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert

from errors import ConfigurationError
from rag.db import Database, PresetRow
from rag.schema import Preset

LONGEST_NAME = 60


class Presets:
    """An owner's presets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, owner: str) -> list[Preset]:
        """All of them, by name."""
        query = select(PresetRow).filter_by(owner=owner)
        with self._database.session() as session:
            found = [Preset(row.name, row.options, row.is_default) for row in session.scalars(query)]
        return sorted(found, key=lambda preset: preset.name.casefold())

    def default(self, owner: str) -> Preset | None:
        """The one that new chats begin with, if there is one."""
        return next((preset for preset in self.list(owner) if preset.is_default), None)

    def save(self, owner: str, name: str, values: Mapping[str, Any]) -> None:
        """Keep `values` under a name, over those that it had.

        Raises:
            ConfigurationError: the name is empty or too long.
        """
        name = " ".join(name.split())
        if not 0 < len(name) <= LONGEST_NAME:
            raise ConfigurationError(
                f"The name of a preset has 1 to {LONGEST_NAME} characters.", "Type a name, or shorten it."
            )
        statement = insert(PresetRow).values(owner=owner, name=name, options=dict(values))
        with self._database.session() as session:
            session.execute(
                statement.on_conflict_do_update(index_elements=["owner", "name"], set_={"options": dict(values)})
            )

    def make_default(self, owner: str, name: str | None) -> None:
        """Let new chats begin with this one; with none, where no name is given."""
        with self._database.session() as session:
            session.execute(update(PresetRow).filter_by(owner=owner).values(is_default=PresetRow.name == (name or "")))

    def delete(self, owner: str, names: builtins.list[str]) -> None:
        """Remove presets. Conversations that were begun with them keep their settings."""
        with self._database.session() as session:
            session.execute(delete(PresetRow).where(PresetRow.owner == owner, PresetRow.name.in_(names)))
