"""The calibrations of all collections, one for each of their indexes: the books of `CalibrationRow`.

Knows nothing of how one is made (`abstention.py`), nor when.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from rag.db import CalibrationRow, ChunkRow, CollectionRow, Database, now
from rag.index.abstention import PRIOR, Calibration

SAMPLE = 300
"""Chunks that a calibration makes its questions of."""
SMALLEST = 20
"""Chunks of a collection that is worth measuring; a smaller one has too little text for questions of its own."""
GROWN = 1.5
"""Factor in the number of chunks, up or down, from which on a calibration is out of date."""


class Calibrations:
    """When Gestalt abstains, over each collection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, owner: str, collection_id: str, fingerprint: str) -> Calibration:
        """That of an index; `PRIOR` where it has none yet, or one of another version."""
        with self._database.session() as session:
            return _read(_row(session, owner, collection_id, fingerprint)) or PRIOR

    def save(self, owner: str, collection_id: str, fingerprint: str, calibration: Calibration) -> None:
        """Put a calibration in the place of the one before, whose threshold_offset is kept."""
        with self._database.session() as session:
            before = _read(_row(session, owner, collection_id, fingerprint)) or PRIOR
            kept = replace(calibration, threshold_offset=before.threshold_offset)
            _write(session, owner, collection_id, fingerprint, kept, _chunks(session, owner, collection_id))

    def set_threshold_offset(self, owner: str, collection_id: str, fingerprint: str, threshold_offset: float) -> None:
        """Let a collection abstain more (above 0) or less (below 0) than its calibration says."""
        with self._database.session() as session:
            row = _row(session, owner, collection_id, fingerprint)
            changed = replace(_read(row) or PRIOR, threshold_offset=threshold_offset)
            # One that was never calibrated has none of its chunks in it, so that it still is out of date.
            _write(session, owner, collection_id, fingerprint, changed, row.chunks if row else 0)

    def all_stale(self) -> list[tuple[str, str, str]]:
        """Owner, collection and fingerprint of every index that answers and has no calibration that is up to date."""
        answering = select(CollectionRow.owner, CollectionRow.id, CollectionRow.fingerprint).where(
            CollectionRow.fingerprint != "", CollectionRow.deleting.is_(False)
        )
        with self._database.session() as session:
            found = session.execute(answering).all()
        return [(owner, id_, fingerprint) for owner, id_, fingerprint in found if self.stale(owner, id_, fingerprint)]

    def stale(self, owner: str, collection_id: str, fingerprint: str) -> bool:
        """Whether a collection of some size has no calibration, or one of when it was much smaller or larger."""
        with self._database.session() as session:
            chunks = _chunks(session, owner, collection_id)
            row = _row(session, owner, collection_id, fingerprint)
            if chunks < SMALLEST:
                return False
            if row is None or not row.chunks or _read(row) is None:
                return True
            return not row.chunks / GROWN <= chunks <= row.chunks * GROWN

    def sample(self, owner: str, collection_id: str) -> list[str]:
        """The texts of at most SAMPLE chunks of a collection, at random but the same ones each time."""
        with self._database.session() as session:
            mine = select(ChunkRow.id).filter_by(owner=owner, collection_id=collection_id).order_by(ChunkRow.id)
            ids = session.scalars(mine).all()
            chosen = ids if len(ids) <= SAMPLE else Random(0).sample(ids, SAMPLE)  # noqa: S311 - no secret
            texts = select(ChunkRow.text).where(ChunkRow.id.in_(chosen)).order_by(ChunkRow.id)
            return list(session.scalars(texts))

    def forget(self, owner: str, collection_id: str, fingerprint: str | None = None) -> None:
        """Strike the calibration of an index off the books, or of all indexes of a collection. Repeatable."""
        mine = delete(CalibrationRow).filter_by(owner=owner, collection_id=collection_id)
        with self._database.session() as session:
            session.execute(mine if fingerprint is None else mine.filter_by(fingerprint=fingerprint))


def _chunks(session: Session, owner: str, collection_id: str) -> int:
    query = select(func.count()).select_from(ChunkRow).filter_by(owner=owner, collection_id=collection_id)
    return session.scalars(query).one()


def _row(session: Session, owner: str, collection_id: str, fingerprint: str) -> CalibrationRow | None:
    query = select(CalibrationRow).filter_by(owner=owner, collection_id=collection_id, fingerprint=fingerprint)
    return session.scalars(query).first()


def _read(row: CalibrationRow | None) -> Calibration | None:
    try:
        return Calibration.from_json(row.values) if row else None
    except (KeyError, TypeError):
        return None


def _write(
    session: Session, owner: str, collection_id: str, fingerprint: str, calibration: Calibration, chunks: int
) -> None:
    values = {"values": calibration.to_json(), "chunks": chunks, "created": now()}
    key = {"owner": owner, "collection_id": collection_id, "fingerprint": fingerprint}
    statement = insert(CalibrationRow).values(**key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["collection_id", "fingerprint"], set_=values))
