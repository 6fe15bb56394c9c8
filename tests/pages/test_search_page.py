"""The Search page: what a question finds without a model, and why a text is not found."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from errors import StoreError
from rag.chat.prompts import Window
from rag.schema import LOCAL_OWNER
from tests.conftest import FakeServices
from tests.pages.helpers import QUESTION, texts


@pytest.fixture
def page(app: AppTest) -> AppTest:
    """The Search page."""
    app.run()
    return app.switch_page("../pages/search.py").run()


def fill(services: FakeServices) -> None:
    services.put_pier()
    for number in range(12):
        services.put(f"minutes-{number}.md", f"Minutes {number}: the gutter of shed {number} drips.".encode())


def ask(page: AppTest, question: str) -> AppTest:
    page.text_input(key="search_question").set_value(question).run()
    assert not page.exception
    return page


def test_an_empty_library_says_what_to_do(page: AppTest) -> None:
    assert "nothing to search yet" in texts(page)
    assert "Nothing was found." in texts(ask(page, QUESTION))


def test_passages_show_dense_and_lexical_scores(page: AppTest, services: FakeServices) -> None:
    fill(services)
    shown = texts(ask(page, QUESTION))
    assert "**1 · pier\\.md**" in shown
    assert "62 metres long" in shown
    assert "dense 0." in shown
    assert "(rank 1) · lexical" in shown
    assert "combined **" in shown
    assert page.query_params["q"] == QUESTION
    assert not services.script.prompts, "no model was asked"


def test_a_step_can_be_switched_off(page: AppTest, services: FakeServices) -> None:
    fill(services)
    ask(page, QUESTION)
    page.toggle(key="search_dense").set_value(False).run()
    assert "dense –" in texts(page)
    page.toggle(key="search_lexical").set_value(False).run()
    assert not page.exception
    assert "lexical search is on" in texts(page)


def test_an_out_of_scope_question_says_that_no_model_would_be_asked(page: AppTest, services: FakeServices) -> None:
    fill(services)
    shown = texts(ask(page, "Quantum chromodynamics of semiconductors?"))
    assert "The answer would be “not in your documents”" in shown


def test_the_stage_that_lost_an_expected_text_is_shown(page: AppTest, services: FakeServices) -> None:
    fill(services)
    ask(page, QUESTION)
    page.text_area(key="expected").set_value("the pier is 99 metres long and blue").run()
    assert "Lost at: **Read**" in texts(page)
    page.text_area(key="expected").set_value("Leo Marsh repaired it").run()
    shown = texts(page)
    assert "would be shown to the model" in shown
    for stage in ("Read", "Cut into chunks", "Search by vectors", "Search by words", "Order of both", "Near enough"):
        assert f"**{stage}**" in shown
    assert "It fits the model's window" in shown, "the page loads the model that is chosen"


def test_a_passage_that_is_not_shown_can_be_expected(page: AppTest, services: FakeServices) -> None:
    fill(services)
    ask(page, "Which gutter of the shed drips?")
    marks = [button for button in page.button if button.label == "I expected this"]
    assert [button.disabled for button in marks] == [True] * 4 + [False] * 6
    marks[-1].click().run()
    shown = texts(page)
    assert "Lost at: **" in shown
    assert "would have kept it" in shown


def test_only_what_an_answer_is_made_from_is_marked(
    page: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(services)

    def used() -> int:
        page.run()
        assert not page.exception
        return texts(page).count("used for the answer")

    ask(page, "Which gutter of the shed drips?")
    assert used() == 4
    windows = {"narrow": Window(len, prompt_limit=1), "small": Window(len, prompt_limit=1, small=True), "none": None}
    counts = {}
    for name, window in windows.items():
        monkeypatch.setattr(services.models, "window", lambda *_, window=window: window)
        counts[name] = used()
    assert counts == {"narrow": 1, "small": 4, "none": 0}, "a small model quotes from all of them"
    assert texts(page).count("retrieved") == 4
    ask(page, "Quantum chromodynamics of semiconductors?")
    assert (used(), texts(page).count("retrieved")) == (0, 0)


def test_an_unreadable_index_is_reported(
    page: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise StoreError("The vector index cannot be read.", "Restore a backup.")

    fill(services)
    monkeypatch.setattr(services.searching, "retrieve", fail)
    assert "The vector index cannot be read" in texts(ask(page, QUESTION))


def test_a_collection_shows_its_error_rates_and_can_abstain_more(page: AppTest, services: FakeServices) -> None:
    fill(services)
    for number in range(10):
        sentences = (f"Keeper {n} polished lamp {n * number} with vinegar, chalk and linen cloth." for n in range(6))
        services.put(f"lamps-{number}.md", " ".join(sentences).encode())
    assert "Not measured yet" in texts(ask(page, QUESTION))
    assert services.search.calibrate()
    shown = texts(page.run())
    assert "of the questions it could answer" in shown
    assert "of out-of-scope questions" in shown
    collection = services.library.collection(LOCAL_OWNER)
    page.select_slider(key=f"threshold_offset-{collection.id}").set_value(2.0).run()
    assert not page.exception
    calibration = services.search.calibrations.load(LOCAL_OWNER, collection.id, collection.fingerprint)
    assert calibration.threshold_offset == 2.0
    assert services.search.calibrate(), "nothing changed: it is kept"
    assert services.search.calibrations.load(LOCAL_OWNER, collection.id, collection.fingerprint) == calibration
