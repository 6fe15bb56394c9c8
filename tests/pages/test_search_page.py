"""The Search page: what is found for a question without a model, and why something is not."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

import ui.app
from errors import StoreError
from rag.schema import LOCAL_OWNER
from settings import ROOT
from tests.conftest import FakeServices

QUESTION = "How long is the pier at Gannet Holm?"


@pytest.fixture
def app(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The Search page over a rehearsal."""
    monkeypatch.setattr(ui.app, "services", lambda: services)
    app = AppTest.from_file(str(ROOT / "ui" / "main.py"), default_timeout=30)
    app.run()
    return app.switch_page("../pages/search.py").run()


def texts(app: AppTest) -> str:
    kinds = (app.title, app.markdown, app.caption, app.error, app.info, app.warning, app.success)
    return "\n".join(str(element.value) for elements in kinds for element in elements)


def fill(services: FakeServices) -> None:
    services.put_pier()
    for number in range(12):
        services.put(f"minutes-{number}.md", f"Minutes {number}: the gutter of shed {number} drips.".encode())


def ask(app: AppTest, question: str) -> AppTest:
    app.text_input(key="search_question").set_value(question).run()
    assert not app.exception
    return app


def test_an_empty_library_says_what_to_do(app: AppTest) -> None:
    assert "nothing to search yet" in texts(app)
    assert "Nothing was found." in texts(ask(app, QUESTION))


def test_passages_come_with_the_scores_of_both_halves(app: AppTest, services: FakeServices) -> None:
    fill(services)
    shown = texts(ask(app, QUESTION))
    assert "**1 · pier\\.md**" in shown
    assert "62 metres long" in shown
    assert "meaning 0." in shown
    assert "(rank 1) · words" in shown
    assert "together **" in shown
    assert app.query_params["q"] == QUESTION
    assert not services.script.prompts, "no model was asked"


def test_a_step_can_be_switched_off(app: AppTest, services: FakeServices) -> None:
    fill(services)
    ask(app, QUESTION)
    app.toggle(key="search_dense").set_value(False).run()
    assert "meaning –" in texts(app)
    app.toggle(key="search_words").set_value(False).run()
    assert not app.exception
    assert "Neither words nor vectors" in texts(app)


def test_a_foreign_question_says_that_no_model_would_be_asked(app: AppTest, services: FakeServices) -> None:
    fill(services)
    assert "No model would be asked" in texts(ask(app, "Quantum chromodynamics of semiconductors?"))


def test_it_says_where_an_expected_text_was_lost(app: AppTest, services: FakeServices) -> None:
    fill(services)
    ask(app, QUESTION)
    app.text_area(key="expected").set_value("the pier is 99 metres long and blue").run()
    assert "Lost at: **Read**" in texts(app)
    app.text_area(key="expected").set_value("Leo Marsh repaired it").run()
    shown = texts(app)
    assert "would be shown to the model" in shown
    for stage in ("Read", "Cut into chunks", "Search by vectors", "Search by words", "Order of both", "Near enough"):
        assert f"**{stage}**" in shown
    assert "It fits the model's window" in shown, "the page loads the model that is chosen"


def test_a_passage_that_is_not_shown_can_be_marked(app: AppTest, services: FakeServices) -> None:
    fill(services)
    ask(app, "Which gutter of the shed drips?")
    marks = [button for button in app.button if button.label == "I expected this"]
    assert [button.disabled for button in marks] == [True] * 4 + [False] * 6
    marks[-1].click().run()
    shown = texts(app)
    assert "Lost at: **" in shown
    assert "would have kept it" in shown


def test_an_index_that_cannot_be_read_is_said(
    app: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise StoreError("The vector index cannot be read.", "Restore a backup.")

    fill(services)
    monkeypatch.setattr(services.searching, "retrieve", fail)
    assert "The vector index cannot be read" in texts(ask(app, QUESTION))


def test_a_collection_shows_how_often_it_is_wrong_and_can_refuse_more(app: AppTest, services: FakeServices) -> None:
    fill(services)
    for number in range(10):
        sentences = (f"Keeper {n} polished lamp {n * number} with vinegar, chalk and linen cloth." for n in range(6))
        services.put(f"lamps-{number}.md", " ".join(sentences).encode())
    assert "Not measured:" in texts(ask(app, QUESTION))
    assert services.search.calibrate()
    shown = texts(app.run())
    assert "of the questions that it answers" in shown
    assert "out-of-scope ones" in shown
    collection = services.library.collection(LOCAL_OWNER)
    app.select_slider(key=f"threshold_offset-{collection.id}").set_value(2.0).run()
    assert not app.exception
    calibration = services.search.calibrations.load(LOCAL_OWNER, collection.id, collection.fingerprint)
    assert calibration.threshold_offset == 2.0
    assert services.search.calibrate(), "nothing changed: it is kept"
    assert services.search.calibrations.load(LOCAL_OWNER, collection.id, collection.fingerprint) == calibration
