"""When Gestalt abstains: scales, threshold, error rates, and how calibrations are stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from rag.db import CalibrationRow
from rag.documents.loaders import load
from rag.documents.splitter import split
from rag.index import abstention as module
from rag.index import calibrations as calibrations_module
from rag.index.abstention import (
    DEFAULT_THRESHOLD,
    MULTILINGUAL_PRIOR,
    PRIOR,
    Calibration,
    ErrorRates,
    Scale,
    Signals,
    calibrate,
    word_match,
)
from rag.index.calibrations import Calibrations
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.index.lexical import question_terms
from rag.index.multilingual_model import MultilingualModel
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
CALIBRATION = Calibration(
    Scale(0.3, 0.1),
    Scale(0.2, 0.1),
    in_scope=(3.0, 5.0, 7.0, 9.0),
    out_of_scope=(0.0, 0.0, 1.0, 2.0, 6.0),
    threshold=4.0,
)


def overlap(
    texts: Sequence[str], cosine: Callable[[float], float] = lambda share: share
) -> Callable[[Sequence[str]], list[Signals]]:
    """Signals by the share of a question's words that one text has: what a search would know, without one."""
    kept = [set(question_terms(text)[0]) for text in texts]

    def signals(question: str) -> Signals:
        words = question_terms(question)[0]
        share = max(len(set(words) & each) for each in kept) / max(1, len(words))
        # Cosines are never all the same.
        return Signals(cosine(0.8 * share + 0.01 * (len(question) % 10)), word_match([question], [share]))

    return lambda questions: [signals(question) for question in questions]


# --- scores ----------------------------------------------------------------------------------------------------------


def test_word_match_does_not_depend_on_the_length() -> None:
    short, long = "ferry timetable cost winter", "ferry " + " ".join(f"word{n}" for n in range(15))
    assert word_match([short], [2 / 4]) == word_match([long], [4 / 16]) == 1.0
    assert word_match([short, long], [0.1, 0.5]) == 2.0, "the best of what was searched counts"
    assert word_match(["what is it?"], [0.9]) == 0.0, "no words, nothing matched"


def test_a_scale_is_robust_against_questions_that_are_answered_after_all() -> None:
    values = [0.2 + 0.002 * n for n in range(100)]
    clean, poisoned = Scale.of(values, 0.0), Scale.of([*values[:90], *[0.9] * 10], 0.0)
    assert poisoned.middle == pytest.approx(clean.middle, abs=0.005)
    assert poisoned.spread == pytest.approx(clean.spread, rel=0.05)
    assert Scale.of([0.0] * 100, 0.08).spread == 0.08, "never none"
    assert Scale(0.3, 0.1).above(0.1) == 0.0
    assert Scale(0.3, 0.1).above(0.5) == pytest.approx(2.0)


def test_abstains_if_neither_cosine_nor_words_match() -> None:
    assert CALIBRATION.abstains(Signals(0.3, 0.2))
    assert not CALIBRATION.abstains(Signals(0.55, 0.2)), "near, in other words"
    assert not CALIBRATION.abstains(Signals(0.3, 0.65)), "its words stand there"
    assert CALIBRATION.abstains(Signals(0.45, 0.2))
    assert not CALIBRATION.abstains(Signals(0.45, 0.2).with_sentence(0.55)), "a sentence is near"
    assert Signals(0.45, 0.2).with_sentence(0.1).cosine == 0.45


def test_words_decide_if_the_model_cannot_read_the_question() -> None:
    assert CALIBRATION.abstains(Signals(0.9, 0.2, readable=False))
    assert not CALIBRATION.abstains(Signals(-1.0, 0.4, readable=False))


def test_the_confidence_is_a_half_at_the_threshold() -> None:
    near = [CALIBRATION.confidence(Signals(cosine, 0.2)) for cosine in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert near[0] == near[1], "no question is more out of scope than out of scope"
    assert near[1:] == sorted(near[1:])
    assert near[2] == pytest.approx(0.5)
    assert 0 < near[0] < near[-1] < 1
    assert CALIBRATION.confidence(Signals(1e9, 0.2)) == pytest.approx(1.0)


def test_the_threshold_offset_trades_one_error_for_the_other() -> None:
    assert CALIBRATION.error_rates() == ErrorRates(false_abstentions=1 / 4, false_answers=1 / 5)
    assert CALIBRATION.error_rates(threshold_offset=4) == ErrorRates(false_abstentions=3 / 4, false_answers=0.0)
    assert CALIBRATION.error_rates(threshold_offset=-3) == ErrorRates(false_abstentions=0.0, false_answers=3 / 5)
    strict = replace(CALIBRATION, threshold_offset=2.0)
    assert strict.error_rates() == CALIBRATION.error_rates(threshold_offset=2.0)
    between = Signals(0.55, 0.2)
    assert strict.abstains(between)
    assert not CALIBRATION.abstains(between)
    assert strict.confidence(between) < 0.5 < CALIBRATION.confidence(between)
    assert PRIOR.error_rates() is None, "nobody measured this collection"


# --- calibrating -----------------------------------------------------------------------------------------------------


def test_a_collection_is_calibrated_by_its_own_text() -> None:
    measure = overlap(SENTENCES)
    calibration = calibrate(SENTENCES, measure)
    asked = measure(["Which heron guards the lagoon behind the winter market?", "How do I knit socks for a baby?"])
    assert [calibration.abstains(signals) for signals in asked] == [False, True]
    assert calibration == calibrate(SENTENCES, measure), "the same every time"
    rates = calibration.error_rates()
    assert rates is not None
    assert rates.false_abstentions <= 0.05
    assert rates.false_answers <= 0.05
    assert list(calibration.in_scope) == sorted(calibration.in_scope)
    assert len(calibration.out_of_scope) == module.OUT_OF_SCOPE_QUESTIONS


def test_verdicts_do_not_depend_on_the_scale_of_the_cosines() -> None:
    # An embedding model whose cosines are all between .7 and .8, as some are.
    usual, narrow = overlap(SENTENCES), overlap(SENTENCES, lambda cosine: 0.7 + 0.1 * cosine)
    asked = ["violet badger quarry crane", "Where is the mill?", "Who painted the Mona Lisa?", "the old market of Riga"]
    verdicts = []
    for measure in (usual, narrow):
        calibration = calibrate(SENTENCES, measure)
        verdicts.append([calibration.abstains(signals) for signals in measure(asked)])
    assert verdicts[0] == verdicts[1]
    assert set(verdicts[0]) == {True, False}


def test_the_threshold_is_below_in_scope_and_no_higher_than_out_of_scope_questions_need() -> None:
    own, out_of_scope = [6.0] * 40, [0.0] * 90 + [7.0] * 10
    between = module.threshold_between
    assert between(own, out_of_scope) == pytest.approx(module.IN_SCOPE_SHARE * 6.0)
    assert between([1.0, 1.0, *own], out_of_scope) == between(own, out_of_scope), (
        "a question in twenty may lie anywhere"
    )
    assert between([20.0] * 40, [0.0] * 90 + [5.0] * 10) == 5.01, "enough to abstain on the out-of-scope questions"
    assert between([0.0] * 40, out_of_scope) == module.MIN_THRESHOLD, "text without information"
    assert between([40.0] * 40, [30.0] * 100) == module.MAX_THRESHOLD
    assert between([], out_of_scope) == DEFAULT_THRESHOLD


def test_a_small_collection_gets_the_default_threshold() -> None:
    few = SENTENCES[:5]
    calibration = calibrate(few, overlap(few))
    assert calibration.threshold == DEFAULT_THRESHOLD
    assert calibration.cosine != PRIOR.cosine, "out-of-scope questions can be asked of any"
    assert len(calibration.in_scope) == 0
    assert calibration.error_rates() is None


def test_unreadable_questions_get_the_default_threshold() -> None:
    def unreadable(questions: Sequence[str]) -> list[Signals]:
        return [replace(signals, readable=False) for signals in overlap(SENTENCES)(questions)]

    assert calibrate(SENTENCES, unreadable).threshold == DEFAULT_THRESHOLD


def test_an_interrupted_calibration_is_the_prior() -> None:
    assert calibrate(SENTENCES, lambda questions: overlap(SENTENCES)(questions[:3])) == PRIOR
    assert calibrate([], lambda _: []) == PRIOR


# --- the questions that it asks --------------------------------------------------------------------------------------


def test_in_scope_questions_are_words_of_one_sentence_each() -> None:
    questions = module.in_scope_questions(SENTENCES)
    assert len(questions) == len(set(questions)) == len(SENTENCES), "none is asked twice"
    kept = [question_terms(text)[0] for text in SENTENCES]
    for question in questions:
        words = question_terms(question)[0]
        assert 3 <= len(words) <= 7
        assert any(iter_in(words, text) for text in kept)
    assert len(module.in_scope_questions(SENTENCES * 3, 20)) == 20
    assert module.in_scope_questions(["Too short a line.", "12 13 14 15 16 17 18 19"]) == []


def iter_in(words: list[str], text: list[str]) -> bool:
    rest = iter(text)
    return all(word in rest for word in words)


def test_the_list_of_out_of_scope_questions() -> None:
    lines = module.QUESTIONS.read_text("utf-8").splitlines()
    assert 200 <= len(lines) == len(set(lines)) <= 300
    assert all(line == line.strip() and question_terms(line)[0] for line in lines)
    assert module.out_of_scope_questions(1000) == lines
    some = module.out_of_scope_questions(50)
    assert some == sorted(some, key=lines.index), "from everywhere in the list"
    assert len(set(some)) == 50
    assert lines.index(some[-1]) > 0.9 * len(lines)


def test_another_language_gets_out_of_scope_questions_of_its_own() -> None:
    assert module.is_english(SENTENCES)
    assert not module.is_english(GERMAN)
    words = {word for text in GERMAN for word in question_terms(text)[0]}
    asked: list[str] = []

    def measure(questions: Sequence[str]) -> list[Signals]:
        asked.extend(questions)
        return overlap(GERMAN)(questions)

    calibrate(GERMAN, measure)
    number = module.OUT_OF_SCOPE_QUESTIONS
    assert asked[:number] == module.out_of_scope_questions()  # for questions in another language
    out_of_scope = asked[number : 2 * number]
    assert out_of_scope == module.mixed_questions(GERMAN)
    for question in out_of_scope:
        own = [word for word in question_terms(question)[0] if word in words]
        assert own
        assert len(own) < len(question.split())
    assert module.mixed_questions([]), "there is always something to ask"


# --- storage -------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SmallLibrary]:
    with small_library(tmp_path) as found:
        found.add("c", "d", SENTENCES[:20])
        yield found


@pytest.fixture
def calibrations(library: SmallLibrary) -> Calibrations:
    return Calibrations(library.database)


def test_each_index_has_its_own_calibration(calibrations: Calibrations) -> None:
    assert calibrations.load("me", "c", "words-64") == PRIOR
    calibrations.save("me", "c", "words-64", CALIBRATION)
    assert calibrations.load("me", "c", "words-64") == CALIBRATION
    assert calibrations.load("me", "c", "another") == PRIOR, "another embedding model has its own"
    assert calibrations.load("you", "c", "words-64") == PRIOR, "nobody else's"


def test_another_owner_changes_nothing(library: SmallLibrary, calibrations: Calibrations) -> None:
    calibrations.save("you", "c", "words-64", CALIBRATION)
    calibrations.set_threshold_offset("you", "c", "words-64", 2.0)
    with library.database.session() as session:
        assert session.get(CalibrationRow, ("c", "words-64")) is None
    calibrations.save("me", "c", "words-64", CALIBRATION)
    calibrations.save("you", "c", "words-64", PRIOR)
    calibrations.set_threshold_offset("you", "c", "words-64", 2.0)
    assert calibrations.load("me", "c", "words-64") == CALIBRATION


def test_a_new_calibration_keeps_the_threshold_offset(calibrations: Calibrations) -> None:
    calibrations.set_threshold_offset("me", "c", "words-64", 1.5)
    assert calibrations.load("me", "c", "words-64") == replace(PRIOR, threshold_offset=1.5)
    assert calibrations.outdated("me", "c", "words-64"), "it was never calibrated"
    calibrations.save("me", "c", "words-64", CALIBRATION)
    assert calibrations.load("me", "c", "words-64") == replace(CALIBRATION, threshold_offset=1.5)
    calibrations.set_threshold_offset("me", "c", "words-64", -1.0)
    assert calibrations.load("me", "c", "words-64") == replace(CALIBRATION, threshold_offset=-1.0)
    assert not calibrations.outdated("me", "c", "words-64")


def test_is_outdated_when_the_collection_has_grown(library: SmallLibrary, calibrations: Calibrations) -> None:
    assert calibrations.outdated("me", "c", "words-64")
    assert not calibrations.outdated("me", "empty", "words-64"), "there is nothing to calibrate by"
    calibrations.save("me", "c", "words-64", CALIBRATION)
    assert not calibrations.outdated("me", "c", "words-64")
    assert calibrations.outdated("me", "c", "another")
    library.add("c", "more", SENTENCES[20:30])
    assert not calibrations.outdated("me", "c", "words-64"), "half as many again"
    library.add("c", "yet-more", SENTENCES[30:31])
    assert calibrations.outdated("me", "c", "words-64")
    assert calibrations.all_outdated() == [("me", "c", "words-64")]
    calibrations.save("me", "c", "words-64", CALIBRATION)
    assert calibrations.all_outdated() == []


def test_a_tiny_collection_is_not_calibrated(library: SmallLibrary, calibrations: Calibrations) -> None:
    library.add("few", "e", SENTENCES[: calibrations_module.MIN_CHUNKS - 1])
    assert not calibrations.outdated("me", "few", "words-64")
    library.add("few", "f", SENTENCES[-1:])
    assert calibrations.outdated("me", "few", "words-64")


@pytest.mark.parametrize(("stored", "loaded"), [({"chunks": 31}, CALIBRATION), ({"values": {"threshold": 0.4}}, PRIOR)])
def test_is_outdated_when_the_collection_has_shrunk_or_another_version_wrote_it(
    library: SmallLibrary, calibrations: Calibrations, stored: dict[str, object], loaded: Calibration
) -> None:
    calibrations.save("me", "c", "words-64", CALIBRATION)
    with library.database.session() as session:
        session.execute(update(CalibrationRow).values(**stored))
    assert calibrations.load("me", "c", "words-64") == loaded
    assert calibrations.outdated("me", "c", "words-64")
    calibrations.set_threshold_offset("me", "c", "words-64", 1.0)
    assert calibrations.outdated("me", "c", "words-64"), "the user's offset calibrates nothing"


def test_samples_chunks_of_the_whole_collection(
    library: SmallLibrary, calibrations: Calibrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calibrations.sample("me", "c") == SENTENCES[:20]
    assert calibrations.sample("you", "c") == []
    monkeypatch.setattr(calibrations_module, "SAMPLE", 4)
    some = calibrations.sample("me", "c")
    assert some == calibrations.sample("me", "c")
    assert len(set(some)) == 4
    assert set(some) < set(SENTENCES[:20])


def test_words_do_not_count_against_a_question_in_another_language() -> None:
    calibration = Calibration(Scale(0.8, 0.02), Scale(0.24, 0.1), lead=Scale(0.03, 0.01))
    far = Signals(0.78, 0.0, lead=0.045)  # its cosine is lower than those of questions in the collection's language
    assert calibration.abstains(far)
    assert not calibration.abstains(replace(far, foreign=True))
    assert calibration.abstains(replace(far, foreign=True, lead=0.025))  # no chunk stands out
    assert not calibration.abstains(replace(far, foreign=True, lead=0.025, word_match=0.5))  # a name matches
    assert calibration.abstains(replace(far, foreign=True, readable=False))
    stricter = replace(calibration, threshold_offset=4.0)
    assert stricter.abstains(replace(far, foreign=True))
    assert calibration.confidence(replace(far, foreign=True)) > 0.5 > calibration.confidence(far)


def test_the_lead_is_calibrated_with_general_questions() -> None:
    def measure(questions: Sequence[str]) -> list[Signals]:
        general = list(questions) == module.out_of_scope_questions()
        return [Signals(0.8, 0.2, lead=0.03 if general else 0.2) for _ in questions]

    assert calibrate(GERMAN, measure).lead.middle == 0.03


def test_each_embedded_model_has_a_prior(tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        calibrations = Calibrations(library.database)
        assert calibrations.load("me", "c", MultilingualModel.fingerprint) is MULTILINGUAL_PRIOR
        assert calibrations.load("me", "c", "another") is PRIOR


# --- for real --------------------------------------------------------------------------------------------------------


@pytest.mark.models
def test_abstains_on_out_of_scope_questions_to_the_samples(tmp_path: Path) -> None:
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
