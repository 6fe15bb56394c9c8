"""The spans that support an answer, found whatever the model cites."""

from __future__ import annotations

import pytest

from rag.chat.citations import resolve, without_markers, words
from rag.index.sentences import sentences
from rag.schema import Passage

FLEET = (
    "The company has three ships. The Marigold carries 340 passengers and was built in 1987. "
    "The Juniper carries 120 passengers. She was built in 2019 by Dr. Halloran in Stennick.\n"
    "Tickets cost 4.50 in winter and 1,250 were sold on the first day."
)
PIER = "The pier at Gannet Holm is 62 metres long. It was repaired by Leo Marsh."


def passage(text: str, number: int = 0, page: int | None = 3, start: int = 100) -> Passage:
    end = start + len(text)
    return Passage(f"d{number}:0", f"d{number}", f"file{number}.pdf", page, text, start, end, 1.0, 0.5, 2.0)


PASSAGES = [passage(FLEET, 0), passage(PIER, 1, page=None, start=0)]


@pytest.mark.parametrize(
    ("answer", "question", "quote"),
    [
        ("The Marigold carries 340 passengers.", "How many fit on the Marigold?", "The Marigold carries 340"),
        ("340", "How many passengers does the Marigold carry?", "The Marigold carries 340"),
        ("It is 62 metres.", "How long is the pier at Gannet Holm?", "The pier at Gannet Holm"),
        ("Leo Marsh", "Who repaired the pier?", "It was repaired by Leo Marsh."),
        ("1250 tickets were sold.", "How many were sold?", "Tickets cost 4.50"),
        ("The Juniper was built in 2019.", "When was the Juniper built?", "She was built in 2019 by Dr. Halloran"),
    ],
)
def test_a_supported_sentence_gets_the_span_that_holds_it(answer: str, question: str, quote: str) -> None:
    [citation] = resolve(answer, PASSAGES, question)
    source = PASSAGES[citation.n - 1]
    assert citation.quote.startswith(quote)
    assert source.text[citation.start - source.start : citation.end - source.start] == citation.quote
    assert (citation.document, citation.page) == (source.document, source.page)
    assert citation.answer_end == len(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "The Marigold carries 341 passengers.",
        "The Rosemary carries penguins.",
        "It was written by a lighthouse keeper in Oslo.",
    ],
)
def test_an_unsupported_answer_gets_the_place_that_fits_the_question(answer: str) -> None:
    [citation] = resolve(answer, PASSAGES, "How many passengers does the Marigold carry?")
    assert citation.quote.startswith("The Marigold carries 340")
    assert citation.answer_end == 0


@pytest.mark.parametrize("answer", ["The Rosemary carries penguins.", "", "!!!"])
def test_where_nothing_fits_nothing_is_cited(answer: str) -> None:
    assert resolve(answer, PASSAGES, "Why?") == ()


def test_the_fitting_place_follows_what_is_supported() -> None:
    answer = "The pier is 62 metres long. It was built by penguins."
    found = resolve(answer, PASSAGES, "Who repaired the pier?")
    assert [c.quote for c in found] == ["The pier at Gannet Holm is 62 metres long.", "It was repaired by Leo Marsh."]
    assert [bool(c.answer_end) for c in found] == [True, False]


def test_each_sentence_gets_its_own_and_no_span_comes_twice() -> None:
    answer = "The Marigold carries 340 passengers. The pier is 62 metres long. The Marigold carries 340 passengers!"
    found = resolve(answer, PASSAGES)
    assert [citation.n for citation in found] == [1, 2]
    assert answer[: found[0].answer_end] == "The Marigold carries 340 passengers."


def test_without_passages_nothing_is_cited() -> None:
    assert resolve("The Marigold carries 340 passengers.", []) == ()


def test_marks_of_passages_that_are_not_there_are_dropped() -> None:
    assert without_markers("It is 62 metres [2]. Built in 1987 [7]. Both [1, 2]. None [1, 9].", 2) == (
        "It is 62 metres [2]. Built in 1987. Both [1, 2]. None."
    )


def test_brackets_in_code_are_no_marks() -> None:
    assert without_markers("Use arr[0] and x[12].", 2) == "Use arr[0] and x[12]."


def test_sentences_cover_the_text_and_respect_abbreviations() -> None:
    found = [FLEET[start:end] for start, end in sentences(FLEET)]
    assert len(found) == 5
    assert found[3] == "She was built in 2019 by Dr. Halloran in Stennick."
    assert list(sentences("  \n ")) == []


def test_words_are_stemmed_and_numbers_compare() -> None:
    assert words("The ships carried 1,250 PASSENGERS") == words("ship carrying 1250 passenger")
    assert words("4.50") != words("450")
