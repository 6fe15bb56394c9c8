"""Fuses lexical and dense search into one ranking.

The score of a chunk is `gate * z(BM25 + 0.2 * phrases) + z(cosine)`: z is the z-score over all candidates of all
searched collections, phrases is BM25 over adjacent word pairs. Reciprocal rank fusion (Cormack et al. 2009, k = 60) is
there for comparison. `bench/evaluate.py` measures both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from options import Fusion, RetrievalOptions
from rag.index.abstention import Signals

if TYPE_CHECKING:
    import numpy as np

PHRASES = 0.2  # .33 adds .002 to R@1 on SQuAD and costs .013 of R@5 on MTRAG-UN with history
COVERED = 0.4
RANK_CONSTANT = 60


@dataclass(frozen=True, slots=True)
class Candidates:
    """What both searches found, by `ChunkRow.id`."""

    words: dict[int, float]  # BM25 without the phrases
    phrases: dict[int, float]
    cosines: dict[int, float]  # exact; with dense search on, a chunk without one is not returned
    gate: float
    readable: bool  # the embedding model can read the question
    vector: Sequence[float]  # not a unit vector if there is history, empty if dense search is off
    signals: dict[str, Signals]  # of each collection, to decide whether the question is out of scope
    asked: tuple[str, ...] = ()  # the question and the previous one
    codes: dict[int, int] = field(default_factory=dict)  # codes and quoted phrases of the question in each chunk
    numbers: dict[int, int] = field(default_factory=dict)  # its other exact terms
    absent: tuple[str, ...] = ()  # codes and quoted phrases that no chunk has
    has_exact: bool = False  # an exact term was found that puts the question in scope

    def lexical(self, options: RetrievalOptions) -> dict[int, float]:
        """The lexical scores, with phrases if they are on."""
        # In scripts indexed as character pairs, phrases cost .016 of R@1 (XQuAD in Chinese).
        if not options.phrases or not self.readable:
            return self.words
        return {row: score + PHRASES * self.phrases.get(row, 0.0) for row, score in self.words.items()}


def gate(coverage: float) -> float:
    """The weight of the lexical score, 0 to 1, if the best chunk covers this share of the question."""
    return min(1.0, coverage / COVERED) ** 2


def fuse(found: Candidates, options: RetrievalOptions) -> dict[int, float]:
    """The fused score of each candidate."""
    words = found.lexical(options)
    if not found.cosines:
        return dict(words)
    if options.fusion is Fusion.SCORES:
        return _by_scores(found, words)
    halves = [ranks(words), ranks(found.cosines)]
    return {
        row: sum(1.0 / (RANK_CONSTANT + half[row]) for half in halves if row in half)
        for row in found.cosines.keys() | words.keys()
    }


def ranks(scores: dict[int, float]) -> dict[int, int]:
    """The rank of each row, 1 for the highest score."""
    return {row: rank for rank, row in enumerate(best_first(scores), 1)}


def _by_scores(found: Candidates, words: dict[int, float]) -> dict[int, float]:
    """Candidates without a cosine count in the statistics with the smallest one, since they are farther away."""
    import numpy as np

    rows = list(found.cosines) + [row for row in words if row not in found.cosines]
    floor = min(found.cosines.values())
    cosines = np.array([found.cosines.get(row, floor) for row in rows])
    lexical = np.array([words.get(row, 0.0) for row in rows])
    # If unreadable, the cosines only break ties.
    fused = found.gate * _z(lexical) + (1.0 if found.readable else 1e-6) * _z(cosines)
    return dict(zip(rows[: len(found.cosines)], fused.tolist(), strict=False))


def _z(values: np.ndarray) -> np.ndarray:
    spread = float(values.std())
    scores: np.ndarray = (values - values.mean()) / (spread if spread > 1e-9 else 1.0)
    return scores


def best_first(scores: dict[int, float]) -> list[int]:
    """The rows, best first."""
    return sorted(scores, key=scores.__getitem__, reverse=True)
