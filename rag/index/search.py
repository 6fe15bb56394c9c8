"""Opens the retriever for a question, and calibrates collections."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import takewhile

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from typing_extensions import override

from options import RetrievalOptions
from rag.db import Database
from rag.index.abstention import Signals, calibrate
from rag.index.calibrations import Calibrations
from rag.index.contents import Contents
from rag.index.embeddings import EmbeddingModel
from rag.index.lexical import LexicalIndex
from rag.index.passages import Hits, merged
from rag.index.reranker import EMBEDDED, CrossEncoderReranker, Likelihood, LikelihoodReranker, Reranker
from rag.index.retriever import HybridRetriever
from rag.index.sentence_vectors import SentenceVectors
from rag.index.store import VectorStore
from rag.schema import Retrieval


class LibraryRetriever(BaseRetriever):
    """A LangChain retriever for one question over an owner's collections; returns `Hits`."""

    hybrids: Callable[[str], Sequence[HybridRetriever]]  # for a question, one for each embedding model
    attached: Callable[[str], Sequence[HybridRetriever]] = lambda _: ()  # of a chat's files, which come first
    pool: Executor
    k: int
    history: tuple[str, ...] = ()  # earlier questions, oldest first
    rewritten: str = ""

    @override
    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return self._hits(query, lambda: False)

    @override
    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        # A separate pool: many retrievals at once must not delay the other work of running turns.
        stop = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, self._hits, query, stop.is_set)
        finally:
            stop.set()

    def _hits(self, query: str, stopped: Callable[[], bool]) -> Hits:
        def search(hybrids: Sequence[HybridRetriever]) -> Retrieval:
            return merged(
                [
                    replace(one, stopped=stopped).retrieve(
                        query, history=self.history, rewritten=self.rewritten, k=self.k
                    )
                    for one in hybrids
                ]
            )

        library, files = search(self.hybrids(query)), self.attached(query)
        if not files:
            return Hits(replace(library, passages=library.passages[: self.k]))
        attached = search(files)
        first, then = (library, attached) if attached.abstained and not library.abstained else (attached, library)
        both = first.abstained or not then.abstained
        room = self.k - (both and then.confidence > first.confidence)
        passages = (*first.passages[:room], *(then.passages if both else ()))
        return Hits(replace(merged([first, then]), passages=passages[: self.k]))


class Search:
    """Makes retrievers, and calibrates when they abstain."""

    def __init__(
        self,
        database: Database,
        store: VectorStore,
        lexical: LexicalIndex,
        model_of: Callable[[str, str], EmbeddingModel],
        device: str,
        likelihood: Likelihood,
        prepare: Callable[[str, str, str], None] = lambda *_: None,
    ) -> None:
        """`model_of(owner, collection_id)` is the embedding model of a collection.

        `likelihood` is that of the embedded language model, for the reranker.
        `prepare(owner, collection_id, question)` is called before a question, and may change that model.
        """
        self.calibrations = Calibrations(database)
        self._database, self._store, self._lexical = database, store, lexical
        self._model_of, self._device, self._prepare = model_of, device, prepare
        self._likelihood = likelihood
        self._rerankers: dict[str, Reranker] = {}
        self._sentences: dict[str, SentenceVectors] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "retrieval")

    def retriever(
        self,
        owner: str,
        collection_ids: Sequence[str],
        options: RetrievalOptions,
        *,
        k: int,
        history: Sequence[str] = (),
        rewritten: str = "",
        attached: Sequence[str] = (),
        documents: Sequence[str] = (),
    ) -> LibraryRetriever:
        """The retriever for one question. Raises EmbeddingMismatch if a model has changed, ConfigurationError.

        What is found in the `attached` collections comes first; `documents` are the only ones to search, if any.
        """
        self.hybrids(owner, [*collection_ids, *attached], options)  # raises before anything is asked

        def opened(ids: Sequence[str], question: str) -> list[HybridRetriever]:
            for id_ in ids:
                self._prepare(owner, id_, question)
            return self.hybrids(owner, ids, options, documents)

        return LibraryRetriever(
            hybrids=partial(opened, collection_ids),
            attached=partial(opened, attached),
            pool=self._pool,
            k=k,
            history=tuple(history),
            rewritten=rewritten,
        )

    def hybrids(
        self, owner: str, collection_ids: Sequence[str], options: RetrievalOptions, documents: Sequence[str] = ()
    ) -> list[HybridRetriever]:
        """A retriever for each embedding model among the collections; raises like `retriever`."""
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
                documents=tuple(documents),
                reranker=self._reranker(options.reranker),
                calibration=partial(self.calibrations.load, owner, fingerprint=embeddings.fingerprint),
                sentences=self._vectors(embeddings),
            )
            for embeddings, ids in by_model.items()
        ]

    def contents(self, owner: str, collection_ids: Sequence[str], attached_id: str | None = None) -> Contents:
        """The documents of collections, and of the files attached to a conversation."""
        return Contents(owner, tuple(collection_ids), attached_id, self._database, self._lexical)

    def similarity(
        self, owner: str, collection_ids: Sequence[str], question: str, sentences: Sequence[str]
    ) -> list[float]:
        """How similar each sentence is to a question, by the model of the first collection: 0 if unrelated, up to 1."""
        embeddings = self._model_of(owner, next(iter(collection_ids), ""))
        low = embeddings.unrelated
        return [(cosine - low) / (1.0 - low) for cosine in self._vectors(embeddings)(question, sentences)]

    def _vectors(self, embeddings: EmbeddingModel) -> SentenceVectors:
        """The vectors of sentences that were compared lately."""
        with self._lock:
            return self._sentences.setdefault(embeddings.fingerprint, SentenceVectors(embeddings))

    def calibrate(self, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """Calibrate the collections whose calibration is outdated; False if it was interrupted. Raises like retrieval.

        Takes a few seconds of CPU for each collection, whatever its size; `interrupted` is checked after each question.
        """
        for owner, collection_id, fingerprint in self.calibrations.all_outdated():
            (hybrid,) = self.hybrids(owner, [collection_id], RetrievalOptions())

            def measure(questions: Sequence[str], hybrid: HybridRetriever = hybrid) -> list[Signals]:
                return list(takewhile(lambda _: not interrupted(), hybrid.measure(questions)))

            calibration = calibrate(self.calibrations.sample(owner, collection_id), measure)
            if interrupted():
                return False
            self.calibrations.save(owner, collection_id, fingerprint, calibration)
        return True

    def _reranker(self, name: str) -> Reranker | None:
        if not name:
            return None
        if name == EMBEDDED:
            return LikelihoodReranker(self._likelihood)
        with self._lock:
            # Keep one only: someone who tries several does not want all of them in memory.
            if name not in self._rerankers:
                self._rerankers = {name: CrossEncoderReranker(name, self._device)}
            return self._rerankers[name]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
