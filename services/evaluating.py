"""What an evaluation searches, asks and writes: in the same way as a question on the page."""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import suppress

from langchain_core.messages import HumanMessage, SystemMessage

from errors import ConfigurationError
from evaluation.evaluations import OnCancel
from evaluation.files import read as read_questions
from evaluation.questions import GoldQuestion
from evaluation.runs import DEPTH, Cancelled, Configuration
from options import GenerationOptions
from rag.chat.question import Question
from rag.chat.turn import answer
from rag.chat.turns import Turns
from rag.schema import Message, Retrieval
from services.asking import Asking
from services.models import Models
from services.searching import Searching
from settings import ROOT

SAMPLE_SET = ROOT / "data" / "samples-questions.jsonl"
"""Questions that the samples answer, and some that they do not."""
WRITTEN_TOKENS = 160
"""Of a question and its answer that a model writes for a question set."""


def sample_questions() -> tuple[GoldQuestion, ...]:
    """Questions about the sample documents, with their answers."""
    return read_questions(SAMPLE_SET.name, SAMPLE_SET.read_bytes()).questions


class Evaluating:
    """The callables that `Evaluations` works with."""

    def __init__(self, searching: Searching, asking: Asking, models: Models, turns: Turns) -> None:
        self._searching, self._asking, self._models, self._turns = searching, asking, models, turns

    def search(self, owner: str, configuration: Configuration, question: str) -> Retrieval:
        """The passages for a question, as deep as a run looks.

        Raises:
            ConfigurationError: there is no document to search.
        """
        options = configuration.options.replace(k=max(DEPTH, configuration.options.k))
        scope = self._searching.scope(owner, options)
        if not any(self._searching.ready(owner, collection) for collection in scope.collections):
            raise ConfigurationError("There is no document to search.", "Add documents, or wait until they are read.")
        return self._searching.retrieve(owner, question, options)

    def answer(self, owner: str, configuration: Configuration, question: str, on_cancel: OnCancel) -> Message:
        """The answer to a question, outside of any conversation.

        Raises:
            Cancelled: it was stopped.
        """
        asked = Question(question, configuration.options.replace(fallback="", condense=False))
        running = self._turns.call(answer(asked, self._asking.pipeline(owner, asked)))
        on_cancel(running.cancel)
        try:
            return running.result()
        except CancelledError:
            raise Cancelled from None

    def write(self, owner: str, backend: str, model: str, system: str, prompt: str, on_cancel: OnCancel) -> str:
        """What a model writes; empty if it was stopped."""
        options = GenerationOptions(max_new_tokens=WRITTEN_TOKENS)

        async def write() -> str:
            async with self._models.lease(owner, backend, model, options) as leased:
                messages = [SystemMessage(system), HumanMessage(prompt)]
                return "".join([chunk.text async for chunk in leased.chat.astream(messages)])

        running = self._turns.call(write())
        on_cancel(running.cancel)
        with suppress(CancelledError):
            return running.result()
        return ""
