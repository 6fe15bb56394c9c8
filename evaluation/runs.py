"""A run: the questions of a set put to one configuration, and what came of each.

What searches and what answers is handed in as a callable; the module knows neither where they come from nor where
results are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from errors import AppError
from evaluation.questions import GoldQuestion, holds, judge
from rag.index.search import read_options
from rag.schema import Finish, Message, Retrieval, RetrievalOptions, Verdict

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
    collections: tuple[str, ...] = ()
    """Names of those that are searched; all where there are none."""
    k: int = 4
    """Passages that a model gets."""
    options: RetrievalOptions = field(default_factory=RetrievalOptions)
    strict: bool = True
    backend: str = ""
    model: str = ""
    """Who answers; answers are not generated where there is none."""

    def as_dict(self) -> dict[str, Any]:
        """As it is stored and exported."""
        return asdict(self)

    @property
    def choices(self) -> dict[str, str]:
        """What was chosen, as a person reads it, by what it is called."""
        options = self.options
        return {
            "Search in": ", ".join(self.collections) or "all collections",
            "Passages": str(self.k),
            "Words": _on(options.words),
            "Vectors": _on(options.dense),
            "Fusion": options.fusion.value,
            "Phrases": _on(options.phrases),
            "Gate": _on(options.gate),
            "Names": _on(options.names),
            "Join found chunks": _on(options.merge),
            "Neighbours": str(options.neighbours),
            "Without near-copies": _on(options.distinct),
            "Reranker": options.reranker or "none",
            "Only from the documents": _on(self.strict),
            "Answers": f"{self.model} ({self.backend})" if self.backend else "none",
        }

    def described(self, usual: Configuration) -> str:
        """A name that says in what it is not like the usual one."""
        others = usual.choices
        told = [f"{name}: {value}" for name, value in self.choices.items() if value != others[name]]
        return ", ".join(told[:NAMED]) + (" …" if len(told) > NAMED else "") or "As set up"

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Configuration:
        """As `as_dict` gave it; steps of retrieval that there are no more are left out."""
        known = {each.name for each in fields(RetrievalOptions)}
        options = read_options({key: value for key, value in stored["options"].items() if key in known})
        return cls(**{**stored, "collections": tuple(stored["collections"]), "options": options})


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

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Result:
        """As `asdict` gave it."""
        return cls(**{**stored, "relevant": tuple(stored["relevant"])})


class Cancelled(Exception):
    """Somebody ended the run."""


def _on(value: bool) -> str:
    return "on" if value else "off"


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
    return Result(
        **{
            **asdict(result),
            "abstained": message.abstained,
            "answer": message.text,
            "right": holds(message.text, question.answers) if question.answers else None,
            "supported": verdicts.count(Verdict.SUPPORTED),
            "checked": len(verdicts) - verdicts.count(Verdict.NO_CLAIM),
            "error": error.get("message", ""),
        }
    )
