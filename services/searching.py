"""Passages for a question by the names of collections, and why a text was not among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from errors import ContextTooLong
from rag.chat.prompts import choose, fit
from rag.documents.library import DEFAULT_COLLECTION, Library
from rag.index.diagnosis import Diagnosis, Finding, Stage, diagnose
from rag.index.search import Search, read_options
from rag.schema import CollectionRecord, DocumentState, Part, Passage, Retrieval, RetrievalOptions
from services.models import Models
from settings import Settings


class Searching:
    """What is found for a question, without a model."""

    def __init__(self, settings: Settings, library: Library, search: Search, models: Models) -> None:
        self._settings, self._library, self._search, self._models = settings, library, search, models

    @cached_property
    def options(self) -> RetrievalOptions:
        """The steps of retrieval as the settings have them.

        Raises:
            ConfigurationError: GESTALT_RETRIEVAL names what there is not.
        """
        return read_options(self._settings.retrieval)

    def retrieve(
        self,
        owner: str,
        question: str,
        *,
        history: Sequence[str] = (),
        k: int | None = None,
        collections: Sequence[str] = (DEFAULT_COLLECTION,),
        rewritten: str = "",
        options: RetrievalOptions | None = None,
        conversation_id: str | None = None,
    ) -> Retrieval:
        """The passages for a question, best first, without a model.

        Args:
            owner: who asks.
            question: what is asked.
            history: earlier questions, oldest first.
            k: how many passages; the setting where it is not given.
            collections: names of those that are searched; all where there are none.
            rewritten: the question as a model put it, so that it stands for itself; searched beside it.
            options: the steps of retrieval; the setting where they are not given.
            conversation_id: a conversation whose attached files are searched too.

        Raises:
            ConfigurationError: there is no such collection.
            StoreError: the index cannot be read.
        """
        searched = self.named(owner, collections, conversation_id)
        return self._search.retrieve(
            owner,
            question,
            [found.id for found in searched if self._ready(owner, found)],
            k=k or self._settings.passages,
            history=history,
            rewritten=rewritten,
            options=options or self.options,
        )

    def diagnose(
        self,
        owner: str,
        question: str,
        expected: str,
        *,
        k: int | None = None,
        collections: Sequence[str] = (DEFAULT_COLLECTION,),
        options: RetrievalOptions | None = None,
        model: tuple[str, str] | None = None,
    ) -> Diagnosis:
        """Why a text that a person expected was not found, or was not shown to the model.

        Args:
            owner: who asks.
            question: what was asked.
            expected: words as they stand in a document.
            k: how many passages are shown to the model.
            collections: names of those that are searched; all where there are none.
            options: the steps of retrieval.
            model: backend and model whose window the passages have to fit; the defaults where they are not given.

        Raises:
            ConfigurationError: there is no such collection.
            StoreError: the index cannot be read.
        """
        k = k or self._settings.passages
        ids = [found.id for found in self.named(owner, collections) if self._ready(owner, found)]
        retrievers = self._search.retrievers(owner, ids, options or self.options)
        diagnosis = diagnose(retrievers, question, expected, k=k)
        if diagnosis.lost or not diagnosis.found:
            return diagnosis
        passages = self._search.retrieve(owner, question, ids, k=k, options=options or self.options).passages
        budget = self._budget(question, passages, diagnosis.found, model or (self._settings.backend, ""))
        return replace(diagnosis, findings=(*diagnosis.findings, budget))

    def _budget(self, question: str, passages: Sequence[Passage], wanted: Passage, model: tuple[str, str]) -> Finding:
        """Whether a passage that was found fits the window of a model with those that are better."""
        room = self._models.room(*model)
        if not room:
            return Finding(
                Stage.BUDGET, True, "Not looked at: the model is not loaded, so that its window is not known."
            )
        try:
            fitted = fit(choose(passages, small=room.small), question, (), passages, room)
        except ContextTooLong as error:
            return Finding(Stage.BUDGET, False, error.message, error.hint)
        shown = sum(share.part is Part.PASSAGE and share.kept for share in fitted.ledger.shares)
        ids = [passage.chunk_id for passage in passages[:shown]]
        if wanted.chunk_id in ids:
            return Finding(Stage.BUDGET, True, "It fits the model's window, with all that are better.")
        return Finding(
            Stage.BUDGET,
            False,
            f"The model is shown {shown} of the {len(passages)} passages: more do not fit.",
            "Choose a model with a larger window, lower the longest answer, or begin a new chat.",
        )

    def named(self, owner: str, names: Sequence[str], conversation_id: str | None = None) -> list[CollectionRecord]:
        """The collections of those names, all where there are none, and that of the files of a conversation.

        The default collection is made where it is missing.

        Raises:
            ConfigurationError: there is no such collection.
        """
        found = [self._library.collection(owner, name, create=name == DEFAULT_COLLECTION) for name in names]
        attached = self._library.attached(owner, conversation_id) if conversation_id else None
        return [*(found or self._library.collections(owner)), *([attached] if attached else [])]

    def _ready(self, owner: str, collection: CollectionRecord) -> bool:
        return self._library.count(owner, collection.id, DocumentState.READY) > 0
