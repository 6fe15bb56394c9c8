"""Two searches -> one order.

The score of a chunk is `w * z(BM25 + 0.2 * phrases) + z(cosine)`: z is the z-score over all candidates (of all
collections that are searched), phrases is BM25 over pairs of neighbouring words, and the gate
`w = min(1, coverage / 0.4) ** 2` lets words count as far as the best chunk covers the words of the question. Reciprocal
ranks (Cormack et al. 2009, k = 60) are there to be compared with. `bench/evaluate.py` measures both.

The module knows nothing of where the candidates come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from options import Fusion, RetrievalOptions
from rag.index.abstention import Signals

if TYPE_CHECKING:
    import numpy as np

PHRASES = 0.2
"""Weight of the pairs: .33 gives SQuAD .002 more R@1 and takes .013 of R@5 from MTRAG-UN with history."""
COVERED = 0.4
RANK_CONSTANT = 60


@dataclass(frozen=True, slots=True)
class Candidates:
    """Chunks in question, by `ChunkRow.id`."""

    words: dict[int, float]
    """BM25 without the phrases."""
    phrases: dict[int, float]
    cosines: dict[int, float]
    """True cosines; where vectors are searched, a chunk that only words found may have none and is not returned."""
    gate: float
    readable: bool
    """The embedding model can read the question."""
    vector: Sequence[float]
    """What was searched; not of unit length where there is history, empty where vectors are not searched."""
    signals: dict[str, Signals]
    """What there is to judge by whether the question is out of scope, of each collection."""
    asked: tuple[str, ...] = ()
    """The question, and the one before it."""

    def lexical(self, options: RetrievalOptions) -> dict[int, float]:
        """Score by words, the phrases with it where they count."""
        # In scripts whose words are pairs of characters already, pairs of pairs cost .016 of XQuAD's R@1 in Chinese.
        if not options.phrases or not self.readable:
            return self.words
        return {row: score + PHRASES * self.phrases.get(row, 0.0) for row, score in self.words.items()}


def gate(coverage: float) -> float:
    """How much words count where the best chunk covers so much of the question, 0 to 1."""
    return min(1.0, coverage / COVERED) ** 2


def fuse(found: Candidates, options: RetrievalOptions) -> dict[int, float]:
    """The fused score of every candidate that may be returned."""
    words = found.lexical(options)
    if not found.cosines:
        return dict(words)
    if options.fusion is Fusion.RANKS:
        return _by_ranks(words, found.cosines)
    return _by_scores(found, words)


def ranks(scores: dict[int, float]) -> dict[int, int]:
    """From each row to its rank, 1 for the highest score."""
    return {row: rank for rank, row in enumerate(sorted(scores, key=scores.__getitem__, reverse=True), 1)}


def _by_ranks(words: dict[int, float], cosines: dict[int, float]) -> dict[int, float]:
    halves = [ranks(words), ranks(cosines)]

    def score(row: int) -> float:
        return sum(1.0 / (RANK_CONSTANT + half[row]) for half in halves if row in half)

    return {row: score(row) for row in cosines.keys() | words.keys()}


def _by_scores(found: Candidates, words: dict[int, float]) -> dict[int, float]:
    """Candidates without a cosine take part in the statistics, with the smallest one found: they are farther."""
    import numpy as np

    rows = list(found.cosines) + [row for row in words if row not in found.cosines]
    floor = min(found.cosines.values())
    cosines = np.array([found.cosines.get(row, floor) for row in rows])
    lexical = np.array([words.get(row, 0.0) for row in rows])
    # Unreadable: the cosines only keep apart what the words do not.
    fused = found.gate * _z(lexical) + (1.0 if found.readable else 1e-6) * _z(cosines)
    return dict(zip(rows[: len(found.cosines)], fused.tolist(), strict=False))


def _z(values: np.ndarray) -> np.ndarray:
    spread = float(values.std())
    standard: np.ndarray = (values - values.mean()) / (spread if spread > 1e-9 else 1.0)
    return standard


def best_first(scores: dict[int, float]) -> list[int]:
    """The rows, best first."""
    return sorted(scores, key=scores.__getitem__, reverse=True)
