"""The arithmetic of an evaluation, against figures worked out by hand."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from evaluation.metrics import (
    FEWEST,
    Column,
    Difference,
    Figure,
    column,
    difference,
    figure,
    figures,
    latency_columns,
    rank_columns,
    share_column,
)


def measured(values: Sequence[float] | Column) -> Figure:
    found = figure(values if isinstance(values, Column) else column(values))
    assert found
    return found


def compared(first: Sequence[float | None], second: Sequence[float | None]) -> Difference:
    found = difference(column(first), column(second))
    assert found
    return found


def test_rank_figures_match_hand_calculation() -> None:
    rows = [[False, True, False, True], [True], [], [False] * 9 + [True], [False] * 10 + [True]]
    found = {name: list(each.values) for name, each in rank_columns(rows, [3, 1, 1, 1, 0]).items()}
    assert found["hit@1"] == [0, 1, 0, 0, 0]
    assert found["hit@3"] == [1, 1, 0, 0, 0]
    assert found["hit@10"] == [1, 1, 0, 1, 0]
    assert found["mrr"] == pytest.approx([1 / 2, 1, 0, 1 / 10, 1 / 11])
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    gained = 1 / math.log2(3) + 1 / math.log2(5)
    assert found["ndcg@10"] == pytest.approx([gained / best, 1, 0, 1 / math.log2(11), 0])


def test_without_totals_ndcg_judges_the_order_only() -> None:
    assert measured(rank_columns([[True, True, False]])["ndcg@10"]).value == pytest.approx(1)
    assert measured(rank_columns([[True, True, False]], [3])["ndcg@10"]).value < 1


def test_no_measurement_gives_no_figure() -> None:
    assert figures({**rank_columns([]), **latency_columns([]), "none": column([None, None])}) == {}
    assert difference(column([None, True]), column([True, None])) is None


def test_intervals_cover_the_true_rate() -> None:
    # Shares of 200 questions with a true rate of .7: 95 % intervals cover it in about 95 of 100 samples.
    chance = np.random.default_rng(1)
    found = [measured(list(chance.random(200) < 0.7)) for _ in range(200)]
    assert 180 <= sum(each.low <= 0.7 <= each.high for each in found) <= 198


def test_interval_is_reproducible_and_near_the_formula() -> None:
    values = [True] * 60 + [False] * 40
    found = measured(values)
    assert found == measured(values)
    spread = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert (found.value, found.n) == (0.6, 100)
    assert (found.low, found.high) == pytest.approx((0.6 - spread, 0.6 + spread), abs=0.011)


@pytest.mark.parametrize("number", [1, 10])
def test_equal_outcomes_follow_the_rule_of_three(number: int) -> None:
    unseen = 1 - 0.05 ** (1 / number)
    all_right, all_wrong = measured([True] * number), measured([False] * number)
    assert (all_right.low, all_right.value, all_right.high) == pytest.approx((1 - unseen, 1, 1))
    assert (all_wrong.low, all_wrong.value, all_wrong.high) == pytest.approx((0, 0, unseen))


def test_share_column_pools_all_sentences() -> None:
    found = measured(share_column([(1, 2), (0, 0), (9, 10)]))
    assert (found.value, found.n) == pytest.approx((10 / 12, 2))


def test_latency_is_in_milliseconds() -> None:
    found = figures(latency_columns([n / 1000 for n in range(1, 101)]))
    assert (found["p50_ms"].value, found["p95_ms"].value) == (50, 95)
    assert found["p50_ms"].low < 50 < found["p50_ms"].high
    assert figures(latency_columns([0.002]))["p95_ms"] == Figure(2, 2, 2, 1)


def test_paired_difference_shows_what_two_intervals_do_not() -> None:
    # The same questions are hard for both: the paired difference is certain although the intervals overlap.
    hard = [False] * 50 + [True] * 150
    other = [True] * 12 + hard[12:]
    assert measured(hard).high > measured(other).low
    found, back = compared(hard, other), compared(other, hard)
    assert found.value == pytest.approx(0.06)
    assert (found.n, found.differing, found.shown) == (200, 12, True)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=0.01)


@pytest.mark.parametrize(("number", "shown"), [(1, False), (FEWEST - 1, False), (FEWEST, True)])
def test_few_questions_show_no_difference(number: int, shown: bool) -> None:
    found = compared([False] * number, [True] * number)
    assert found.low > 0
    assert found.shown is shown


@pytest.mark.parametrize("number", [20, 100])
def test_equally_good_runs_rarely_seem_to_differ(number: int) -> None:
    chance = np.random.default_rng(5)
    claimed = 0
    for _ in range(300):
        first, other, changed = chance.random((3, number)) < [[0.7], [0.7], [0.3]]
        claimed += compared(list(first), list(np.where(changed, other, first))).shown
    assert claimed <= 0.08 * 300


def test_questions_measured_in_one_run_only_are_left_out() -> None:
    found = compared([True, None, False], [None, True, True])
    assert (found.n, found.value) == (1, 1)


def test_memory_does_not_grow_with_the_questions() -> None:
    values = column([n / 10_000 for n in range(10_000)])
    measured(values)
    tracemalloc.start()
    measured(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000  # all resamples together would take 160 MB


def test_weighted_interval_matches_a_plain_bootstrap() -> None:
    chance = np.random.default_rng(3)
    values, weights = chance.integers(0, 3, 60) / 2, chance.integers(1, 4, 60)
    found = measured(Column(values.astype(float), weights.astype(float)))
    drawn = chance.integers(0, 60, (4000, 60))
    plain = (values * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(plain, [2.5, 97.5])), abs=0.02)
