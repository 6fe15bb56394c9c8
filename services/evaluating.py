"""What an evaluation searches and asks, in the same way as a question on the page."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import replace

from errors import ConfigurationError
from evaluation.evaluations import OnCancel
from evaluation.files import read as read_questions
from evaluation.questions import GoldQuestion
from evaluation.runs import DEPTH, Cancelled, Configuration
from rag.chat.question import Question
from rag.chat.turn import answer
from rag.chat.turns import Turns
from rag.index.passages import retrieval_of
from rag.schema import Message, Retrieval
from services.asking import Asking
from services.searching import Searching
from settings import ROOT

SAMPLE_SET = ROOT / "data" / "samples-questions.jsonl"
"""Questions that the samples answer, and some that they do not."""


def sample_questions() -> tuple[GoldQuestion, ...]:
    """Questions about the sample documents, with their answers."""
    return read_questions(SAMPLE_SET.name, SAMPLE_SET.read_bytes()).questions


class Evaluating:
    """The callables that `Evaluations` works with."""

    def __init__(self, searching: Searching, asking: Asking, turns: Turns) -> None:
        self._searching, self._asking, self._turns = searching, asking, turns

    def search(self, owner: str, configuration: Configuration, question: str) -> Retrieval:
        """At least `DEPTH` passages for a question. Raises ConfigurationError if there is no document."""
        options = configuration.options.replace(k=max(DEPTH, configuration.options.k))
        scope = self._searching.scope(owner, options)
        if not self._searching.ready(owner, scope):
            raise ConfigurationError("There is no document to search.", "Add documents, or wait until they are read.")
        return retrieval_of(self._searching.retriever(owner, scope, options).invoke(question))

    def answer(self, owner: str, configuration: Configuration, question: str, on_cancel: OnCancel) -> Message:
        """The answer to a question, outside of any conversation. Raises Cancelled if it was stopped."""
        asked = Question(question, configuration.options.replace(fallback="", condense=False))
        # What is measured is the model: quotes in its place would look like its answers.
        pipeline = replace(self._asking.pipeline(owner, asked), stands_in=False)
        running = self._turns.call(answer(asked, pipeline))
        on_cancel(running.cancel)
        try:
            return running.result()
        except CancelledError:
            raise Cancelled from None
