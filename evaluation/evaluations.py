"""Evaluations in the background of the server: a job outlives the page that started it, and each owner has one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import select

from errors import AppError, ConfigurationError, RequestRejected
from evaluation.questions import GoldQuestion, file_name
from evaluation.runs import Cancelled, Configuration, Result, evaluate
from evaluation.store import QuestionSets, Runs
from rag.db import Database, DocumentRow, new_id
from rag.schema import DocumentState, Message, Retrieval

log = logging.getLogger(__name__)

OnCancel = Callable[[Callable[[], object]], None]
"""Registers a callback that stops a running answer when the job is cancelled."""
Search = Callable[[str, Configuration, str], Retrieval]
"""`(owner, configuration, question)` -> passages."""
Answer = Callable[[str, Configuration, str, OnCancel], Message]
"""`(owner, configuration, question, on_cancel)` -> the answer, as in a chat."""


class Job:
    """A background job; its attributes are safe to read from any thread."""

    def __init__(self, what: str, set_id: str, total: int) -> None:
        self.what, self.set_id = what, set_id
        self.done, self.total = 0, total
        self.run_ids: list[str] = []
        self.error: AppError | None = None
        self.cancelled = False
        self.thread: threading.Thread | None = None
        self._stop: Callable[[], object] | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether the job is still running."""
        return self.thread is not None and self.thread.is_alive()

    def cancel(self) -> None:
        """Stop the job; complete runs are kept."""
        with self._lock:
            self.cancelled = True
            stop = self._stop
        if stop:
            stop()

    def on_cancel(self, stop: Callable[[], object]) -> None:
        """Call `stop` when the job is cancelled; at once if it already is."""
        with self._lock:
            self._stop = stop
            cancelled = self.cancelled
        if cancelled:
            stop()

    def progress(self, done: int) -> None:
        """Record how much is done. Raises Cancelled if the job was cancelled."""
        self.done = done
        if self.cancelled:
            raise Cancelled

    def run(self, work: Callable[[], None]) -> None:
        """Do the work and record how it ended."""
        try:
            work()
        except Cancelled:
            self.cancelled = True
        except AppError as error:
            # What was cancelled may fail in its own way.
            self.error = None if self.cancelled else error
        except Exception:
            reference = new_id()[:8]
            log.exception("A job failed, reference %s", reference)
            self.error = AppError("Something went wrong inside Gestalt.", f"See {reference} in the log.")


class Evaluations:
    """Question sets, runs, and the jobs that produce them."""

    def __init__(self, database: Database, search: Search, answer: Answer) -> None:
        self.sets = QuestionSets(database)
        self.runs = Runs(database)
        self._database = database
        self._search, self._answer = search, answer
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def measure(
        self,
        owner: str,
        questions: Sequence[GoldQuestion],
        configuration: Configuration,
        progress: Callable[[int], None] = lambda done: None,
        on_cancel: OnCancel = lambda stop: None,
    ) -> tuple[Result, ...]:
        """Ask questions with a configuration, synchronously; nothing is stored.

        Raises ConfigurationError if there is nothing to ask or to search, AppError if search or backend fail.
        """
        if not questions:
            raise ConfigurationError("There is no question to ask.", "Add one, or tick “Use” for one.")

        def answer(question: str) -> Message:
            return self._answer(owner, configuration, question, on_cancel)

        retrieve = partial(self._search, owner, configuration)
        return evaluate(questions, retrieve, answer if configuration.answers else None, progress)

    def missing_documents(self, owner: str, questions: Sequence[GoldQuestion]) -> list[str]:
        """Documents that questions name but no collection has ready: they can never be found."""
        wanted = {name: file_name(name) for question in questions for name in question.documents}
        query = select(DocumentRow.name).filter_by(owner=owner, state=DocumentState.READY).distinct()
        with self._database.session() as session:
            ready = {file_name(name) for name in session.scalars(query)} if wanted else set()
        return sorted(name for name, plain in wanted.items() if plain not in ready)

    def start(self, owner: str, set_id: str, configurations: Sequence[Configuration]) -> Job:
        """Start measuring configurations one after the other; each run is stored when it is complete.

        Raises RequestRejected while another job runs, ConfigurationError if there is no such set.
        """
        questions = self.sets.get(owner, set_id).used
        names = " and ".join(f"“{each.name}”" for each in configurations)
        job = Job(f"Measuring {names}", set_id, len(questions) * len(configurations))

        def work() -> None:
            for n, configuration in enumerate(configurations):

                def progress(done: int, before: int = n * len(questions)) -> None:
                    job.progress(before + done)

                results = self.measure(owner, questions, configuration, progress, job.on_cancel)
                job.run_ids.append(self.runs.add(owner, set_id, configuration, results).id)

        with self._lock:
            known = self._jobs.get(owner)
            if known and known.running:
                raise RequestRejected("An evaluation is already running.", "Wait for it, or cancel it first.")
            self._jobs[owner] = job
            job.thread = threading.Thread(target=job.run, args=(work,), name="evaluation", daemon=True)
            job.thread.start()
        return job

    def job(self, owner: str) -> Job | None:
        """The running job, or the last one until it is dismissed."""
        return self._jobs.get(owner)

    def dismiss(self, owner: str) -> None:
        """Forget the last job, unless it is running."""
        with self._lock:
            if (job := self._jobs.get(owner)) and not job.running:
                del self._jobs[owner]

    def close(self) -> None:
        """Cancel all jobs and wait for them."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        for job in jobs:
            if job.thread:
                job.thread.join()
