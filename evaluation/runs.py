"""A run: asks one configuration the questions of a set and judges the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from errors import AppError
from evaluation.questions import GoldQuestion, holds, judge
from options import AnswerOptions
from rag.schema import Finish, Message, Retrieval, Verdict

DEPTH = 10
"""Passages that are judged, however few of them the model gets."""
EXCERPT = 300
"""Characters that are kept of what was found first."""
NAMED = 3
"""Choices that a name is made of."""
QUESTION_ERRORS = "AnswerBlocked", "ContextTooLong", "RequestRejected", "BackendError"
"""Errors that are about one question; any other one ends the run."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is measured."""

    name: str
    options: AnswerOptions = field(default_factory=AnswerOptions)
    answers: bool = False
    """Generate answers, and measure them too."""

    def choices(self, collections: Mapping[str, str]) -> dict[str, str]:
        """The chosen options by label; `collections` maps ids to names."""
        options = self.options
        ids = options.collection_ids
        return {
            "Search in": "all collections" if ids is None else ", ".join(collections.get(id_, "?") for id_ in ids),
            "Passages": str(options.k),
            **{name.replace("_", " ").capitalize(): _shown(value) for name, value in options.retrieval},
            "Only from the documents": _shown(options.strict),
            "Answers": f"{options.model} ({options.backend})" if self.answers else "none",
        }

    def described(self, usual: Configuration, collections: Mapping[str, str]) -> str:
        """A name that says how it differs from the usual one."""
        others = usual.choices(collections)
        differs = [f"{name}: {value}" for name, value in self.choices(collections).items() if value != others[name]]
        return ", ".join(differs[:NAMED]) + (" …" if len(differs) > NAMED else "") or "As set up"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) or "none"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one question."""

    question: str
    out_of_scope: bool
    relevant: tuple[bool, ...]
    """Of each passage, best first; see `judge`."""
    total: int
    """How many could be relevant."""
    abstained: bool
    seconds: float
    """Of the search."""
    first: str = ""
    excerpt: str = ""
    """Place and beginning of the best passage."""
    answer: str | None = None
    right: bool | None = None
    """Whether the answer contains an expected one; None if nothing was generated or none is known."""
    supported: int = 0
    checked: int = 0
    """Sentences of the answer: those that its passages support, and all that claim something."""
    error: str = ""

    @property
    def rank(self) -> int | None:
        """Of the first relevant passage, from 1."""
        return self.relevant.index(True) + 1 if any(self.relevant) else None


class Cancelled(Exception):
    """Somebody ended the run."""


def evaluate(
    questions: Sequence[GoldQuestion],
    retrieve: Callable[[str], Retrieval],
    answer: Callable[[str], Message] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Result, ...]:
    """Put questions to a configuration that retrieves `DEPTH` passages at least; measure answers if `answer` is given.

    `progress` gets the number of questions done; what it raises ends the run. Raises AppError if the documents cannot
    be searched or the backend cannot answer at all, Cancelled if an answer was stopped.
    """
    if questions:
        retrieve(questions[0].question)  # load models first, to keep loading out of the timings
    results: list[Result] = []
    for question in questions:
        progress(len(results))
        result = _result(question, retrieve(question.question))
        results.append(_with_answer(result, question, answer(question.question)) if answer else result)
    progress(len(results))
    return tuple(results)


def _result(question: GoldQuestion, retrieval: Retrieval) -> Result:
    relevant, total = judge(question, retrieval.passages)
    first = retrieval.passages[0] if retrieval.passages else None
    return Result(
        question=question.question,
        out_of_scope=question.out_of_scope,
        relevant=relevant,
        total=total,
        abstained=retrieval.abstained,
        seconds=retrieval.seconds,
        first=first.place if first else "",
        excerpt=" ".join(first.text.split())[:EXCERPT] if first else "",
    )


def _with_answer(result: Result, question: GoldQuestion, message: Message) -> Result:
    if message.finish is Finish.STOPPED:
        raise Cancelled
    error = message.error or {}
    if message.finish is not Finish.COMPLETE and error.get("type") not in QUESTION_ERRORS:
        raise AppError(error.get("message", "An answer could not be generated."), error.get("hint", ""))
    verdicts = [check.verdict for check in message.checks]
    return replace(
        result,
        abstained=message.abstained,
        answer=message.text,
        right=holds(message.text, question.answers) if question.answers else None,
        supported=verdicts.count(Verdict.SUPPORTED),
        checked=len(verdicts) - verdicts.count(Verdict.NO_CLAIM),
        error=error.get("message", ""),
    )
