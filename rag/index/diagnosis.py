"""Why was it not found? A text that a person expected, followed through every stage of retrieval.

A stage keeps it or loses it, in a sentence, with the setting that would have kept it; settings are tried, not guessed.
Whether what was found fits the model's window is not known here: who knows the window adds that stage.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import select

from options import Fusion, RetrievalOptions
from rag.db import ChunkRow, Database, DocumentRow, PageRow
from rag.index.fusion import Candidates, ranks
from rag.index.lexical import LexicalIndex
from rag.index.passages import HIDDEN
from rag.index.retriever import HybridRetriever
from rag.schema import Passage, place

LOOKED_THROUGH = 50
"""Chunks, the best by the words of the expected text, on whose pages it is looked for."""
DEEPEST = 50
"""Passages that a person can ask for at most."""
NEARLY = 0.5
"""Share of the words of the expected text from which on a page is named as the nearest."""
TRIALS: dict[str, dict[str, Any]] = {
    "searching by words alone": {"dense": False},
    "searching by vectors alone": {"lexical": False},
    "fusing by ranks": {"fusion": Fusion.RANKS},
    "words at their full weight": {"lexical_gate": False},
    "not minding the names of documents": {"filename_boost": False},
    "joining the neighbours of a found chunk": {"neighbours": 1},
}
"""What is tried where a passage was found too low, as a person reads it."""


class Stage(StrEnum):
    """Where a text can be lost on its way to the model."""

    READ = "Read"
    CUT = "Cut into chunks"
    DENSE = "Search by vectors"
    WORDS = "Search by words"
    FUSION = "Order of both"
    THRESHOLD = "Near enough"
    BUDGET = "Room in the window"


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a stage did with the expected text."""

    stage: Stage
    kept: bool
    said: str
    remedy: str = ""
    """What would have kept it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Where the expected text stands."""

    document_id: str
    page: int | None
    label: str
    start: int
    end: int
    place: str

    def within(self, passage: Passage) -> bool:
        """Whether a passage holds all of it."""
        here = (passage.document_id, passage.page, passage.label) == (self.document_id, self.page, self.label)
        return here and passage.start <= self.start and self.end <= passage.end


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All stages, as far as the text came."""

    findings: tuple[StageReport, ...]
    expected: Expected | None = None
    """None where it was not read."""
    found: Passage | None = None
    """The passage that holds it, where one was found at any rank."""

    @property
    def lost(self) -> StageReport | None:
        """The stage that lost it; None where it reached the model."""
        return next((finding for finding in self.findings if not finding.kept), None)


def diagnose(
    retrievers: Sequence[HybridRetriever], question: str, expected: str, *, k: int, history: Sequence[str] = ()
) -> Diagnosis:
    """Follow `expected`, words as they stand in a document, from its page to the passages for `question`.

    Args:
        retrievers: those that the question is searched by, one for each embedding model.
        question: what was asked.
        expected: a sentence or more; white space, case and punctuation need not be the same.
        k: how many passages are shown to the model.
        history: earlier questions, oldest first.

    Raises:
        StoreError, ConfigurationError: as retrieval does.
    """
    for retriever in retrievers:
        if where := _locate(retriever, expected):
            return _follow(retriever, where, question, k, history)
    return Diagnosis((_not_read(retrievers, expected),))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _pages(retriever: HybridRetriever, expected: str) -> list[tuple[PageRow, str]]:
    """The pages with the words of the expected text, and the names of their documents, the best first."""
    database: Database = retriever.database
    lexical: LexicalIndex = retriever.lexical
    scores: dict[int, float] = {}
    for id_ in retriever.collection_ids:
        scores |= lexical.search(id_, [(expected, 1.0)]).words
    best = sorted(scores, key=scores.__getitem__, reverse=True)[:LOOKED_THROUGH]
    with database.session() as session:
        rows = session.execute(
            select(ChunkRow.id, PageRow, DocumentRow.name)
            .join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
            .join(
                PageRow,
                (PageRow.document_id == ChunkRow.document_id)
                & PageRow.number.is_not_distinct_from(ChunkRow.page)
                & (PageRow.label == ChunkRow.label),
            )
            .where(ChunkRow.id.in_(best), ChunkRow.owner == retriever.owner, DocumentRow.state.not_in(HIDDEN))
        ).all()
    order = {id_: at for at, id_ in enumerate(best)}
    pages: dict[tuple[str, int], tuple[PageRow, str]] = {}
    for _, page, name in sorted(rows, key=lambda row: order[row[0]]):
        pages.setdefault((page.document_id, page.position), (page, name))
    return list(pages.values())


def _locate(retriever: HybridRetriever, expected: str) -> Expected | None:
    words = _words(expected)
    if not words:
        return None
    pattern = re.compile(r"[\W_]+".join(map(re.escape, words)), re.IGNORECASE)
    for page, name in _pages(retriever, expected):
        if match := pattern.search(page.text):
            return Expected(
                page.document_id, page.number, page.label, *match.span(), place(name, page.number, page.label)
            )
    return None


def _not_read(retrievers: Sequence[HybridRetriever], expected: str) -> StageReport:
    """No page holds it; which one comes nearest?"""
    words = set(_words(expected.casefold()))
    nearest, share = "", 0.0
    for retriever in retrievers:
        for page, name in _pages(retriever, expected):
            held = len(words & set(_words(page.text.casefold()))) / (len(words) or 1)
            if held > share:
                nearest, share = place(name, page.number, page.label), held
    said = "No page of the documents that are searched holds this text."
    if share >= NEARLY:
        said += f" The nearest is {nearest}, which has {share:.0%} of its words."
    return StageReport(
        Stage.READ,
        False,
        said,
        "Look at what was read of the document, on the Documents page: a scan needs OCR, a locked file its password; "
        "or the document is in a collection that is not searched.",
    )


def _follow(retriever: HybridRetriever, where: Expected, question: str, k: int, history: Sequence[str]) -> Diagnosis:
    read = StageReport(Stage.READ, True, f"It stands in {where.place}.")
    chunks = _chunks(retriever, where)
    whole = [id_ for id_, start, end in chunks if start <= where.start and where.end <= end]
    found = retriever.candidates(question, history=history)
    if not whole:
        cut = StageReport(
            Stage.CUT,
            False,
            f"It was cut apart: {len(chunks)} chunks hold a part of it each, none holds all of it.",
            _kept_by(retriever, where, question, k, history, {"joining the neighbours of a found chunk"})
            or "Larger chunks, or a larger overlap: GESTALT_CHUNK_TOKENS and GESTALT_CHUNK_OVERLAP, then index again.",
        )
        return Diagnosis((read, cut), where)
    findings = [read, StageReport(Stage.CUT, True, "A chunk holds all of it.")]
    if found is None:
        said = "Nothing is found for this question: it has no words, or the collection is empty."
        return Diagnosis((*findings, StageReport(Stage.WORDS, False, said)), where)
    passages = retriever.passages(found, question, DEEPEST)
    rank = next((rank for rank, passage in enumerate(passages, 1) if where.within(passage)), 0)
    halves = _halves(found, retriever.options, whole, k)
    kept = 0 < rank <= k
    remedy = "" if kept else _remedy(retriever, where, question, k, history, rank)
    # What one search loses the other may keep: only where it is lost in the end was that the stage.
    findings += [half if half.kept else replace(half, kept=kept, remedy=remedy) for half in halves]
    findings.append(StageReport(Stage.FUSION, kept, _ranked(rank, k), remedy))
    if kept:
        findings.append(_threshold(retriever, question, k, history))
    return Diagnosis(tuple(findings), where, passages[rank - 1] if rank else None)


def _chunks(retriever: HybridRetriever, where: Expected) -> list[tuple[int, int, int]]:
    """`(ChunkRow.id, start, end)` of the chunks that hold a part of it."""
    with retriever.database.session() as session:
        rows = session.execute(
            select(ChunkRow.id, ChunkRow.start, ChunkRow.end).where(
                ChunkRow.document_id == where.document_id,
                ChunkRow.page.is_not_distinct_from(where.page),
                ChunkRow.label == where.label,
                ChunkRow.start < where.end,
                ChunkRow.end > where.start,
            )
        ).all()
    return [(row.id, row.start, row.end) for row in rows]


def _halves(found: Candidates, options: RetrievalOptions, whole: Sequence[int], k: int) -> list[StageReport]:
    """Where each of the two searches has the best chunk that holds all of it."""
    findings = []
    for stage, on, scores in (
        (Stage.DENSE, options.dense, found.cosines),
        (Stage.WORDS, options.lexical, found.lexical(options)),
    ):
        ranked = ranks(scores)
        rank = min((ranked[id_] for id_ in whole if id_ in ranked), default=0)
        if not on:
            findings.append(StageReport(stage, True, "This search is switched off."))
        elif rank:
            findings.append(StageReport(stage, rank <= k, f"Rank {rank} of {len(ranked):,}."))
        elif stage is Stage.WORDS:
            findings.append(
                StageReport(stage, False, "No word of the question stands in it, or only words that all have.")
            )
        else:
            findings.append(StageReport(stage, False, f"Not among the {len(ranked):,} nearest."))
    return findings


def _ranked(rank: int, k: int) -> str:
    if not rank:
        return f"It is not among the best {DEEPEST} passages; {k} are shown to the model."
    return f"Rank {rank}; {k} passages are shown to the model."


def _remedy(
    retriever: HybridRetriever, where: Expected, question: str, k: int, history: Sequence[str], rank: int
) -> str:
    tried = _kept_by(retriever, where, question, k, history, set(TRIALS))
    more = f"Showing {rank} passages would have kept it." if rank else ""
    return " ".join(filter(None, [more, tried])) or "Ask with words that stand in the passage."


def _kept_by(
    retriever: HybridRetriever, where: Expected, question: str, k: int, history: Sequence[str], names: set[str]
) -> str:
    """Which of the settings of those names would have kept it."""
    keeping = []
    for name, change in TRIALS.items():
        options = retriever.options.replace(**change)
        if name not in names or options == retriever.options:
            continue
        trial = replace(retriever, options=options)
        found = trial.candidates(question, history=history)
        if found and any(map(where.within, trial.passages(found, question, k))):
            keeping.append(name)
    if not keeping:
        return ""
    return f"It would have been kept by {' or by '.join(keeping)}."


def _threshold(retriever: HybridRetriever, question: str, k: int, history: Sequence[str]) -> StageReport:
    found = retriever.retrieve(question, history=history, k=k)
    if not found.abstained:
        return StageReport(Stage.THRESHOLD, True, "The documents are taken to be about the question.")
    return StageReport(
        Stage.THRESHOLD,
        False,
        f"The question was taken to be about something else: {found.confidence:.0%} likely to be about the documents.",
        "Switch off “Only from the documents” for this question, or let the collection abstain less.",
    )
