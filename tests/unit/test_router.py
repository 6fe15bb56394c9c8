"""How a question is answered: chosen by its words and the names of the documents."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rag.chat.router import Routing, route
from rag.index.contents import ListedDocument
from rag.schema import DocumentState, Mode


def document(name: str, *, attached: bool = False, state: DocumentState = DocumentState.READY) -> ListedDocument:
    return ListedDocument(name, name, state, attached, "It has no text." if state is DocumentState.FAILED else "")


LIBRARY = [document(name) for name in ("boats.pdf", "mooring-contract.docx", "staff_2024.csv")]
TITLES = {"boats.pdf": "Boats of the harbour", "mooring-contract.docx": "Agreement with Ms Hale", "staff_2024.csv": ""}


def routed(question: str, documents: Sequence[ListedDocument] = LIBRARY, mode: Mode | None = None) -> Routing:
    return route(question, documents, mode=mode, titles=lambda: TITLES)


def names(routing: Routing) -> list[str]:
    return [each.name for each in routing.documents]


@pytest.mark.parametrize(
    "question",
    [
        "Summarise this document.",
        "summary please",
        "Give me an overview of all documents",
        "What is this document about?",
        "Please summarize everything I uploaded",
        "What are the key points?",
        "tl;dr",
        "Fasse das Dokument zusammen",
        "Résume ce document",
        "总结一下",
    ],
)
def test_a_summary_of_all_documents(question: str) -> None:
    routing = routed(question)
    assert (routing.mode, names(routing)) == (Mode.SUMMARY, [each.name for each in LIBRARY])


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("Summarise boats.pdf", "boats.pdf"),
        ("What is in BOATS.PDF?", "boats.pdf"),
        ("Give me the main points of the mooring contract", "mooring-contract.docx"),
        ("What does the agreement with Ms Hale say?", "mooring-contract.docx"),
        ("what is staff_2024 about", "staff_2024.csv"),
        ("tl;dr of the list of all staff", "staff_2024.csv"),
        ("Fasse den Mooring Contract bitte zusammen", "mooring-contract.docx"),
        ("Summarise the long mooring contract of last year", "mooring-contract.docx"),
    ],
)
def test_a_summary_of_the_document_that_is_named(question: str, named: str) -> None:
    routing = routed(question)
    assert (routing.mode, names(routing)) == (Mode.SUMMARY, [named])


@pytest.mark.parametrize(
    "question",
    [
        "How long is the pier?",
        "What is the deposit about?",
        "What does error 12 say?",
        "Summarise the rules about noise",
        "What is in the box?",
        "Who wrote the summary?",
    ],
)
def test_a_question_about_a_subject_is_answered_from_passages(question: str) -> None:
    routing = routed(question)
    assert (routing.mode, routing.documents, routing.subjects) == (None, (), ())


def test_an_attached_file_is_what_this_document_means() -> None:
    documents = [document("letter.pdf", attached=True), *LIBRARY]
    assert names(routed("Summarise this document", documents)) == ["letter.pdf"]
    assert names(routed("What date is on the attached letter?", documents)) == ["letter.pdf"]
    assert names(routed("When does boats.pdf say that they sail?", documents)) == ["boats.pdf"]
    assert names(routed("Who is the captain?", documents)) == []


def test_the_only_document_is_this_document() -> None:
    assert names(routed("Who signed this contract?", LIBRARY[1:2])) == ["mooring-contract.docx"]
    assert names(routed("Who signed this contract?")) == []


def test_an_attached_file_that_cannot_be_read_is_told() -> None:
    failed = document("scan.pdf", attached=True, state=DocumentState.FAILED)
    for question in ("Summarise this document", "What does the attached file cost?", "Who signed scan.pdf?"):
        routing = routed(question, [failed, *LIBRARY])
        assert (routing.mode, routing.documents, routing.unread) == (Mode.LIBRARY, (), (failed,))
    assert routed("What does it cost?", [failed, *LIBRARY]).unread == (failed,)
    assert routed("What does boats.pdf cost?", [failed, *LIBRARY]).unread == ()


@pytest.mark.parametrize(
    ("question", "asked", "named"),
    [
        ("Compare the AX-1 and the BX-2.", ["Compare the AX-1 and the .", "Compare the and the BX-2."], [[], []]),
        (
            "What is the difference between boats.pdf and the mooring contract?",
            [
                "What is the difference between boats.pdf and the ?",
                "What is the difference between and the mooring contract?",
            ],
            [["boats.pdf"], ["mooring-contract.docx"]],
        ),
        ("price of AX-1 versus BX-2", ["price of AX-1 versus", "price of versus BX-2"], [[], []]),
        (
            "Which is cheaper, the pump or the heater?",
            ["Which is cheaper, the pump or the ?", "Which is cheaper, the or the heater?"],
            [[], []],
        ),
        (
            "Is the deposit higher than the rent?",
            ["Is the deposit higher than the ?", "Is the higher than the rent?"],
            [[], []],
        ),
    ],
)
def test_what_is_compared_is_searched_by_itself(question: str, asked: list[str], named: list[list[str]]) -> None:
    subjects = routed(question).subjects
    assert [subject.question for subject in subjects] == asked
    assert [[each.name for each in subject.documents] for subject in subjects] == named


def test_what_the_user_chose_counts() -> None:
    assert routed("Hello", mode=Mode.WRITTEN).mode is None
    assert routed("How long is the pier?", mode=Mode.SUMMARY).mode is Mode.SUMMARY
    assert routed("Summarise boats.pdf", mode=Mode.QUOTED).mode is None
