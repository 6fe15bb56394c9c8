"""What is searched, the retriever for it, and why a text was not among the passages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from langchain_core.retrievers import BaseRetriever

from errors import ConfigurationError, ContextTooLong
from options import AnswerOptions, Answers
from rag.chat.prompts import Window, choose, fit
from rag.documents.library import Library
from rag.index.contents import Contents
from rag.index.diagnosis import Diagnosis, Stage, StageReport, diagnose
from rag.index.passages import retrieval_of
from rag.index.search import Search
from rag.schema import CollectionRecord, Ledger, Part, Passage, Retrieval
from services.models import Models


@dataclass(frozen=True, slots=True)
class Scope:
    """What a question searches: collections, and the files attached to its conversation."""

    collections: tuple[CollectionRecord, ...]
    attached: CollectionRecord | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the collections."""
        return tuple(collection.name for collection in self.collections)


OpenRetriever = Callable[[str, Sequence[str], AnswerOptions], BaseRetriever]
"""`(owner, collection ids, options)` -> another retriever than the library's own."""


class Searching:
    """Finds passages without a model."""

    def __init__(
        self, library: Library, search: Search, models: Models, open_retriever: OpenRetriever | None = None
    ) -> None:
        self._library, self._search, self._models = library, search, models
        self._open_retriever = open_retriever

    def scope(self, owner: str, options: AnswerOptions, conversation_id: str | None = None) -> Scope:
        """The collections that `options` name, and the files attached to a conversation.

        Raises ConfigurationError if none of the collections exists.
        """
        known = self._library.collections(owner) or [self._library.collection(owner, create=True)]
        ids = options.collection_ids
        found = tuple(each for each in known if ids is None or each.id in ids)
        attached = self._library.attached(owner, conversation_id) if conversation_id else None
        if not found and not attached:
            gone = "No collection is chosen." if not ids else "The collections of this chat no longer exist."
            raise ConfigurationError(gone, "Choose a collection to search.")
        return Scope(found, attached)

    def describe(self, owner: str, scope: Scope) -> str:
        """What is searched, for people: “12 documents in “Contracts””."""
        number = sum(self._library.ready(owner, collection.id) for collection in scope.collections)
        if not scope.collections:
            return "the files of this chat"
        names = ", ".join(f"“{name}”" for name in scope.names)
        described = f"{number} document{'' if number == 1 else 's'} in {names}"
        return f"{described} and the files of this chat" if scope.attached else described

    def ready(self, owner: str, scope: Scope) -> list[str]:
        """The ids of those collections of a scope that have a document to search."""
        every = [*scope.collections, *([scope.attached] if scope.attached else [])]
        return [collection.id for collection in every if self._library.ready(owner, collection.id)]

    def retriever(
        self,
        owner: str,
        scope: Scope,
        options: AnswerOptions,
        history: Sequence[str] = (),
        rewritten: str = "",
        documents: Sequence[str] = (),
    ) -> BaseRetriever:
        """The retriever for one question after the questions of `history`; `rewritten` is searched in addition to it.

        `documents` are the ids of the only ones to search; empty for all. Raises StoreError, ConfigurationError if an
        index or its embedding model is not available.
        """
        ids = self.ready(owner, scope)
        if self._open_retriever:
            return self._open_retriever(owner, ids, options)
        return self._search.retriever(
            owner,
            [id_ for id_ in ids if scope.attached is None or id_ != scope.attached.id],
            options.retrieval,
            k=options.k,
            history=history,
            rewritten=rewritten,
            attached=[scope.attached.id] if scope.attached and scope.attached.id in ids else (),
            documents=documents,
        )

    def contents(self, owner: str, scope: Scope) -> Contents:
        """The documents of a scope, for questions about whole ones."""
        attached = scope.attached.id if scope.attached else None
        return self._search.contents(owner, [each.id for each in scope.collections], attached)

    def similarity(self, owner: str, scope: Scope, question: str, sentences: Sequence[str]) -> list[float]:
        """The cosine of each sentence with a question. Raises ConfigurationError if a model is not available."""
        return self._search.similarity(owner, self.ready(owner, scope), question, sentences)

    def retrieve(self, owner: str, question: str, options: AnswerOptions, *, history: Sequence[str] = ()) -> Retrieval:
        """The passages for a question, best first; raises like `scope` and `retriever`."""
        return retrieval_of(self.retriever(owner, self.scope(owner, options), options, history).invoke(question))

    def diagnose(self, owner: str, question: str, expected: str, options: AnswerOptions) -> Diagnosis:
        """Why `expected`, words as in a document, were not retrieved, or not shown to the model of `options`.

        Raises ConfigurationError if none of the collections exists, StoreError if the index cannot be read.
        """
        scope = self.scope(owner, options)
        ids = self.ready(owner, scope)
        hybrids = self._search.hybrids(owner, ids, options.retrieval)
        diagnosis = diagnose(hybrids, question, expected, k=options.k)
        if diagnosis.lost or not diagnosis.found:
            return diagnosis
        passages = retrieval_of(self.retriever(owner, scope, options).invoke(question)).passages
        budget = self._budget(question, passages, diagnosis.found, options)
        return replace(diagnosis, reports=(*diagnosis.reports, budget))

    def used(self, owner: str, question: str, options: AnswerOptions) -> frozenset[str] | None:
        """The ids of the chunks that an answer is made from; None if the window of its model is unknown.

        Raises like `retrieve`.
        """
        found = self.retrieve(owner, question, options)
        window, how = self._models.window(options.backend, options.model), options.answers
        number = len(found.passages)
        small = window.small if window else self._models.is_small(options.backend, options.model)
        if how is Answers.WRITTEN or (how is Answers.AUTOMATIC and not small):
            if window is None:
                return None
            try:
                number = _shown(self._ledger(question, found.passages, window, options))
            except ContextTooLong:
                number = 0
        return frozenset(passage.chunk_id for passage in found.passages[:number] if not found.abstained)

    def _ledger(self, question: str, passages: Sequence[Passage], window: Window, options: AnswerOptions) -> Ledger:
        """What a model with this window would be given. Raises ContextTooLong."""
        prompt = choose(passages, small=window.small, instructions=options.instructions)
        return fit(prompt, question, (), passages, window, options.generation.max_new_tokens).ledger

    def _budget(
        self, question: str, passages: Sequence[Passage], wanted: Passage, options: AnswerOptions
    ) -> StageReport:
        """Whether a retrieved passage fits the window of the model, after all better ones."""
        window = self._models.window(options.backend, options.model)
        if not window:
            return StageReport(Stage.BUDGET, True, "Not checked: the model is not loaded, so its window is unknown.")
        try:
            ledger = self._ledger(question, passages, window, options)
        except ContextTooLong as error:
            return StageReport(Stage.BUDGET, False, error.message, error.hint)
        shown = _shown(ledger)
        if wanted.chunk_id in [passage.chunk_id for passage in passages[:shown]]:
            return StageReport(Stage.BUDGET, True, "It fits the model's window, with all better ones.")
        what = f"The model is shown {shown} of the {len(passages)} passages"
        if ledger.prompt_limit:
            what += f": it answers best from prompts of at most {ledger.prompt_limit:,} tokens."
            return StageReport(Stage.BUDGET, False, what, "Choose a larger model.")
        hint = "Choose a model with a larger window, lower the longest answer, or start a new chat."
        return StageReport(Stage.BUDGET, False, f"{what}: more do not fit.", hint)


def _shown(ledger: Ledger) -> int:
    return sum(share.part is Part.PASSAGE and share.kept for share in ledger.shares)
