"""From a sentence of an answer to the marked place on its page, in a real browser: mouse, keyboard, narrow, dark."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import App, shoot
from tests.e2e.test_visit import PATIENCE, answered, ask, last_answer

pytestmark = pytest.mark.e2e

CAT = "What is the name of the cat that lives in the ticket office?"
KEY = "Where is the spare key to Shed 3 kept?"


@pytest.fixture(scope="module")
def conversation(app: App, browser: Browser) -> Iterator[str]:
    """The address of a conversation about the samples, with two answers."""
    page = browser.new_page()
    page.goto(app.url)
    page.get_by_role("button", name="Load the sample documents").click()
    expect(page.get_by_text("4 documents ready to search")).to_be_visible(timeout=PATIENCE)
    for question in (CAT, KEY):
        ask(page, question)
        answered(page)
    yield page.url
    page.close()


def chip(page: Page, message: int = 1) -> Locator:
    """The first number behind a sentence of an answer, the first one by default."""
    return page.get_by_test_id("stChatMessage").nth(message).locator('a[href^="#source-"]').first


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog")


def visit(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled()
    # The script that hears of clicks is loaded after everything else.
    page.wait_for_timeout(1000)


def picture(page: Page) -> Image.Image:
    """What the dialog shows of the page, once it is loaded."""
    drawn = dialog(page).get_by_role("img", name="as a picture")
    expect(drawn).to_be_visible()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=drawn.element_handle())
    return Image.open(io.BytesIO(page.request.get(str(drawn.evaluate("image => image.src"))).body()))


def yellow_rows(image: Image.Image) -> list[float]:
    """Where the picture is marked, as shares of its height."""
    pixels = image.convert("RGB").load()
    assert pixels
    found = []
    for y in range(0, image.height, 3):
        row = (pixels[x, y] for x in range(0, image.width, 3))
        if sum(red > 220 and green > 180 and blue < 160 for red, green, blue in row) > 20:  # type: ignore[misc]
            found.append(y / image.height)
    return found


def test_a_number_opens_the_marked_page_and_the_page_stays(app: App, page: Page, conversation: str) -> None:
    visit(page, conversation)
    page.evaluate("window.stayed = true")
    assert chip(page).get_attribute("title") == "annual-report-2024.pdf, page 4"
    shoot(page, "sources-answer")
    chip(page).click()
    expect(dialog(page)).to_contain_text("annual-report-2024.pdf, page 4")
    expect(dialog(page)).to_contain_text("Pickle")
    # The quote is the second paragraph of that page, and nothing else is marked.
    rows = yellow_rows(picture(page))
    assert rows
    assert min(rows) > 0.19
    assert max(rows) < 0.28
    shoot(page, "sources-page")
    assert page.url == conversation
    assert page.evaluate("window.stayed")


def test_by_keyboard_to_the_next_passage_and_back_to_the_number(app: App, page: Page, conversation: str) -> None:
    visit(page, conversation)
    chip(page).focus()
    page.keyboard.press("Enter")
    expect(dialog(page)).to_contain_text("1 of ")
    first = picture(page)
    page.keyboard.press("ArrowRight")
    expect(dialog(page)).to_contain_text("2 of ")
    shoot(page, "sources-next")
    page.keyboard.press("ArrowLeft")
    expect(dialog(page)).to_contain_text("1 of ")
    assert picture(page).tobytes() == first.tobytes()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    expect(chip(page)).to_be_focused()


def test_another_file_is_shown_as_text_and_opens_in_the_library(app: App, page: Page, conversation: str) -> None:
    visit(page, conversation)
    chip(page, message=3).click()
    marked = dialog(page).locator("span", has_text="key").last
    expect(marked).to_be_visible()
    expect(dialog(page).get_by_role("img", name="as a picture")).to_have_count(0)
    shoot(page, "sources-text")
    with page.expect_download() as download:
        dialog(page).get_by_role("button", name="Download the original").click()
    assert download.value.suggested_filename == "workshop-log-2025.md"
    with page.expect_popup() as opened:
        dialog(page).get_by_role("link", name="Open the document").click()
    expect(opened.value.get_by_role("heading", name="workshop-log-2025.md")).to_be_visible()
    expect(dialog(page)).to_be_visible()


def test_a_link_to_a_passage_opens_it_in_a_new_tab(app: App, page: Page, conversation: str) -> None:
    visit(page, conversation)
    link = chip(page).get_attribute("href")
    assert link
    page.goto("about:blank")
    page.goto(conversation + link)
    expect(dialog(page)).to_contain_text("annual-report-2024.pdf, page 4")
    assert page.url == conversation


def test_feedback_survives_a_reload(app: App, page: Page, conversation: str) -> None:
    visit(page, conversation)
    last_answer(page).get_by_role("radio").last.click()
    reason = last_answer(page).get_by_role("textbox", name="What was wrong with it?")
    reason.fill("It names the wrong shed.")
    reason.press("Enter")
    page.wait_for_timeout(700)
    page.reload()
    expect(reason).to_have_value("It names the wrong shed.")
    last_answer(page).get_by_role("button", name="About this answer").click()
    expect(page.get_by_role("dialog")).to_contain_text("Quoted from the documents")
    shoot(page, "sources-about")


@pytest.mark.parametrize(("width", "height"), [(400, 800), (1280, 900)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_light_and_dark_wide_and_narrow(
    app: App, browser: Browser, conversation: str, width: int, height: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type] # parametrized
    )
    page = context.new_page()
    visit(page, conversation)
    chip(page).scroll_into_view_if_needed()
    shoot(page, f"sources-answer-{scheme}-{width}")
    chip(page).click()
    picture(page)
    shoot(page, f"sources-page-{scheme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("Escape")
    chip(page, message=3).click()
    expect(dialog(page)).to_contain_text("key")
    shoot(page, f"sources-text-{scheme}-{width}")
    page.keyboard.press("Escape")
    last_answer(page).get_by_role("button", name="About this answer").click()
    shoot(page, f"sources-about-{scheme}-{width}")
    context.close()
