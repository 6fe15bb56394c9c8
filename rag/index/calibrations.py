"""Stores the calibrations of all collections, one for each index."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from rag.db import CalibrationRow, ChunkRow, CollectionRow, Database, now
from rag.index.abstention import PRIOR, Calibration

SAMPLE = 300
"""Chunks from which a calibration makes its questions."""
MIN_CHUNKS = 20
"""A smaller collection has too little text to calibrate on."""
MAX_GROWTH = 1.5
"""Factor by which the number of chunks may grow or shrink before a calibration is outdated."""
_CALIBRATION = TypeAdapter(Calibration)


class Calibrations:
    """When Gestalt abstains, for each collection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, owner: str, collection_id: str, fingerprint: str) -> Calibration:
        """The calibration of an index; `PRIOR` if it has none, or one that this version cannot read."""
        with self._database.session() as session:
            return _read(_row(session, owner, collection_id, fingerprint)) or PRIOR

    def save(self, owner: str, collection_id: str, fingerprint: str, calibration: Calibration) -> None:
        """Replace the calibration of an index, but keep its threshold_offset."""
        with self._database.session() as session:
            before = _read(_row(session, owner, collection_id, fingerprint)) or PRIOR
            kept = replace(calibration, threshold_offset=before.threshold_offset)
            _write(session, owner, collection_id, fingerprint, kept, _chunks(session, owner, collection_id))

    def set_threshold_offset(self, owner: str, collection_id: str, fingerprint: str, threshold_offset: float) -> None:
        """Let a collection abstain more (above 0) or less (below 0) than its calibration says."""
        with self._database.session() as session:
            row = _row(session, owner, collection_id, fingerprint)
            changed = replace(_read(row) or PRIOR, threshold_offset=threshold_offset)
            # 0 chunks: a collection that was never calibrated stays outdated.
            _write(session, owner, collection_id, fingerprint, changed, row.chunks if row else 0)

    def all_outdated(self) -> list[tuple[str, str, str]]:
        """Owner, collection and fingerprint of every active index whose calibration is missing or outdated."""
        active = select(CollectionRow.owner, CollectionRow.id, CollectionRow.fingerprint).where(
            CollectionRow.fingerprint != "", CollectionRow.deleting.is_(False)
        )
        with self._database.session() as session:
            found = session.execute(active).all()
        return [
            (owner, id_, fingerprint) for owner, id_, fingerprint in found if self.outdated(owner, id_, fingerprint)
        ]

    def outdated(self, owner: str, collection_id: str, fingerprint: str) -> bool:
        """Whether a collection has no calibration, or one from when it was much smaller or larger."""
        with self._database.session() as session:
            chunks = _chunks(session, owner, collection_id)
            row = _row(session, owner, collection_id, fingerprint)
            if chunks < MIN_CHUNKS:
                return False
            if row is None or not row.chunks or _read(row) is None:
                return True
            return not row.chunks / MAX_GROWTH <= chunks <= row.chunks * MAX_GROWTH

    def sample(self, owner: str, collection_id: str) -> list[str]:
        """The texts of at most SAMPLE random chunks of a collection; deterministic."""
        with self._database.session() as session:
            mine = select(ChunkRow.id).filter_by(owner=owner, collection_id=collection_id).order_by(ChunkRow.id)
            ids = session.scalars(mine).all()
            chosen = ids if len(ids) <= SAMPLE else Random(0).sample(ids, SAMPLE)  # noqa: S311 - no secret
            texts = select(ChunkRow.text).where(ChunkRow.id.in_(chosen)).order_by(ChunkRow.id)
            return list(session.scalars(texts))


def _chunks(session: Session, owner: str, collection_id: str) -> int:
    query = select(func.count()).select_from(ChunkRow).filter_by(owner=owner, collection_id=collection_id)
    return session.scalars(query).one()


def _row(session: Session, owner: str, collection_id: str, fingerprint: str) -> CalibrationRow | None:
    query = select(CalibrationRow).filter_by(owner=owner, collection_id=collection_id, fingerprint=fingerprint)
    return session.scalars(query).first()


def _read(row: CalibrationRow | None) -> Calibration | None:
    try:
        return _CALIBRATION.validate_python(row.values) if row else None
    except ValidationError:
        return None


def _write(
    session: Session, owner: str, collection_id: str, fingerprint: str, calibration: Calibration, chunks: int
) -> None:
    if session.scalar(select(CollectionRow.id).filter_by(owner=owner, id=collection_id)) is None:
        return
    values = {"values": _CALIBRATION.dump_python(calibration, mode="json"), "chunks": chunks, "created": now()}
    key = {"owner": owner, "collection_id": collection_id, "fingerprint": fingerprint}
    statement = insert(CalibrationRow).values(**key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["collection_id", "fingerprint"], set_=values))
