"""Answers in a loop are stopped; those with a little repetition are not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from backends.text_stream import LOOP_TOKENS, TextStream


def stream(ids: Iterable[int]) -> TextStream:
    text = TextStream(lambda ids: " ".join(map(str, ids)), (), frozenset())
    for token in ids:
        text.push(token)
    return text


def repeated(period: int, times: int) -> TextStream:
    return stream(number % period for number in range(period * times))


@pytest.mark.parametrize("period", [3, 4, 7, 13, 64])
def test_a_loop_ends_the_answer(period: int) -> None:
    text = repeated(period, 20)
    assert text.ended
    assert text.looped
    assert LOOP_TOKENS <= text.tokens <= max(LOOP_TOKENS, 3 * period) + period


@pytest.mark.parametrize(("period", "times"), [(13, 2), (65, 4), (4, 9)])
def test_a_little_repetition_is_not_a_loop(period: int, times: int) -> None:
    assert not repeated(period, times).ended


def test_a_long_answer_without_a_loop_continues() -> None:
    assert not stream(range(2000)).ended
