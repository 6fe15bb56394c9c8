"""Reranks the best passages, if the options say so: slower and more accurate than the searches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from errors import ConfigurationError
from rag.index.cross_encoder import load
from rag.index.passages import best_first
from rag.schema import Passage

EMBEDDED = "embedded"
"""The option's value for the embedded language model instead of a cross-encoder."""
WEIGHT = 4.0
"""Of the mean log-probability of the question. 2 corrects fewer questions of SQuAD, 6 no more."""
CLOSE = 2.0
"""How far below the best fused score a passage may be to be read: reading one takes .75 s of CPU."""
Likelihood = Callable[[str, Sequence[str]], Sequence[float]]
"""(question, texts) -> mean log-probability of the question after each. Raises BackendError."""


class Reranker(Protocol):
    """What orders passages anew. Thread-safe."""

    reads: int
    """Passages that it wants to choose from."""

    def order(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        """The passages, best first, those with codes of the question before the others."""


class LikelihoodReranker:
    """Decides between passages whose scores are close by how likely a language model finds the question after each."""

    reads = 3

    def __init__(self, likelihood: Likelihood) -> None:
        self._likelihood = likelihood

    def order(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        """The passages, best first; they have a `reranked` score if several were close. Raises what `likelihood` does.

        The likeliest passage keeps its score, and those that were not read lose as much as the unlikeliest one.
        """
        close = [
            p for p in passages[: self.reads] if p.codes == passages[0].codes and p.score > passages[0].score - CLOSE
        ]
        if len(close) < 2:
            return list(passages)
        means = self._likelihood(question, [passage.found_text for passage in close])
        known = {passage.chunk_id: mean for passage, mean in zip(close, means, strict=True)}
        losses = [WEIGHT * (max(means) - known.get(passage.chunk_id, min(means))) for passage in passages]
        return best_first(replace(p, reranked=p.score - loss) for p, loss in zip(passages, losses, strict=True))


class CrossEncoderReranker:
    """A sentence-transformers CrossEncoder, by id or path; weights load on first use. Thread-safe."""

    reads = 20

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
        return best_first(replace(p, reranked=float(score)) for p, score in zip(passages, scores, strict=True))
