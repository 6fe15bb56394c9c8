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
from rag.schema import DocumentState, Passage

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
class Shelf:
    """An owner's chunks as they are read for one question."""

    database: Database
    owner: str

    def passages(
        self, best: Sequence[int], k: int, *, distinct: bool, neighbours: int
    ) -> Iterator[tuple[int, Passage]]:
        """`(ChunkRow.id, passage)` of at most `k` of the rows `best`, in their order, without scores.

        Args:
            best: ids of chunk rows; those of other owners and of documents that go are left out.
            k: how many.
            distinct: leave out those that say nearly the same as one before; exact copies always are.
            neighbours: chunks of the same page on each side that are joined to each.
        """
        taken: list[Passage] = []
        texts: set[str] = set()
        shingles: list[frozenset[tuple[str, ...]]] = []
        for row in self._rows(best, 2 * k):
            if row.text in texts or any(_holds(passage, row) for passage in taken):
                continue
            if distinct:
                here = _triples(row.text)
                if any(_alike(here, other) for other in shingles):
                    continue
                shingles.append(here)
            texts.add(row.text)
            passage = _passage(row)
            if neighbours:
                passage = self._joined(passage, row.position, neighbours)
            taken.append(passage)
            yield row.id, passage
            if len(taken) == k:
                return

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
        after = [row for row in rows if row.start > passage.start]
        for row in reversed(before):
            passage = replace(passage, text=_stitch(row.text, row.end, passage.text, passage.start), start=row.start)
        for row in after:
            passage = replace(passage, text=_stitch(passage.text, passage.end, row.text, row.start), end=row.end)
        return passage


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
    same_page = (passage.document_id, passage.page, passage.label) == (row.document_id, row.page, row.label)
    return same_page and passage.start <= row.start and row.end <= passage.end


def _triples(text: str) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset([tuple(words)])


def _alike(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> bool:
    return len(one & other) >= ALIKE * len(one | other)
