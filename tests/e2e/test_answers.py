"""What is answered, and how it looks, for each kind of question: facts, lists, summaries, codes, talk and refusals."""

from __future__ import annotations

import io
import json

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect
from pypdf import PdfWriter

from tests.e2e.conftest import App, shoot
from tests.e2e.test_conversations import choose, violations
from tests.e2e.test_library import a_pdf
from tests.e2e.test_visit import PATIENCE, answered, ask, last_answer, let_the_model_write, pick

pytestmark = pytest.mark.e2e

MANUAL = """# Tarn 40 bilge pump: operating manual

## Installation

Mount the pump upright on a level base, at least 30 cm from the hull. The supply is 24 V, protected by a fuse of 15 A.

## Fault codes

| Code | Meaning | Remedy |
|---|---|---|
| FX-310 | The motor does not start | Check the fuse and the earth strap |
| FX-320 | The inlet filter is clogged | Rinse the filter basket in fresh water |
| FX-330 | The float switch sticks | Free the float and clean its hinge |
| FX-340 | The pump ran dry | Prime the pump before it is started again |

## Care

Grease the shaft seal every 200 hours. Drain the housing before frost. The warranty is void if the housing was opened.
"""
LEASE = """# Lease of the boathouse at Halden

## Rent

The monthly rent is 740 crowns, due on the third day of each month. It includes water, but not electricity.

## Term

The lease begins on 1 October 2024 and ends on 30 September 2027. Either party may end it with three months' notice.

## Use

The tenant may keep two boats in the boathouse. Open fire and the storage of petrol are forbidden.
"""
PARTS = """Number,Part,Weight in kg,Price in crowns
T40-001,Housing,6.4,1250
T40-002,Impeller,0.8,310
T40-003,Float switch,0.3,145
T40-004,Filter basket,0.5,90
"""
JOURNAL = """# Journal of the survey of Lake Orm

## Depth

Lake Orm is 87 metres deep below the northern cliff. The southern bay is shallower than ten metres.

## Fish

Char were counted at nine of twelve places. The survey caught no pike in Lake Orm, where pike were common before 1980.

## Water

The water of Lake Orm is clear down to eleven metres in May. Its acidity has not changed since the first survey.
"""
PASSWORD = "halden"
SAFE = "What does the attached file say about the safe?"
QUESTIONS = {
    "fact": "How many crowns is the monthly rent of the boathouse?",
    "list": "List all fault codes",
    "code": "FX-320",
    "greeting": "Hello!",
    "foreign": "What is the capital of Mongolia?",
    "foreign-german": "Wie heißt die Hauptstadt der Mongolei?",
}


@pytest.fixture(scope="module")
def app(app: App, browser: Browser) -> App:
    """With three documents."""
    page = browser.new_page()
    page.goto(f"{app.url}/documents")
    files = {"tarn-40-manual.md": MANUAL, "boathouse-lease.md": LEASE, "parts.csv": PARTS}
    payloads: list[FilePayload] = [
        {"name": name, "mimeType": "text/plain", "buffer": text.encode()} for name, text in files.items()
    ]
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(payloads)
    expect(page.get_by_text("3 documents, 3 ready")).to_be_visible(timeout=PATIENCE)
    page.close()
    return app


def locked() -> bytes:
    """A PDF that only `PASSWORD` opens."""
    writer, file = PdfWriter(clone_from=io.BytesIO(a_pdf("The safe stands behind the map of the fjord."))), io.BytesIO()
    writer.encrypt(PASSWORD, algorithm="AES-256")
    writer.write(file)
    return file.getvalue()


def attach(page: Page, name: str, content: bytes) -> None:
    file: FilePayload = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    page.get_by_test_id("stChatInput").locator("input[type=file]").set_input_files(file)
    expect(page.get_by_role("button", name=f"Remove {name}")).to_be_visible()


def talked(app: App, page: Page, question: str, **files: bytes) -> Locator:
    """The answer to a question in a new chat, with files attached to it."""
    page.goto(app.url)
    for name, content in files.items():
        attach(page, name, content)
    ask(page, question)
    answered(page)
    return last_answer(page)


@pytest.fixture(scope="module")
def chats(app: App, browser: Browser) -> dict[str, str]:
    """The addresses of a chat for each kind of question."""
    page = browser.new_page()
    page.set_default_timeout(30_000)
    found = {}
    for name, question in QUESTIONS.items():
        talked(app, page, question)
        found[name] = page.url
    talked(app, page, "Summarise the attached file", **{"orm.md": JOURNAL.encode()})
    found["summary"] = page.url
    talked(app, page, SAFE, **{"locked.pdf": locked()})
    found["locked"] = page.url
    page.close()
    return found


def opened(page: Page, address: str) -> Locator:
    """The answer in a chat."""
    page.goto(address)
    answered(page)
    return last_answer(page)


def about(page: Page) -> Locator:
    """The dialog that says how the last answer was made."""
    last_answer(page).get_by_role("button", name="About this answer").click()
    return page.get_by_role("dialog")


def test_a_fact_is_quoted_with_its_place(page: Page, chats: dict[str, str]) -> None:
    answer = opened(page, chats["fact"])
    expect(answer.locator("strong", has_text="740")).to_be_visible()
    expect(answer.get_by_text("boathouse-lease.md").first).to_be_visible()
    expect(about(page)).to_contain_text("Quoted from the documents")


def test_a_list_has_all_of_them(page: Page, chats: dict[str, str]) -> None:
    answer = opened(page, chats["list"])
    for code in ("FX-310", "FX-320", "FX-330", "FX-340"):
        expect(answer.get_by_role("listitem").filter(has_text=code)).to_be_visible()
    expect(answer.get_by_role("listitem")).to_have_count(4)
    expect(answer.get_by_text("tarn-40-manual.md").first).to_be_visible()
    expect(about(page)).to_contain_text("A list of everything that was found")


def test_a_code_finds_its_row(page: Page, chats: dict[str, str]) -> None:
    answer = opened(page, chats["code"])
    row = answer.get_by_role("row").filter(has_text="FX-320")
    expect(row.get_by_role("cell").last).to_have_text("Rinse the filter basket in fresh water")
    expect(answer.get_by_role("row")).to_have_count(2)
    expect(answer.get_by_text("tarn-40-manual.md").first).to_be_visible()
    expect(about(page)).to_contain_text("Quoted from the documents")


def test_an_attached_file_is_summarised(page: Page, chats: dict[str, str]) -> None:
    answer = opened(page, chats["summary"])
    expect(answer.get_by_text("orm.md").first).to_be_visible()
    for section in ("Depth", "Fish", "Water"):
        expect(answer.get_by_role("listitem").filter(has_text=section).first).to_be_visible()
    expect(answer).not_to_contain_text("crowns")
    expect(about(page)).to_contain_text("A summary of whole documents")


def test_a_greeting_is_answered_by_the_application(page: Page, chats: dict[str, str]) -> None:
    answer = opened(page, chats["greeting"])
    expect(answer.get_by_text("There are 3 documents")).to_be_visible()
    expect(answer.get_by_text("Sources (")).to_have_count(0)
    expect(about(page)).to_contain_text("Answered by Gestalt itself")


@pytest.mark.parametrize("name", ["foreign", "foreign-german"])
def test_a_question_about_something_else_is_refused(page: Page, chats: dict[str, str], name: str) -> None:
    answer = opened(page, chats[name])
    expect(answer.get_by_text("could not find this in your documents")).to_be_visible()
    expect(answer.get_by_role("button", name="Answer without documents")).to_be_visible()
    expect(about(page)).to_contain_text("Not answered")


def test_a_refused_question_is_answered_by_the_model_alone(app: App, page: Page) -> None:
    answer = talked(app, page, QUESTIONS["foreign"])
    answer.get_by_role("button", name="Answer without documents").click()
    expect(answer.get_by_text("the answer comes from the model alone")).to_be_visible(timeout=PATIENCE)
    answered(page)
    expect(answer).to_contain_text("2 / 2")
    expect(answer.get_by_text("tokens/s")).to_be_visible()
    expect(answer.get_by_role("button", name="Answer without documents")).to_have_count(0)
    expect(about(page)).to_contain_text("Written by the model")


def test_a_locked_attachment_says_so_and_its_password_opens_it(app: App, page: Page) -> None:
    answer = talked(app, page, SAFE, **{"locked.pdf": locked()})
    expect(answer.get_by_text("The attached file locked.pdf could not be read")).to_be_visible()
    expect(page.get_by_text("Something went wrong")).to_have_count(0)
    password = answer.get_by_label("Password", exact=True)
    password.fill(PASSWORD)
    answer.get_by_role("button", name="Open").click()
    expect(password).to_have_count(0, timeout=PATIENCE)
    ask(page, f"And now: {SAFE}")
    answered(page)
    expect(last_answer(page)).to_contain_text("behind the map of the fjord")
    expect(last_answer(page).get_by_text("locked.pdf").first).to_be_visible()


def test_a_written_answer_is_chosen_in_the_sidebar(app: App, page: Page) -> None:
    page.goto(app.url)
    let_the_model_write(page)
    ask(page, QUESTIONS["fact"])
    answered(page)
    expect(last_answer(page)).to_contain_text("740")
    dialog = about(page)
    expect(dialog).to_contain_text("What the model was given")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_answers_can_be_seen_and_read_by_everyone(
    browser: Browser, chats: dict[str, str], width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type] # parametrized
        reduced_motion="reduce",
    )
    page = context.new_page()
    found: dict[str, list[str]] = {}
    for name, address in chats.items():
        opened(page, address)
        expect(page.get_by_text("Something went wrong")).to_have_count(0)
        shoot(page, f"answers-{name}-{scheme}-{width}")
        found[name] = violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    context.close()
    assert not any(found.values()), json.dumps(found, indent=1)


def test_a_refused_question_is_asked_of_all_collections(app: App, page: Page) -> None:
    page.goto(f"{app.url}/documents")
    choose(page, page.locator(".st-key-collection_menu").get_by_role("button"), "New collection")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Name").fill("Letters")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    page.get_by_role("link", name="Chat").click()
    pick(page, "Answers", "Automatic")
    ask(page, QUESTIONS["fact"])
    answered(page)
    expect(last_answer(page)).to_contain_text("There is nothing to answer from")
    last_answer(page).get_by_role("button", name="Search all collections").click()
    expect(last_answer(page).locator("strong", has_text="740")).to_be_visible(timeout=PATIENCE)
    expect(last_answer(page)).to_contain_text("2 / 2")
