"""From a question to a running turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    BaseCallbackHandler,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr
from typing_extensions import override

from backends.manager import ModelManager
from errors import BackendError, ConfigurationError
from rag.chat.conversations import Conversations
from rag.chat.entailment import Entailment
from rag.chat.question import AnswerProvider, Pipeline, Question
from rag.chat.turn import answer
from rag.chat.turns import Turn, Turns
from rag.documents.library import Library
from rag.schema import CollectionRecord, Message, Mode
from services.models import Models
from services.searching import Searching
from settings import Settings

READING_S = 300.0
"""How long a question waits for its attached files."""
POLL_S = 0.2


class Asking:
    """Starts turns."""

    def __init__(
        self,
        settings: Settings,
        library: Library,
        searching: Searching,
        models: Models,
        manager: ModelManager,
        conversations: Conversations,
        turns: Turns,
        callbacks: Sequence[BaseCallbackHandler] = (),
    ) -> None:
        self._library, self._searching, self._models, self._manager = library, searching, models, manager
        self._conversations, self._turns = conversations, turns
        self._seconds, self._callbacks = settings.answer_seconds, callbacks
        self._entails = Entailment(settings.support_model, settings.device) if settings.support_model else None

    def ask(self, owner: str, question: Question) -> tuple[Message, Turn]:
        """Start a turn; the message is stored and still empty.

        Raises RequestRejected if the question is empty or its conversation is being answered, ConfigurationError if
        there is no such backend, no model to choose, or nothing to search.
        """
        question = self._with_model(owner, question)
        return self._start(owner, question, self.pipeline(owner, question))

    def answer(self, owner: str, question: Question, history: Sequence[Message] = ()) -> Future[Message]:
        """Start to answer a question outside of any conversation, after `history`; raises like `ask`."""
        question = self._with_model(owner, question)
        return self._turns.call(answer(question, self.pipeline(owner, question), history))

    def compare(self, owner: str, question: Question, models: Sequence[tuple[str, str]]) -> list[tuple[Message, Turn]]:
        """Let each `(backend, model)` write an answer from the same passages, each in a new conversation.

        Raises RequestRejected if the question is empty, ConfigurationError if there is no such backend.
        """
        shared: _Shared | None = None
        prepared = []
        for backend, model in models:
            options = question.options.replace(backend=backend, model=model, fallback="", condense=False)
            asked = replace(question, options=options, conversation_id=None, mode=Mode.WRITTEN)
            asked = self._with_model(owner, asked)
            asked = replace(asked, title=f"{asked.options.model}: {question.text}")
            pipeline = self.pipeline(owner, asked)
            shared = shared or _Shared(inner=pipeline.retriever([], "", []))
            prepared.append((asked, replace(pipeline, retriever=shared.for_any, stands_in=False)))
        return [self._start(owner, asked, pipeline) for asked, pipeline in prepared]

    def _start(self, owner: str, question: Question, pipeline: Pipeline) -> tuple[Message, Turn]:
        message, turn = self._turns.start(owner, question, pipeline)
        if question.instead_of is None:  # another way to answer is not how the chat goes on
            self._conversations.save_options(owner, message.conversation_id, question.options, question.preset)
        return message, turn

    def _with_model(self, owner: str, question: Question) -> Question:
        """The question with the backend's default model if none was chosen."""
        if not question.options.model:
            # If the backend cannot be asked, the turn says so: it shows the passages and may fall back.
            with suppress(BackendError, *((ConfigurationError,) if question.options.fallback else ())):
                model = self._models.default(owner, question.options.backend)
                return replace(question, options=question.options.replace(model=model))
        return question

    def pipeline(self, owner: str, question: Question) -> Pipeline:
        """What answers a question. Raises ConfigurationError if there is no such backend, or nothing to search."""
        options = question.options
        scope = self._searching.scope(owner, options, question.conversation_id)

        def provider(backend: str, model: str) -> AnswerProvider:
            return AnswerProvider(
                self._manager.backend(backend).label,
                partial(self._models.lease, owner, backend, model, options.generation),
                partial(self._models.is_small, backend, model),
            )

        providers = [provider(options.backend, options.model)]
        if options.fallback and options.fallback != options.backend:
            providers.append(provider(options.fallback, ""))
        return Pipeline(
            retriever=partial(self._searching.retriever, owner, scope, options),
            providers=providers,
            searched=self._searching.describe(owner, scope),
            contents=self._searching.contents(owner, scope),
            similarity=partial(self._searching.similarity, owner, scope),
            ready=self._when_read(owner, scope.attached),
            entails=self._entails,
            callbacks=self._callbacks,
            seconds=self._seconds,
            record={"collections": list(scope.names)},
        )

    def _when_read(self, owner: str, attached: CollectionRecord | None) -> Callable[[], Awaitable[None]] | None:
        """Waits until the files attached to a conversation are read, without holding a thread."""
        if attached is None:
            return None

        def is_reading() -> bool:
            counts = self._library.counts(owner, attached.id)
            return any(state.is_open for state, number in counts.items() if number)

        async def wait() -> None:
            deadline = time.monotonic() + READING_S
            while time.monotonic() < deadline and await asyncio.to_thread(is_reading):  # noqa: ASYNC110 - the state is in the database
                await asyncio.sleep(POLL_S)

        return wait


class _Shared(BaseRetriever):
    """Retrieves once, for all turns of one event loop that ask the same."""

    inner: BaseRetriever
    _found: asyncio.Task[list[Document]] | None = PrivateAttr(default=None)
    _waiting: int = PrivateAttr(default=0)

    def for_any(self, history: Sequence[str], rewritten: str, documents: Sequence[str]) -> BaseRetriever:
        """Itself, for a `Pipeline`: comparisons have no history."""
        return self

    @override
    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        if self._found is None:
            self._found = asyncio.ensure_future(self.inner.ainvoke(query))
        found = self._found
        self._waiting += 1
        try:
            return await asyncio.shield(found)
        finally:
            self._waiting -= 1
            if not self._waiting and not found.done():  # all of them were stopped
                found.cancel()
                self._found = None

    @override
    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> Any:
        return self.inner.invoke(query)
