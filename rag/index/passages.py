"""Chunks of the database as passages, best first: copies dropped, neighbours joined.

The module knows nothing of how the chunks were found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select, tuple_

from rag.db import ChunkRow, Database, DocumentRow
from rag.schema import DocumentState, Passage, RetrievalOptions

HIDDEN = (DocumentState.DELETING.value, DocumentState.FAILED.value)
ALIKE = 0.8
"""Share of common word triples (Jaccard) from which on two passages say nearly the same."""

_COLUMNS = (
    ChunkRow.id,
    ChunkRow.chunk_id,
    ChunkRow.document_id,
    ChunkRow.page,
    ChunkRow.position,
    ChunkRow.text,
    ChunkRow.start,
    ChunkRow.end,
    ChunkRow.heading,
    ChunkRow.label,
    DocumentRow.name,
)


@dataclass(frozen=True, slots=True)
class PassageReader:
    """An owner's chunks as they are read for one question."""

    database: Database
    owner: str

    def passages(self, best: Sequence[int], k: int, options: RetrievalOptions) -> list[tuple[int, Passage]]:
        """`(ChunkRow.id, passage)` of at most `k` of the rows `best`, in their order, without scores.

        Copies of the same text are given once; `options` say what else is dropped or joined.

        Args:
            best: ids of chunk rows; those of other owners and of documents that go are left out.
            k: how many.
            options: the steps of retrieval.
        """
        picked: list[_Picked] = []
        texts: set[str] = set()
        for row in self._rows(best, 2 * k):
            if row.text in texts or any(_holds(one.passage, row) for one in picked):
                continue
            texts.add(row.text)
            beside = next((one for one in picked if options.merge and one.is_beside(row)), None)
            if beside:
                beside.join(row)
                continue
            if len(picked) == k:
                break
            one = _Picked(row)
            if options.distinct and any(map(one.is_like, picked)):
                continue
            if options.neighbours:
                one.passage = self._joined(one.passage, row.position, options.neighbours)
            picked.append(one)
        return [(one.id, one.passage) for one in picked]

    def names(self, rows: Sequence[int]) -> dict[int, str]:
        """The names of the documents that the rows are from."""
        query = select(ChunkRow.id, DocumentRow.name).join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
        with self.database.session() as session:
            found = session.execute(query.where(ChunkRow.id.in_(rows), ChunkRow.owner == self.owner))
            return {row.id: row.name for row in found}

    def _rows(self, ids: Sequence[int], step: int) -> Iterator[Any]:
        """The owner's chunks in the order of `ids`, read `step` at a time."""
        for first in range(0, len(ids), step):
            wanted = ids[first : first + step]
            with self.database.session() as session:
                rows = session.execute(
                    select(*_COLUMNS)
                    .join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
                    .where(ChunkRow.id.in_(wanted), ChunkRow.owner == self.owner, DocumentRow.state.not_in(HIDDEN))
                ).all()
            by_id = {row.id: row for row in rows}
            yield from (by_id[id_] for id_ in wanted if id_ in by_id)

    def _joined(self, passage: Passage, position: int, neighbours: int) -> Passage:
        """The passage with the chunks beside it on its page."""
        near = [position + step for step in range(-neighbours, neighbours + 1) if step]
        with self.database.session() as session:
            rows = session.execute(
                select(ChunkRow.text, ChunkRow.start, ChunkRow.end)
                .where(
                    ChunkRow.document_id == passage.document_id,
                    tuple_(ChunkRow.page, ChunkRow.label) == (passage.page, passage.label)
                    if passage.page is not None
                    else (ChunkRow.page.is_(None)) & (ChunkRow.label == passage.label),
                    ChunkRow.position.in_(near),
                )
                .order_by(ChunkRow.position)
            ).all()
        before = [row for row in rows if row.start < passage.start]
        for row in [*reversed(before), *(row for row in rows if row.start > passage.start)]:
            passage = _extended(passage, row)
        return passage


class _Picked:
    """A chunk that was picked, and what was joined to it."""

    def __init__(self, row: Any) -> None:
        self.id = row.id
        self.passage = _passage(row)
        self._position, self._single = row.position, True
        self._words: frozenset[tuple[str, ...]] | None = None

    def is_beside(self, row: Any) -> bool:
        """Whether a chunk stands next to this one on its page. Of three in a row the third is a passage of its own."""
        return self._single and _same_page(self.passage, row) and abs(row.position - self._position) == 1

    def join(self, row: Any) -> None:
        """Take a chunk that stands beside it in."""
        self._single = False
        self.passage = _extended(self.passage, row)

    def is_like(self, other: _Picked) -> bool:
        """Whether both say nearly the same."""
        here, there = self.triples(), other.triples()
        return len(here & there) >= ALIKE * len(here | there)

    def triples(self) -> frozenset[tuple[str, ...]]:
        """The triples of neighbouring words of the chunk."""
        if self._words is None:
            words = re.findall(r"\w+", self.passage.text.casefold())
            self._words = frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset([tuple(words)])
        return self._words


def _same_page(passage: Passage, row: Any) -> bool:
    return (passage.document_id, passage.page, passage.label) == (row.document_id, row.page, row.label)


def _extended(passage: Passage, row: Any) -> Passage:
    """The passage with a chunk before or after it."""
    if not passage.chunk_end:
        passage = replace(passage, chunk_start=passage.start, chunk_end=passage.end)
    if row.start < passage.start:
        return replace(passage, text=_stitch(row.text, row.end, passage.text, passage.start), start=row.start)
    return replace(passage, text=_stitch(passage.text, passage.end, row.text, row.start), end=row.end)


def _stitch(first: str, first_end: int, second: str, second_start: int) -> str:
    # Between two chunks there is nothing but white space, and offsets go on counting into the page.
    gap = max(0, second_start - first_end)
    return first + "\n" * gap + second[max(0, first_end - second_start) :]


def _passage(row: Any) -> Passage:
    return Passage(
        chunk_id=row.chunk_id,
        document_id=row.document_id,
        document=row.name,
        page=row.page,
        text=row.text,
        start=row.start,
        end=row.end,
        score=0.0,
        dense=0.0,
        lexical=0.0,
        heading=row.heading,
        label=row.label,
    )


def _holds(passage: Passage, row: Any) -> bool:
    """A passage with its neighbours may hold another chunk that was found."""
    return _same_page(passage, row) and passage.start <= row.start and row.end <= passage.end
