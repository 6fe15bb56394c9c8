"""Reranks the best passages with a cross-encoder, if one is configured: slower and more accurate than the searches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from errors import ConfigurationError
from rag.index.cross_encoder import load
from rag.schema import Passage


class Reranker:
    """A sentence-transformers CrossEncoder, by id or path; weights load on first use. Thread-safe."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self._device = name, device
        self._lock = threading.Lock()
        self._model: Any = None

    def order(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        """The passages, best first, each with its `reranked` score; those with codes of the question stay first.

        Raises ConfigurationError if the model is not available, or does not score pairs with one number.
        """
        if not passages:
            return []
        with self._lock:
            if self._model is None:
                hint = "Name a sentence-transformers CrossEncoder, by id or folder, or leave the reranker out."
                self._model = load(self.name, self._device, setting="GESTALT_RETRIEVAL", hint=hint)
            scores = self._model.predict([(question, passage.text) for passage in passages], show_progress_bar=False)
        if getattr(scores, "ndim", 1) != 1:
            raise ConfigurationError(
                f"{self.name} does not score pairs of texts with one number.",
                "Name a cross-encoder for ranking in GESTALT_RETRIEVAL, or leave the reranker out.",
            )
        scored = [replace(p, reranked=float(score)) for p, score in zip(passages, scores, strict=True)]
        return sorted(scored, key=lambda passage: (passage.codes, passage.final_score), reverse=True)
