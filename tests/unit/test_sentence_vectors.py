"""Cosines of sentences with a question, and which vectors are computed."""

from __future__ import annotations

import math

import pytest

from rag.index import sentence_vectors
from rag.index.embeddings import EmbeddingModel
from rag.index.sentence_vectors import SentenceVectors


class Letters(EmbeddingModel):
    """Embeds a text by how many a and b it has."""

    def __init__(self) -> None:
        self.embedded = list[str]()

    def embed_long(self, texts: object) -> list[list[float]]:
        self.embedded += list(texts)  # type: ignore[call-overload]
        return [self.embed_query(text) for text in texts]  # type: ignore[attr-defined]

    def embed_query(self, text: str) -> list[float]:
        a, b = text.count("a"), text.count("b")
        return [a / math.hypot(a, b), b / math.hypot(a, b)]


def test_cosines_and_each_sentence_embedded_once() -> None:
    model = Letters()
    vectors = SentenceVectors(model)
    assert vectors("aa", ["a", "b", "ab", "a"]) == pytest.approx([1, 0, math.sqrt(0.5), 1])
    assert vectors("b", ["ab", "b"]) == pytest.approx([math.sqrt(0.5), 1])
    assert model.embedded == ["a", "b", "ab"]
    assert vectors("a", []) == []


def test_the_oldest_vectors_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_vectors, "KEPT", 2)
    model = Letters()
    vectors = SentenceVectors(model)
    vectors("a", ["a", "b"])
    vectors("a", ["a", "ab"])
    vectors("a", ["a"])
    assert model.embedded == ["a", "b", "ab"]
    vectors("a", ["b"])
    assert model.embedded == ["a", "b", "ab", "b"]
