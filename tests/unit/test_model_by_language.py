"""Which embedded model a collection gets: by the language of its documents and questions, or by choice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from errors import ConfigurationError
from rag.documents import indexing as indexing_module
from rag.index.multilingual_model import NAME as MULTILINGUAL
from tests.ingest_environment import ANN, IngestEnvironment

ENGLISH = b"The ferry to the island sails every hour from the old harbour, and it takes bicycles."
GERMAN = "Die Fähre zur Insel fährt jede Stunde vom alten Hafen ab, und sie nimmt auch Fahrräder mit.".encode()
QUESTION = "Wie oft fährt die Fähre zur Insel?"


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IngestEnvironment]:
    env = IngestEnvironment(tmp_path, chunk_tokens=40, chunk_overlap=5)
    monkeypatch.setattr(env.indexing.models, "has_multilingual", lambda: True)
    yield env
    env.close()


def names(env: IngestEnvironment) -> dict[str, str]:
    """State and model of each index."""
    found = env.indexing.indexes.all(ANN, env.collection)
    return {index.embedding_model: "active" if index.active else "wanted" * index.wanted for index in found}


def rebuild(env: IngestEnvironment) -> None:
    while env.indexing.rebuild_step():
        pass


def test_english_documents_get_the_english_model(env: IngestEnvironment) -> None:
    env.add("a.txt", ENGLISH)
    env.add("codes.csv", b"part,stock\nDE-31,4\nLA-20,7\n")
    env.indexing.prepare(ANN, env.collection, "How often does the ferry sail?")
    assert names(env) == {"embedded": "active"}


def test_a_first_document_in_another_language_gets_the_multilingual_model(env: IngestEnvironment) -> None:
    env.add("a.txt", GERMAN)
    env.add("b.txt", ENGLISH)
    assert names(env) == {MULTILINGUAL: "active"}


def test_a_later_document_in_another_language_changes_the_model(env: IngestEnvironment) -> None:
    env.add("a.txt", ENGLISH)
    env.add("b.txt", GERMAN)
    assert names(env) == {"embedded": "active", MULTILINGUAL: "wanted"}  # the old index goes on answering
    env.add("c.txt", GERMAN + b"!")
    rebuild(env)
    assert names(env) == {"embedded": "", MULTILINGUAL: "active"}
    assert env.store.count(env.collection, MULTILINGUAL) == 3


def test_a_question_in_another_language_changes_the_model_of_a_small_collection(env: IngestEnvironment) -> None:
    env.add("a.txt", ENGLISH)
    env.indexing.prepare(ANN, env.collection, QUESTION)
    assert names(env) == {"embedded": "", MULTILINGUAL: "active"}
    env.indexing.prepare(ANN, env.collection, QUESTION)  # nothing more to do


def test_a_large_collection_is_indexed_later(env: IngestEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing_module, "AT_ONCE", 0)
    env.add("a.txt", ENGLISH)
    env.indexing.prepare(ANN, env.collection, QUESTION)
    assert names(env) == {"embedded": "active", MULTILINGUAL: "wanted"}
    rebuild(env)
    assert names(env)[MULTILINGUAL] == "active"


def test_a_question_does_not_wait_for_documents_being_read(
    env: IngestEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing_module, "BUSY_S", 0.01)
    env.add("a.txt", ENGLISH)
    with env.indexing.busy:
        env.indexing.prepare(ANN, env.collection, QUESTION)
    assert names(env) == {"embedded": "active", MULTILINGUAL: "wanted"}


def test_a_model_that_a_person_chose_stays(env: IngestEnvironment) -> None:
    env.add("a.txt", GERMAN)
    env.indexing.rebuild(ANN, env.collection, "all-MiniLM-L6-v2")
    rebuild(env)
    env.add("b.txt", GERMAN + b"!")
    env.indexing.prepare(ANN, env.collection, QUESTION)
    assert names(env) == {MULTILINGUAL: "", "all-MiniLM-L6-v2": "active"}


def test_the_english_model_can_be_kept(env: IngestEnvironment) -> None:
    env.add("a.txt", ENGLISH)
    env.indexing.rebuild(ANN, env.collection, "all-MiniLM-L6-v2")
    env.add("b.txt", GERMAN)
    assert names(env) == {"all-MiniLM-L6-v2": "active"}


def test_a_model_that_cannot_be_made_leaves_the_old_index(env: IngestEnvironment) -> None:
    def full(texts: list[str]) -> None:
        raise ConfigurationError("The disk is full.", "Free some of it.")

    env.add("a.txt", ENGLISH)
    env.indexing.models.get(MULTILINGUAL).before_batch = full  # type: ignore[attr-defined]
    env.indexing.prepare(ANN, env.collection, QUESTION)
    assert names(env) == {"embedded": "active"}


def test_without_its_package_the_english_model_stays(env: IngestEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env.indexing.models, "has_multilingual", lambda: False)
    env.add("a.txt", GERMAN)
    env.indexing.prepare(ANN, env.collection, QUESTION)
    assert names(env) == {"embedded": "active"}


def test_a_model_named_in_the_settings_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = IngestEnvironment(tmp_path, chunk_tokens=40, chunk_overlap=5, model="other")
    monkeypatch.setattr(env.indexing.models, "has_multilingual", lambda: True)
    env.add("a.txt", GERMAN)
    env.indexing.prepare(ANN, env.collection, QUESTION)
    assert names(env) == {"other": "active"}
    env.close()
