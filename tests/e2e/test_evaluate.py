"""The evaluate page in a real browser: a set about the samples, two configurations, and what they differ in."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import App, shoot

pytestmark = pytest.mark.e2e

PATIENCE = 180_000
"""Milliseconds for the samples to be read and the embedded model to be loaded."""


def cell(page: Page, text: str | re.Pattern[str], table: int = 0) -> Locator:
    """A cell of a table, in what the canvas has for those who cannot see it."""
    return page.get_by_test_id("stDataFrame").nth(table).locator("td", has_text=text)


def go_to(page: Page, heading: str) -> None:
    page.get_by_role("heading", name=heading).evaluate("element => element.scrollIntoView()")


def test_a_set_from_the_samples_is_measured_twice_and_compared(app: App, page: Page) -> None:
    page.goto(f"{app.url}/evaluate")
    expect(page.get_by_role("heading", name="Evaluate")).to_be_visible(timeout=PATIENCE)
    shoot(page, "evaluate-empty")
    page.get_by_role("button", name="Make a set from the samples").click()
    expect(page.get_by_text("40 with an answer, 8 out of scope")).to_be_visible()
    expect(page.get_by_text("still being read")).to_be_visible()
    expect(page.get_by_text("still being read")).to_have_count(0, timeout=PATIENCE)
    shoot(page, "evaluate-configurations")
    page.get_by_role("button", name="Measure A and B").click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible(timeout=PATIENCE)
    expect(cell(page, "Found first")).to_be_attached()
    expect(cell(page, re.compile("is better|No difference that 40 questions")).first).to_be_attached()
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    go_to(page, "Results")
    shoot(page, "evaluate-results")
    go_to(page, "Question by question")
    page.get_by_role("radio", name=re.compile("All 48")).click()
    expect(cell(page, "What is the cat in the ticket office called?", 1)).to_be_attached()
    shoot(page, "evaluate-questions-compared")


def test_questions_are_edited_in_the_table_and_kept(app: App, page: Page) -> None:
    page.goto(f"{app.url}/evaluate")
    page.get_by_role("radio", name="Questions").click()
    expect(cell(page, "Who started the ferry company?")).to_be_attached()
    page.wait_for_timeout(1000)
    shoot(page, "evaluate-editor")
    frame = page.get_by_test_id("stDataFrame").bounding_box()
    assert frame
    # The cells are drawn on a canvas: that of the first question is clicked where it is.
    page.mouse.dblclick(frame["x"] + 300, frame["y"] + 52)
    editor = page.locator("#portal textarea").first
    editor.fill("Who founded the ferry company?")
    editor.press("Enter")
    expect(cell(page, "Who founded the ferry company?")).to_be_attached()
    page.wait_for_timeout(1500)
    page.reload()
    page.get_by_role("radio", name="Questions").click()
    expect(cell(page, "Who founded the ferry company?")).to_be_attached()
    expect(cell(page, "Who started the ferry company?")).to_have_count(0)


def test_figures_over_time(app: App, page: Page) -> None:
    page.goto(f"{app.url}/evaluate")
    page.get_by_role("radio", name="Over time").click()
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    expect(cell(page, "As set up")).to_be_attached()
    shoot(page, "evaluate-history")


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 400), ("dark", 400)])
def test_the_page_in_dark_and_narrow(app: App, browser: Browser, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type] # a Literal
    page = context.new_page()
    page.goto(f"{app.url}/evaluate")
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    shoot(page, f"evaluate-{scheme}-{width}")
    go_to(page, "Results")
    shoot(page, f"evaluate-{scheme}-{width}-results")
    go_to(page, "Question by question")
    shoot(page, f"evaluate-{scheme}-{width}-questions")
    context.close()
