"""Questions that are answered: what a person wishes for becomes a turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any

from backends.base import GenerationOptions
from backends.manager import ModelManager
from errors import BackendError, ConfigurationError
from rag.chat.citations import Embed, Entails
from rag.chat.conversations import Conversations
from rag.chat.entailment import Entailment
from rag.chat.turn import Answerer, Question
from rag.chat.turns import Turn, Turns
from rag.documents.library import DEFAULT_COLLECTION, Library
from rag.index.embedding_models import EMBEDDED
from rag.index.embeddings import EmbeddingModel
from rag.schema import CollectionRecord, DocumentState, Message, Retrieval, RetrievalOptions
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
    wishes: str = ""
    """Instructions of the person's own to the model."""
    instead_of: str | None = None
    """A question in whose place this one comes, or an answer that is to be given again, to the same question."""
    choices: Mapping[str, Any] | None = None
    """What the person chose, as a page wants it back when the conversation is opened again."""


READING_S = 300.0
"""How long a question waits for the files that were attached with it."""

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
        conversations: Conversations,
        turns: Turns,
        embedding_model: Callable[[str], EmbeddingModel],
    ) -> None:
        self._settings, self._library, self._searching = settings, library, searching
        self._models, self._manager, self._embedding_model = models, manager, embedding_model
        self._conversations, self._turns = conversations, turns

    def ask(self, owner: str, ask: Ask) -> tuple[Message, Turn]:
        """Start a turn; the message is stored and still empty, the turn is running.

        Raises:
            RequestRejected: the question is empty, or its conversation is being answered.
            ConfigurationError: no such backend, or no model to choose.
        """
        message, turn = self._turns.start(self._question(owner, ask))
        if ask.choices is not None:
            self._conversations.save_choices(owner, message.conversation_id, ask.choices)
        return message, turn

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
        attached = self._library.attached(owner, ask.conversation_id) if ask.conversation_id else None
        ready = sum(self._library.count(owner, collection.id, DocumentState.READY) for collection in collections)
        names = ", ".join(f"“{collection.name}”" for collection in collections)
        searched = f"{ready} document{'' if ready == 1 else 's'} in {names}"

        def answerer(name: str, model: str) -> Answerer:
            return Answerer(self._manager.backend(name).label, lambda: self._models.lease(owner, name, model, options))

        answerers = [answerer(backend, model)]
        if fallback and fallback != backend:
            answerers.append(answerer(fallback, ""))
        return Question(
            owner=owner,
            conversation_id=ask.conversation_id,
            text=ask.text,
            instead_of=ask.instead_of,
            searched=f"{searched} and the files of this chat" if attached else searched,
            retrieve=partial(self._retrieve, owner, ask, attached),
            condense=self._settings.condense if ask.condense is None else ask.condense,
            answerers=answerers,
            backend=backend,
            model=model,
            max_new_tokens=options.max_new_tokens,
            strict=self._settings.strict if ask.strict is None else ask.strict,
            wishes=ask.wishes,
            asked_with={
                "collections": [collection.name for collection in collections],
                "passages_wanted": ask.passages or self._settings.passages,
                "retrieval": asdict(ask.retrieval or self._searching.options),
            },
            embed=self._embed_sentences(),
            entails=self._entails,
        )

    def _retrieve(
        self,
        owner: str,
        ask: Ask,
        attached: CollectionRecord | None,
        text: str,
        history: Sequence[str],
        rewritten: str,
    ) -> Retrieval:
        """The passages for a question; what was attached with it is read first."""
        patience = time.monotonic() + READING_S
        while attached and self._is_being_read(owner, attached) and time.monotonic() < patience:
            time.sleep(0.1)
        return self._searching.retrieve(
            owner,
            text,
            history=history,
            k=ask.passages,
            collections=ask.collections,
            rewritten=rewritten,
            options=ask.retrieval,
            conversation_id=ask.conversation_id,
        )

    def _is_being_read(self, owner: str, collection: CollectionRecord) -> bool:
        return any(state.is_open for state, number in self._library.counts(owner, collection.id).items() if number)

    @cached_property
    def _entails(self) -> Entails | None:
        """The model that judges sentences too, where the settings name one; its weights load on first use."""
        name = self._settings.support_model
        return Entailment(name, self._settings.device) if name else None

    def _embed_sentences(self) -> Embed | None:
        """What the check of an answer embeds with, whatever model a collection has: it was measured with this one."""
        with suppress(ConfigurationError):
            return self._embedding_model(EMBEDDED).embed_long
        return None
