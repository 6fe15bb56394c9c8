"""Answers that go round in circles are ended; those that only repeat a little are not."""

from __future__ import annotations

import pytest

from backends.text_stream import LOOP_TOKENS, TextStream


def stream(words: list[str]) -> TextStream:
    text = TextStream(lambda ids: "".join(f"{words[i]} " for i in ids), (), frozenset())
    for number in range(len(words)):
        text.push(number)
    return text


def repeated(period: int, times: int) -> TextStream:
    text = TextStream(lambda ids: " ".join(map(str, ids)), (), frozenset())
    for number in range(period * times):
        text.push(number % period)
    return text


@pytest.mark.parametrize("period", [3, 4, 7, 13, 64])
def test_a_loop_ends_the_answer(period: int) -> None:
    text = repeated(period, 20)
    assert text.ended
    assert text.looped
    assert LOOP_TOKENS <= text.tokens <= max(LOOP_TOKENS, 3 * period) + period


@pytest.mark.parametrize(("period", "times"), [(13, 2), (65, 4), (4, 9)])
def test_a_little_repetition_is_no_loop(period: int, times: int) -> None:
    assert not repeated(period, times).ended


def test_a_long_answer_without_a_loop_goes_on() -> None:
    assert not stream([str(number) for number in range(2000)]).ended
