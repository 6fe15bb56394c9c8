"""Evaluations through the services: kept sets and runs, work in the background, thumbs, and questions by a model."""

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
from evaluation.writing import parse, sample, write_questions
from options import RetrievalOptions
from rag.schema import LOCAL_OWNER, Feedback, Finished, Message
from services.asking import Ask
from tests.conftest import FakeServices

PIER = GoldQuestion("How long is the pier at Gannet Holm?", ("62 metres",), ("pier.md",))
OUT_OF_SCOPE = GoldQuestion("Which colour does jealousy have?")
ALL = Configuration("Everything")


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


def test_sets_are_kept_for_their_owner(services: FakeServices) -> None:
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


def test_two_configurations_are_measured_and_kept(services: FakeServices) -> None:
    services.put_pier()
    evaluations = services.evaluations
    set_id = evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER, OUT_OF_SCOPE, GoldQuestion("Draft?", use=False)]).id
    words = Configuration("Words", ("My documents",), 2, RetrievalOptions(dense=False))
    job = wait(evaluations.start(LOCAL_OWNER, set_id, [ALL, words]))
    assert (job.error, job.done, job.total, job.cancelled, len(job.made)) == (None, 4, 4, False, 2)
    newest, oldest = evaluations.runs.all(LOCAL_OWNER, set_id)
    assert [newest.id, oldest.id] == job.made[::-1]
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


def test_answers_leave_no_conversation_behind(services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("The pier at Gannet Holm is 62 metres long.")
    asked = Configuration("Answers", backend="scripted", model="owl")
    [result] = services.evaluations.measure(LOCAL_OWNER, [PIER], asked)
    assert (result.right, result.answer) == (True, "The pier at Gannet Holm is 62 metres long.")
    assert services.conversations.list(LOCAL_OWNER) == []
    assert services.evaluations.runs.all(LOCAL_OWNER, "") == []


def test_a_run_that_dies_says_why_and_keeps_what_was_whole(services: FakeServices) -> None:
    services.put_pier()
    services.backend.enqueue_load(BackendUnavailable("It is down.", "Start it."))
    evaluations = services.evaluations
    set_id = evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER]).id
    job = wait(evaluations.start(LOCAL_OWNER, set_id, [ALL, replace(ALL, backend="scripted", model="owl")]))
    assert str(job.error) == "It is down. Start it."
    assert len(evaluations.runs.all(LOCAL_OWNER, set_id)) == len(job.made) == 1
    assert services.conversations.list(LOCAL_OWNER) == []
    evaluations.dismiss(LOCAL_OWNER)
    assert evaluations.job(LOCAL_OWNER) is None


def test_a_bug_is_a_reference_number(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    services.put_pier()
    monkeypatch.setattr(services.searching, "retrieve", fail)
    set_id = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER]).id
    job = wait(services.evaluations.start(LOCAL_OWNER, set_id, [ALL]))
    assert job.error
    assert job.error.hint.split()[-1].rstrip(".") in caplog.text


def test_nothing_to_ask_and_nothing_to_search_are_said(services: FakeServices) -> None:
    with pytest.raises(ConfigurationError, match="no document to search"):
        services.evaluations.measure(LOCAL_OWNER, [PIER], ALL)
    with pytest.raises(ConfigurationError, match="no question to ask"):
        services.evaluations.measure(LOCAL_OWNER, [], ALL)
    services.put_pier()
    with pytest.raises(ConfigurationError, match="Nowhere"):
        services.evaluations.measure(LOCAL_OWNER, [PIER], replace(ALL, collections=("Nowhere",)))


def test_a_run_can_be_cancelled_in_the_middle_of_an_answer(services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue(threading.Event())
    evaluations = services.evaluations
    set_id = evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER]).id
    job = evaluations.start(LOCAL_OWNER, set_id, [replace(ALL, backend="scripted", model="owl")])
    until(lambda: services.script.prompts)
    with pytest.raises(RequestRejected, match="running already"):
        evaluations.start(LOCAL_OWNER, set_id, [ALL])
    evaluations.dismiss(LOCAL_OWNER)
    assert evaluations.job(LOCAL_OWNER) is job
    job.cancel()
    wait(job)
    assert (job.cancelled, job.error, job.made) == (True, None, [])
    assert services.script.closed == 1
    assert services.conversations.list(LOCAL_OWNER) == []


def test_the_end_of_the_server_ends_a_run(services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue(threading.Event())
    set_id = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER]).id
    job = services.evaluations.start(LOCAL_OWNER, set_id, [replace(ALL, backend="scripted", model="owl")])
    until(lambda: services.script.prompts)
    services.evaluations.close()
    assert not job.running
    assert job.cancelled


def test_documents_that_are_not_there_are_known(services: FakeServices) -> None:
    services.put_pier()
    asked = [PIER, replace(PIER, documents=("Folder/PIER.md", "gone.pdf")), OUT_OF_SCOPE]
    assert services.evaluations.missing_documents(LOCAL_OWNER, asked) == ["gone.pdf"]
    assert services.evaluations.missing_documents("somebody else", [PIER]) == ["pier.md"]
    assert services.evaluations.missing_documents(LOCAL_OWNER, [OUT_OF_SCOPE]) == []


# --- thumbs ------------------------------------------------------------------------------------------------------


def answered(services: FakeServices, text: str, answer: str, good: bool, conversation: str | None = None) -> Message:
    services.script.enqueue(answer)
    _, turn = services.asking.ask(LOCAL_OWNER, Ask(text, conversation_id=conversation))
    *_, last = turn.follow()
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
    _, turn = services.asking.ask(LOCAL_OWNER, Ask("What is a pier?"))
    list(turn.follow())
    bad, follow_up, long = from_thumbs(services.database, LOCAL_OWNER)
    assert bad == GoldQuestion("Who repaired the pier at Gannet Holm?", use=False)
    assert (follow_up.question, follow_up.documents, follow_up.use) == ("Who repaired it?", ("pier.md",), False)
    assert (long.question, long.documents, long.use) == (PIER.question, ("pier.md",), True)
    assert long.answers == ("62 metres", "The pier at Gannet Holm is 62 metres long.")
    assert from_thumbs(services.database, "somebody else") == ()


def test_a_good_refusal_is_a_foreign_question(services: FakeServices) -> None:
    answered(services, OUT_OF_SCOPE.question, "", good=True)
    assert from_thumbs(services.database, LOCAL_OWNER) == (OUT_OF_SCOPE,)


# --- questions by a model ----------------------------------------------------------------------------------------

LONG = "The pier at Gannet Holm is 62 metres long and was repaired in April by Leo Marsh, who likes it very much."


@pytest.mark.parametrize(
    ("reply", "parsed"),
    [
        ("Question: How long?\nAnswer: 62 metres.", ("How long?", "62 metres")),
        ("Sure!\n\n**Question:** How long?\n\n**Answer:** “62 metres”", ("How long?", "62 metres")),
        ("question: How long?\nAnswer:\n£26", ("How long?", "£26")),
        ("Question 1: How long?", ("How long?", "")),
        ("Question:\nAnswer: 62", ("", "62")),
        ("I cannot do that.", ("", "")),
    ],
)
def test_a_reply_is_read_as_models_give_it(reply: str, parsed: tuple[str, str]) -> None:
    assert parse(reply) == parsed


def test_what_a_model_writes_is_sifted() -> None:
    replies = iter(
        [
            "Question: How long is the pier?\nAnswer: 62 metres",
            "Question: HOW long is the pier?\nAnswer: 62 metres",
            "Question: How old is it?\nAnswer: 100 years",
            "No.",
            "Question: Who repaired it?\nAnswer: Leo Marsh",
            "Question: Who likes the pier?\nAnswer: Leo Marsh",
        ]
    )
    known = [GoldQuestion("Who repaired it")]
    steps: list[int] = []
    written = write_questions([("pier.md", LONG)] * 6, lambda system, prompt: next(replies), known, steps.append)
    assert [question.question for question in written.questions] == ["How long is the pier?", "Who likes the pier?"]
    assert written.questions[0] == GoldQuestion("How long is the pier?", ("62 metres",), ("pier.md",))
    assert str(written) == (
        "2 questions written. 4 left out: 2 asked already, 1 with an answer that the passage does not have, 1 empty."
    )
    assert steps == [0, 1, 2, 3, 4, 5, 6]


def test_passages_are_taken_evenly(services: FakeServices) -> None:
    for name in ("a.txt", "b.txt"):
        lines = [
            f"Paragraph {n} of {name} tells at some length what the number {n} may mean to all of us."
            for n in range(30)
        ]
        services.put(name, "\n\n".join(lines).encode())
    services.put("short.txt", b"Too short to ask about.")
    collection = services.library.collection(LOCAL_OWNER)
    everything = sample(services.database, LOCAL_OWNER, [collection.id], 1000)
    assert {name for name, _ in everything} == {"a.txt", "b.txt"}
    four = sample(services.database, LOCAL_OWNER, [collection.id], 4)
    assert [name for name, _ in four] == ["a.txt", "a.txt", "b.txt", "b.txt"]
    assert len({text for _, text in four}) == 4
    assert sample(services.database, "somebody else", [collection.id], 4) == []


def test_questions_are_written_in_the_background(services: FakeServices) -> None:
    services.put("pier.md", LONG.encode())
    evaluations = services.evaluations
    collection = services.library.collection(LOCAL_OWNER)
    set_id = evaluations.sets.create(LOCAL_OWNER, "Written", [OUT_OF_SCOPE]).id
    services.script.enqueue("Question: How long is ", "it?\nAnswer: 62 metres")
    job = wait(evaluations.start_writing(LOCAL_OWNER, set_id, [collection.id], 5, "scripted", "owl"))
    assert job.error is None
    assert job.told == "1 question written."
    assert evaluations.sets.get(LOCAL_OWNER, set_id).questions == (
        OUT_OF_SCOPE,
        GoldQuestion("How long is it?", ("62 metres",), ("pier.md",)),
    )
    [prompt] = services.script.prompts
    assert LONG in prompt[-1].text
    with pytest.raises(ConfigurationError, match="no text"):
        evaluations.start_writing(LOCAL_OWNER, set_id, [], 5, "scripted", "owl")


def test_writing_can_be_cancelled_and_then_adds_nothing(services: FakeServices) -> None:
    services.put("pier.md", LONG.encode())
    evaluations = services.evaluations
    collection = services.library.collection(LOCAL_OWNER)
    set_id = evaluations.sets.create(LOCAL_OWNER, "Written").id
    services.script.enqueue(threading.Event())
    job = evaluations.start_writing(LOCAL_OWNER, set_id, [collection.id], 5, "scripted", "owl")
    until(lambda: services.script.prompts)
    job.cancel()
    wait(job)
    assert (job.cancelled, job.error, job.told) == (True, None, "")
    until(lambda: services.script.closed)
    assert evaluations.sets.get(LOCAL_OWNER, set_id).questions == ()


def test_a_model_that_cannot_write_says_why(services: FakeServices) -> None:
    services.put("pier.md", LONG.encode())
    services.backend.enqueue_load(BackendUnavailable("It is down.", "Start it."))
    collection = services.library.collection(LOCAL_OWNER)
    set_id = services.evaluations.sets.create(LOCAL_OWNER, "Written").id
    job = wait(services.evaluations.start_writing(LOCAL_OWNER, set_id, [collection.id], 5, "scripted", "owl"))
    assert str(job.error) == "It is down. Start it."
