"""A question over an owner's collections, whichever embedding model each of them is indexed by.

The one way from a question to passages: pages, command line and evaluation come through here. Knows nothing of
documents on their way in, nor of who answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from itertools import takewhile
from typing import Any

from pydantic import TypeAdapter, ValidationError

from errors import ConfigurationError
from rag.db import Database
from rag.index.abstention import Signals, calibrate
from rag.index.calibrations import Calibrations
from rag.index.embeddings import EmbeddingModel
from rag.index.lexical import LexicalIndex
from rag.index.reranker import Reranker
from rag.index.retriever import HybridRetriever
from rag.index.store import VectorStore
from rag.schema import Retrieval, RetrievalOptions


def read_options(values: dict[str, Any]) -> RetrievalOptions:
    """The options that `values` name, the others at their defaults.

    Raises:
        ConfigurationError: there is no such option, or its value cannot be used.
    """
    known = [field.name for field in fields(RetrievalOptions)]
    if unknown := [name for name in values if name not in known]:
        raise ConfigurationError(f"There is no step of retrieval “{unknown[0]}”.", f"There are: {', '.join(known)}.")
    try:
        options = TypeAdapter(RetrievalOptions).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"The step of retrieval “{first['loc'][0]}” cannot be used: {first['msg'].lower()}.",
            "Correct it where it is set: GESTALT_RETRIEVAL, or the configuration of an evaluation.",
        ) from None
    if not (options.words or options.dense):
        raise ConfigurationError(
            "Neither words nor vectors are to be searched.", "Switch one of the two on: words or dense."
        )
    return options


class Search:
    """Retrievers for the collections of an owner."""

    def __init__(
        self,
        database: Database,
        store: VectorStore,
        lexical: LexicalIndex,
        model_of: Callable[[str, str], EmbeddingModel],
        device: str,
    ) -> None:
        """`model_of(owner, collection_id)` gives the embedding model that answers for a collection."""
        self.calibrations = Calibrations(database)
        self._database, self._store, self._lexical = database, store, lexical
        self._model_of, self._device = model_of, device
        self._rerankers: dict[str, Reranker] = {}
        self._lock = threading.Lock()

    def retrievers(self, owner: str, collection_ids: Sequence[str], options: RetrievalOptions) -> list[HybridRetriever]:
        """A retriever for each embedding model that one of the collections is indexed by.

        Raises:
            ConfigurationError: an embedding model cannot be had.
        """
        by_model: dict[EmbeddingModel, list[str]] = {}
        for id_ in collection_ids:
            by_model.setdefault(self._model_of(owner, id_), []).append(id_)
        return [
            HybridRetriever(
                owner=owner,
                collection_ids=tuple(ids),
                database=self._database,
                store=self._store,
                lexical=self._lexical,
                embeddings=embeddings,
                options=options,
                reranker=self._reranker(options.reranker),
                calibration=partial(self.calibrations.load, owner, fingerprint=embeddings.fingerprint),
            )
            for embeddings, ids in by_model.items()
        ]

    def retrieve(
        self,
        owner: str,
        question: str,
        collection_ids: Sequence[str],
        *,
        k: int,
        history: Sequence[str] = (),
        rewritten: str = "",
        options: RetrievalOptions,
    ) -> Retrieval:
        """The passages for a question, best first; see `HybridRetriever.retrieve`.

        Raises:
            EmbeddingMismatch: a collection was indexed by another model than the one that answers for it.
            StoreError: the index cannot be read.
            ConfigurationError: an embedding model or the reranker cannot be had.
        """
        retrievals = [
            retriever.retrieve(question, history=history, rewritten=rewritten, k=k)
            for retriever in self.retrievers(owner, collection_ids, options)
        ]
        return _merged(retrievals, k)

    def calibrate(self, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """Measure anew when Gestalt abstains, where a collection has changed much; whether that came to its end.

        Some seconds of computing for each collection that changed, whatever its size.

        Args:
            interrupted: asked between two questions; where it is true the rest is left for another time.

        Raises:
            StoreError, ConfigurationError: as retrieval does.
        """
        for owner, collection_id, fingerprint in self.calibrations.all_stale():
            (retriever,) = self.retrievers(owner, [collection_id], RetrievalOptions())

            def measure(questions: Sequence[str], retriever: HybridRetriever = retriever) -> list[Signals]:
                return list(takewhile(lambda _: not interrupted(), retriever.measure(questions)))

            calibration = calibrate(self.calibrations.sample(owner, collection_id), measure)
            if interrupted():
                return False
            self.calibrations.save(owner, collection_id, fingerprint, calibration)
        return True

    def _reranker(self, name: str) -> Reranker | None:
        if not name:
            return None
        with self._lock:
            # One at a time: a person who tries several does not want all of them in memory.
            if name not in self._rerankers:
                self._rerankers = {name: Reranker(name, self._device)}
            return self._rerankers[name]


def _merged(retrievals: Sequence[Retrieval], k: int) -> Retrieval:
    """The best passages of searches by different embedding models, whose scores are those of one question each."""
    if len(retrievals) == 1:
        return retrievals[0]
    passages = sorted((p for found in retrievals for p in found.passages), key=lambda p: p.score, reverse=True)
    return Retrieval(
        passages=tuple(passages[:k]),
        abstained=all(found.abstained for found in retrievals),
        confidence=max((found.confidence for found in retrievals), default=0.0),
        seconds=sum(found.seconds for found in retrievals),
    )
