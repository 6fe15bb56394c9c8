"""Two searches -> one order."""

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
"""1 is the best by words, 4 by vectors, 2 by its phrases; 3 has no cosine."""
DEFAULT = RetrievalOptions()


def order(found: Candidates, **options: object) -> list[int]:
    return best_first(fuse(found, replace(DEFAULT, **options)))  # type: ignore[arg-type]


def test_words_and_vectors_decide_together() -> None:
    assert order(FOUND) == [2, 4, 1, 5]
    assert order(FOUND, phrases=False) == [1, 4, 2, 5]


def test_words_count_as_far_as_the_gate_is_open() -> None:
    assert order(replace(FOUND, gate=0.0)) == [4, 2, 1, 5]
    assert gate(0.0) == 0
    assert gate(0.2) == pytest.approx(0.25)
    assert gate(0.4) == gate(0.9) == 1


def test_words_alone_decide_where_the_model_cannot_read() -> None:
    assert order(replace(FOUND, readable=False), phrases=False)[:2] == [1, 2]


def test_without_cosines_the_words_are_the_order() -> None:
    assert order(replace(FOUND, cosines={}), phrases=False) == [1, 2, 3]


def test_reciprocal_ranks() -> None:
    scores = fuse(FOUND, replace(DEFAULT, fusion=Fusion.RANKS, phrases=False))
    assert scores[1] == pytest.approx(1 / 61 + 1 / 63)
    assert scores[2] == pytest.approx(1 / 62 + 1 / 62)
    assert scores[3] == pytest.approx(1 / 63)


def test_all_alike_are_no_division_by_zero() -> None:
    assert set(fuse(replace(FOUND, words={1: 2.0}, phrases={}, cosines={1: 0.5}), DEFAULT).values()) == {0.0}


def test_ranks_begin_at_one() -> None:
    assert ranks({7: 0.1, 8: 0.9}) == {8: 1, 7: 2}
