"""What short questions leave out."""

from __future__ import annotations

import pytest

from rag.chat.follow_up import measures, the_other, with_measures


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Which one is heavier?", "weigh weight"),
        ("which of them is the cheapest", "price cost pays"),
        ("What is the largest city of Peru?", ""),
        ("How heavy is the anchor?", ""),
        ("", ""),
    ],
)
def test_what_is_compared_without_saying_by_what(question: str, words: str) -> None:
    assert measures(question) == words


def test_the_measure_joins_the_latest_question() -> None:
    assert with_measures("Which is older?", ["Who?", "Which boats?"]) == [
        "Who?",
        "Which boats? age born built founded date",
    ]
    assert with_measures("Which is older?", []) == ["age born built founded date"]
    assert with_measures("Who?", ["Which boats?"]) == ["Which boats?"]


def test_the_other_one_is_asked_what_the_first_was() -> None:
    found = the_other("And the other one?", ["What does the AX-1 cost?"])
    assert found
    text, named = found
    assert (text, [term.text for term in named]) == ("What does the cost?", ["AX-1"])
    assert the_other("And the other one?", []) is None
    assert the_other("And the other one?", ["What does it cost?"]) is None
    assert the_other("And the price?", ["What does the AX-1 cost?"]) is None
