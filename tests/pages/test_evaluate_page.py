"""The evaluate page without a browser: sets are made, two configurations measured, and what came of it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

import ui.app
from errors import BackendUnavailable
from evaluation.questions import GoldQuestion
from evaluation.runs import Configuration
from options import RetrievalOptions
from rag.schema import LOCAL_OWNER, Feedback, Finished
from services.asking import Ask
from settings import ROOT
from tests.conftest import FakeServices

PIER = GoldQuestion("How long is the pier at Gannet Holm?", ("62 metres",), ("pier.md",))
OUT_OF_SCOPE = GoldQuestion("Which colour does jealousy have?")


@pytest.fixture
def app(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The evaluate page over a rehearsal."""
    monkeypatch.setattr(ui.app, "services", lambda: services)
    app = AppTest.from_file(str(ROOT / "ui" / "main.py"), default_timeout=30)
    app.run()
    return app.switch_page("../pages/evaluate.py")


def texts(app: AppTest) -> str:
    kinds = (app.title, app.markdown, app.caption, app.error, app.info, app.warning)
    return "\n".join(str(element.value) for elements in kinds for element in elements)


def button(app: AppTest, label: str):  # type: ignore[no-untyped-def] # AppTest's Button
    return next(element for element in app.button if element.label == label)


def settle(app: AppTest, done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    app.run()
    assert not app.exception


def idle(services: FakeServices) -> Callable[[], bool]:
    def check() -> bool:
        job = services.evaluations.job(LOCAL_OWNER)
        return job is None or not job.running

    return check


def view(app: AppTest, name: str) -> None:
    app.segmented_control(key="evaluate_view").set_value(name).run()
    assert not app.exception


def test_a_newcomer_is_told_what_it_is_for_and_gets_a_set(app: AppTest, services: FakeServices) -> None:
    app.run()
    assert not app.exception
    assert "know whether it helped" in texts(app)
    button(app, "Make a set from the samples").click().run()
    assert not app.exception
    [made] = services.evaluations.sets.all(LOCAL_OWNER)
    assert (made.name, len(made.questions)) == ("Sample questions", 48)
    assert "40 with an answer, 8 that are out of scope" in texts(app)
    assert len(services.library.documents(LOCAL_OWNER, services.library.collection(LOCAL_OWNER).id)) == 4


def test_two_configurations_are_measured_and_compared(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER, OUT_OF_SCOPE])
    app.run()
    assert "Vectors\\: off" in texts(app)
    button(app, "Measure A and B").click().run()
    settle(app, idle(services))
    first, second = services.evaluations.runs.all(LOCAL_OWNER, made.id)
    assert (second.configuration.name, first.configuration.name) == ("As set up", "Vectors: off")
    assert (second.configuration.options.dense, first.configuration.options.dense) == (True, False)
    assert "No difference that 2 questions could show" in texts(app)
    table = app.dataframe[0].value
    assert list(table["Figure"])[:2] == ["Found", "Found first"]
    assert table["A (95 %)"][0] == table["B (95 %)"][0] == "100 % (5 to 100)"
    assert table["B − A (95 %)"][0] == "0 % (0 to 0)"
    assert table["What it says"][0] == "No difference that 1 question could show"
    view(app, "Over time")
    assert len(app.dataframe[0].value) == 2


def test_one_run_alone_is_shown_alone(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER, GoldQuestion("How old is it?", ("100 years",))])
    app.run()
    button(app, "Only A").click().run()
    settle(app, idle(services))
    assert "B − A (95 %)" not in app.dataframe[0].value
    assert list(app.dataframe[1].value["Question"]) == ["How old is it?"]


def test_the_questions_that_only_one_found(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER])
    runs, asked = services.evaluations.runs, [PIER, GoldQuestion("Who repaired it?", ("Leo Marsh",))]
    found = services.evaluations.measure(LOCAL_OWNER, asked, Configuration("Good"))
    runs.add(LOCAL_OWNER, made.id, Configuration("Bad"), [replace(r, relevant=(False,)) for r in found])
    runs.add(LOCAL_OWNER, made.id, Configuration("Good"), found)
    app.run()
    assert list(app.dataframe[1].value["Differs"]) == ["found by B only"] * 2
    assert list(app.dataframe[1].value["B: first passage"]) == ["pier.md"] * 2


def test_a_run_goes_on_without_the_page_and_can_be_cancelled(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER])
    services.script.enqueue(threading.Event())
    asked = Configuration("Answers", backend="scripted", model="owl")
    job = services.evaluations.start(LOCAL_OWNER, made.id, [asked])
    app.run()
    assert button(app, "Measure A and B").disabled
    app.switch_page("../pages/documents.py").run()
    app.switch_page("../pages/evaluate.py").run()
    button(app, "Cancel").click().run()
    settle(app, lambda: not job.running)
    assert "It was cancelled" in texts(app)
    button(app, "Dismiss").click().run()
    assert "It was cancelled" not in texts(app)


def test_a_run_that_died_says_why(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER])
    services.backend.enqueue_load(BackendUnavailable("It is down.", "Start it."))
    services.evaluations.start(LOCAL_OWNER, made.id, [Configuration("X", backend="scripted", model="owl")])
    settle(app, idle(services))
    assert "It is down" in app.error[0].value


def test_what_cannot_be_found_is_said_before_it_is_measured(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER, replace(PIER, question="Q?", documents=("gone.pdf",))])
    app.run()
    assert "gone\\.pdf" in app.warning[0].value
    assert "pier" not in app.warning[0].value


def test_a_file_brings_questions_and_says_what_it_left_out(app: AppTest, services: FakeServices) -> None:
    app.run()
    button(app, "Make your own set").click().run()
    app.segmented_control(key="evaluate_source").set_value("From a file").run()
    content = "question,answers,documents\nHow long?,62 metres|62 m,pier.md\n,x,\nWho?,,\n"
    app.file_uploader[0].upload("mine.csv", content.encode(), "text/csv").run()
    button(app, "Read the file").click().run()
    assert not app.exception
    [made] = services.evaluations.sets.all(LOCAL_OWNER)
    assert made.name == "mine"
    assert made.questions == (GoldQuestion("How long?", ("62 metres", "62 m"), ("pier.md",)), GoldQuestion("Who?"))
    assert "2 questions added" in texts(app)
    assert "Row 3 is left out" in texts(app)


def test_thumbs_bring_questions(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("The pier at Gannet Holm is 62 metres long.")
    _, turn = services.asking.ask(LOCAL_OWNER, Ask(PIER.question))
    *_, last = turn.follow()
    assert isinstance(last, Finished)
    services.conversations.save(LOCAL_OWNER, replace(last.message, feedback=Feedback(True)))
    app.run()
    button(app, "Make your own set").click().run()
    app.segmented_control(key="evaluate_source").set_value("From thumbs").run()
    button(app, "Take them").click().run()
    assert not app.exception
    [made] = services.evaluations.sets.all(LOCAL_OWNER)
    assert made.questions[0].documents == ("pier.md",)
    assert app.segmented_control(key="evaluate_view").value == "Questions"


def test_a_configuration_is_what_was_chosen(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    made = services.evaluations.sets.create(LOCAL_OWNER, "Mine", [PIER])
    app.run()
    app.slider(key="evaluate_A_k").set_value(7).run()
    app.toggle(key="evaluate_A_words").set_value(False).run()
    app.slider(key="evaluate_A_neighbours").set_value(2).run()
    button(app, "Only A").click().run()
    settle(app, idle(services))
    [run] = services.evaluations.runs.all(LOCAL_OWNER, made.id)
    assert run.configuration == Configuration(
        "Passages: 7, Words: off, Neighbours: 2", (), 7, RetrievalOptions(words=False, neighbours=2)
    )
