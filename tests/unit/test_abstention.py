"""When Gestalt abstains: scales, threshold, the two errors, and how they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rag.db import CalibrationRow
from rag.documents.loaders import load
from rag.documents.splitter import split
from rag.index import abstention as module
from rag.index import calibrations as calibrations_module
from rag.index.abstention import (
    PRIOR,
    THRESHOLD,
    Calibration,
    Rates,
    Scale,
    Signals,
    calibrate,
    is_english,
    matched,
    mixed_questions,
    out_of_scope_questions,
    own_questions,
)
from rag.index.calibrations import Calibrations
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.index.lexical import question_terms
from rag.schema import Page
from settings import ROOT
from tests.small_library import SmallLibrary, small_library

SENTENCES = [
    f"The {colour} {animal} guards the {place} near the old {thing} behind every {season} market{end}"
    for colour in ("green", "violet", "amber")
    for animal, place, thing in (
        ("heron", "lagoon", "sluice"),
        ("badger", "quarry", "crane"),
        ("otter", "weir", "mill"),
    )
    for season in ("winter", "autumn")
    for end in (" and its stalls.", " until the lanterns fade.")
]
GERMAN = [
    f"Der {farbe} Reiher bewacht die {ort} hinter dem alten Wehr und wartet dort auf den Müller."
    for farbe in ("grüne", "blaue", "rote")
    for ort in ("Lagune", "Mühle", "Schleuse", "Brücke", "Weide", "Grube", "Furt", "Halde", "Aue", "Quelle")
]
FIGURES = Calibration(
    Scale(0.3, 0.1), Scale(0.2, 0.1), own=(3.0, 5.0, 7.0, 9.0), out_of_scope=(0.0, 0.0, 1.0, 2.0, 6.0), threshold=4.0
)


def overlap(
    texts: Sequence[str], nearest: Callable[[float], float] = lambda share: share
) -> Callable[[Sequence[str]], list[Signals]]:
    """Signals by the share of a question's words that one text has: what a search would know, without one."""
    kept = [set(question_terms(text)[0]) for text in texts]

    def signals(question: str) -> Signals:
        words = question_terms(question)[0]
        share = max(len(set(words) & each) for each in kept) / max(1, len(words))
        # Cosines are never all the same.
        return Signals(nearest(0.8 * share + 0.01 * (len(question) % 10)), matched([question], [share]))

    return lambda questions: [signals(question) for question in questions]


# --- scores ----------------------------------------------------------------------------------------------------------


def test_a_word_more_is_worth_the_same_in_short_and_long_questions() -> None:
    short, long = "ferry timetable cost winter", "ferry " + " ".join(f"word{n}" for n in range(15))
    assert matched([short], [2 / 4]) == matched([long], [4 / 16]) == 1.0
    assert matched([short, long], [0.1, 0.5]) == 2.0, "the best of what was searched counts"
    assert matched(["what is it?"], [0.9]) == 0.0, "no words, nothing matched"


def test_a_scale_is_hardly_moved_by_the_questions_that_are_answered_after_all() -> None:
    values = [0.2 + 0.002 * n for n in range(100)]
    clean, poisoned = Scale.of(values, 0.0), Scale.of([*values[:90], *[0.9] * 10], 0.0)
    assert poisoned.middle == pytest.approx(clean.middle, abs=0.005)
    assert poisoned.spread == pytest.approx(clean.spread, rel=0.05)
    assert Scale.of([0.0] * 100, 0.08).spread == 0.08, "never none"
    assert Scale(0.3, 0.1).above(0.1) == 0.0
    assert Scale(0.3, 0.1).above(0.5) == pytest.approx(2.0)


def test_refuses_what_is_neither_near_nor_matched() -> None:
    assert FIGURES.abstains(Signals(0.3, 0.2))
    assert not FIGURES.abstains(Signals(0.55, 0.2)), "near, in other words"
    assert not FIGURES.abstains(Signals(0.3, 0.65)), "its words stand there"
    assert FIGURES.abstains(Signals(0.45, 0.2))
    assert not FIGURES.abstains(Signals(0.45, 0.2).with_sentence(0.55)), "a sentence is near"
    assert Signals(0.45, 0.2).with_sentence(0.1).nearest == 0.45


def test_words_alone_decide_where_the_model_cannot_read() -> None:
    assert FIGURES.abstains(Signals(0.9, 0.2, readable=False))
    assert not FIGURES.abstains(Signals(-1.0, 0.4, readable=False))


def test_the_confidence_is_a_half_where_a_question_is_nearly_refused() -> None:
    near = [FIGURES.confidence(Signals(cosine, 0.2)) for cosine in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert near[0] == near[1], "no question is more out of scope than out of scope"
    assert near[1:] == sorted(near[1:])
    assert near[2] == pytest.approx(0.5)
    assert 0 < near[0] < near[-1] < 1
    assert FIGURES.confidence(Signals(1e9, 0.2)) == pytest.approx(1.0)


def test_the_two_errors_trade_off_by_strictness() -> None:
    assert FIGURES.rates() == Rates(abstained=1 / 4, let_through=1 / 5)
    assert FIGURES.rates(threshold_offset=4) == Rates(abstained=3 / 4, let_through=0.0)
    assert FIGURES.rates(threshold_offset=-3) == Rates(abstained=0.0, let_through=3 / 5)
    strict = replace(FIGURES, threshold_offset=2.0)
    assert strict.rates() == FIGURES.rates(threshold_offset=2.0)
    between = Signals(0.55, 0.2)
    assert strict.abstains(between)
    assert not FIGURES.abstains(between)
    assert strict.confidence(between) < 0.5 < FIGURES.confidence(between)
    assert PRIOR.rates() is None, "nobody measured this collection"


def test_is_stored_as_json() -> None:
    assert Calibration.from_json(json.loads(json.dumps(FIGURES.to_json()))) == FIGURES


@pytest.mark.parametrize("values", [{}, {"nearest": 0.4}, {**FIGURES.to_json(), "coverage": 1}])
def test_values_of_another_version_are_no_calibration(values: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError)):
        Calibration.from_json(values)


# --- calibrating -----------------------------------------------------------------------------------------------------


def test_a_collection_is_calibrated_by_its_own_text() -> None:
    measure = overlap(SENTENCES)
    calibration = calibrate(SENTENCES, measure)
    asked = measure(["Which heron guards the lagoon behind the winter market?", "How do I knit socks for a baby?"])
    assert [calibration.abstains(signals) for signals in asked] == [False, True]
    assert calibration == calibrate(SENTENCES, measure), "the same every time"
    rates = calibration.rates()
    assert rates is not None
    assert rates.abstained <= 0.05
    assert rates.let_through <= 0.05
    assert list(calibration.own) == sorted(calibration.own)
    assert len(calibration.out_of_scope) == module.OUT_OF_SCOPE


def test_no_constant_is_a_cosine() -> None:
    # An embedding model whose cosines are all between .7 and .8, as some are.
    usual, narrow = overlap(SENTENCES), overlap(SENTENCES, lambda cosine: 0.7 + 0.1 * cosine)
    asked = ["violet badger quarry crane", "Where is the mill?", "Who painted the Mona Lisa?", "the old market of Riga"]
    verdicts = []
    for measure in (usual, narrow):
        calibration = calibrate(SENTENCES, measure)
        verdicts.append([calibration.abstains(signals) for signals in measure(asked)])
    assert verdicts[0] == verdicts[1]
    assert set(verdicts[0]) == {True, False}


def test_the_threshold_lies_below_the_collections_own_questions_and_no_higher_than_foreign_ones_need() -> None:
    own, out_of_scope = [6.0] * 40, [0.0] * 90 + [7.0] * 10
    between = module.threshold_between
    assert between(own, out_of_scope) == pytest.approx(module.OWN_SHARE * 6.0)
    assert between([1.0, 1.0, *own], out_of_scope) == between(own, out_of_scope), (
        "a question in twenty may lie anywhere"
    )
    assert between([20.0] * 40, [0.0] * 90 + [5.0] * 10) == 5.01, "what abstains the out-of-scope ones is enough"
    assert between([0.0] * 40, out_of_scope) == module.LIMITS[0], "text that tells nothing"
    assert between([40.0] * 40, [30.0] * 100) == module.LIMITS[1]
    assert between([], out_of_scope) == THRESHOLD


def test_a_small_collection_keeps_to_the_threshold_of_all() -> None:
    few = SENTENCES[:5]
    calibration = calibrate(few, overlap(few))
    assert calibration.threshold == THRESHOLD
    assert calibration.nearest != PRIOR.nearest, "out-of-scope questions can be asked over any"
    assert len(calibration.own) == 0
    assert calibration.rates() is None


def test_words_alone_keep_to_the_threshold_of_all() -> None:
    def unreadable(questions: Sequence[str]) -> list[Signals]:
        return [replace(signals, readable=False) for signals in overlap(SENTENCES)(questions)]

    assert calibrate(SENTENCES, unreadable).threshold == THRESHOLD


def test_what_was_interrupted_is_no_calibration() -> None:
    assert calibrate(SENTENCES, lambda questions: overlap(SENTENCES)(questions[:3])) == PRIOR
    assert calibrate([], lambda _: []) == PRIOR


# --- the questions that it asks --------------------------------------------------------------------------------------


def test_own_questions_are_words_of_one_sentence_each() -> None:
    questions = own_questions(SENTENCES)
    assert len(questions) == len(set(questions)) == len(SENTENCES), "none is asked twice"
    kept = [question_terms(text)[0] for text in SENTENCES]
    for question in questions:
        words = question_terms(question)[0]
        assert 3 <= len(words) <= 7
        assert any(iter_in(words, text) for text in kept)
    assert len(own_questions(SENTENCES * 3, 20)) == 20
    assert own_questions(["Too short a line.", "12 13 14 15 16 17 18 19"]) == []


def iter_in(words: list[str], text: list[str]) -> bool:
    rest = iter(text)
    return all(word in rest for word in words)


def test_the_list_of_foreign_questions_is_one_question_a_line() -> None:
    lines = module.QUESTIONS.read_text("utf-8").splitlines()
    assert 200 <= len(lines) == len(set(lines)) <= 300
    assert all(line == line.strip() and question_terms(line)[0] for line in lines)
    assert out_of_scope_questions(1000) == lines
    some = out_of_scope_questions(50)
    assert some == sorted(some, key=lines.index), "from everywhere in the list"
    assert len(set(some)) == 50
    assert lines.index(some[-1]) > 0.9 * len(lines)


def test_a_collection_in_another_language_gets_foreign_questions_in_its_own() -> None:
    assert is_english(SENTENCES)
    assert not is_english(GERMAN)
    words = {word for text in GERMAN for word in question_terms(text)[0]}
    asked: list[str] = []

    def measure(questions: Sequence[str]) -> list[Signals]:
        asked.extend(questions)
        return overlap(GERMAN)(questions)

    calibrate(GERMAN, measure)
    out_of_scope = asked[: module.OUT_OF_SCOPE]
    assert out_of_scope == mixed_questions(GERMAN)
    for question in out_of_scope:
        own = [word for word in question_terms(question)[0] if word in words]
        assert own
        assert len(own) < len(question.split())
    assert mixed_questions([]), "there is always something to ask"


# --- the books -------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SmallLibrary]:
    with small_library(tmp_path) as found:
        found.add("c", "d", SENTENCES[:20])
        yield found


@pytest.fixture
def books(library: SmallLibrary) -> Calibrations:
    return Calibrations(library.database)


def test_a_calibration_is_kept_for_each_index(books: Calibrations) -> None:
    assert books.load("me", "c", "words-64") == PRIOR
    books.save("me", "c", "words-64", FIGURES)
    assert books.load("me", "c", "words-64") == FIGURES
    assert books.load("me", "c", "another") == PRIOR, "another embedding model has its own"
    assert books.load("you", "c", "words-64") == PRIOR, "nobody else's"
    books.forget("you", "c")
    assert books.load("me", "c", "words-64") == FIGURES
    books.forget("me", "c", "words-64")
    books.forget("me", "c")
    assert books.load("me", "c", "words-64") == PRIOR


def test_what_a_person_chose_outlives_a_calibration(books: Calibrations) -> None:
    books.set_threshold_offset("me", "c", "words-64", 1.5)
    assert books.load("me", "c", "words-64") == replace(PRIOR, threshold_offset=1.5)
    assert books.stale("me", "c", "words-64"), "it was never calibrated"
    books.save("me", "c", "words-64", FIGURES)
    assert books.load("me", "c", "words-64") == replace(FIGURES, threshold_offset=1.5)
    books.set_threshold_offset("me", "c", "words-64", -1.0)
    assert books.load("me", "c", "words-64") == replace(FIGURES, threshold_offset=-1.0)
    assert not books.stale("me", "c", "words-64")


def test_is_out_of_date_when_the_collection_has_changed_much(library: SmallLibrary, books: Calibrations) -> None:
    assert books.stale("me", "c", "words-64")
    assert not books.stale("me", "empty", "words-64"), "there is nothing to calibrate by"
    books.save("me", "c", "words-64", FIGURES)
    assert not books.stale("me", "c", "words-64")
    assert books.stale("me", "c", "another")
    library.add("c", "more", SENTENCES[20:30])
    assert not books.stale("me", "c", "words-64"), "half as many again"
    library.add("c", "yet-more", SENTENCES[30:31])
    assert books.stale("me", "c", "words-64")
    assert books.all_stale() == [("me", "c", "words-64")]
    books.save("me", "c", "words-64", FIGURES)
    assert books.all_stale() == []


def test_a_handful_of_chunks_is_not_measured(library: SmallLibrary, books: Calibrations) -> None:
    library.add("few", "e", SENTENCES[: calibrations_module.SMALLEST - 1])
    assert not books.stale("me", "few", "words-64")
    library.add("few", "f", SENTENCES[-1:])
    assert books.stale("me", "few", "words-64")


def test_is_out_of_date_when_most_of_the_collection_is_gone(library: SmallLibrary, books: Calibrations) -> None:
    books.save("me", "c", "words-64", FIGURES)
    with library.database.session() as session:
        row = session.get(CalibrationRow, ("c", "words-64"))
        assert row is not None
        row.chunks = 31
    assert books.stale("me", "c", "words-64")


def test_one_of_another_version_is_made_anew(library: SmallLibrary, books: Calibrations) -> None:
    books.save("me", "c", "words-64", FIGURES)
    with library.database.session() as session:
        row = session.get(CalibrationRow, ("c", "words-64"))
        assert row is not None
        row.values = {"threshold": 0.4}
    assert books.load("me", "c", "words-64") == PRIOR
    assert books.stale("me", "c", "words-64")


def test_is_made_of_chunks_from_anywhere(
    library: SmallLibrary, books: Calibrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert books.sample("me", "c") == SENTENCES[:20]
    assert books.sample("you", "c") == []
    monkeypatch.setattr(calibrations_module, "SAMPLE", 4)
    some = books.sample("me", "c")
    assert some == books.sample("me", "c")
    assert len(set(some)) == 4
    assert set(some) < set(SENTENCES[:20])


# --- for real --------------------------------------------------------------------------------------------------------


@pytest.mark.models
def test_the_samples_refuse_what_is_foreign_to_them(tmp_path: Path) -> None:
    model = EmbeddingModel(embedded_folder())
    with small_library(tmp_path) as library:
        library.embeddings = model
        texts = []
        for path in sorted((ROOT / "data" / "samples").iterdir()):
            pages: list[Page] = list(load(path, path.name).pages)
            texts += [chunk.text for chunk in split(pages, model.spans, 220, 30)]
        library.add("c", "samples", texts)
        retriever = library.retriever("c")
        calibration = calibrate(texts, lambda questions: list(retriever.measure(questions)))
        facts = [json.loads(line) for line in (ROOT / "tests/samples_facts.jsonl").read_text("utf-8").splitlines()]
        verdicts = {
            fact["id"]: calibration.abstains(signals)
            for fact, signals in zip(facts, retriever.measure([fact["question"] for fact in facts]), strict=True)
        }
    assert [id_ for id_, abstained in verdicts.items() if abstained and id_.startswith("f")] == []
    assert sum(abstained for id_, abstained in verdicts.items() if id_.startswith("x")) >= 6
