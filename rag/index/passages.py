"""Makes passages of chunks: removes duplicates, merges neighbours, converts to and from LangChain documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from langchain_core.documents import Document
from sqlalchemy import select

from options import RetrievalOptions
from rag.db import ChunkRow, Database, DocumentRow
from rag.schema import DocumentState, Passage, Retrieval

_METADATA = "chunk_id", "document_id", "document", "page", "start", "end", "score", "dense", "lexical"
HIDDEN = (DocumentState.DELETING.value, DocumentState.FAILED.value)
_FIELDS = "chunk_id", "document_id", "document", "page", "text", "start", "end", "heading", "label"


@dataclass(frozen=True, slots=True)
class PassageReader:
    """Reads an owner's chunks for one question."""

    database: Database
    owner: str

    def passages(self, best: Sequence[int], k: int, options: RetrievalOptions) -> list[tuple[int, Passage]]:
        """`(ChunkRow.id, passage)` of the first `k` rows, best first, without scores and duplicate texts.

        Rows of other owners and of hidden documents are skipped.
        """
        picked: list[_Picked] = []
        texts: set[str] = set()
        for row in self._rows(best, 2 * k):
            if row.text in texts or any(one.contains(row) for one in picked):
                continue
            texts.add(row.text)
            adjacent = next((one for one in picked if options.merge and one.is_adjacent(row)), None)
            if adjacent:
                adjacent.merge(row)
                continue
            if len(picked) == k:
                break
            one = _Picked(row)
            if options.neighbours:
                one.passage = self._with_neighbours(one.passage, row.position, options.neighbours)
            picked.append(one)
        return [(one.id, one.passage) for one in picked]

    def names(self, rows: Sequence[int]) -> dict[int, str]:
        """Row -> name of its document."""
        with self.database.engine.connect() as connection:
            found = connection.exec_driver_sql(
                "SELECT chunks.id, documents.name FROM chunks JOIN documents ON documents.id = document_id "
                "WHERE chunks.id IN (SELECT value FROM json_each(?)) AND chunks.owner = ?",
                (json.dumps(list(rows)), self.owner),
            )
            return {id_: name for id_, name in found}  # noqa: C416 - rows are not pairs to the type checker

    def _rows(self, ids: Sequence[int], step: int) -> Iterator[Any]:
        """The chunks in the order of `ids`, read `step` at a time."""
        for first in range(0, len(ids), step):
            wanted = ids[first : first + step]
            with self.database.session() as session:
                rows = session.execute(
                    select(ChunkRow.__table__, DocumentRow.name.label("document"))
                    .join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
                    .where(ChunkRow.id.in_(wanted), ChunkRow.owner == self.owner, DocumentRow.state.not_in(HIDDEN))
                ).all()
            by_id = {row.id: row for row in rows}
            yield from (by_id[id_] for id_ in wanted if id_ in by_id)

    def _with_neighbours(self, passage: Passage, position: int, neighbours: int) -> Passage:
        """The passage with the chunks next to it on its page."""
        near = (
            select(ChunkRow.text, ChunkRow.start, ChunkRow.end)
            .filter_by(document_id=passage.document_id, page=passage.page, label=passage.label)
            .where(ChunkRow.position.between(position - neighbours, position + neighbours))
            .order_by(ChunkRow.position)
        )
        with self.database.session() as session:
            rows = session.execute(near).all()
        before = [row for row in rows if row.start < passage.start]
        for row in [*reversed(before), *(row for row in rows if row.start > passage.start)]:
            passage = _extended(passage, row)
        return passage


class _Picked:
    """A retrieved chunk, and what was merged into it."""

    def __init__(self, row: Any) -> None:
        self.id = row.id
        self.passage = Passage(**{name: getattr(row, name) for name in _FIELDS})
        self._position, self._single = row.position, True

    def is_adjacent(self, row: Any) -> bool:
        """Whether a chunk is next to this one on its page. Of three in a row, the third is not merged."""
        return self._single and self._same_page(row) and abs(row.position - self._position) == 1

    def contains(self, row: Any) -> bool:
        """Whether it contains another chunk, because neighbours were added."""
        return self._same_page(row) and self.passage.start <= row.start and row.end <= self.passage.end

    def merge(self, row: Any) -> None:
        """Add an adjacent chunk."""
        self._single = False
        self.passage = _extended(self.passage, row)

    def _same_page(self, row: Any) -> bool:
        own = self.passage
        return (own.document_id, own.page, own.label) == (row.document_id, row.page, row.label)


def _extended(passage: Passage, row: Any) -> Passage:
    """The passage with a chunk before or after it."""
    if not passage.chunk_end:
        passage = replace(passage, chunk_start=passage.start, chunk_end=passage.end)
    if row.start < passage.start:
        return replace(passage, text=_stitch(row.text, row.end, passage.text, passage.start), start=row.start)
    return replace(passage, text=_stitch(passage.text, passage.end, row.text, row.start), end=row.end)


def _stitch(first: str, first_end: int, second: str, second_start: int) -> str:
    # Only white space lies between two chunks; its length keeps the offsets right.
    gap = max(0, second_start - first_end)
    return first + "\n" * gap + second[max(0, first_end - second_start) :]


class Hits(list[Document]):
    """The result of the library's own retriever: LangChain documents, plus the full `Retrieval`."""

    def __init__(self, retrieval: Retrieval) -> None:
        self.retrieval = retrieval
        for passage in retrieval.passages:
            metadata = {name: getattr(passage, name) for name in _METADATA}
            self.append(Document(id=passage.chunk_id, page_content=passage.text, metadata=metadata))


def matches(passages: Sequence[Passage]) -> list[float]:
    """How well each passage matches its question compared with the best of them, 0 to 1: scores for people.

    The order of passages is by the same scores, those of a reranker if there is one.
    """
    scores = [passage.final_score for passage in passages]
    best = max(scores, default=0.0)
    return [max(0.0, score / best) if best > 0 else float(score == best) for score in scores]


def retrieval_of(found: Sequence[Document]) -> Retrieval:
    """The result of any LangChain retriever as a `Retrieval`; another one than the library's abstains if it is empty.

    Reads `source` (or `document`), `page` and `score` from the metadata.
    """
    if isinstance(found, Hits):
        return found.retrieval
    passages = tuple(_external_passage(rank, document) for rank, document in enumerate(found, 1))
    return Retrieval(passages, abstained=not passages, confidence=1.0 if passages else 0.0, seconds=0.0)


def best_first(passages: Iterable[Passage]) -> list[Passage]:
    """The passages by their final scores, those with codes of the question before the others."""
    return sorted(passages, key=lambda passage: (passage.codes, passage.final_score), reverse=True)


def merged(found: Sequence[Retrieval]) -> Retrieval:
    """Several results as one, best passages first; of none an abstention."""
    return Retrieval(
        tuple(best_first(passage for each in found for passage in each.passages)),
        abstained=all(each.abstained for each in found),
        confidence=max((each.confidence for each in found), default=0.0),
        seconds=sum(each.seconds for each in found),
        absent=tuple(term for term in found[0].absent if all(term in each.absent for each in found)) if found else (),
    )


def _external_passage(rank: int, document: Document) -> Passage:
    known, text = document.metadata, document.page_content
    name = str(known.get("document") or known.get("source") or "a document")
    page = known.get("page")
    return Passage(
        chunk_id=document.id or f"{name}:{rank}",
        document_id=str(known.get("document_id", name)),
        document=PurePath(name).name,
        page=page if isinstance(page, int) else None,
        text=text,
        start=int(known.get("start", 0)),
        end=int(known.get("end", len(text))),
        score=float(known.get("score", 1 / rank)),
    )
