"""The figures of an evaluation, each with the interval that as many questions can tell.

Pure arithmetic over arrays: it knows nothing of questions, passages or where they come from. A `Column` holds one value
for each question, `figure` sums it up, and `difference` compares two of them question by question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CUTS = (1, 3, 5, 10)
"""The k of hit@k; the last is that of nDCG as well."""
RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST = 6
"""Questions on which two runs must differ before a difference counts: any paired test turns signs around, and with five
the rarest pattern still comes once in 16 times by chance (`2 / 2**5`), with six once in 32."""
_CELLS = 500_000
"""Resampled values held at a time: memory does not grow with the number of questions."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """Questions that it was measured with."""


Figures = Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more the second run has than the first, over the questions that both have."""

    value: float
    low: float
    high: float
    n: int
    differing: int
    """Questions on which the two differ at all."""

    @property
    def shown(self) -> bool:
        """Whether so many questions can show that there is a difference."""
        return self.differing >= FEWEST and not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Column:
    """A value for each question: shape (questions,)."""

    values: Values
    weights: Values
    """How much each counts; 0 where the question has no such value."""
    quantile: float | None = None
    """Summed up by this quantile; by the weighted mean of shares, 0 to 1, where there is none."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Which questions count, shape (questions,)."""
        return self.weights > 0

    def taken(self, rows: NDArray[Any]) -> Column:
        """Those rows only: a mask, or their numbers."""
        return Column(self.values[rows], self.weights[rows], self.quantile)

    def sums(self, times: Values) -> Values:
        """The figure where each question stands in it so many times, shape (samples, questions) -> (samples,)."""
        if self.quantile is None:
            return np.asarray(times @ (self.values * self.weights) / (times @ self.weights))
        order = np.argsort(self.values)
        upto = np.cumsum(times[:, order], axis=1)
        # The smallest value that this share of the questions does not exceed.
        return np.asarray(self.values[order][(upto >= self.quantile * upto[:, -1:]).argmax(axis=1)])


Columns = Mapping[str, Column]


def column(values: Sequence[float | bool | None], quantile: float | None = None) -> Column:
    """A column of equal weights; None where a question has no such value."""
    counts = np.array([value is not None for value in values], dtype=np.float64)
    return Column(np.array([float(value or 0) for value in values]), counts, quantile)


def share_column(parts: Sequence[tuple[int, int]]) -> Column:
    """A column of `(how many, of how many)`, so that its figure is the share of all together."""
    pairs = np.array(parts, dtype=np.float64).reshape(-1, 2)
    return Column(pairs[:, 0] / np.maximum(pairs[:, 1], 1), pairs[:, 1])


def rank_columns(relevance: Sequence[Sequence[bool]], totals: Sequence[int] | None = None) -> dict[str, Column]:
    """hit@k, MRR and nDCG@10 of each question.

    Args:
        relevance: for each question whether the passage at each rank is relevant, best first; rows may be uneven.
        totals: for each question how many relevant passages there are, found or not; where it is not given, those that
            were found, which judges their order only.

    MRR goes as deep as the rows (Voorhees 1999); nDCG (Järvelin & Kekäläinen 2002) has binary gains and the discount
    `1 / log2(1 + rank)` of Burges et al. (2005).
    """
    width = max((len(row) for row in relevance), default=0)
    hits = np.zeros((len(relevance), max(width, CUTS[-1])), dtype=bool)
    for row, found in zip(hits, relevance, strict=True):
        row[: len(found)] = found
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    columns = {f"hit@{k}": first <= k for k in CUTS}
    discounts = 1 / np.log2(np.arange(CUTS[-1]) + 2)
    known = np.asarray(hits.sum(axis=1) if totals is None else totals, dtype=np.intp)
    best = np.concatenate([[1.0], np.cumsum(discounts)])[np.minimum(known, CUTS[-1])]
    values = {**columns, "mrr": 1 / first, f"ndcg@{CUTS[-1]}": hits[:, : CUTS[-1]] @ discounts / best}
    ones = np.ones(len(relevance))
    return {name: Column(np.asarray(value, dtype=np.float64), ones) for name, value in values.items()}


def latency_columns(seconds: Sequence[float]) -> dict[str, Column]:
    """Median and 95th percentile in milliseconds."""
    return {f"p{percent}_ms": column([1000 * s for s in seconds], percent / 100) for percent in (50, 95)}


def rank_metrics(relevance: Sequence[Sequence[bool]], totals: Sequence[int] | None = None) -> Figures:
    """hit@1, hit@3, hit@5, hit@10, mrr and ndcg@10 with their intervals; see `rank_columns`."""
    return figures(rank_columns(relevance, totals))


def latency(seconds: Sequence[float]) -> Figures:
    """p50_ms and p95_ms with their intervals."""
    return figures(latency_columns(seconds))


def rate(outcomes: Sequence[bool | None]) -> Figure | None:
    """The share of those that are true; None where no question has an outcome."""
    return figure(column(outcomes))


def figures(columns: Columns) -> Figures:
    """The figures of all columns in which any question counts."""
    found = {name: figure(each) for name, each in columns.items()}
    return {name: each for name, each in found.items() if each is not None}


def figure(column: Column) -> Figure | None:
    """What a column comes to, with a percentile bootstrap interval; None where no question counts.

    Where all values are alike resampling says nothing. For shares the interval then has the room that the “rule of
    three” leaves for values that were not seen (Hanley & Lippman-Hand 1983).
    """
    column = column.taken(column.counts)
    n = len(column)
    if not n:
        return None
    value = float(column.sums(np.ones((1, n)))[0])
    low, high = _limits([column], lambda drawn, times: drawn[0].sums(times))
    if column.quantile is None and np.ptp(column.values) == 0:
        unseen = 1 - (1 - CONFIDENCE) ** (1 / n)
        low, high = value * (1 - unseen), value + (1 - value) * unseen
    return Figure(value, low, high, n)


def difference(first: Column, second: Column) -> Difference | None:
    """`second` minus `first`, with a paired bootstrap interval; None where no question counts in both.

    Both must have their questions in the same order.
    """
    both = first.counts & second.counts
    pair = first.taken(both), second.taken(both)
    n = len(pair[0])
    if not n:
        return None

    def gain(drawn: Sequence[Column], times: Values) -> Values:
        return drawn[1].sums(times) - drawn[0].sums(times)

    low, high = _limits(pair, gain)
    differing = int((pair[0].values != pair[1].values).sum())
    return Difference(float(gain(pair, np.ones((1, n)))[0]), low, high, n, differing)


def _limits(columns: Sequence[Column], measure: Callable[[Sequence[Column], Values], Values]) -> tuple[float, float]:
    """The percentile interval of what `measure` makes of resampled questions (Efron & Tibshirani 1993, chapter 13).

    Questions with the same values are drawn together, as so many of one kind: the same samples, many times faster. The
    seed is fixed, so that the same answers always give the same interval.
    """
    rows = np.stack([part for column in columns for part in (column.values, column.weights)], axis=1)
    n = len(rows)
    _, kinds, many = np.unique(rows, axis=0, return_index=True, return_counts=True)
    if 2 * len(kinds) > n:
        # Hardly any are alike: to draw one by one is quicker.
        kinds, many = np.arange(n), np.ones(n, dtype=np.intp)
    drawn = [column.taken(kinds) for column in columns]
    random = np.random.default_rng(0)
    step = max(1, _CELLS // len(kinds))
    sizes = [min(step, RESAMPLES - done) for done in range(0, RESAMPLES, step)]
    found = [measure(drawn, _times(random, many, samples)) for samples in sizes]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(found), [tail, 100 - tail])
    return float(low), float(high)


def _times(random: np.random.Generator, many: NDArray[np.intp], samples: int) -> Values:
    """How often each kind stands in a sample as large as all together, shape (samples, kinds)."""
    n = int(many.sum())
    if len(many) < n:
        return random.multinomial(n, many / n, samples).astype(np.float64)
    places = random.integers(0, n, (samples, n)) + n * np.arange(samples)[:, None]
    return np.bincount(places.ravel(), minlength=places.size).reshape(places.shape).astype(np.float64)
