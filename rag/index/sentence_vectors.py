"""Compares sentences of passages with a question, and keeps their vectors for the next question."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from rag.index.embeddings import EmbeddingModel

KEPT = 4096  # vectors: 384 dimensions of 4 bytes each, 6 MB


class SentenceVectors:
    """Cosines of a question with sentences; the vectors of the latest `KEPT` sentences are kept. Thread-safe."""

    def __init__(self, embeddings: EmbeddingModel) -> None:
        self._embeddings = embeddings
        self._known: OrderedDict[str, object] = OrderedDict()  # numpy vectors
        self._lock = threading.Lock()

    def __call__(self, question: str, sentences: Sequence[str]) -> list[float]:
        """The cosine of each sentence with the question. Raises ConfigurationError."""
        import numpy as np

        with self._lock:
            known = {text: self._known[text] for text in sentences if text in self._known}
        new = [text for text in dict.fromkeys(sentences) if text not in known]
        known |= zip(new, np.asarray(self._embeddings.embed_long(new), dtype=np.float32), strict=True)
        with self._lock:
            for text in sentences:
                self._known[text] = known[text]
                self._known.move_to_end(text)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        if not sentences:
            return []
        query = np.asarray(self._embeddings.embed_query(question), dtype=np.float32)
        cosines: list[float] = (np.asarray([known[text] for text in sentences]) @ query).tolist()
        return cosines
