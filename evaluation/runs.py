"""A run: the questions of a set put to one configuration, and what came of each.

What searches and what answers is handed in as a callable; the module knows neither where they come from nor where
results are kept.
"""

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
OWN_FAULT = "AnswerBlocked", "ContextTooLong", "RequestRejected", "BackendError"
"""Errors that are about one question; any other one ends the run."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is measured."""

    name: str
    options: AnswerOptions = field(default_factory=AnswerOptions)
    answers: bool = False
    """Generate answers, and measure them too."""

    def choices(self, collections: Mapping[str, str]) -> dict[str, str]:
        """What was chosen, by its label; `collections` are the names of the collections by id."""
        options = self.options
        ids = options.collection_ids
        return {
            "Search in": "all collections" if ids is None else ", ".join(collections.get(id_, "?") for id_ in ids),
            "Passages": str(options.k),
            **{_label(name): _shown(value) for name, value in options.retrieval},
            "Only from the documents": _shown(options.strict),
            "Answers": f"{options.model} ({options.backend})" if self.answers else "none",
        }

    def described(self, usual: Configuration, collections: Mapping[str, str]) -> str:
        """A name that says how it differs from the usual one."""
        others = usual.choices(collections)
        differs = [f"{name}: {value}" for name, value in self.choices(collections).items() if value != others[name]]
        return ", ".join(differs[:NAMED]) + (" …" if len(differs) > NAMED else "") or "As set up"


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


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
    """Where the best passage stands."""
    excerpt: str = ""
    """Its beginning."""
    answer: str | None = None
    """None where none was generated."""
    right: bool | None = None
    """The answer holds an answer of the gold; None where none was generated or the gold has none."""
    supported: int = 0
    checked: int = 0
    """Sentences of the answer: those that its passages support, and all that claim something."""
    error: str = ""
    """Why there is no answer."""

    @property
    def rank(self) -> int | None:
        """Of the first relevant passage, from 1."""
        return self.relevant.index(True) + 1 if any(self.relevant) else None


class Cancelled(Exception):
    """Somebody ended the run."""


Retrieve = Callable[[str], Retrieval]
Answer = Callable[[str], Message]


def evaluate(
    questions: Sequence[GoldQuestion],
    retrieve: Retrieve,
    answer: Answer | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Result, ...]:
    """Put the questions to a configuration, one after the other.

    Args:
        questions: of the set, all of which are asked.
        retrieve: searches for `DEPTH` passages at least.
        answer: answers as in a chat; answers are not measured where it is None.
        progress: called with the number of questions that are done; what it raises ends the run.

    Raises:
        AppError: the documents cannot be searched, or the backend cannot answer at all.
        Cancelled: an answer was stopped.
    """
    if questions:
        retrieve(questions[0].question)  # loads what there is to load, so that no question's time has it
    results: list[Result] = []
    for question in questions:
        progress(len(results))
        results.append(_result(question, retrieve(question.question), answer))
    progress(len(results))
    return tuple(results)


def _result(question: GoldQuestion, retrieval: Retrieval, answer: Answer | None) -> Result:
    relevant, total = judge(question, retrieval.passages)
    first = retrieval.passages[0] if retrieval.passages else None
    result = Result(
        question=question.question,
        out_of_scope=question.out_of_scope,
        relevant=relevant,
        total=total,
        abstained=retrieval.abstained,
        seconds=retrieval.seconds,
        first=first.place if first else "",
        excerpt=" ".join(first.text.split())[:EXCERPT] if first else "",
    )
    return _with_answer(result, question, answer(question.question)) if answer else result


def _with_answer(result: Result, question: GoldQuestion, message: Message) -> Result:
    if message.finish is Finish.STOPPED:
        raise Cancelled
    error = message.error or {}
    if message.finish is not Finish.COMPLETE and error.get("type") not in OWN_FAULT:
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
