"""An embedding model without weights: a bag of hashed words, with a hook before each batch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rag.index.embeddings import EmbeddingModel


class WordEmbeddings(EmbeddingModel):
    """Bags of hashed words, 256 dimensions; a token is a word."""

    def __init__(
        self,
        before_batch: Callable[[list[str]], None] = lambda texts: None,
        *,
        fingerprint: str = "words",
        max_tokens: int = 40,
    ) -> None:
        super().__init__(Path("nowhere"), name=fingerprint)
        self.before_batch = before_batch
        self.fingerprint = fingerprint
        self.max_tokens = max_tokens
        self.dimension = 256

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]

    def count(self, text: str) -> int:
        return len(self.spans(text))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.before_batch(texts)
        assert all(self.count(text) <= self.max_tokens for text in texts)
        return [self.embed_query(text) for text in texts]

    def _encode(self, texts: Sequence[str], *, query: bool) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = np.full(self.dimension, 1e-3)
        for word in re.findall(r"\w+", text.casefold()):
            vector[hashlib.md5(word.encode()).digest()[0]] += 1
        return list(vector / np.linalg.norm(vector))
