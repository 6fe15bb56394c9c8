"""Questions with gold: matching, relevance, and files."""

from __future__ import annotations

import pytest

from errors import ConfigurationError
from evaluation.files import as_csv, as_jsonl, joined, read, split
from evaluation.questions import GoldQuestion, folded, from_row, holds, judge
from rag.documents.loaders import load
from rag.schema import Passage
from services.documents import sample_files
from settings import ROOT


def passage(text: str, document: str = "a.txt") -> Passage:
    return Passage("c", "d", document, None, text, 0, len(text), 1.0, 0.5, 1.0)


# --- matching ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is 62\n  metres long.", "62 Metres."),
        ("a return ticket is £26 a head", "£26"),
        ("the ﬁrst boat", "First boat"),
        ("The company’s “piano”", 'the company\'s "piano"'),
        ("Straße", "STRASSE"),
        ("the co\u00adoperative", "cooperative"),
        ("北京是首都", "首都"),
        ("대한민국의 수도", "대한민국"),
        ("it uses C# and C++.", "C++"),
        ("5 % of it", "5 %"),
        ("on 17:40 sharp", "“17:40”"),
    ],
)
def test_answers_match_whatever_their_form(text: str, answer: str) -> None:
    assert holds(text, [answer])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("founded in 1962", "62"),
        ("a location", "cat"),
        ("2,318 people", "318 people"),
        ("3.5 tons", "3"),
        ("no", "yes"),
    ],
)
def test_part_of_a_word_or_number_does_not_match(text: str, answer: str) -> None:
    assert not holds(text, [answer])


def test_questions_are_equal_whatever_their_form() -> None:
    assert GoldQuestion("How  long is it?").key == GoldQuestion("how long is IT").key
    assert folded("  ?! ") == ""


# --- relevance ---------------------------------------------------------------------------------------------------


def test_relevant_passages_have_the_answer_and_come_from_the_document() -> None:
    question = GoldQuestion("How long?", ("62 metres", "sixty-two metres"), ("folder/Pier.md",))
    passages = [passage("62 metres"), passage("none", "pier.md"), passage("Sixty-two metres", "pier.md")]
    assert judge(question, passages) == ((False, False, True), 1)
    assert judge(GoldQuestion("How long?", ("62 metres",)), passages)[0] == (True, False, False)


def test_repetitions_of_a_better_passage_do_not_count() -> None:
    question = GoldQuestion("How long?", ("62 metres",))
    assert judge(question, [passage("62 metres"), passage("62 metres too")]) == ((True, False), 1)


def test_with_documents_only_one_passage_of_each_counts() -> None:
    question = GoldQuestion("What about piers?", documents=("a.txt", "b.txt"))
    found = [passage("x"), passage("y"), passage("z", "c.txt"), passage("z", "b.txt")]
    assert judge(question, found) == ((True, False, False, True), 2)


def test_question_without_gold_is_out_of_scope() -> None:
    question = GoldQuestion("Who painted the Mona Lisa?")
    assert question.out_of_scope
    assert judge(question, [passage("Leonardo")]) == ((False,), 0)


# --- rows and files ----------------------------------------------------------------------------------------------


def test_rows_may_have_singular_keys_and_numbers() -> None:
    row = {"question": " How\nlong? ", "answer": 62, "document": "pier.md", "out_of_scope": None, "id": 7}
    assert from_row(row) == GoldQuestion("How long?", ("62",), ("pier.md",))
    assert from_row({"question": "Who?", "out_of_scope": True}).out_of_scope


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "no question"),
        ({"question": " ?"}, "no question"),
        ({"question": 3}, "no question"),
        ({"question": "a" * 5000}, "4,000 characters"),
        ({"question": "Who?", "answers": {"a": 1}}, "not a list of texts"),
        ({"question": "Who?", "answers": [["a"]]}, "not a list of texts"),
        ({"question": "Who?", "answers": ["..."]}, "no letter or digit"),
        ({"question": "Who?", "answers": ["I"], "out_of_scope": "yes"}, "marked out of scope"),
    ],
)
def test_bad_row_is_explained(row: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_row(row)


QUESTIONS = (
    GoldQuestion("How long, in “metres”?", ("62 metres", "a|b", 'with "quotes", and a comma'), ("pier.md", "b c.txt")),
    GoldQuestion("Wer war’s?", documents=("straße.txt",)),
    GoldQuestion("Who painted the Mona Lisa?"),
    GoldQuestion("To be filled in?", use=False),
)


def test_files_round_trip() -> None:
    for name, text in (("q.csv", as_csv(QUESTIONS)), ("q.jsonl", as_jsonl(QUESTIONS))):
        found = read(name, text.encode())
        assert (found.questions, found.problems) == (QUESTIONS, ())
        assert read(name, text.encode("utf-16")).questions == QUESTIONS


def test_cells_are_split_at_bars() -> None:
    assert split(" a | b \\| c ||d") == ["a", "b | c", "d"]
    assert split(joined(["a|b", "c"])) == ["a|b", "c"]


def test_semicolons_and_windows_1252_are_read() -> None:
    text = "\ufeffQuestion;Answer;Document\r\nWie lang?;62 Meter;pier.md\r\n\r\nWer?;Jörg|Jürgen;\r\n"
    expected = (GoldQuestion("Wie lang?", ("62 Meter",), ("pier.md",)), GoldQuestion("Wer?", ("Jörg", "Jürgen")))
    assert read("q.csv", text.encode()).questions == expected
    assert read("q.csv", text.lstrip("\ufeff").encode("cp1252")).questions == expected


def test_bad_rows_are_reported_and_good_ones_kept() -> None:
    text = 'question,answers\nWho?,me\n,nobody\n"Who ?",you\nWhat?,...\na,b,c\nWhen?,now\n'
    found = read("q.csv", text.encode())
    assert [question.question for question in found.questions] == ["Who?", "When?"]
    assert [str(problem) for problem in found.problems] == [
        "Row 3 is left out: it has no question.",
        "Row 4 is left out: row 2 asks the same.",
        "Row 5 is left out: an answer has no letter or digit.",
        "Row 6 is left out: it has 3 cells, and the header has 2.",
    ]
    lines = ['{"question": "Who?"}', "", "{", "[1]", '{"question": "WHO?"}', '{"question": "Why\u2028not?"}']
    found = read("q.jsonl", "\n".join(lines).encode())
    assert [question.question for question in found.questions] == ["Who?", "Why not?"]
    assert [(problem.row, problem.reason) for problem in found.problems] == [
        (3, "it is not valid JSON"),
        (4, "it is not a JSON object"),
        (5, "row 1 asks the same"),
    ]


def test_hostile_files_are_rejected() -> None:
    many = b"question\n" + b"".join(b"a%d\n" % n for n in range(10_001))
    for name, content in (
        ("q.csv", b""),
        ("q.csv", b"name,text\na,b"),
        ("q.jsonl", b"\n"),
        ("q.csv", b"\0\1"),
        ("q.csv", many),
    ):
        with pytest.raises(ConfigurationError) as error:
            read(name, content)
        assert error.value.hint
    [problem] = read("q.jsonl", b'{"question": ' + b"[" * 100_000).problems
    assert problem.reason == "it is not valid JSON"
    huge = read("q.csv", b'question,answers\n"' + b"a" * 200_000 + b'",b\nWho?,me\n')
    assert [problem.row for problem in huge.problems] == [2]


def test_sample_documents_answer_the_sample_questions() -> None:
    found = read("samples-questions.jsonl", (ROOT / "data" / "samples-questions.jsonl").read_bytes())
    assert not found.problems
    assert len([question for question in found.questions if question.out_of_scope]) >= 6
    texts = {path.name: "\n".join(page.text for page in load(path, path.name).pages) for path in sample_files()}
    for question in found.questions:
        for document in question.documents:
            assert holds(texts[document], question.answers), question
