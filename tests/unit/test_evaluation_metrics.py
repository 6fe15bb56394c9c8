"""The arithmetic of an evaluation, against figures worked out by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from evaluation import metrics
from evaluation.metrics import (
    FEWEST,
    Column,
    Values,
    column,
    difference,
    figure,
    rank_columns,
    rank_metrics,
    share_column,
)


def test_ranks_as_by_hand() -> None:
    rows = [[False, True, False, True], [True], [], [False] * 9 + [True], [False] * 10 + [True]]
    found = {name: list(each.values) for name, each in rank_columns(rows, [3, 1, 1, 1, 0]).items()}
    assert found["hit@1"] == [0, 1, 0, 0, 0]
    assert found["hit@3"] == [1, 1, 0, 0, 0]
    assert found["hit@10"] == [1, 1, 0, 1, 0]
    assert found["mrr"] == pytest.approx([1 / 2, 1, 0, 1 / 10, 1 / 11])
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    gained = 1 / math.log2(3) + 1 / math.log2(5)
    assert found["ndcg@10"] == pytest.approx([gained / best, 1, 0, 1 / math.log2(11), 0])


def test_without_totals_only_the_order_counts() -> None:
    assert rank_metrics([[True, True, False]])["ndcg@10"].value == pytest.approx(1)
    assert rank_metrics([[True, True, False]], [3])["ndcg@10"].value < 1


def test_nothing_measured_gives_no_figure() -> None:
    assert rank_metrics([]) == {}
    assert figure(column([None, None])) is None
    assert difference(column([None, True]), column([True, None])) is None
    assert metrics.latency([]) == {}


def test_an_interval_covers_what_it_promises() -> None:
    # Shares of 200 questions with a true rate of .7: 95 % intervals cover it in about 95 of 100 samples.
    chance = random.Random(1)
    covered = 0
    for _ in range(200):
        found = metrics.rate([chance.random() < 0.7 for _ in range(200)])
        assert found
        covered += found.low <= 0.7 <= found.high
    assert 180 <= covered <= 198


def test_an_interval_is_the_same_each_time_and_near_the_formula() -> None:
    values = column([True] * 60 + [False] * 40)
    found = figure(values)
    assert found
    assert found == figure(values)
    spread = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert (found.value, found.n) == (0.6, 100)
    assert (found.low, found.high) == pytest.approx((0.6 - spread, 0.6 + spread), abs=0.011)


def test_all_alike_is_not_certain() -> None:
    found = metrics.rate([True] * 10)
    assert found
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.05 ** (1 / 10))
    none = metrics.rate([False] * 10)
    assert none
    assert (none.low, none.high) == pytest.approx((0, 1 - 0.05**0.1))


def test_a_share_is_that_of_all_sentences_together() -> None:
    found = figure(share_column([(1, 2), (0, 0), (9, 10)]))
    assert found
    assert found.value == pytest.approx(10 / 12)
    assert found.n == 2


def test_latency_is_in_milliseconds() -> None:
    found = metrics.latency([n / 1000 for n in range(1, 101)])
    assert (found["p50_ms"].value, found["p95_ms"].value) == (50, 95)
    assert found["p50_ms"].low < 50 < found["p50_ms"].high


def test_pairs_show_what_two_intervals_do_not() -> None:
    # The same questions are hard for both: the paired difference is certain although the intervals overlap.
    hard = [False] * 50 + [True] * 150
    other = [True] * 12 + hard[12:]
    first, second = figure(column(hard)), figure(column(other))
    found = difference(column(hard), column(other))
    assert first
    assert second
    assert found
    assert first.high > second.low
    assert found.value == pytest.approx(0.06)
    assert (found.n, found.differing) == (200, 12)
    assert found.shown
    back = difference(column(other), column(hard))
    assert back
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=0.01)


def test_few_questions_show_nothing_however_clear_they_look() -> None:
    for number, shown in ((FEWEST - 1, False), (FEWEST, True)):
        found = difference(column([False] * number), column([True] * number))
        assert found
        assert found.low > 0
        assert found.shown is shown


@pytest.mark.parametrize("number", [20, 100])
def test_equals_seldom_seem_to_differ(number: int) -> None:
    chance = np.random.default_rng(5)
    claimed = 0
    for _ in range(300):
        first, other, changed = chance.random((3, number)) < [[0.7], [0.7], [0.3]]
        found = difference(column(list(first)), column(list(np.where(changed, other, first))))
        assert found
        claimed += found.shown
    assert claimed <= 0.08 * 300


def test_questions_that_only_one_run_measured_are_left_out() -> None:
    found = difference(column([True, None, False]), column([None, True, True]))
    assert found
    assert (found.n, found.value) == (1, 1)


def test_memory_does_not_grow_with_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def measure(columns: Sequence[Column], times: Values) -> Values:
        sizes.append(times.size)
        return columns[0].sums(times)

    monkeypatch.setattr(metrics, "_CELLS", 1000)
    metrics._limits([column([n / 100 for n in range(100)])], measure)
    assert max(sizes) <= 1000
    assert sum(sizes) == 100 * metrics.RESAMPLES


def test_drawing_kinds_is_drawing_questions() -> None:
    # Against the plain bootstrap, question by question.
    chance = np.random.default_rng(3)
    values, weights = chance.integers(0, 3, 60) / 2, chance.integers(1, 4, 60)
    found = figure(Column(values.astype(float), weights.astype(float)))
    drawn = chance.integers(0, 60, (4000, 60))
    plain = (values * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    assert found
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(plain, [2.5, 97.5])), abs=0.01)
