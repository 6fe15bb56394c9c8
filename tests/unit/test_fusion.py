"""Fusing two searches into one ranking."""

from __future__ import annotations

from dataclasses import replace

import pytest

from options import Fusion, RetrievalOptions
from rag.index.fusion import Candidates, best_first, fuse, gate, ranks

FOUND = Candidates(
    words={1: 9.0, 2: 5.0, 3: 1.0},
    phrases={2: 30.0},
    cosines={1: 0.2, 2: 0.3, 4: 0.7, 5: 0.1},
    gate=1.0,
    readable=True,
    vector=(1.0,),
    signals={},
)
"""1 is best by words, 4 by vectors, 2 by phrases; 3 has no cosine."""
DEFAULT = RetrievalOptions()


def order(found: Candidates, **options: object) -> list[int]:
    return best_first(fuse(found, DEFAULT.replace(**options)))


def test_both_searches_decide_together() -> None:
    assert order(FOUND) == [2, 4, 1, 5]
    assert order(FOUND, phrases=False) == [1, 4, 2, 5]


def test_the_gate_weighs_the_lexical_score() -> None:
    assert order(replace(FOUND, gate=0.0)) == [4, 2, 1, 5]
    assert gate(0.0) == 0
    assert gate(0.2) == pytest.approx(0.25)
    assert gate(0.4) == gate(0.9) == 1


def test_words_decide_if_the_model_cannot_read_the_question() -> None:
    assert order(replace(FOUND, readable=False), phrases=False)[:2] == [1, 2]


def test_words_decide_without_cosines() -> None:
    assert order(replace(FOUND, cosines={}), phrases=False) == [1, 2, 3]


def test_reciprocal_ranks() -> None:
    scores = fuse(FOUND, DEFAULT.replace(fusion=Fusion.RANKS, phrases=False))
    assert scores[1] == pytest.approx(1 / 61 + 1 / 63)
    assert scores[2] == pytest.approx(1 / 62 + 1 / 62)
    assert scores[3] == pytest.approx(1 / 63)


def test_equal_scores_do_not_divide_by_zero() -> None:
    assert set(fuse(replace(FOUND, words={1: 2.0}, phrases={}, cosines={1: 0.5}), DEFAULT).values()) == {0.0}


def test_ranks_start_at_one() -> None:
    assert ranks({7: 0.1, 8: 0.9}) == {8: 1, 7: 2}
