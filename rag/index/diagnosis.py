"""Explains why an expected text was not retrieved, by following it through every stage of retrieval.

The hints name options that were tried and would have kept it. Whoever knows the model's window adds `Stage.BUDGET`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import select

from options import Fusion, RetrievalOptions
from rag.db import ChunkRow, DocumentRow, PageRow
from rag.index.fusion import Candidates, best_first, ranks
from rag.index.passages import HIDDEN
from rag.index.retriever import HybridRetriever
from rag.schema import Passage, place

SEARCHED_CHUNKS = 50  # best lexical hits for the expected text; it is looked for on their pages
MAX_K = 50  # the most passages that a user can ask for
NEAR_MATCH = 0.5  # share of the expected text's words that a page must have to be named as the nearest
TRIALS: dict[str, dict[str, Any]] = {
    "searching by words only": {"lexical": True, "dense": False},
    "searching by vectors only": {"lexical": False, "dense": True},
    "fusing by ranks": {"fusion": Fusion.RANKS},
    "giving words their full weight": {"lexical_gate": False},
    "ignoring the names of documents": {"filename_boost": False},
    "adding the neighbours of a found chunk": {"neighbours": 1},
}
"""Options to try for a passage that ranks too low, by their description for users."""


class Stage(StrEnum):
    """A step at which a text can be lost on its way to the model."""

    READ = "Read"
    CUT = "Cut into chunks"
    DENSE = "Search by vectors"
    WORDS = "Search by words"
    FUSION = "Order of both"
    THRESHOLD = "Near enough"
    BUDGET = "Room in the window"


@dataclass(frozen=True, slots=True)
class StageReport:
    """Whether a stage kept the expected text."""

    stage: Stage
    kept: bool
    message: str
    hint: str = ""  # what would have kept it


@dataclass(frozen=True, slots=True)
class ExpectedText:
    """Where the expected text is."""

    document_id: str
    page: int | None
    label: str
    start: int
    end: int
    place: str

    def is_in(self, passage: Passage) -> bool:
        """Whether a passage contains all of it."""
        same_page = (passage.document_id, passage.page, passage.label) == (self.document_id, self.page, self.label)
        return same_page and passage.start <= self.start and self.end <= passage.end


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The stages up to the one that lost the text."""

    reports: tuple[StageReport, ...]
    found: Passage | None = None  # the passage that contains it, if one was found at any rank

    @property
    def lost(self) -> StageReport | None:
        """The stage that lost it; None if it reached the model."""
        return next((report for report in self.reports if not report.kept), None)


def diagnose(retrievers: Sequence[HybridRetriever], question: str, expected: str, *, k: int) -> Diagnosis:
    """Follow `expected` from its page to the `k` passages for `question`, with a retriever for each embedding model.

    White space, case and punctuation of `expected` may differ from the document's. Raises like `HybridRetriever`.
    """
    for retriever in retrievers:
        if where := _locate(retriever, expected):
            return _follow(retriever, where, question, k)
    return Diagnosis((_not_read(retrievers, expected),))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _pages(retriever: HybridRetriever, expected: str) -> list[tuple[PageRow, str]]:
    """The pages with words of the expected text, best first, and the names of their documents."""
    scores: dict[int, float] = {}
    for id_ in retriever.collection_ids:
        scores |= retriever.lexical.search(id_, [(expected, 1.0)]).words
    best = best_first(scores)[:SEARCHED_CHUNKS]
    with retriever.database.session() as session:
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
    pages: dict[tuple[str, int], tuple[PageRow, str]] = {}
    for _, page, name in sorted(rows, key=lambda row: best.index(row[0])):
        pages.setdefault((page.document_id, page.position), (page, name))
    return list(pages.values())


def _locate(retriever: HybridRetriever, expected: str) -> ExpectedText | None:
    words = _words(expected)
    pattern = re.compile(r"[\W_]+".join(map(re.escape, words)), re.IGNORECASE)
    for page, name in _pages(retriever, expected) if words else []:
        if match := pattern.search(page.text):
            where = place(name, page.number, page.label)
            return ExpectedText(page.document_id, page.number, page.label, *match.span(), where)
    return None


def _not_read(retrievers: Sequence[HybridRetriever], expected: str) -> StageReport:
    """Report that no page has it, and which page comes nearest."""
    words = set(_words(expected.casefold()))
    nearest, share = "", 0.0
    for retriever in retrievers:
        for page, name in _pages(retriever, expected):
            found = len(words & set(_words(page.text.casefold()))) / (len(words) or 1)
            if found > share:
                nearest, share = place(name, page.number, page.label), found
    message = "No page of the searched documents has this text."
    if share >= NEAR_MATCH:
        message += f" The nearest is {nearest}, with {share:.0%} of its words."
    hint = (
        "Check on the Documents page what was read of the document: a scan needs OCR, a locked file its password. Or "
        "the document is in a collection that was not searched."
    )
    return StageReport(Stage.READ, False, message, hint)


def _follow(retriever: HybridRetriever, where: ExpectedText, question: str, k: int) -> Diagnosis:
    read = StageReport(Stage.READ, True, f"It is in {where.place}.")
    overlapping = select(ChunkRow.id, ChunkRow.start, ChunkRow.end).where(
        ChunkRow.document_id == where.document_id,
        ChunkRow.page.is_not_distinct_from(where.page),
        ChunkRow.label == where.label,
        ChunkRow.start < where.end,
        ChunkRow.end > where.start,
    )
    with retriever.database.session() as session:
        chunks = session.execute(overlapping).all()
    whole = [id_ for id_, start, end in chunks if start <= where.start and where.end <= end]
    found = retriever.candidates(question)
    if not whole:
        cut = StageReport(
            Stage.CUT,
            False,
            f"It was cut apart: {len(chunks)} chunks have a part of it each, none has all of it.",
            _kept_by(retriever, where, question, k, {"adding the neighbours of a found chunk"})
            or "Set larger chunks or a larger overlap (GESTALT_CHUNK_TOKENS, GESTALT_CHUNK_OVERLAP), and index again.",
        )
        return Diagnosis((read, cut))
    reports = [read, StageReport(Stage.CUT, True, "A chunk has all of it.")]
    if found is None:
        message = "Nothing was found for this question: it has no words, or the collection is empty."
        return Diagnosis((*reports, StageReport(Stage.WORDS, False, message)))
    passages = retriever.passages(found, question, MAX_K)
    rank = next((rank for rank, passage in enumerate(passages, 1) if where.is_in(passage)), 0)
    kept, hint = 0 < rank <= k, ""
    if not kept:
        more = f"Showing {rank} passages would have kept it." if rank else ""
        tried = _kept_by(retriever, where, question, k, set(TRIALS))
        hint = f"{more} {tried}".strip() or "Ask with words from the passage."
    halves = _halves(found, retriever.options, whole, k)
    # What one search loses the other may keep, so a search only counts as the loss if the text is lost in the end.
    reports += [half if half.kept else replace(half, kept=kept, hint=hint) for half in halves]
    absent = f"It is not among the best {MAX_K} passages; the model is shown {k}."
    message = f"Rank {rank}; the model is shown {k} passages." if rank else absent
    reports.append(StageReport(Stage.FUSION, kept, message, hint))
    if kept:
        reports.append(_threshold(retriever, question, k))
    return Diagnosis(tuple(reports), passages[rank - 1] if rank else None)


def _halves(found: Candidates, options: RetrievalOptions, whole: Sequence[int], k: int) -> list[StageReport]:
    """The rank that each search gives the best chunk that contains it."""
    reports = []
    for stage, on, scores in (
        (Stage.DENSE, options.dense, found.cosines),
        (Stage.WORDS, options.lexical, found.lexical(options)),
    ):
        ranked = ranks(scores)
        rank = min((ranked[id_] for id_ in whole if id_ in ranked), default=0)
        if not on:
            message = "This search is switched off."
        elif rank:
            message = f"Rank {rank} of {len(ranked):,}."
        elif stage is Stage.WORDS:
            message = "It has no word of the question, or only words that most chunks have."
        else:
            message = f"Not among the {len(ranked):,} nearest."
        reports.append(StageReport(stage, not on or 0 < rank <= k, message))
    return reports


def _kept_by(retriever: HybridRetriever, where: ExpectedText, question: str, k: int, names: set[str]) -> str:
    """A sentence about which of the named options would have kept it; empty if none."""
    keeping = []
    for name, change in TRIALS.items():
        options = retriever.options.replace(**change)
        if name not in names or options == retriever.options:
            continue
        trial = replace(retriever, options=options)
        found = trial.candidates(question)
        if found and any(map(where.is_in, trial.passages(found, question, k))):
            keeping.append(name)
    return f"It would have been kept by {' or by '.join(keeping)}." if keeping else ""


def _threshold(retriever: HybridRetriever, question: str, k: int) -> StageReport:
    found = retriever.retrieve(question, k=k)
    if not found.abstained:
        return StageReport(Stage.THRESHOLD, True, "The documents seem to be about the question.")
    return StageReport(
        Stage.THRESHOLD,
        False,
        f"The question seems to be about something else: {found.confidence:.0%} likely to be about the documents.",
        "Switch off “Only from the documents” for this question, or lower the collection's threshold.",
    )
