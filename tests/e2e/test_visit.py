"""The visit of a newcomer, in a real browser: from the first screen to a checked answer, and what can go wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from tests.e2e.conftest import App, shoot

pytestmark = pytest.mark.e2e

FACT = "The reading room of the Halden archive closes at 19:45 on Thursdays."
PATIENCE = 180_000
"""Milliseconds for the first answer: the embedded model is converted before it, once."""


@pytest.fixture(scope="module")
def pdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pages, the fact on the second."""
    path = tmp_path_factory.mktemp("pdf") / "halden-archive.pdf"
    canvas = Canvas(str(path), pagesize=A4)
    for lines in (
        ["The Halden archive", "It keeps the letters of seven villages and one mountain hut."],
        ["Opening hours", FACT, "On all other days it closes at noon."],
        ["Rules", "Pencils are lent at the desk. Ink stays outside, and so do sandwiches."],
    ):
        for number, line in enumerate(lines):
            canvas.drawString(72, 760 - 24 * number, line)
        canvas.showPage()
    canvas.save()
    return path


def ask(page: Page, question: str) -> None:
    box = page.get_by_test_id("stChatInputTextArea")
    expect(box).to_be_enabled(timeout=PATIENCE)
    box.fill(question)
    box.press("Enter")
    expect(page.locator("#stMain")).to_contain_text(question)


def last_answer(page: Page) -> Locator:
    return page.get_by_test_id("stChatMessage").last


def answered(page: Page) -> None:
    """Wait until the last answer is complete, quoted or written."""
    expect(last_answer(page).get_by_role("button", name="About this answer")).to_be_visible(timeout=PATIENCE)


def pick(page: Page, label: str, option: str, *, place: str = "stSidebar") -> None:
    """Choose in a list, of the sidebar by default."""
    box = page.get_by_test_id(place).get_by_role("combobox", name=re.compile(label)).first
    wanted = page.get_by_role("option", name=option, exact=True)
    box.scroll_into_view_if_needed()
    # A list that opens while its box still moves closes again.
    for _ in range(5):
        box.click()
        page.wait_for_timeout(1000)
        if wanted.count():
            break
    wanted.click()


def let_the_model_write(page: Page) -> None:
    """Choose written answers for this chat, also of a small model."""
    pick(page, "Answers", "Written")


def test_a_cold_deep_link_has_its_frame(app: App, page: Page) -> None:
    page.goto(f"{app.url}/documents")
    expect(page.get_by_role("heading", name="Documents")).to_be_visible()
    expect(page.get_by_test_id("stSidebarNav")).to_contain_text("Chat")
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    shoot(page, "documents-empty")


def test_the_first_screen_says_what_it_is_and_the_samples_answer(app: App, page: Page) -> None:
    page.goto(app.url)
    expect(page.get_by_role("heading", name="Ask your own documents")).to_be_visible()
    shoot(page, "first-screen")
    question = page.get_by_role("button", name="What is the cat in the ticket office called?")
    expect(question).to_be_disabled()
    page.get_by_role("button", name="Load the sample documents").click()
    page.wait_for_timeout(700)
    shoot(page, "samples-loading")
    expect(page.get_by_text("4 documents ready to search")).to_be_visible(timeout=PATIENCE)
    shoot(page, "samples-ready")
    question.click()
    answered(page)
    expect(last_answer(page).get_by_text("Pickle").first).to_be_visible()
    expect(last_answer(page)).to_contain_text("annual-report-2024.pdf, page 4")
    last_answer(page).get_by_text("Sources (").click()
    assert re.search(r"\?c=[0-9a-f]{32}", page.url)
    shoot(page, "answer")


def test_an_uploaded_pdf_answers_with_the_page_that_holds_the_fact(app: App, page: Page, pdf: Path) -> None:
    page.goto(f"{app.url}/documents")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(pdf)
    expect(page.get_by_text("5 documents, 5 ready")).to_be_visible(timeout=PATIENCE)
    shoot(page, "documents")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(pdf)
    expect(page.get_by_text("already here")).to_be_visible()
    page.get_by_role("link", name="Chat").click()
    ask(page, "When does the reading room of the Halden archive close on Thursdays?")
    answered(page)
    expect(last_answer(page)).to_contain_text("19:45")
    last_answer(page).get_by_text("Sources (").click()
    expect(last_answer(page)).to_contain_text("halden-archive.pdf, page 2")
    expect(last_answer(page)).to_contain_text(FACT)
    shoot(page, "answer-sources")


def test_an_out_of_scope_question_names_what_was_searched(app: App, page: Page) -> None:
    page.goto(app.url)
    ask(page, "Who painted the Mona Lisa?")
    expect(last_answer(page)).to_contain_text("could not find this in your documents", timeout=PATIENCE)
    expect(last_answer(page)).to_contain_text("5 documents")
    shoot(page, "abstained")


LONG = (
    "Tell me all about the ships Marigold, Juniper and Old Tansy: who built them, how long they are, what they carry."
)


def begin_long_answer(page: Page) -> str:
    """Ask for a long answer and wait for its first words."""
    let_the_model_write(page)
    ask(page, LONG)
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible(timeout=PATIENCE)
    text = last_answer(page).get_by_text("▌")
    expect(text).to_be_visible(timeout=PATIENCE)
    return str(text.inner_text())


def test_a_reload_in_mid_answer_finds_the_answer_again(app: App, page: Page) -> None:
    page.goto(app.url)
    begun = begin_long_answer(page).rstrip("▌ ")
    shoot(page, "answering")
    page.reload()
    expect(last_answer(page)).to_contain_text(begun[:20], timeout=PATIENCE)
    answered(page)


def test_stop_keeps_the_text(app: App, page: Page) -> None:
    page.goto(app.url)
    begun = begin_long_answer(page).rstrip("▌ ")
    page.get_by_role("button", name="Stop").click()
    expect(last_answer(page)).to_contain_text("Stopped. The text so far is kept.")
    expect(last_answer(page)).to_contain_text(begun[:20])
    shoot(page, "stopped")
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled()


def test_a_broken_file_says_why_and_can_be_deleted(app: App, page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7 this is not a PDF at all")
    page.goto(f"{app.url}/documents")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(broken)
    # The table has the reason too, cut to its cell.
    reason = page.get_by_test_id("stMarkdown").get_by_text("broken.pdf could not be read")
    expect(reason).to_be_visible(timeout=PATIENCE)
    shoot(page, "documents-failed")
    page.get_by_role("button", name="Delete broken.pdf").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(reason).to_have_count(0)
    expect(page.get_by_text("5 documents, 5 ready")).to_be_visible()


def test_a_kill_in_mid_answer_leaves_a_failed_answer_with_its_text(app: App, page: Page) -> None:
    page.goto(app.url)
    begin_long_answer(page)
    page.wait_for_timeout(1500)
    address = page.url
    app.kill()
    app.start()
    page.goto(address)
    expect(last_answer(page)).to_contain_text("Gestalt was stopped while it was writing this answer", timeout=PATIENCE)
    shoot(page, "killed")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_in_light_and_dark_wide_and_narrow(
    app: App, browser: Browser, width: int, height: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type] # parametrized
    )
    page = context.new_page()
    page.goto(app.url)
    expect(page.get_by_role("heading", name="Ask your own documents")).to_be_visible()
    shoot(page, f"chat-{scheme}-{width}")
    page.goto(f"{app.url}/documents")
    expect(page.get_by_text("5 documents, 5 ready")).to_be_visible()
    shoot(page, f"documents-{scheme}-{width}")
    ask_page = context.new_page()
    ask_page.goto(app.url)
    ask(ask_page, "How high is the lighthouse on Gannet Holm?")
    answered(ask_page)
    last_answer(ask_page).get_by_text("Sources (").click()
    shoot(ask_page, f"answer-{scheme}-{width}")
    context.close()
