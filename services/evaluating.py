"""What an evaluation searches, asks and writes: the same way as a question of the page."""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from functools import partial

from langchain_core.messages import HumanMessage, SystemMessage

from errors import ConfigurationError
from evaluation.evaluations import OnCancel
from evaluation.files import read as read_questions
from evaluation.questions import GoldQuestion
from evaluation.runs import DEPTH, Configuration
from rag.chat.conversations import Conversations
from rag.chat.turns import Turns
from rag.documents.library import Library
from rag.schema import DocumentState, Finished, Message, Retrieval
from services.asking import Ask, Asking
from services.models import Models
from services.searching import Searching
from settings import ROOT

SAMPLE_SET = ROOT / "data" / "samples-questions.jsonl"
"""What the samples answer, and some things that they do not."""
WRITTEN_TOKENS = 160
"""Of a question and its answer that a model writes for a question set."""


def sample_questions() -> tuple[GoldQuestion, ...]:
    """Questions about the sample documents, with their answers."""
    return read_questions(SAMPLE_SET.name, SAMPLE_SET.read_bytes()).questions


class Evaluating:
    """The three ways of `Evaluations` into the application."""

    def __init__(
        self,
        library: Library,
        searching: Searching,
        asking: Asking,
        models: Models,
        conversations: Conversations,
        turns: Turns,
    ) -> None:
        self._library, self._searching, self._asking, self._models = library, searching, asking, models
        self._conversations, self._turns = conversations, turns

    def search(self, owner: str, configuration: Configuration, question: str) -> Retrieval:
        """The passages for a question, as deep as a run looks.

        Raises:
            ConfigurationError: there is no document to search.
        """
        named = self._searching.named(owner, configuration.collections)
        if not any(self._library.count(owner, each.id, DocumentState.READY) for each in named):
            raise ConfigurationError("There is no document to search.", "Add documents, or wait until they are read.")
        return self._searching.retrieve(
            owner,
            question,
            k=max(DEPTH, configuration.k),
            collections=configuration.collections,
            options=configuration.options,
        )

    def answer(self, owner: str, configuration: Configuration, question: str, on_cancel: OnCancel) -> Message:
        """The answer to a question, kept in no conversation."""
        ask = Ask(
            question,
            collections=configuration.collections,
            backend=configuration.backend,
            model=configuration.model,
            fallback="",
            passages=configuration.k,
            strict=configuration.strict,
            retrieval=configuration.options,
        )
        message, turn = self._asking.ask(owner, ask)
        on_cancel(partial(self._turns.cancel, owner, message.id))
        try:
            *_, last = turn.follow()
        finally:
            # It is kept with the evaluation, and no conversation that a person had.
            self._conversations.delete(owner, message.conversation_id)
        assert isinstance(last, Finished)
        return last.message

    def write(self, owner: str, backend: str, model: str, system: str, prompt: str, on_cancel: OnCancel) -> str:
        """What a model writes; empty where it was stopped."""
        options = replace(self._models.options(), temperature=0.0, max_new_tokens=WRITTEN_TOKENS)

        async def write() -> str:
            async with self._models.lease(owner, backend, model, options) as leased:
                messages = [SystemMessage(system), HumanMessage(prompt)]
                return "".join([chunk.text async for chunk in leased.chat.astream(messages)])

        said = self._turns.call(write())
        on_cancel(said.cancel)
        with suppress(CancelledError):
            return said.result()
        return ""
