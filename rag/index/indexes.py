"""Records which indexes a collection has, one for each embedding model, and which one is active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert

from rag.db import CalibrationRow, CollectionRow, Database, IndexRow


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """An index of a collection."""

    collection_id: str
    fingerprint: str
    embedding_model: str  # the value of GESTALT_EMBEDDING_MODEL; empty if unknown
    identity: dict[str, Any]
    active: bool  # used for answers
    wanted: bool  # being built; becomes active when complete


class Indexes:
    """The indexes of all collections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, owner: str, collection_id: str) -> list[IndexRecord]:
        """The indexes of a collection, oldest first."""
        query = (
            select(IndexRow, CollectionRow.fingerprint)
            .join(CollectionRow, CollectionRow.id == IndexRow.collection_id)
            .where(IndexRow.owner == owner, IndexRow.collection_id == collection_id)
            .order_by(IndexRow.created)
        )
        with self._database.session() as session:
            return [_record(row, active) for row, active in session.execute(query)]

    def active(self, owner: str, collection_id: str) -> IndexRecord | None:
        """The active index; None if nothing is indexed yet."""
        return next((index for index in self.all(owner, collection_id) if index.active), None)

    def add(self, owner: str, collection_id: str, fingerprint: str, model: str, identity: dict[str, Any]) -> None:
        """Record an index under the name of its model; the first one of a collection becomes active. Idempotent."""
        key = {"owner": owner, "collection_id": collection_id, "fingerprint": fingerprint}
        made = insert(IndexRow).values(**key, embedding_model=model, identity=identity)
        first = update(CollectionRow).filter_by(owner=owner, id=collection_id, fingerprint="")
        with self._database.session() as session:
            same = ["collection_id", "fingerprint"]
            session.execute(made.on_conflict_do_update(index_elements=same, set_={"embedding_model": model}))
            session.execute(first.values(fingerprint=fingerprint))

    def want(self, owner: str, collection_id: str, fingerprint: str) -> None:
        """Mark an index to be built, instead of any other of its collection."""
        with self._database.session() as session:
            mine = update(IndexRow).filter_by(owner=owner, collection_id=collection_id)
            session.execute(mine.values(wanted=IndexRow.fingerprint == fingerprint))

    def wanted(self) -> list[tuple[str, IndexRecord]]:
        """`(owner, index)` of all indexes that are being built, oldest first."""
        query = select(IndexRow).filter_by(wanted=True).order_by(IndexRow.created)
        with self._database.session() as session:
            return [(row.owner, _record(row, "")) for row in session.scalars(query)]

    def activate(self, owner: str, collection_id: str, fingerprint: str) -> None:
        """Make a complete index the active one."""
        collection = update(CollectionRow).filter_by(owner=owner, id=collection_id)
        with self._database.session() as session:
            session.execute(collection.values(fingerprint=fingerprint))
            session.execute(update(IndexRow).filter_by(owner=owner, collection_id=collection_id).values(wanted=False))

    def remove(self, owner: str, collection_id: str, fingerprint: str) -> None:
        """Remove the record of an index and its calibration. Idempotent."""
        key = {"owner": owner, "collection_id": collection_id, "fingerprint": fingerprint}
        with self._database.session() as session:
            for table in (CalibrationRow, IndexRow):
                session.execute(delete(table).filter_by(**key))


def _record(row: IndexRow, active: str) -> IndexRecord:
    return IndexRecord(
        row.collection_id, row.fingerprint, row.embedding_model, row.identity, row.fingerprint == active, row.wanted
    )
