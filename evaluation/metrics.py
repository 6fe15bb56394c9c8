"""The arithmetic of an evaluation: figures with 95 % intervals, and paired differences of two runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CUTS = (1, 3, 5, 10)
"""The k of hit@k; the last is also that of nDCG."""
RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST = 6
"""Questions on which two runs must differ before a difference counts. A paired test flips signs: with five questions
the most extreme pattern still occurs by chance once in 16 times (`2 / 2**5`), with six once in 32."""
_BATCH_CELLS = 100_000
"""Resampled values held at a time: memory does not grow with the number of questions."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """Number of questions measured."""


Figures = Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher the second run is than the first, over the questions that both measured."""

    value: float
    low: float
    high: float
    n: int
    differing: int
    """Questions on which the two differ."""

    @property
    def shown(self) -> bool:
        """Whether there are enough questions to show a difference."""
        return self.differing >= FEWEST and not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Column:
    """A value for each question: shape (questions,)."""

    values: Values
    weights: Values
    """0 if the question has no such value."""
    quantile: float | None = None
    """Summarise by this quantile, 0 to 1; None for the weighted mean of shares."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Which questions count, shape (questions,)."""
        return self.weights > 0

    def where(self, mask: NDArray[np.bool_]) -> Column:
        """The questions selected by a mask."""
        return Column(self.values[mask], self.weights[mask], self.quantile)

    def summarise(self, rows: NDArray[np.intp]) -> Values:
        """The figure of each resample, given as row numbers: shape (..., questions) -> (...)."""
        if self.quantile is not None:
            return np.quantile(self.values[rows], self.quantile, axis=-1, method="inverted_cdf")
        return np.asarray((self.values * self.weights)[rows].sum(-1) / self.weights[rows].sum(-1))


def column(values: Sequence[float | bool | None], quantile: float | None = None) -> Column:
    """A column of equal weights; None where a question has no such value."""
    counts = np.array([value is not None for value in values], dtype=np.float64)
    return Column(np.array([float(value or 0) for value in values]), counts, quantile)


def share_column(parts: Sequence[tuple[int, int]]) -> Column:
    """A column of `(count, total)` whose figure is the share over all questions together."""
    pairs = np.array(parts, dtype=np.float64).reshape(-1, 2)
    return Column(pairs[:, 0] / np.maximum(pairs[:, 1], 1), pairs[:, 1])


def rank_columns(relevance: Sequence[Sequence[bool]], totals: Sequence[int] | None = None) -> dict[str, Column]:
    """hit@k, MRR and nDCG@10 of each question from the relevance of each passage, best first; rows may be uneven.

    `totals` are the relevant passages that exist; by default those that were found, so that nDCG judges only their
    order. MRR goes as deep as the rows (Voorhees 1999); nDCG (Järvelin & Kekäläinen 2002) has binary gains and the
    discount `1 / log2(1 + rank)` of Burges et al. (2005).
    """
    width = max((len(row) for row in relevance), default=0)
    hits = np.zeros((len(relevance), max(width, CUTS[-1])), dtype=bool)
    for row, found in zip(hits, relevance, strict=True):
        row[: len(found)] = found
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    discounts = 1 / np.log2(np.arange(CUTS[-1]) + 2)
    known = np.asarray(hits.sum(axis=1) if totals is None else totals, dtype=np.intp)
    best = np.concatenate([[1.0], np.cumsum(discounts)])[np.minimum(known, CUTS[-1])]
    values: dict[str, NDArray[Any]] = {f"hit@{k}": first <= k for k in CUTS}
    values |= {"mrr": 1 / first, f"ndcg@{CUTS[-1]}": hits[:, : CUTS[-1]] @ discounts / best}
    return {name: Column(value.astype(np.float64), np.ones(len(value))) for name, value in values.items()}


def latency_columns(seconds: Sequence[float]) -> dict[str, Column]:
    """Median and 95th percentile in milliseconds."""
    return {f"p{percent}_ms": column([1000 * s for s in seconds], percent / 100) for percent in (50, 95)}


def figures(columns: Mapping[str, Column]) -> Figures:
    """The figures of all columns in which at least one question counts."""
    found = {name: figure(each) for name, each in columns.items()}
    return {name: each for name, each in found.items() if each is not None}


def figure(column: Column) -> Figure | None:
    """Summarise a column, with a bootstrap interval; None if no question counts."""
    column = column.where(column.counts)
    n = len(column)
    if not n:
        return None
    value, low, high = _bootstrap(column.summarise, n)
    # Resampling equal shares shows no spread: the “rule of three” does (Hanley & Lippman-Hand 1983).
    if column.quantile is None and np.ptp(column.values) == 0:
        unseen = 1 - (1 - CONFIDENCE) ** (1 / n)
        low, high = value * (1 - unseen), value + (1 - value) * unseen
    return Figure(value, low, high, n)


def difference(first: Column, second: Column) -> Difference | None:
    """`second` minus `first`, questions in the same order, with a paired bootstrap interval; None without a pair."""
    both = first.counts & second.counts
    first, second = first.where(both), second.where(both)
    n = len(first)
    if not n:
        return None
    value, low, high = _bootstrap(lambda rows: second.summarise(rows) - first.summarise(rows), n)
    return Difference(value, low, high, n, differing=int((first.values != second.values).sum()))


def _bootstrap(statistic: Callable[[NDArray[Any]], Values], n: int) -> tuple[float, float, float]:
    """A statistic of `n` rows, and its percentile interval (Efron & Tibshirani 1993, chapter 13).

    Rows are resampled, so that columns stay paired; the seed is fixed, so that equal results give equal intervals.
    """
    from scipy.stats import bootstrap  # takes a second to import

    rows = np.arange(n)
    value = float(statistic(rows))
    if n == 1:
        return value, value, value
    low, high = bootstrap(
        (rows,),
        lambda drawn, axis: statistic(drawn),
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH_CELLS // n),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=0,
    ).confidence_interval
    return value, float(low), float(high)
