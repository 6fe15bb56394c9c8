"""Questions that are answered: what a person wishes for becomes a turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from backends.base import GenerationOptions
from backends.manager import ModelManager
from errors import BackendError, ConfigurationError
from rag.chat.citations import Embed
from rag.chat.turn import Answerer, Question
from rag.chat.turns import Turn, Turns
from rag.documents.library import DEFAULT_COLLECTION, Library
from rag.index.embedding_models import EMBEDDED
from rag.index.embeddings import EmbeddingModel
from rag.schema import DocumentState, Message, Retrieval, RetrievalOptions
from services.models import Models
from services.searching import Searching
from settings import Settings


@dataclass(frozen=True, slots=True)
class Ask:
    """A question and how a person wants it answered; None takes the setting."""

    text: str
    collections: tuple[str, ...] = (DEFAULT_COLLECTION,)
    """Names of those that are searched; all where there are none."""
    conversation_id: str | None = None
    backend: str | None = None
    model: str | None = None
    fallback: str | None = None
    """The backend that answers where the first cannot begin to; an empty one turns the setting off."""
    options: GenerationOptions | None = None
    passages: int | None = None
    retrieval: RetrievalOptions | None = None
    condense: bool | None = None
    """Let the model rewrite a follow-up before the search."""
    strict: bool | None = None


Retrieve = Callable[[str, Sequence[str], str], Retrieval]


def _once(retrieve: Retrieve) -> Retrieve:
    """`retrieve` that searches at its first call and gives that result at all others, from any thread."""
    lock, found = threading.Lock(), list[Retrieval]()

    def search(text: str, history: Sequence[str], rewritten: str) -> Retrieval:
        with lock:
            if not found:
                found.append(retrieve(text, history, rewritten))
            return found[0]

    return search


class Asking:
    """From a question to a running turn."""

    def __init__(
        self,
        settings: Settings,
        library: Library,
        searching: Searching,
        models: Models,
        manager: ModelManager,
        turns: Turns,
        embedding_model: Callable[[str], EmbeddingModel],
    ) -> None:
        self._settings, self._library, self._searching = settings, library, searching
        self._models, self._manager, self._turns, self._embedding_model = models, manager, turns, embedding_model

    def ask(self, owner: str, ask: Ask) -> tuple[Message, Turn]:
        """Start a turn; the message is stored and still empty, the turn is running.

        Raises:
            RequestRejected: the question is empty, or its conversation is being answered.
            ConfigurationError: no such backend, or no model to choose.
        """
        return self._turns.start(self._question(owner, ask))

    def compare(self, owner: str, ask: Ask, models: Sequence[tuple[str, str]]) -> list[tuple[Message, Turn]]:
        """Ask several models the same question over one retrieval; a conversation and a turn each, all running.

        Args:
            owner: who asks.
            ask: the question; its backend, model, fallback and conversation are not used.
            models: backend and model of each answer.

        Raises:
            RequestRejected: the question is empty.
            ConfigurationError: no such backend.
        """
        retrieve = _once(self._question(owner, ask).retrieve)
        asked = [replace(ask, backend=b, model=m, conversation_id=None, fallback="", condense=False) for b, m in models]
        questions = [self._question(owner, each) for each in asked]
        return [
            self._turns.start(replace(question, retrieve=retrieve, title=f"{question.model}: {ask.text}"))
            for question in questions
        ]

    def _question(self, owner: str, ask: Ask) -> Question:
        backend = ask.backend or self._settings.backend
        model = ask.model
        if not model:
            try:
                model = self._models.default(owner, backend)
            except BackendError:
                # Said by the turn, which shows the passages and may fall back.
                model = ""
        options = ask.options or self._models.options()
        fallback = self._settings.fallback if ask.fallback is None else ask.fallback
        collections = self._searching.named(owner, ask.collections)
        ready = sum(self._library.count(owner, collection.id, DocumentState.READY) for collection in collections)
        names = ", ".join(f"“{collection.name}”" for collection in collections)

        def answerer(name: str, model: str) -> Answerer:
            return Answerer(self._manager.backend(name).label, lambda: self._models.lease(owner, name, model, options))

        answerers = [answerer(backend, model)]
        if fallback and fallback != backend:
            answerers.append(answerer(fallback, ""))
        return Question(
            owner=owner,
            conversation_id=ask.conversation_id,
            text=ask.text,
            searched=f"{ready} document{'' if ready == 1 else 's'} in {names}",
            retrieve=lambda text, history, rewritten: self._searching.retrieve(
                owner,
                text,
                history=history,
                k=ask.passages,
                collections=ask.collections,
                rewritten=rewritten,
                options=ask.retrieval,
            ),
            condense=self._settings.condense if ask.condense is None else ask.condense,
            answerers=answerers,
            backend=backend,
            model=model,
            max_new_tokens=options.max_new_tokens,
            strict=self._settings.strict if ask.strict is None else ask.strict,
            embed=self._embed_sentences(),
        )

    def _embed_sentences(self) -> Embed | None:
        """What the check of an answer embeds with, whatever model a collection has: it was measured with this one."""
        with suppress(ConfigurationError):
            return self._embedding_model(EMBEDDED).embed_long
        return None
