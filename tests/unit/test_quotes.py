"""Quotes: the units of a passage, which of them answer a question, and what is bold in them."""

from __future__ import annotations

from itertools import count

from rag.chat.quotes import Quotes, choose
from rag.schema import Passage

_ids = count()


def passage(text: str, document: str = "notes.md", heading: str = "") -> Passage:
    return Passage(f"d:{next(_ids)}", document, document, None, text, 0, len(text), heading=heading)


def shown(question: str, *passages: Passage, earlier: tuple[str, ...] = ()) -> list[str]:
    """The quotes, each after the line that introduces it."""
    found = choose(question, passages, earlier=earlier)
    return [
        (f"{text[slice(*quote.lead)]} / " if quote.lead else "") + text[quote.start : quote.end]
        for quote in found.quotes
        for text in [passages[quote.number - 1].text]
    ]


def test_nothing_to_quote() -> None:
    assert choose("What?", []) == Quotes(())
    assert choose("What?", [passage("# Only a heading")]) == Quotes(())


def test_the_sentence_with_the_words_of_the_question() -> None:
    text = "The hall opens at nine. The deposit is 300 euros. Bring a torch."
    assert shown("How much is the deposit?", passage(text)) == ["The deposit is 300 euros."]


def test_misspelt_words_find_the_nearest_ones() -> None:
    text = "Peter Lamb is the treasurer. Ann Moss is the secretary."
    assert shown("Who is the tresurer?", passage(text)) == ["Peter Lamb is the treasurer."]
    assert shown("Who is the secertary?", passage(text)) == ["Ann Moss is the secretary."]
