"""The Search page in a real browser: what is found, how, and why something is not."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import App, shoot

pytestmark = pytest.mark.e2e

QUESTION = "Where is the spare key to Shed 3 kept?"


def open_search(page: Page, app: App, question: str = "") -> None:
    page.goto(f"{app.url}/search{'?q=' + question if question else ''}")
    expect(page.get_by_role("heading", name="Search your documents")).to_be_visible()


@pytest.fixture(scope="module")
def filled(app: App, browser: Browser) -> App:
    page = browser.new_page()
    page.goto(app.url)
    page.get_by_role("button", name="Load the sample documents").click()
    expect(page.get_by_text("4 documents ready to search.")).to_be_visible(timeout=120_000)
    page.close()
    return app


def test_a_question_shows_its_passages_and_their_scores(page: Page, filled: App) -> None:
    open_search(page, filled)
    expect(page.get_by_text("4 documents to search.")).to_be_visible()
    box = page.get_by_role("textbox", name="Question")
    box.fill(QUESTION)
    box.press("Enter")
    expect(page.get_by_text("10 passages in")).to_be_visible()
    expect(page.get_by_text("beehive").first).to_be_visible()
    expect(page.get_by_text("used for the answer")).to_have_count(8)  # four badges, each with its label inside
    shoot(page, "search")
    page.get_by_role("button", name="Steps").click()
    expect(page.get_by_text("Neighbours")).to_be_visible()
    shoot(page, "search-steps")
    page.get_by_text("Dense", exact=True).click()
    expect(page.get_by_text("dense –").first).to_be_visible()


def test_an_expected_sentence_is_followed_through_every_stage(page: Page, filled: App) -> None:
    open_search(page, filled, QUESTION)
    expected = page.get_by_role("textbox", name="Paste a sentence")
    expected.fill("a sentence that stands in none of the samples about walruses")
    expected.press("Control+Enter")
    expect(page.get_by_text("Lost at:")).to_be_visible()
    page.get_by_text("Lost at:").scroll_into_view_if_needed()
    shoot(page, "search-lost")
    page.get_by_role("button", name="I expected this").last.click()
    expect(page.get_by_text("would have kept it").first).to_be_visible()
    page.get_by_text("Lost at:").scroll_into_view_if_needed()
    shoot(page, "search-expected")


def test_an_out_of_scope_question_is_reported(page: Page, filled: App) -> None:
    open_search(page, filled, "Who won the football world cup in 1998?")
    expect(page.get_by_text("The answer would be “not in your documents”")).to_be_visible()
    page.get_by_text("When does Gestalt say “not in your documents”?").click()
    # It is measured after the samples were read.
    for _ in range(40):
        if page.get_by_text("of out-of-scope questions").count():
            break
        page.wait_for_timeout(2000)
        page.reload()
        page.get_by_text("When does Gestalt say “not in your documents”?").click()
    expect(page.get_by_text("of out-of-scope questions")).to_be_visible()
    page.get_by_text("of out-of-scope questions").scroll_into_view_if_needed()
    shoot(page, "search-abstention")


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 400), ("dark", 400)])
def test_it_is_readable_in_the_dark_and_on_a_phone(browser: Browser, filled: App, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    open_search(page, filled, QUESTION)
    expect(page.get_by_text("beehive").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shoot(page, f"search-{scheme}-{width}")
    context.close()
