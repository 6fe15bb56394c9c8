"""How sentences are parsed and compared with the passages, and how good the verdicts are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag.chat import support
from rag.chat.citations import Checker
from rag.chat.claims import analyse
from rag.chat.evidence import Evidence
from rag.chat.statements import clauses, statements, strip_citations
from rag.schema import Passage, Verdict

WRITTEN = Path(__file__).parents[2] / "bench" / "support_written.jsonl"


def passage(text: str, heading: str = "", document: str = "fleet.pdf") -> Passage:
    return Passage("d:0", "d", document, 1, text, 0, len(text), 1.0, 0.5, 1.0, heading)


# --- sentences ---


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is old. Dr. Berg came. 12.", ["It is old.", "Dr. Berg came.", "12."]),
        ("Rules:\n1. No dogs.\n2. No cats\n- Tea", ["Rules:", "1. No dogs.", "2. No cats", "- Tea"]),
        ("12. The pier is old.", ["12.", "The pier is old."]),
        ("–\nGales stopped it.\n–\nFog too.", ["–\nGales stopped it.", "–\nFog too."]),
        ("It was a grand\npiano. It crossed.", ["It was a grand\npiano.", "It crossed."]),
        ("Marigold\nJuniper\n\nOld Tansy", ["Marigold", "Juniper", "Old Tansy"]),
        ("| Ship | Built |\n| --- | --- |\n| Juniper | 1998 |", ["| Ship | Built |", "| Juniper | 1998 |"]),
        ("a: 1 | b: Old. Slow | c: 2\na: 2 | b: 3\nand", ["a: 1 | b: Old. Slow | c: 2", "a: 2 | b: 3", "and"]),
        (
            "Here: Nora Feld, Jakub Brandt, Lena Haugen\nNot: Tom",
            ["Here: Nora Feld, Jakub Brandt, Lena Haugen", "Not: Tom"],
        ),
        ("!!!", []),
    ],
)
def test_wrapped_lines_are_joined_and_items_keep_their_markers(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in statements(text)] == found


def test_clauses_have_their_own_subjects() -> None:
    assert clauses("The pier is very old, and the boat is still new.") == [
        "The pier is very old",
        "the boat is still new.",
    ]
    for whole in ("The pier is old and long.", "It joins Penderby, and Ivery.", "The pier is old, and long and wide."):
        assert clauses(whole) == [whole]


@pytest.mark.parametrize(
    ("answer", "text", "numbers"),
    [
        ("It is old [2]. Both [1, 3] are. None [9].", "It is old. Both are. None.", [(2,), (1, 3), (9,)]),
        ("[1] It is old.[2][3]", "It is old.", [(1,), (2,), (3,)]),
        ("It is [passage 2] old [^1] or [1-3] new【4】.", "It is old or new【4】.", [(2,), (1,), (1, 3)]),
        ("Use arr[0], `x [1]` and [1](http://x).", "Use arr[0], `x [1]` and [1](http://x).", []),
        ("```\ny = [1]\n```\nIn [1987] it was [new].", "```\ny = [1]\n```\nIn [1987] it was [new].", []),
        ("One.\n[2] Two.", "One.\nTwo.", [(2,)]),
    ],
)
def test_citation_numbers_are_stripped_from_prose_only(answer: str, text: str, numbers: list[tuple[int, ...]]) -> None:
    stripped = strip_citations(f"  {answer} \n")
    assert stripped.text == text
    assert [found for _, found in stripped.marks] == numbers
    assert all(0 <= at <= len(text) for at, _ in stripped.marks)


# --- words ---


def test_words_are_stemmed_and_numbers_normalised() -> None:
    assert analyse("The ships carried 1,250 PASSENGERS").content == analyse("ship carrying 1250 passenger").content
    assert analyse("They paid, built and sold it").content == analyse("pay build sell").content
    assert analyse("4.50").content != analyse("450").content


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("twenty-one", "21"),
        ("ninety two", "92"),
        ("seven", "7"),
        ("09:15", "9:15"),
        ("14th", "14"),
        ("the 1990s", "the 1990"),
        ("4.82 million", "4,820,000"),
        ("two thousand", "2000"),
        ("46m", "46 m"),
        ("the nineteenth", "the 19th"),
    ],
)
def test_numbers_are_equal_however_they_are_written(a: str, b: str) -> None:
    assert analyse(a).numbers == analyse(b).numbers != frozenset()


@pytest.mark.parametrize("text", ["one of them", "the first and the second", "a third", "million", "B2B"])
def test_words_that_only_look_like_numbers(text: str) -> None:
    assert analyse(text).numbers == frozenset()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Then Leo Marsh came to Stennick.", ["Leo Marsh", "Stennick"]),
        ("Leo Marsh came.", ["Leo Marsh"]),
        ("However, the Marigold’s crew saw it.", ["Marigold’s"]),
        ("Passengers of the U.S. and the UK", ["U.S.", "UK"]),
        ("Visitors must walk. Dogs stay.", []),
        ("Rosemary carries it.", ["Rosemary"]),
        ("I think so.", []),
    ],
)
def test_names_are_capitalised_words(text: str, names: list[str]) -> None:
    assert [" ".join(name.parts) for name in analyse(text).entities] == names


def test_first_word_is_a_name_if_it_is_one_elsewhere() -> None:
    evidence = Evidence([passage("We saw Paris. The coal is dear.")], "")
    words = analyse("Paris is dear. Coal is here.", evidence.name_stems, evidence.common_stems)
    assert [name.parts for name in words.entities] == [("Paris",)]


def test_negations_have_a_scope() -> None:
    words = analyse("Dogs are not allowed on the island, and not only there.")
    assert words.negation_heads == ("allow",)
    assert {"dog", "allow", "island"} <= words.negated
    assert analyse("He didn’t come.").negation_heads == ("come",)


# --- evidence ---


def test_names_are_found_in_other_forms() -> None:
    source = passage("Normandy lies in France. The United States and John Marsh helped.", "Germany")
    evidence = Evidence([source], "")
    assert evidence.missing(analyse("then Norman and German and US and USA forces")) == ("USA",)
    assert evidence.missing(analyse("then Johnson and Marsh")) == ("Johnson",)


def test_pronouns_refer_to_the_names_before() -> None:
    evidence = Evidence([passage("The Juniper is new. She carries 95. He left.", "Fleet")], "")
    assert [span.text for span in evidence.spans] == ["The Juniper is new.", "Juniper She carries 95.", "He left."]
    assert "junip" in evidence.spans[1].stems
    assert all("fleet" in span.stems for span in evidence.spans)


def test_proximity_to_a_word() -> None:
    evidence = Evidence([passage("Ann Berg was born in 1900 and she died in Oslo far away from home in 1980.")], "")
    [span] = evidence.spans

    def near(number: str, word: str) -> float:
        return evidence.proximity(1, evidence.positions(span, [number]), {word})

    assert near("#1900", "born") > 0.8 > near("#1980", "born") > 0
    assert near("#1980", "hous") == 0


# --- verdicts ---


def test_every_weight_has_a_feature() -> None:
    evidence = Evidence([passage("The pier is 62 metres long.")], "How long is the pier?")
    claim = support.parse_claim(evidence, "According to the passages, the pier is 62 metres long and new.")
    values = support.features(evidence, claim, evidence.spans[0], support.claim_context(evidence, claim))
    assert claim.text == "the pier is 62 metres long and new."
    assert set(support.WEIGHTS) <= set(values)
    assert all(-1 <= value <= 2 for value in values.values())


def test_fragments_are_read_with_their_question() -> None:
    evidence = Evidence([passage("The pier is 62 metres long.")], "How long is the pier?")
    claim = support.parse_claim(evidence, "- **62 metres**")
    assert claim.fragment
    assert claim.text == "How long is the pier? 62 metres"


def test_published_precision_and_recall_are_measured() -> None:
    """Check the labelled sentences within their answers, as `bench/support.py` does."""
    passages: dict[str, Passage] = {}
    called = right = supported = sentences = 0
    for row in map(json.loads, WRITTEN.read_text(encoding="utf-8").splitlines()):
        if name := row.get("passage"):
            found = passage(row["text"], row["heading"], row["document"])
            passages[name] = found
            continue
        checked = Checker([passages[name] for name in row["passages"]], row["question"]).check(row["answer"])
        verdicts = {" ".join(checked.text[c.start : c.end].split()): c.verdict for c in reversed(checked.checks)}
        for labelled in row["sentences"]:
            if labelled["label"] != "no claim":
                sentences += 1
                supported += labelled["label"] == "supported"
                called += verdicts[labelled["sentence"]] is Verdict.SUPPORTED
                right += verdicts[labelled["sentence"]] is Verdict.SUPPORTED and labelled["label"] == "supported"
    measured = support.MEASURED
    assert sentences == measured.sentences
    assert right / called == pytest.approx(measured.precision, abs=0.001)
    assert right / supported == pytest.approx(measured.recall, abs=0.001)
