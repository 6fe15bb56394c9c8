"""Whether one text follows from another, judged by a cross-encoder for natural language inference.

Optional: off unless a setting names a model. It detects contradiction and paraphrase, which `support.py` does not.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from errors import ConfigurationError
from rag.index.cross_encoder import load


class Entailment:
    """A sentence-transformers CrossEncoder with a label “entailment”, by id or path. Loads lazily; thread-safe."""

    def __init__(self, name: str, device: str = "auto", setting: str = "GESTALT_SUPPORT_MODEL") -> None:
        self.name, self._device, self._setting = name, device, setting
        self._lock = threading.Lock()
        self._model: Any = None
        self._label = 0

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return for each `(premise, conclusion)` how likely the conclusion follows, 0 to 1.

        Raises ConfigurationError if the model cannot be loaded, or has no label “entailment”.
        """
        with self._lock:
            if self._model is None:
                self._load()
            rows = self._model.predict(list(pairs), apply_softmax=True, show_progress_bar=False)
        return [float(row[self._label]) for row in rows]

    def _load(self) -> None:
        hint = f"Name a CrossEncoder for natural language inference in {self._setting}, or leave it empty."
        model = load(self.name, self._device, setting=self._setting, hint=hint)
        labels = {str(name).casefold(): int(at) for at, name in (model.config.id2label or {}).items()}
        if "entailment" not in labels or len(labels) < 2:
            raise ConfigurationError(f"{self.name} has no label “entailment”.", hint)
        self._model, self._label = model, labels["entailment"]
