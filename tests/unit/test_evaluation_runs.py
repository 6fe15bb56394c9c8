"""Runs: the result of each question, the figures of a run, and the comparison of two runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from errors import AppError, ConfigurationError
from evaluation.figures import MEASURES, compare, figures
from evaluation.metrics import Difference, Figure
from evaluation.questions import GoldQuestion
from evaluation.runs import Cancelled, Configuration, Result, evaluate
from options import AnswerOptions, Fusion, RetrievalOptions
from rag.schema import Check, Finish, Message, Passage, Retrieval, Role, Verdict

PIER = GoldQuestion("How long is the pier?", ("62 metres",), ("pier.md",))
MOON = GoldQuestion("What about the moon?", documents=("moon.txt",))
OUT_OF_SCOPE = GoldQuestion("Who painted the Mona Lisa?")


def passage(text: str, document: str) -> Passage:
    return Passage("c", "d", document, 3, text, 0, len(text), 1.0, 0.5, 1.0)


def retrieve(question: str) -> Retrieval:
    found = (passage("About\nnothing.", "other.txt"), passage("It is 62 metres long.", "pier.md"))
    return Retrieval(found, abstained="Mona" in question, confidence=0.5, seconds=0.25)


def message(text: str, finish: Finish = Finish.COMPLETE, **values: object) -> Message:
    made = Message("m", "c", Role.ASSISTANT, text, datetime.now(UTC), finish)
    return replace(made, **values)  # type: ignore[arg-type] # fields of a message


def test_a_run_has_a_result_for_each_question() -> None:
    steps: list[int] = []
    pier, moon, out_of_scope = evaluate([PIER, MOON, OUT_OF_SCOPE], retrieve, progress=steps.append)
    assert (pier.relevant, pier.rank, pier.total, pier.abstained, pier.out_of_scope) == (
        (False, True),
        2,
        1,
        False,
        False,
    )
    assert (pier.first, pier.excerpt, pier.seconds, pier.answer) == ("other.txt, page 3", "About nothing.", 0.25, None)
    assert (moon.rank, moon.total) == (None, 1)
    assert (out_of_scope.out_of_scope, out_of_scope.abstained, out_of_scope.relevant) == (True, True, (False, False))
    assert steps == [0, 1, 2, 3]
    assert evaluate([], retrieve) == ()


def test_the_figures_of_a_run() -> None:
    results = evaluate([PIER, MOON, OUT_OF_SCOPE, GoldQuestion("Who is Mona?", ("she",))], retrieve)
    measured = figures(results, k=1)
    assert list(measured) == [name for name in MEASURES if name not in ("right", "support")]
    assert {name: (figure.value, figure.n) for name, figure in measured.items()} | {"ndcg@10": None} == {
        "found": (0, 3),
        "hit@1": (0, 3),
        "hit@3": (pytest.approx(1 / 3), 3),
        "hit@5": (pytest.approx(1 / 3), 3),
        "hit@10": (pytest.approx(1 / 3), 3),
        "mrr": (pytest.approx(1 / 6), 3),
        "ndcg@10": None,
        "false_abstentions": (pytest.approx(1 / 3), 3),
        "out_of_scope_abstained": (1, 1),
        "p50_ms": (250, 4),
        "p95_ms": (250, 4),
    }
    assert figures(results, k=2)["found"].value == pytest.approx(1 / 3)
    assert figures([], 4) == {}


def test_a_passage_below_the_tenth_counts_only_if_the_model_gets_it() -> None:
    result = Result("Who?", False, (False,) * 11 + (True,), 1, False, 0.1)
    measured = figures([result], k=12)
    assert (measured["found"].value, measured["hit@10"].value, measured["mrr"].value) == (1, 0, 0)


def test_measures_of_answers() -> None:
    checks = tuple(Check(0, 1, verdict, 0.5) for verdict in (Verdict.SUPPORTED, Verdict.UNSUPPORTED, Verdict.NO_CLAIM))
    answers = {
        PIER.question: message("The pier is 62 metres long. It is nice. Hello.", checks=checks),
        MOON.question: message("It is round."),
        OUT_OF_SCOPE.question: message("Not found.", abstained=True),
    }
    pier, moon, out_of_scope = evaluate([PIER, MOON, OUT_OF_SCOPE], retrieve, answers.__getitem__)
    assert (pier.right, pier.supported, pier.checked) == (True, 1, 2)
    assert pier.answer == answers[PIER.question].text
    assert (moon.right, moon.checked) == (None, 0)
    assert out_of_scope.abstained
    measured = figures([pier, moon, out_of_scope], k=4)
    assert (measured["right"].value, measured["right"].n, measured["support"].value) == (1, 1, 0.5)


def test_an_error_about_one_question_is_a_wrong_answer() -> None:
    error = {"type": "ContextTooLong", "message": "Too long.", "hint": ""}
    [result] = evaluate([PIER], retrieve, lambda _: message("", Finish.FAILED, error=error))
    assert (result.right, result.error) == (False, "Too long.")


def test_a_backend_that_is_down_ends_the_run() -> None:
    error = {"type": "BackendUnavailable", "message": "It is down.", "hint": "Start it."}
    with pytest.raises(AppError, match=r"It is down\. Start it\."):
        evaluate([PIER], retrieve, lambda _: message("", Finish.FAILED, error=error))
    with pytest.raises(Cancelled):
        evaluate([PIER], retrieve, lambda _: message("Half", Finish.STOPPED))


@pytest.mark.parametrize(
    ("name", "figure", "shown"),
    [
        ("found", Figure(0.925, 0.82, 1.0, 40), "92 % (82 to 100)"),
        ("mrr", Figure(0.9, 0.85, 1.0, 40), "0.90 (0.85 to 1.00)"),
        ("p95_ms", Figure(2326.4, 1308.0, 9078.0, 40), "2,326 ms (1,308 to 9,078)"),
        ("found", Difference(-0.025, -0.075, 0.001, 40, 1), "−2 % (−8 to 0)"),
        ("mrr", Difference(0.02, -0.001, 0.04, 40, 3), "+0.02 (0.00 to +0.04)"),
    ],
)
def test_figures_as_text(name: str, figure: Figure | Difference, shown: str) -> None:
    assert MEASURES[name].shown(figure) == shown


# --- two runs ----------------------------------------------------------------------------------------------------


def result(number: int, *, found: bool, abstained: bool = False, **values: object) -> Result:
    made = Result(f"Question {number}?", False, (found,), 1, abstained, 0.01, "a.txt", "text")
    return replace(made, **values)  # type: ignore[arg-type] # fields of a result


def test_comparison_of_two_runs() -> None:
    first = [result(n, found=n >= 10) for n in range(40)]
    second = [result(n, found=True, abstained=n == 39) for n in range(40)]
    compared = compare(first, second, (4, 4), ("A", "B"))
    assert compared.differences["found"].value == pytest.approx(0.25)
    assert compared.verdict("found", "A", "B") == "B is better"
    assert compared.verdict("false_abstentions", "A", "B") == "No difference that 40 questions could show"
    assert [pair.differs for pair in compared.pairs].count("found by B only") == 10
    assert compared.pairs[39].differs == "abstained by B only"
    assert compared.pairs[20].differs == ""
    back = compare(second, first, (4, 4), ("A", "B"))
    assert back.verdict("found", "A", "B") == "A is better"


def test_comparison_of_a_rate_where_lower_is_better() -> None:
    first = [result(n, found=True, abstained=n < 20) for n in range(40)]
    second = [result(n, found=True) for n in range(40)]
    compared = compare(first, second, (4, 4), ("A", "B"))
    assert compared.differences["false_abstentions"].value == -0.5
    assert compared.verdict("false_abstentions", "A", "B") == "B is better"


def test_runs_are_compared_over_their_common_questions() -> None:
    first = [result(1, found=True), result(2, found=True), result(3, found=True, out_of_scope=True)]
    second = [result(4, found=True), result(3, found=True), result(2, found=False, question="question 2 ?")]
    compared = compare(first, second, (1, 1), ("A", "B"))
    assert [pair.first.question for pair in compared.pairs] == ["Question 2?"]
    assert compare(first, [], (1, 1), ("A", "B")).differences == {}


def test_each_run_is_judged_by_its_own_number_of_passages() -> None:
    deep = [result(n, found=False, relevant=(False,) * 7 + (True,)) for n in range(8)]
    compared = compare(deep, deep, (4, 8), ("four", "eight"))
    assert compared.verdict("found", "four", "eight") == "eight is better"
    assert compared.differences["hit@10"].value == 0
    assert compared.pairs[0].differs == "found by eight only"


def test_a_stored_configuration_keeps_its_options_and_ignores_removed_ones() -> None:
    stored = {"k": 6, "strict": False, "older": True, "retrieval": {"fusion": "ranks", "neighbours": 1, "older": 1}}
    assert AnswerOptions.read(stored) == AnswerOptions(
        k=6, strict=False, retrieval=RetrievalOptions(fusion=Fusion.RANKS, neighbours=1)
    )
    with pytest.raises(ConfigurationError, match=r"retrieval\.neighbours"):
        AnswerOptions.read({"retrieval": {"neighbours": "many"}})
    with pytest.raises(ConfigurationError, match="older"):
        AnswerOptions().replace(older=True)


def test_a_configuration_is_named_by_how_it_differs() -> None:
    usual, names = Configuration(""), {"c": "Contracts"}
    assert usual.described(usual, names) == "As set up"
    options = AnswerOptions(k=6, collection_ids=("c",), retrieval=RetrievalOptions(dense=False))
    assert Configuration("", options).described(usual, names) == "Search in: Contracts, Passages: 6, Dense: off"
    assert Configuration("", options, answers=True).described(usual, names).endswith("Dense: off …")
