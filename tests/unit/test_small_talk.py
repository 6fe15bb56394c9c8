"""Greetings and questions about the application and its library."""

from __future__ import annotations

import pytest

from rag.chat.small_talk import Topic, reply, topic_of
from rag.index.contents import ListedDocument
from rag.schema import DocumentState

TWO = [ListedDocument(name, name, DocumentState.READY) for name in ("boats.pdf", "rules.md")]


@pytest.mark.parametrize(
    ("said", "topic", "language"),
    [
        ("Hello", Topic.GREETING, "en"),
        ("good morning, Gestalt!", Topic.GREETING, "en"),
        ("Guten Tag!", Topic.GREETING, "de"),
        ("Hi! Who are you?", Topic.IDENTITY, "en"),
        ("Hey, what can you do?", Topic.HELP, "en"),
        ("thank you so much!", Topic.THANKS, "en"),
        ("Merci beaucoup !", Topic.THANKS, "fr"),
        ("¿Qué puedes hacer?", Topic.HELP, "es"),
        ("How many documents are there?", Topic.DOCUMENTS, "en"),
        ("Which files do you have", Topic.DOCUMENTS, "en"),
        ("Welche Dokumente gibt es?", Topic.DOCUMENTS, "de"),
        ("你好", Topic.GREETING, "zh"),
        ("bye", Topic.FAREWELL, "en"),
        ("?", Topic.NOTHING, "en"),
        ("  …", Topic.NOTHING, "en"),
    ],
)
def test_what_the_application_answers(said: str, topic: Topic, language: str) -> None:
    assert topic_of(said) == (topic, language)
    assert reply(topic, language, TWO)


@pytest.mark.parametrize(
    "asked",
    [
        "Hi, how long is the pier?",
        "Hello! When does the lease end?",
        "Which documents mention the pier?",
        "How many documents does an applicant need?",
        "Thanks to whom was the ship saved?",
        "Who is the captain?",
        "help desk number",
        "🐕",
        "What do you know about pumps?",
    ],
)
def test_what_the_documents_answer(asked: str) -> None:
    assert topic_of(asked) is None


def test_the_documents_are_counted_and_named() -> None:
    failed = ListedDocument("x", "locked.pdf", DocumentState.FAILED)
    assert reply(Topic.DOCUMENTS, "en", [*TWO, failed]) == "There are 2 documents: boats.pdf, rules.md."
    assert reply(Topic.DOCUMENTS, "de", TWO[:1]) == "Es gibt 1 Dokument: boats.pdf."
    assert "add some" in reply(Topic.DOCUMENTS, "en", [])
    many = [ListedDocument(str(n), f"{n}.pdf", DocumentState.READY) for n in range(1234)]
    assert reply(Topic.GREETING, "en", many).endswith("29.pdf, and 1,204 more.")
