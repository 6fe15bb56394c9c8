"""Codes, numbers, dates and quoted phrases of a question, and the chunks that have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.index.exact import exact_terms
from rag.index.spelling import nearest
from tests.small_library import small_library

CODES = [f"## FX-{number}\n\nThe relay {number % 7} has failed. Switch it off and wait." for number in range(310, 350)]
LETTERS = [
    "Ms Hale joined the crew on 9 May 2020.",
    "The oven draws 3,600 W and weighs 41.5 kg.",
    "Flue gas is to be let out above the roof ridge.",
    "The roof is painted red each spring.",
]


@pytest.mark.parametrize(
    ("question", "texts"),
    [
        ("FX-320", ["FX-320"]),
        ("What does FX\u2011320 mean?", ["FX\u2011320"]),
        ("Is 0042-1187 a part?", ["0042-1187"]),
        ("Compare AB-1 and CD-2", ["AB-1", "CD-2"]),
        ("err 4012 of station 47", ["err 4012", "4012", "station 47"]),
        ("where is “roof ridge” mentioned", ["roof ridge"]),
        ("the 2nd box of 10kg from the 1990s", []),
        ("the war of 1914-1918", ["1914", "1918"]),
        ("it weighs 74,5 kg", ["74,5"]),
        ("how much is 12,450.00?", ["12,450.00"]),
        ("", []),
    ],
)
def test_terms_of_a_question(question: str, texts: list[str]) -> None:
    assert [term.text for term in exact_terms(question)] == texts


def test_a_year_alone_does_not_put_a_question_in_scope() -> None:
    assert not any(term.telling or term.is_code for term in exact_terms("What happened in 1969?"))
    assert [term.text for term in exact_terms("which one draws 3600 watts") if term.telling] == ["3600"]


@pytest.mark.parametrize("form", ["FX-333", "fx 333", "FX333", "Fx\u2010333", "What does fault FX-333 mean?"])
def test_the_chunk_with_the_code_comes_first_and_is_in_scope(tmp_path: Path, form: str) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "d", [*CODES, *LETTERS])
        found = library.retriever("c").retrieve(form, k=3)
        assert found.passages[0].text.startswith("## FX-333\n")
        assert found.passages[0].codes == 1
        assert (found.abstained, found.confidence, found.absent) == (False, 1.0, ())


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("which one takes 3600 W", LETTERS[1]),
        ("3 600", LETTERS[1]),
        ("Who came on 2020-05-09?", LETTERS[0]),
        ("09.05.2020", LETTERS[0]),
        ('"roof ridge"', LETTERS[2]),
    ],
)
def test_numbers_dates_and_phrases_in_other_forms(tmp_path: Path, question: str, text: str) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "d", [*CODES, *LETTERS])
        found = library.retriever("c").retrieve(question, k=1)
        assert found.passages[0].text == text
        assert not found.abstained


def test_a_code_that_stands_nowhere_is_told(tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "d", [*CODES, *LETTERS])
        assert library.retriever("c").retrieve("What does relay FX-999 do?").absent == ("FX-999",)


def test_a_clause_is_found_by_its_number(tmp_path: Path) -> None:
    clauses = [f"{a}.{b} The tenant pays for matter {a * b}." for a in range(1, 6) for b in range(1, 6)]
    with small_library(tmp_path) as library:
        library.add("c", "d", clauses)
        for asked in ("What does clause 4.2 say?", "§ 4.2"):
            assert library.retriever("c").retrieve(asked).passages[0].text.startswith("4.2 ")


def test_misspelt_words_find_what_they_stand_for(tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "d", [*LETTERS, *(f"Chapter {n} is about the harbour." for n in range(30))])
        assert library.lexical.respelt("c", "Is it paintd by the crew?") == "Is it paint by the crew?"
        assert library.lexical.respelt("c", "Who joined Mongolia?") == "Who joined Mongolia?"
        assert library.retriever("c").retrieve("who joind the creww", k=1).passages[0].text == LETTERS[0]


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("depsoit", "deposit"),
        ("waranty", "warranty"),
        ("captian", "captain"),
        ("bread", ""),
        ("rent", ""),
        ("zebra", ""),
    ],
)
def test_the_nearest_word(word: str, known: str) -> None:
    words = ["deposit", "warranty", "captain", "break", "tent", "respite"]
    assert nearest(word, words) == known


def test_only_the_named_documents_are_searched(tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "d", CODES)
        library.add("c", "e", LETTERS)
        found = library.retriever("c", documents=("e",)).retrieve("What does FX-320 and the relay do?", k=9)
        assert {passage.document_id for passage in found.passages} == {"e"}
        assert len(found.passages) == len(LETTERS)
