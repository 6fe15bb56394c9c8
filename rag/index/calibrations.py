"""Stores the calibrations of all collections, one for each index."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from rag.db import CalibrationRow, ChunkRow, CollectionRow, Database, now
from rag.index.abstention import MULTILINGUAL_PRIOR, PRIOR, Calibration
from rag.index.multilingual_model import MultilingualModel

SAMPLE = 300  # chunks from which a calibration makes its questions
MIN_CHUNKS = 20  # a smaller collection has too little text to calibrate on
MAX_GROWTH = 1.5  # factor by which the number of chunks may grow or shrink before a calibration is outdated
_CALIBRATION = TypeAdapter(Calibration)
_PRIORS = {MultilingualModel.fingerprint: MULTILINGUAL_PRIOR}


class Calibrations:
    """When Gestalt abstains, for each collection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, owner: str, collection_id: str, fingerprint: str) -> Calibration:
        """The calibration of an index; its model's prior if it has none, or one that this version cannot read."""
        with self._database.session() as session:
            return _load(session, owner, collection_id, fingerprint)[0] or _prior(fingerprint)

    def save(self, owner: str, collection_id: str, fingerprint: str, calibration: Calibration) -> None:
        """Replace the calibration of an index, but keep its threshold_offset."""
        with self._database.session() as session:
            before, _ = _load(session, owner, collection_id, fingerprint)
            kept = replace(calibration, threshold_offset=(before or _prior(fingerprint)).threshold_offset)
            _write(session, owner, collection_id, fingerprint, kept, _chunks(session, owner, collection_id))

    def set_threshold_offset(self, owner: str, collection_id: str, fingerprint: str, threshold_offset: float) -> None:
        """Let a collection abstain more (above 0) or less (below 0) than its calibration says."""
        with self._database.session() as session:
            before, chunks = _load(session, owner, collection_id, fingerprint)
            changed = replace(before or _prior(fingerprint), threshold_offset=threshold_offset)
            _write(session, owner, collection_id, fingerprint, changed, chunks)

    def all_outdated(self) -> list[tuple[str, str, str]]:
        """Owner, collection and fingerprint of every active index whose calibration is missing or outdated."""
        active = select(CollectionRow.owner, CollectionRow.id, CollectionRow.fingerprint).where(
            CollectionRow.fingerprint != "", CollectionRow.deleting.is_(False)
        )
        with self._database.session() as session:
            found = [(owner, id_, fingerprint) for owner, id_, fingerprint in session.execute(active)]
        return [index for index in found if self.outdated(*index)]

    def outdated(self, owner: str, collection_id: str, fingerprint: str) -> bool:
        """Whether a collection has no calibration, or one from when it was much smaller or larger."""
        with self._database.session() as session:
            chunks = _chunks(session, owner, collection_id)
            _, then = _load(session, owner, collection_id, fingerprint)
        return chunks >= MIN_CHUNKS and not then / MAX_GROWTH <= chunks <= then * MAX_GROWTH

    def sample(self, owner: str, collection_id: str) -> list[str]:
        """The texts of at most SAMPLE random chunks of a collection; deterministic."""
        with self._database.session() as session:
            mine = select(ChunkRow.id).filter_by(owner=owner, collection_id=collection_id).order_by(ChunkRow.id)
            ids = session.scalars(mine).all()
            chosen = ids if len(ids) <= SAMPLE else Random(0).sample(ids, SAMPLE)  # noqa: S311 - no secret
            texts = select(ChunkRow.text).where(ChunkRow.id.in_(chosen)).order_by(ChunkRow.id)
            return list(session.scalars(texts))


def _prior(fingerprint: str) -> Calibration:
    return _PRIORS.get(fingerprint, PRIOR)


def _chunks(session: Session, owner: str, collection_id: str) -> int:
    query = select(func.count()).select_from(ChunkRow).filter_by(owner=owner, collection_id=collection_id)
    return session.scalars(query).one()


def _load(session: Session, owner: str, collection_id: str, fingerprint: str) -> tuple[Calibration | None, int]:
    """A calibration, and the number of chunks it was made for: 0 if there was none, so that it counts as outdated."""
    query = select(CalibrationRow).filter_by(owner=owner, collection_id=collection_id, fingerprint=fingerprint)
    row = session.scalars(query).first()
    try:
        return (_CALIBRATION.validate_python(row.values), row.chunks) if row else (None, 0)
    except ValidationError:
        return None, 0


def _write(
    session: Session, owner: str, collection_id: str, fingerprint: str, calibration: Calibration, chunks: int
) -> None:
    if session.scalar(select(CollectionRow.id).filter_by(owner=owner, id=collection_id)) is None:
        return
    values = {"values": _CALIBRATION.dump_python(calibration, mode="json"), "chunks": chunks, "created": now()}
    key = {"owner": owner, "collection_id": collection_id, "fingerprint": fingerprint}
    statement = insert(CalibrationRow).values(**key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["collection_id", "fingerprint"], set_=values))
