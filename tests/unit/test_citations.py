"""Verdicts and citations for the sentences of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from errors import ConfigurationError
from rag.chat.citations import Checker
from rag.chat.entailment import Entailment
from rag.schema import Checked, Passage, Verdict
from tests.tiny_encoder import make_cross_encoder

FLEET = (
    "The company has three ships. The Marigold carries 340 passengers and was built in 1987. "
    "The Juniper carries 120 passengers. She was built in 2019 by Dr. Halloran in Stennick.\n"
    "Tickets cost 4.50 in winter and 1,250 were sold on the first day. Dogs are not allowed on board."
)
PIER = "The pier at Gannet Holm is 62 metres long. It was repaired by Leo Marsh."


def passage(text: str, number: int = 0, page: int | None = 3, start: int = 100, heading: str = "") -> Passage:
    end = start + len(text)
    return Passage(f"d{number}:0", f"d{number}", f"file{number}.pdf", page, text, start, end, 1.0, 0.5, 2.0, heading)


PASSAGES = [passage(FLEET, 0), passage(PIER, 1, page=None, start=0)]


def check(answer: str, question: str = "", passages: Sequence[Passage] = PASSAGES) -> Checked:
    return Checker(passages, question).check(answer)


def verdicts(checked: Checked) -> list[Verdict]:
    return [each.verdict for each in checked.checks]


SUPPORTED = [
    ("The Marigold carries 340 passengers.", "How many fit on the Marigold?", "The Marigold carries 340"),
    ("340", "How many passengers does the Marigold carry?", "The Marigold carries 340"),
    ("The answer is: 340.", "How many passengers does the Marigold carry?", "The Marigold carries 340"),
    ("The pier at Gannet Holm is 62 metres long.", "How long is the pier?", "The pier at Gannet Holm"),
    ("Leo Marsh", "Who repaired the pier?", "It was repaired by Leo Marsh."),
    ("1250 tickets were sold on the first day.", "How many were sold?", "Tickets cost 4.50"),
    ("The Juniper was built in 2019.", "When was the Juniper built?", "She was built in 2019 by Dr. Halloran"),
    ("According to the passages, dogs are not allowed on board.", "May dogs come?", "Dogs are not allowed"),
]
NEARLY_VERBATIM = [
    "THE MARIGOLD carries 340 passengers, and was built in 1987",
    "Marigold carries 340 passengers",
    "In short, the Marigold carries 340 passengers and was built",
    "carries 340 passengers and was built in 1987",
    "Dogs are not allowed on the board.",
]
UNSUPPORTED = [
    "The Juniper carries 340 passengers.",
    "The Marigold was built in 2019.",
    "The Marigold was repaired by Dr. Halloran.",
    "Dogs are allowed on board.",
    "The Marigold does not carry 340 passengers.",
    "The company has been sold to the harbour.",
    "The Marigold carries 340 passengers, and the pier at Gannet Holm was sold to the company.",
]


@pytest.mark.parametrize(("answer", "question", "quote"), SUPPORTED)
def test_supported_sentence_cites_its_span(answer: str, question: str, quote: str) -> None:
    checked = check(answer, question)
    [citation] = checked.citations
    source = PASSAGES[citation.n - 1]
    assert citation.quote.startswith(quote)
    assert source.text[citation.start - source.start : citation.end - source.start] == citation.quote
    assert (citation.document, citation.page) == (source.document, source.page)
    assert citation.answer_end == len(answer)
    [found] = checked.checks
    assert (found.verdict, found.citation, found.missing) == (Verdict.SUPPORTED, 0, ())


@pytest.mark.parametrize("answer", NEARLY_VERBATIM)
def test_what_a_passage_says_nearly_verbatim_is_supported(answer: str) -> None:
    [found] = check(answer, "What do the documents say?").checks
    assert found.verdict is Verdict.SUPPORTED
    assert found.score >= 0.99


@pytest.mark.parametrize("answer", UNSUPPORTED)
def test_swapped_facts_are_not_supported(answer: str) -> None:
    [found] = check(answer, "What do the documents say of the Marigold?").checks
    assert (found.verdict, found.citation, found.missing) == (Verdict.UNSUPPORTED, None, ())


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ("The Marigold carries 341 passengers.", ("341",)),
        ("The Rosemary carries 340 passengers.", ("Rosemary",)),
        ("It was repaired by Leo Brown and Ann Marsh.", ("Brown", "Ann")),
        ("Rosemary carries 340 passengers in Oslo.", ("Rosemary", "Oslo")),
        ("The Marigold carries 3.4 million passengers.", ("3.4 million",)),
        ("The company has eleven ships.", ("eleven",)),
        ("The company has 3 ships, built in the 1970s.", ("1970s",)),
        ("The Marigold carries 340 passengers.", ()),
        ("The company has 3 ships.", ()),
        ("Passengers of the Juniper pay $4.50.", ()),
    ],
)
def test_missing_numbers_and_names_are_reported_and_never_supported(answer: str, missing: tuple[str, ...]) -> None:
    [found] = check(answer, "What of the Marigold?").checks
    assert found.missing == missing
    if missing:
        assert (found.verdict, found.score) == (Verdict.UNSUPPORTED, 0.0)


def test_numbers_in_a_document_name_or_page_do_not_count() -> None:
    source = [passage("The pier is old.", 7, page=9)]
    assert check("The pier is 7 or 9 metres long.", "How long is the pier?", source).checks[0].missing == ("7", "9")
    assert check("Pier 4 is old.", "", [passage("It is old.", heading="Pier 4")]).checks[0].missing == ()


# --- sentences without a claim ---


@pytest.mark.parametrize(
    "answer",
    [
        "Hello!",
        "Sure.",
        "The passages do not say how long the bridge is.",
        "I could not find this in the passages.",
        "There is no information about Rosemary.",
        "How long is the pier?",
        "## The ships",
        "**The ships**",
        "The three ships are:",
        "Let me know if you need more.",
        "I’m sorry, but as an AI language model, I don’t have access to the passages.",
        "Unfortunately, I cannot answer this from the text.",
        "I'm afraid I don't know the answer.",
        "The length of the bridge is not given in the passages.",
        "It is not possible to determine the length from the provided text.",
        "There isn't enough information.",
        "The fleet-2025.pdf.",
    ],
)
def test_sentences_without_a_claim_are_not_judged(answer: str) -> None:
    [found] = check(answer, "How long is the pier?").checks
    assert (found.verdict, found.score, found.citation, found.missing) == (Verdict.NO_CLAIM, 0.0, None, ())


@pytest.mark.parametrize(
    "answer",
    [
        "The passages do not say it, but the bridge is 900 metres long.",
        "Sure, the pier is 900 metres long.",
        "I am sorry, but the pier is 900 metres long.",
        "No.",
        "900",
        "12.",
        "Here are 900 metres.",
        "Unfortunately, the pier was sold to Leo Marsh.",
        "No report was written by Leo Marsh.",
    ],
)
def test_claim_after_a_courtesy_is_judged(answer: str) -> None:
    assert Verdict.UNSUPPORTED in verdicts(check(answer, "How long is the pier?"))


@pytest.mark.parametrize("answer", ["The pier.", "The pier at Gannet Holm", "The answer is: “the long pier”."])
def test_words_of_the_question_alone_answer_nothing(answer: str) -> None:
    assert verdicts(check(answer, "How long is the pier at Gannet Holm?")) == [Verdict.UNSUPPORTED]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is the pier old?", "The long pier is old."),
        ("Which is older, the Marigold or the Juniper?", "The Marigold is older than the Juniper."),
    ],
)
def test_words_of_the_question_may_answer_it(question: str, answer: str) -> None:
    passages = [passage("The long pier is old. The Marigold is older than the Juniper.")]
    assert verdicts(check(answer, question, passages)) == [Verdict.SUPPORTED]


def test_a_repeated_sentence_is_judged_once() -> None:
    said = "The Marigold carries 340 passengers."
    answer = f"{said} It was built in 2019. 1. {said}\n- The answer is that Marigold carries 340 passengers."
    judged = [Verdict.SUPPORTED, Verdict.UNSUPPORTED, Verdict.NO_CLAIM, Verdict.NO_CLAIM]
    assert verdicts(check(answer, "What of the Marigold?")) == judged


# --- the span that best fits the question ---


@pytest.mark.parametrize(
    "answer",
    ["The Marigold carries 341 passengers.", "It was written by a lighthouse keeper in Oslo.", "I do not know."],
)
def test_unsupported_answer_cites_the_span_that_fits_the_question(answer: str) -> None:
    [citation] = check(answer, "How many passengers does the Marigold carry?").citations
    assert citation.quote.startswith("The Marigold carries 340")
    assert citation.answer_end == 0


@pytest.mark.parametrize("answer", ["The Rosemary carries penguins.", "", "!!!"])
def test_nothing_is_cited_if_no_span_fits(answer: str) -> None:
    assert check(answer, "Why?").citations == ()


def test_fitting_span_comes_after_supporting_spans() -> None:
    found = check("The pier is 62 metres long. It was built by penguins.", "Who repaired the pier?").citations
    assert [c.quote for c in found] == ["The pier at Gannet Holm is 62 metres long.", "It was repaired by Leo Marsh."]
    assert [bool(c.answer_end) for c in found] == [True, False]


# --- spans ---


def test_each_span_is_cited_once() -> None:
    answer = "The Marigold carries 340 passengers. The pier is 62 metres long. The Marigold carries 340 passengers!"
    checked = check(answer, "What of the Marigold and the pier?")
    assert [citation.n for citation in checked.citations] == [1, 2]
    assert [each.citation for each in checked.checks] == [0, 1, 0]
    assert answer[: checked.citations[0].answer_end] == "The Marigold carries 340 passengers."
    assert [answer[each.start : each.end] for each in checked.checks][2] == "The Marigold carries 340 passengers!"


def test_clauses_may_cite_different_passages() -> None:
    answer = "The Marigold carries 340 passengers, and the pier at Gannet Holm is 62 metres long."
    checked = check(answer, "What do the documents say?")
    assert verdicts(checked) == [Verdict.SUPPORTED]
    assert [(citation.n, citation.answer_end) for citation in checked.citations] == [(1, len(answer)), (2, len(answer))]


def test_wrapped_sentence_is_one_span() -> None:
    text = "On an ordinary day and in any\nsort of weather the Marigold burns 1,150 litres\nof diesel."
    source = [passage(f"{text} It is old.")]
    [citation] = check("The Marigold burns 1,150 litres of diesel.", "How much does it burn?", source).citations
    assert citation.quote == text


TABLES = [
    "Ship | Built | Passengers\nMarigold | 2011 | 180\nJuniper | 1998 | 95",
    "Ship\nBuilt\nPassengers\nMarigold\n2011\n180\nJuniper\n1998\n95",
]


@pytest.mark.parametrize("table", TABLES)
def test_table_row_is_a_span_with_its_header(table: str) -> None:
    source = [passage(table), passage(PIER, 1)]
    right = check("The Juniper was built in 1998.", "When was the Juniper built?", source)
    assert verdicts(right) == [Verdict.SUPPORTED]
    assert right.citations[0].quote.replace("\n", " | ") == "Juniper | 1998 | 95"
    wrong = check("The Juniper was built in 2011.", "When was the Juniper built?", source)
    assert verdicts(wrong) == [Verdict.UNSUPPORTED]


def test_without_passages_nothing_is_judged_or_cited() -> None:
    checked = check("The Marigold carries 340 passengers.", passages=[])
    assert (checked.citations, verdicts(checked)) == ((), [Verdict.NO_CLAIM])


# --- the model's own citations ---


def test_model_citations_are_stripped_and_kept() -> None:
    checked = check("The pier is 62 metres long [1]. [2, 9] Dogs are not allowed on board. It is old.\n[1] It is big.")
    assert checked.text == "The pier is 62 metres long. Dogs are not allowed on board. It is old.\nIt is big."
    assert [each.cited for each in checked.checks] == [(1, 2, 9), (), (), (1,)]
    assert [checked.text[each.start : each.end] for each in checked.checks][3] == "It is big."
    # A wrong number is corrected, a missing one is added.
    assert [citation.n for citation in checked.citations[:2]] == [2, 1]


# --- streaming ---


def test_only_complete_new_sentences_are_judged() -> None:
    calls: list[str] = []

    def entails(pairs: Sequence[tuple[str, str]]) -> list[float]:
        calls.extend(conclusion for _, conclusion in pairs)
        return [0.9] * len(pairs)

    checker = Checker(PASSAGES, "How long is the pier?", entails)
    answer = " The pier at Gannet Holm is 62 metres long [2]. The company has three ships. Dogs are"
    assert checker.check(answer[:30], ended=False).checks == ()
    first = checker.check(answer[:60], ended=False)
    second = checker.check(answer, ended=False)
    whole = checker.check(answer)
    assert [len(checked.checks) for checked in (first, second, whole)] == [1, 2, 3]
    assert second.checks[:1] == first.checks
    assert whole.text.startswith(second.text)
    assert second.text.startswith(first.text)
    assert len(calls) == 3


def test_other_scripts_are_checked_by_their_words() -> None:
    source = [passage("黑死病是人类历史上最致命的瘟疫之一。它在1347年到达欧洲。")]
    checker = Checker(source, "黑死病什么时候到达欧洲？")
    assert verdicts(checker.check("它在1347年到达欧洲。")) == [Verdict.SUPPORTED]
    assert checker.check("它在1351年到达欧洲。").checks[0].missing == ("1351",)


# --- entailment models ---


def test_entailment_model_replaces_the_weights() -> None:
    asked: list[tuple[str, str]] = []

    def entails(pairs: Sequence[tuple[str, str]]) -> list[float]:
        asked.extend(pairs)
        return [0.9 if "constructed" in conclusion else 0.1 for _, conclusion in pairs]

    checker = Checker(PASSAGES, "What of the Juniper?", entails=entails)
    checked = checker.check("The Juniper was constructed by somebody else in 2019. The company has three ships.")
    assert verdicts(checked) == [Verdict.SUPPORTED, Verdict.UNSUPPORTED]
    assert [each.score for each in checked.checks] == [0.9, 0.1]
    assert "She was built in 2019" in asked[0][0]
    assert verdicts(checker.check("The Rosemary was constructed in 2019.")) == [Verdict.UNSUPPORTED]


@pytest.mark.models
def test_cross_encoder_returns_the_probability_of_entailment(tmp_path: Path) -> None:
    folder = make_cross_encoder(tmp_path / "nli", labels=3)
    config = folder / "config.json"
    names = '{"0": "contradiction", "1": "Entailment", "2": "neutral"}'
    labels = '"id2label": {\n    "0": "LABEL_0",\n    "1": "LABEL_1",\n    "2": "LABEL_2"\n  }'
    assert labels in config.read_text()
    config.write_text(config.read_text().replace(labels, f'"id2label": {names}'))
    scores = Entailment(str(folder), "cpu")([("the pier is long", "the pier"), ("no", "yes")])
    assert len(scores) == 2
    assert all(0 <= score <= 1 for score in scores)
    assert scores[0] != scores[1]
    config.write_text(config.read_text().replace("Entailment", "other"))
    with pytest.raises(ConfigurationError, match="no label"):
        Entailment(str(folder), "cpu")([("a", "b")])
    with pytest.raises(ConfigurationError, match="neither a folder"):
        Entailment(str(tmp_path / "nowhere"))([("a", "b")])
