"""The Evaluate page: question sets, two configurations measured, and their results."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from errors import BackendUnavailable
from evaluation.questions import GoldQuestion
from evaluation.runs import Configuration
from options import AnswerOptions, RetrievalOptions
from rag.schema import LOCAL_OWNER, Feedback, Finished
from tests.conftest import FakeServices
from tests.pages.helpers import button, settle, texts

PIER = GoldQuestion("How long is the pier at Gannet Holm?", ("62 metres",), ("pier.md",))
OWL = AnswerOptions(backend="scripted", model="owl")
OUT_OF_SCOPE = GoldQuestion("Which colour does jealousy have?")


@pytest.fixture
def page(app: AppTest) -> AppTest:
    """The Evaluate page; not yet drawn."""
    app.run()
    return app.switch_page("../pages/evaluate.py")


def idle(services: FakeServices) -> Callable[[], bool]:
    def check() -> bool:
        job = services.evaluations.job(LOCAL_OWNER)
        return job is None or not job.running

    return check


def view(page: AppTest, name: str) -> None:
    page.segmented_control(key="evaluate_view").set_value(name).run()
    assert not page.exception


def test_the_first_visit_explains_the_page_and_makes_a_set(page: AppTest, services: FakeServices) -> None:
    page.run()
    assert not page.exception
    assert "see whether it helped" in texts(page)
    button(page, "Make a set from the samples").click().run()
    assert not page.exception
    [made] = services.evaluations.sets.all(LOCAL_OWNER)
    assert (made.name, len(made.questions)) == ("Sample questions", 48)
    assert "40 with an answer, 8 out of scope" in texts(page)
    assert len(services.library.documents(LOCAL_OWNER, services.library.collection(LOCAL_OWNER).id)) == 4


def test_two_configurations_are_measured_and_compared(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER, OUT_OF_SCOPE])
    page.run()
    assert "Dense\\: off" in texts(page)
    button(page, "Measure A and B").click().run()
    settle(page, idle(services))
    first, second = services.evaluations.runs.all(LOCAL_OWNER, made.id)
    assert (second.configuration.name, first.configuration.name) == ("As set up", "Dense: off")
    assert [run.configuration.options.retrieval.dense for run in (second, first)] == [True, False]
    assert "No difference that 2 questions could show" in texts(page)
    table = page.dataframe[0].value
    assert list(table["Figure"])[:2] == ["Found", "Found first"]
    assert table["A (95 %)"][0] == table["B (95 %)"][0] == "100 % (5 to 100)"
    assert table["B − A (95 %)"][0] == "0 % (0 to 0)"
    assert table["Verdict"][0] == "No difference that 1 question could show"
    view(page, "Over time")
    assert len(page.dataframe[0].value) == 2


def test_a_single_run_is_shown_without_a_comparison(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER, GoldQuestion("How old is it?", ("100 years",))])
    page.run()
    button(page, "Only A").click().run()
    settle(page, idle(services))
    assert "B − A (95 %)" not in page.dataframe[0].value
    assert list(page.dataframe[1].value["Question"]) == ["How old is it?"]


def test_questions_found_by_one_run_only(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER])
    runs, asked = services.evaluations.runs, [PIER, GoldQuestion("Who repaired it?", ("Leo Marsh",))]
    found = services.evaluations.measure(LOCAL_OWNER, asked, Configuration("Good"))
    runs.add(LOCAL_OWNER, made.id, Configuration("Bad"), [replace(r, relevant=(False,)) for r in found])
    runs.add(LOCAL_OWNER, made.id, Configuration("Good"), found)
    page.run()
    assert list(page.dataframe[1].value["Differs"]) == ["found by B only"] * 2
    assert list(page.dataframe[1].value["B: first passage"]) == ["pier.md"] * 2


def test_a_run_continues_without_the_page_and_can_be_cancelled(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER])
    services.script.enqueue(threading.Event())
    asked = Configuration("Answers", OWL, answers=True)
    job = services.evaluations.start(LOCAL_OWNER, made.id, [asked])
    page.run()
    assert button(page, "Measure A and B").disabled
    page.switch_page("../pages/documents.py").run()
    page.switch_page("../pages/evaluate.py").run()
    button(page, "Cancel").click().run()
    settle(page, lambda: not job.running)
    assert "Cancelled" in texts(page)
    button(page, "Dismiss").click().run()
    assert "Cancelled. Complete" not in texts(page)


def test_a_failed_run_says_why(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER])
    services.backend.enqueue_load(BackendUnavailable("It is down.", "Start it."))
    services.evaluations.start(LOCAL_OWNER, made.id, [Configuration("X", OWL, answers=True)])
    settle(page, idle(services))
    assert "It is down" in page.error[0].value


def test_missing_documents_are_reported_before_measuring(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER, replace(PIER, question="Q?", documents=("gone.pdf",))])
    page.run()
    assert "gone\\.pdf" in page.warning[0].value
    assert "pier" not in page.warning[0].value


def test_questions_from_a_file_with_skipped_rows(page: AppTest, services: FakeServices) -> None:
    page.run()
    button(page, "Make your own set").click().run()
    page.segmented_control(key="evaluate_source").set_value("From a file").run()
    content = "question,answers,documents\nHow long?,62 metres|62 m,pier.md\n,x,\nWho?,,\n"
    page.file_uploader[0].upload("mine.csv", content.encode(), "text/csv").run()
    button(page, "Read the file").click().run()
    assert not page.exception
    [made] = services.evaluations.sets.all(LOCAL_OWNER)
    assert made.name == "mine"
    assert made.questions == (GoldQuestion("How long?", ("62 metres", "62 m"), ("pier.md",)), GoldQuestion("Who?"))
    assert "2 questions added" in texts(page)
    assert "Row 3 is left out" in texts(page)


def test_questions_from_thumbs(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("The pier at Gannet Holm is 62 metres long.")
    *_, last = services.ask(PIER.question).follow()
    assert isinstance(last, Finished)
    services.conversations.save(LOCAL_OWNER, replace(last.message, feedback=Feedback(True)))
    page.run()
    button(page, "Make your own set").click().run()
    page.segmented_control(key="evaluate_source").set_value("From thumbs").run()
    button(page, "Add them").click().run()
    assert not page.exception
    [made] = services.evaluations.sets.all(LOCAL_OWNER)
    assert made.questions[0].documents == ("pier.md",)
    assert page.segmented_control(key="evaluate_view").value == "Questions"


def test_a_configuration_has_the_chosen_options(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER])
    page.run()
    page.slider(key="evaluate_A_k").set_value(7).run()
    page.toggle(key="evaluate_A_lexical").set_value(False).run()
    page.slider(key="evaluate_A_neighbours").set_value(2).run()
    button(page, "Only A").click().run()
    settle(page, idle(services))
    [run] = services.evaluations.runs.all(LOCAL_OWNER, made.id)
    options = services.settings.answer.replace(k=7, retrieval=RetrievalOptions(lexical=False, neighbours=2))
    assert run.configuration == Configuration("Passages: 7, Lexical: off, Neighbours: 2", options)
