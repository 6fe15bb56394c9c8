"""Evaluations through the services: stored sets and runs, background jobs, thumbs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from errors import BackendUnavailable, ConfigurationError, RequestRejected
from evaluation.evaluations import Job
from evaluation.questions import GoldQuestion
from evaluation.runs import Configuration
from evaluation.thumbs import from_thumbs
from options import AnswerOptions, RetrievalOptions
from rag.schema import LOCAL_OWNER, Feedback, Finished, Message
from tests.conftest import FakeServices

PIER = GoldQuestion("How long is the pier at Gannet Holm?", ("62 metres",), ("pier.md",))
OUT_OF_SCOPE = GoldQuestion("Which colour does jealousy have?")
ALL = Configuration("Everything", AnswerOptions(backend="scripted", model="owl"))
ANSWERS = replace(ALL, answers=True)


def wait(job: Job) -> Job:
    assert job.thread
    job.thread.join(timeout=10)
    assert not job.running
    return job


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- sets --------------------------------------------------------------------------------------------------------


def test_sets_belong_to_their_owner(services: FakeServices) -> None:
    sets = services.evaluations.sets
    made = sets.create(LOCAL_OWNER, " My  questions ", [PIER, OUT_OF_SCOPE, replace(OUT_OF_SCOPE, use=False)])
    assert (made.name, made.questions) == ("My questions", (PIER, OUT_OF_SCOPE))
    other = sets.create(LOCAL_OWNER, "My questions")
    assert other.name == "My questions (2)"
    assert sets.create("somebody else", "My questions").name == "My questions"
    assert [each.name for each in sets.all(LOCAL_OWNER)] == ["My questions", "My questions (2)"]
    sets.save(LOCAL_OWNER, made.id, [replace(PIER, use=False), OUT_OF_SCOPE])
    assert sets.get(LOCAL_OWNER, made.id).used == (OUT_OF_SCOPE,)
    sets.save("somebody else", made.id, [])
    assert len(sets.get(LOCAL_OWNER, made.id).questions) == 2
    with pytest.raises(ConfigurationError, match="no such question set"):
        sets.get("somebody else", made.id)
    sets.rename(LOCAL_OWNER, other.id, "Others")
    for name in (" ", "My questions"):
        with pytest.raises(ConfigurationError, match="No set can be called"):
            sets.rename(LOCAL_OWNER, other.id, name)
    assert sets.put(LOCAL_OWNER, "Others", [PIER]) == sets.get(LOCAL_OWNER, other.id)
    sets.delete(LOCAL_OWNER, other.id)
    assert [each.id for each in sets.all(LOCAL_OWNER)] == [made.id]


# --- runs --------------------------------------------------------------------------------------------------------


def test_two_configurations_are_measured_and_stored(services: FakeServices) -> None:
    services.put_pier()
    evaluations = services.evaluations
    set_id = evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER, OUT_OF_SCOPE, GoldQuestion("Draft?", use=False)]).id
    ids = (services.library.collection(LOCAL_OWNER).id,)
    words = Configuration("Words", AnswerOptions(k=2, collection_ids=ids, retrieval=RetrievalOptions(dense=False)))
    job = wait(evaluations.start(LOCAL_OWNER, set_id, [ALL, words]))
    assert (job.error, job.done, job.total, job.cancelled, len(job.run_ids)) == (None, 4, 4, False, 2)
    newest, oldest = evaluations.runs.all(LOCAL_OWNER, set_id)
    assert [newest.id, oldest.id] == job.run_ids[::-1]
    assert newest.configuration == words
    assert newest.figures["found"].value == 1
    pier, out_of_scope = evaluations.runs.results(LOCAL_OWNER, oldest.id)
    assert (pier.first, pier.rank, pier.abstained) == ("pier.md", 1, False)
    assert out_of_scope.out_of_scope
    assert evaluations.runs.all("somebody else", set_id) == []
    assert evaluations.runs.results("somebody else", oldest.id) == ()
    evaluations.runs.delete(LOCAL_OWNER, newest.id)
    assert len(evaluations.runs.all(LOCAL_OWNER, set_id)) == 1
    evaluations.sets.delete(LOCAL_OWNER, set_id)
    assert evaluations.runs.results(LOCAL_OWNER, oldest.id) == ()


def test_answers_leave_no_conversation(services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("The pier at Gannet Holm is 62 metres long.")
    [result] = services.evaluations.measure(LOCAL_OWNER, [PIER], ANSWERS)
    assert (result.right, result.answer) == (True, "The pier at Gannet Holm is 62 metres long.")
    assert services.conversations.list(LOCAL_OWNER) == []
    assert services.evaluations.runs.all(LOCAL_OWNER, "") == []


def test_failed_run_reports_why_and_keeps_complete_runs(services: FakeServices) -> None:
    services.put_pier()
    services.backend.enqueue_load(BackendUnavailable("It is down.", "Start it."))
    evaluations = services.evaluations
    set_id = evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER]).id
    job = wait(evaluations.start(LOCAL_OWNER, set_id, [ALL, ANSWERS]))
    assert str(job.error) == "It is down. Start it."
    assert len(evaluations.runs.all(LOCAL_OWNER, set_id)) == len(job.run_ids) == 1
    assert services.conversations.list(LOCAL_OWNER) == []
    evaluations.dismiss(LOCAL_OWNER)
    assert evaluations.job(LOCAL_OWNER) is None


def test_bug_is_reported_with_a_log_reference(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    services.put_pier()
    monkeypatch.setattr(services.searching, "retriever", fail)
    set_id = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER]).id
    job = wait(services.evaluations.start(LOCAL_OWNER, set_id, [ALL]))
    assert job.error
    assert job.error.hint.split()[1] in caplog.text


def test_nothing_to_ask_or_to_search_is_an_error(services: FakeServices) -> None:
    with pytest.raises(ConfigurationError, match="no document to search"):
        services.evaluations.measure(LOCAL_OWNER, [PIER], ALL)
    with pytest.raises(ConfigurationError, match="no question to ask"):
        services.evaluations.measure(LOCAL_OWNER, [], ALL)
    services.put_pier()
    with pytest.raises(ConfigurationError, match="no longer exist"):
        services.evaluations.measure(LOCAL_OWNER, [PIER], Configuration("", AnswerOptions(collection_ids=("gone",))))


def start_endless_run(services: FakeServices) -> Job:
    services.put_pier()
    services.script.enqueue(threading.Event())
    set_id = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER]).id
    job = services.evaluations.start(LOCAL_OWNER, set_id, [ANSWERS])
    until(lambda: services.script.prompts)
    return job


def test_run_can_be_cancelled_in_the_middle_of_an_answer(services: FakeServices) -> None:
    job, evaluations = start_endless_run(services), services.evaluations
    with pytest.raises(RequestRejected, match="already running"):
        evaluations.start(LOCAL_OWNER, job.set_id, [ALL])
    evaluations.dismiss(LOCAL_OWNER)
    assert evaluations.job(LOCAL_OWNER) is job
    job.cancel()
    wait(job)
    assert (job.cancelled, job.error, job.run_ids) == (True, None, [])
    until(lambda: services.script.closed == 1)
    assert services.conversations.list(LOCAL_OWNER) == []


def test_closing_cancels_a_run(services: FakeServices) -> None:
    job = start_endless_run(services)
    services.evaluations.close()
    assert not job.running
    assert job.cancelled


def test_missing_documents_are_reported(services: FakeServices) -> None:
    services.put_pier()
    asked = [PIER, replace(PIER, documents=("Folder/PIER.md", "gone.pdf")), OUT_OF_SCOPE]
    assert services.evaluations.missing_documents(LOCAL_OWNER, asked) == ["gone.pdf"]
    assert services.evaluations.missing_documents("somebody else", [PIER]) == ["pier.md"]
    assert services.evaluations.missing_documents(LOCAL_OWNER, [OUT_OF_SCOPE]) == []


# --- thumbs ------------------------------------------------------------------------------------------------------


def answered(services: FakeServices, text: str, answer: str, good: bool, conversation: str | None = None) -> Message:
    services.script.enqueue(answer)
    *_, last = services.ask(text, conversation).follow()
    assert isinstance(last, Finished)
    message = replace(last.message, feedback=Feedback(good))
    services.conversations.save(LOCAL_OWNER, message)
    return message


def test_thumbs_become_questions(services: FakeServices) -> None:
    services.put_pier()
    assert from_thumbs(services.database, LOCAL_OWNER) == ()
    good = answered(services, PIER.question, "62 metres", good=True)
    assert good.citations
    answered(
        services, "Who repaired it?", "Leo Marsh repaired it in April.", good=True, conversation=good.conversation_id
    )
    answered(services, "Who repaired the pier at Gannet Holm?", "Nobody.", good=False)
    services.script.enqueue("No thumb.")
    list(services.ask("What is a pier?").follow())
    bad, follow_up, long = from_thumbs(services.database, LOCAL_OWNER)
    assert bad == GoldQuestion("Who repaired the pier at Gannet Holm?", use=False)
    assert (follow_up.question, follow_up.documents, follow_up.use) == ("Who repaired it?", ("pier.md",), False)
    assert (long.question, long.documents, long.use) == (PIER.question, ("pier.md",), True)
    assert long.answers == ("62 metres", "The pier at Gannet Holm is 62 metres long.")
    assert from_thumbs(services.database, "somebody else") == ()


def test_thumb_up_for_abstaining_gives_an_out_of_scope_question(services: FakeServices) -> None:
    answered(services, OUT_OF_SCOPE.question, "", good=True)
    assert from_thumbs(services.database, LOCAL_OWNER) == (OUT_OF_SCOPE,)
