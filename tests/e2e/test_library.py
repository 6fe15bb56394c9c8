"""The documents page in a real browser: a folder of what people have, its table, and what went wrong in it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from docx import Document
from openpyxl import Workbook
from playwright.sync_api import Browser, Locator, Page, expect
from pypdf import PdfWriter
from reportlab.pdfgen.canvas import Canvas

from tests.e2e.conftest import App, shoot

pytestmark = pytest.mark.e2e

PASSWORD = "halden"
READING_MS = 120_000


def a_pdf(*lines: str) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for number, line in enumerate(lines):
        canvas.drawString(72, 700 - 20 * number, line)
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven files in two levels, one locked, one broken, one of a type that is not read; and a hidden one."""
    folder = tmp_path_factory.mktemp("mixed") / "archive"
    (folder / "tables").mkdir(parents=True)
    folder.joinpath("hours.md").write_text("# Hours\n\nThe reading room opens at nine.\n")
    folder.joinpath("straße.txt").write_bytes("Die Straße zum Bahnhof ist gesperrt.".encode("cp1252"))
    folder.joinpath("rules.html").write_text("<h1>Rules</h1><p>Pencils are lent at the desk.</p>")
    folder.joinpath("lend.py").write_text("def lend(pencil):\n    return pencil\n")
    folder.joinpath("no extension").write_bytes(a_pdf("A PDF that nobody named as one.", "It is read all the same."))
    word = Document()
    word.add_heading("Letters", 1)
    word.add_paragraph("Seven villages sent their letters to the archive.")
    word.save(str(folder / "letters.docx"))
    sheet = Workbook()
    sheet.active.append(["Village", "Letters"])
    sheet.active.append(["Halden", 412])
    sheet.save(folder / "tables" / "villages.xlsx")
    folder.joinpath("tables", "huts.csv").write_text("hut,beds\nNorth,12\nSouth,8\n")
    locked = PdfWriter(clone_from=io.BytesIO(a_pdf("The safe stands behind the map of the fjord.")))
    locked.encrypt(PASSWORD, algorithm="AES-256")
    locked.write(folder / "locked.pdf")
    folder.joinpath("broken.pdf").write_bytes(b"%PDF-1.7\nthis was a PDF once")
    with zipfile.ZipFile(folder / "old.zip", "w") as archive:
        archive.writestr("letter.txt", "Dear archive")
    folder.joinpath(".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return folder


def summary(page: Page, words: str) -> None:
    expect(page.get_by_text(words)).to_be_visible(timeout=READING_MS)


def cell(page: Page, text: str) -> Locator:
    """A cell of the table, in what the canvas has for those who cannot see it."""
    return page.get_by_test_id("stDataFrame").locator("td", has_text=text)


def test_a_mixed_folder_is_read_and_reported(app: App, page: Page, folder: Path) -> None:
    page.goto(f"{app.url}/documents")
    page.get_by_test_id("stCheckbox").filter(has_text="A whole folder").click()
    expect(page.locator("input[type=file][webkitdirectory]")).to_be_attached()
    shoot(page, "library-empty")
    page.locator("input[type=file]").set_input_files(folder)
    summary(page, "11 documents, 8 ready, 3 failed")
    for name in ("hours.md", "straße.txt", "no extension", "villages.xlsx"):
        expect(cell(page, name)).to_be_attached()
    expect(page.get_by_text(".DS_Store")).to_have_count(0)
    expect(page.get_by_role("paragraph").filter(has_text="is protected with a password")).to_be_visible()
    expect(page.get_by_role("paragraph").filter(has_text="Unpack it and upload what is inside.")).to_be_visible()
    shoot(page, "library-mixed")


def test_a_password_opens_a_locked_file(app: App, page: Page) -> None:
    page.goto(f"{app.url}/documents")
    page.get_by_label("Password", exact=True).fill("wrong")
    page.get_by_test_id("stForm").get_by_role("button", name="Open").click()
    expect(page.get_by_text("11 documents, 8 ready, 3 failed")).to_be_visible(timeout=READING_MS)
    # The page is drawn anew within a second after the file was tried, and forgets what is being typed.
    page.wait_for_timeout(3000)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_test_id("stForm").get_by_role("button", name="Open").click()
    summary(page, "11 documents, 9 ready, 2 failed")
    expect(page.get_by_label("Password", exact=True)).to_have_count(0)


def test_the_same_folder_again_adds_nothing(app: App, page: Page, folder: Path) -> None:
    page.goto(f"{app.url}/documents")
    page.get_by_test_id("stCheckbox").filter(has_text="A whole folder").click()
    page.locator("input[type=file][webkitdirectory]").set_input_files(folder)
    expect(page.get_by_text("are already here")).to_be_visible()
    summary(page, "11 documents, 9 ready, 2 failed")


def test_look_inside_shows_text_and_chunks(app: App, page: Page) -> None:
    page.goto(f"{app.url}/documents")
    box = page.get_by_placeholder("Search by name")
    box.fill("straße")
    box.press("Enter")
    expect(cell(page, "straße.txt")).to_be_attached()
    expect(cell(page, "hours.md")).to_have_count(0)
    # The boxes of the rows are drawn, not elements: the first is beside the first row.
    frame = page.get_by_test_id("stDataFrame").bounding_box()
    assert frame
    page.mouse.click(frame["x"] + 16, frame["y"] + 52)
    page.get_by_role("button", name="Look inside").click()
    expect(page.get_by_test_id("stCode").get_by_text("Die Straße zum Bahnhof ist gesperrt.")).to_be_visible()
    page.get_by_role("tab", name="Chunks").click()
    expect(page.get_by_text("Questions are compared with these chunks.")).to_be_visible()
    shoot(page, "library-inside")
    page.get_by_role("button", name="All documents").click()
    expect(page.get_by_role("heading", name="Documents")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 400), ("dark", 400)])
def test_the_table_in_dark_and_narrow(app: App, browser: Browser, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type] # a Literal
    page = context.new_page()
    page.goto(f"{app.url}/documents")
    summary(page, "11 documents, 9 ready, 2 failed")
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    shoot(page, f"library-{scheme}-{width}")
    context.close()
