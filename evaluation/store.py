"""Question sets and the runs that were made with them, in the database. Every call takes the owner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from pydantic import TypeAdapter
from sqlalchemy import delete, select, update
from sqlalchemy.orm import defer

from errors import ConfigurationError
from evaluation.figures import figures
from evaluation.metrics import Figure, Figures
from evaluation.questions import GoldQuestion, as_row, distinct, from_row
from evaluation.runs import Configuration, Result
from rag.db import Database, EvaluationRow, QuestionSetRow

_CONFIGURATION, _RESULTS = TypeAdapter(Configuration), TypeAdapter(tuple[Result, ...])
_FIGURES = TypeAdapter(dict[str, Figure])


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions to measure by."""

    id: str
    name: str
    questions: tuple[GoldQuestion, ...]

    @property
    def used(self) -> tuple[GoldQuestion, ...]:
        """Those that runs ask."""
        return tuple(question for question in self.questions if question.use)


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured with a set and a configuration; `Runs.results` has the questions one by one."""

    id: str
    question_set_id: str
    configuration: Configuration
    figures: Figures
    created: datetime


class QuestionSets:
    """The sets of an owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, owner: str) -> list[QuestionSet]:
        """All sets, by name."""
        query = select(QuestionSetRow).filter_by(owner=owner).order_by(QuestionSetRow.name)
        with self._database.session() as session:
            return [_set(row) for row in session.scalars(query)]

    def get(self, owner: str, set_id: str) -> QuestionSet:
        """One set. Raises ConfigurationError if there is none of that id."""
        with self._database.session() as session:
            row = session.scalar(select(QuestionSetRow).filter_by(owner=owner, id=set_id))
            if row is None:
                raise ConfigurationError("There is no such question set.", "Choose another, or make one.")
            return _set(row)

    def create(self, owner: str, name: str, questions: Iterable[GoldQuestion] = ()) -> QuestionSet:
        """Create a set; a taken name gets a number: “Contracts (2)”."""
        name = " ".join(name.split()) or "Questions"
        with self._database.session() as session:
            taken = set(session.scalars(select(QuestionSetRow.name).filter_by(owner=owner)))
            free = next(each for n in count(1) if (each := name if n == 1 else f"{name} ({n})") not in taken)
            row = QuestionSetRow(owner=owner, name=free, questions=[as_row(each) for each in distinct(questions)])
            session.add(row)
            session.flush()
            return _set(row)

    def put(self, owner: str, name: str, questions: Iterable[GoldQuestion]) -> QuestionSet:
        """Replace the questions of the set with that name, or create it."""
        known = next((each for each in self.all(owner) if each.name == name), None)
        if known is None:
            return self.create(owner, name, questions)
        self.save(owner, known.id, questions)
        return self.get(owner, known.id)

    def save(self, owner: str, set_id: str, questions: Iterable[GoldQuestion]) -> None:
        """Replace the questions; of duplicates, the first is kept."""
        self._update(owner, set_id, questions=[as_row(each) for each in distinct(questions)])

    def rename(self, owner: str, set_id: str, name: str) -> None:
        """Give a set another name. Raises ConfigurationError if it is empty, or another set has it."""
        name = " ".join(name.split())
        if not name or any(each.name == name and each.id != set_id for each in self.all(owner)):
            raise ConfigurationError(f"No set can be called “{name}”.", "Choose a name that no other set has.")
        self._update(owner, set_id, name=name)

    def _update(self, owner: str, set_id: str, **values: object) -> None:
        with self._database.session() as session:
            session.execute(update(QuestionSetRow).filter_by(owner=owner, id=set_id).values(**values))

    def delete(self, owner: str, set_id: str) -> None:
        """Remove a set and all of its runs."""
        with self._database.session() as session:
            session.execute(delete(EvaluationRow).filter_by(owner=owner, question_set_id=set_id))
            session.execute(delete(QuestionSetRow).filter_by(owner=owner, id=set_id))


class Runs:
    """The runs of an owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, owner: str, set_id: str, configuration: Configuration, results: Sequence[Result]) -> Run:
        """Keep a run that is complete."""
        measured = dict(figures(results, configuration.options.k))
        with self._database.session() as session:
            row = EvaluationRow(
                owner=owner,
                question_set_id=set_id,
                configuration=_CONFIGURATION.dump_python(configuration, mode="json"),
                figures=_FIGURES.dump_python(measured, mode="json"),
                results=_RESULTS.dump_python(tuple(results), mode="json"),
            )
            session.add(row)
            session.flush()
            return _run(row)

    def all(self, owner: str, set_id: str) -> list[Run]:
        """The runs of a set, the newest first."""
        # Without the results, which are long.
        query = select(EvaluationRow).options(defer(EvaluationRow.results))
        query = query.filter_by(owner=owner, question_set_id=set_id).order_by(EvaluationRow.created.desc())
        with self._database.session() as session:
            return [_run(row) for row in session.scalars(query)]

    def results(self, owner: str, run_id: str) -> tuple[Result, ...]:
        """The results of a run; empty if it does not exist."""
        with self._database.session() as session:
            stored = session.scalar(select(EvaluationRow.results).filter_by(owner=owner, id=run_id))
        return _RESULTS.validate_python(stored or ())

    def delete(self, owner: str, run_id: str) -> None:
        """Forget a run."""
        with self._database.session() as session:
            session.execute(delete(EvaluationRow).filter_by(owner=owner, id=run_id))


def _set(row: QuestionSetRow) -> QuestionSet:
    return QuestionSet(row.id, row.name, tuple(from_row(each) for each in row.questions))


def _run(row: EvaluationRow) -> Run:
    configuration = _CONFIGURATION.validate_python(row.configuration, extra="ignore")
    return Run(row.id, row.question_set_id, configuration, _FIGURES.validate_python(row.figures), row.created)
