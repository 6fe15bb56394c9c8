"""Measuring in the background of the server: runs, and the writing of questions, with progress and a way to end them.

A job belongs to the server, not to the page that began it; each owner has one at a time. What searches, answers and
writes is handed in, so that an evaluation goes the same way as a question of the page.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from sqlalchemy import select

from errors import AppError, ConfigurationError, RequestRejected
from evaluation.questions import GoldQuestion, file_name
from evaluation.runs import Cancelled, Configuration, Result, evaluate
from evaluation.store import QuestionSets, Runs
from evaluation.writing import sample, write_questions
from rag.db import Database, DocumentRow, new_id
from rag.schema import DocumentState, Message, Retrieval

log = logging.getLogger(__name__)

OnCancel = Callable[[Callable[[], object]], None]
"""Takes what ends a running answer, to be called when the job is cancelled."""
Search = Callable[[str, Configuration, str], Retrieval]
"""`(owner, configuration, question)` -> passages."""
Answer = Callable[[str, Configuration, str, OnCancel], Message]
"""`(owner, configuration, question, on_cancel)` -> the answer, as in a chat."""
Write = Callable[[str, str, str, str, str, OnCancel], str]
"""`(owner, backend, model, system, prompt, on_cancel)` -> what a model says."""


class Job:
    """Work in the background as others see it; safe to read from any thread."""

    def __init__(self, what: str, set_id: str, total: int) -> None:
        self.what = what
        """What is being done, for a person."""
        self.set_id = set_id
        self.total = total
        self.done = 0
        self.told = ""
        """What came of it, in a sentence."""
        self.made: list[str] = []
        """Ids of the runs that are kept."""
        self.error: AppError | None = None
        self.cancelled = False
        self.thread: threading.Thread | None = None
        self._end: Callable[[], object] | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether it is still at work."""
        return self.thread is not None and self.thread.is_alive()

    def cancel(self) -> None:
        """End it; what is complete is kept."""
        with self._lock:
            self.cancelled = True
            end = self._end
        if end:
            end()

    def on_cancel(self, end: Callable[[], object]) -> None:
        """Have `end` called when the job is cancelled, at once if it is already."""
        with self._lock:
            self._end = end
            late = self.cancelled
        if late:
            end()

    def progress(self, done: int) -> None:
        """So much is done.

        Raises:
            Cancelled: it is to end.
        """
        self.done = done
        if self.cancelled:
            raise Cancelled

    def run(self, work: Callable[[], None]) -> None:
        """Do the work, and keep why it ended."""
        try:
            work()
        except Cancelled:
            self.cancelled = True
        except AppError as error:
            # What was ended may fail in its own way.
            self.error = None if self.cancelled else error
        except Exception:
            reference = new_id()[:8]
            log.exception("A job failed, reference %s", reference)
            self.error = AppError("Something went wrong inside Gestalt.", f"The log has it under {reference}.")


class Evaluations:
    """Question sets, runs, and the jobs that make them."""

    def __init__(self, database: Database, search: Search, answer: Answer, write: Write) -> None:
        self.sets = QuestionSets(database)
        self.runs = Runs(database)
        self._database = database
        self._search, self._answer, self._write = search, answer, write
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def measure(
        self,
        owner: str,
        questions: Sequence[GoldQuestion],
        configuration: Configuration,
        progress: Callable[[int], None] = lambda done: None,
        on_cancel: OnCancel = lambda end: None,
    ) -> tuple[Result, ...]:
        """Put questions to a configuration, here and now; nothing is kept.

        Raises:
            ConfigurationError: there is no question, or nothing to search.
            AppError: the documents cannot be searched, or the backend cannot answer.
        """
        if not questions:
            raise ConfigurationError("There is no question to ask.", "Add one, or tick “Use” at one.")

        def retrieve(question: str) -> Retrieval:
            return self._search(owner, configuration, question)

        def answer(question: str) -> Message:
            return self._answer(owner, configuration, question, on_cancel)

        return evaluate(questions, retrieve, answer if configuration.answers else None, progress)

    def missing_documents(self, owner: str, questions: Sequence[GoldQuestion]) -> list[str]:
        """Documents that questions name and that are in no collection, or not ready: these are never found."""
        wanted = {name: file_name(name) for question in questions for name in question.documents}
        query = select(DocumentRow.name).filter_by(owner=owner, state=DocumentState.READY).distinct()
        with self._database.session() as session:
            ready = {file_name(name) for name in session.scalars(query)} if wanted else set()
        return sorted(name for name, plain in wanted.items() if plain not in ready)

    def start(self, owner: str, set_id: str, configurations: Sequence[Configuration]) -> Job:
        """Measure configurations one after the other with the questions of a set; each is kept when it is complete.

        Raises:
            RequestRejected: a job is running already.
            ConfigurationError: there is no such set.
        """
        questions = self.sets.get(owner, set_id).used
        names = " and ".join(f"“{each.name}”" for each in configurations)
        job = Job(f"Measuring {names}", set_id, len(questions) * len(configurations))

        def work() -> None:
            for n, configuration in enumerate(configurations):

                def progress(done: int, before: int = n * len(questions)) -> None:
                    job.progress(before + done)

                results = self.measure(owner, questions, configuration, progress, job.on_cancel)
                job.made.append(self.runs.add(owner, set_id, configuration, results).id)

        return self._begin(owner, job, work)

    def start_writing(
        self, owner: str, set_id: str, collection_ids: Sequence[str], number: int, backend: str, model: str
    ) -> Job:
        """Have a model write questions from the documents, and add them to a set when all are written.

        Raises:
            RequestRejected: a job is running already.
            ConfigurationError: there is no such set, or no text to ask about.
        """
        self.sets.get(owner, set_id)
        passages = sample(self._database, owner, collection_ids, number)
        if not passages:
            raise ConfigurationError("There is no text to write questions about.", "Add documents first.")
        job = Job("Writing questions", set_id, len(passages))

        def write(system: str, prompt: str) -> str:
            said = self._write(owner, backend, model, system, prompt, job.on_cancel)
            job.progress(job.done)
            return said

        def work() -> None:
            known = self.sets.get(owner, set_id).questions
            written = write_questions(passages, write, known, job.progress)
            # The person may have edited the set meanwhile.
            self.sets.save(owner, set_id, [*self.sets.get(owner, set_id).questions, *written.questions])
            job.told = str(written)

        return self._begin(owner, job, work)

    def _begin(self, owner: str, job: Job, work: Callable[[], None]) -> Job:
        with self._lock:
            known = self._jobs.get(owner)
            if known and known.running:
                raise RequestRejected("An evaluation is running already.", "Wait for it, or cancel it first.")
            self._jobs[owner] = job
            job.thread = threading.Thread(target=job.run, args=(work,), name="evaluation", daemon=True)
            job.thread.start()
        return job

    def job(self, owner: str) -> Job | None:
        """The job that is running, or the last one until it is dismissed."""
        return self._jobs.get(owner)

    def dismiss(self, owner: str) -> None:
        """Forget what came of the last job."""
        with self._lock:
            if (job := self._jobs.get(owner)) and not job.running:
                del self._jobs[owner]

    def close(self) -> None:
        """End all jobs and wait for them."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        for job in jobs:
            if job.thread:
                job.thread.join()
