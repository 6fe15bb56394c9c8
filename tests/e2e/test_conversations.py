"""A conversation and what can be done with it, in a real browser; a stub server answers at a given pace."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from rag.chat.conversations import Conversations
from rag.db import Database
from rag.schema import LOCAL_OWNER, Finish, Role
from tests.e2e.conftest import App, shoot
from tests.e2e.test_visit import PATIENCE, answered, ask, last_answer
from tests.stubs.ollama_server import OllamaStub

pytestmark = pytest.mark.e2e

NOTES = """# The harbour of Vik

The harbour cat of Vik is called Pickle. She sleeps in the ticket office.

The lamp on the pier of Vik is green and is lit at 18:30.

The ferry from Vik to Gannet Holm leaves at 07:10 with a thunderous horn and carries forty passengers.
"""
CAT = "What is the harbour cat of Vik called?"
LAMP = "When is the lamp on the pier of Vik lit?"
FERRY = "When does the ferry from Vik to Gannet Holm leave?"
TALK = "A long talk about the harbour"
LEFT_TO_STREAMLIT = {
    # A code block with long lines scrolls in an element that takes no focus.
    "scrollable-region-focusable": '<pre class="st-emotion',
    # The colours of code are no part of the theme: blue and gray of the theme do not change them.
    "color-contrast": '<span class="token ',
}
"""What axe finds in Streamlit's own elements where no setting mends it: the rule, and what the element begins with."""
HARD = (
    "A table:\n\n| Ferry | Leaves | Carries |\n|---|---|---|\n| Juniper | 09:45 | 12 passengers and many letters |",
    "As code:\n\n```python\ndef leaves(ferry: str) -> str:\n    return TIMETABLE[ferry]  # "
    + "a long remark that no narrow screen can hold " * 3
    + "\n```",
    "It is $h = h_0 + A \\cos(\\omega t)$:\n\n$$\\int_0^T h(t)\\,dt = h_0 T + \\frac{A}{\\omega}\\sin \\omega T$$",
    "القطة في مكتب التذاكر اسمها Pickle، وتنام هناك كل يوم.\n\n- المصباح أخضر\n- يُضاء الساعة 18:30",
)


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaStub]:
    with OllamaStub(models=("llama3.2", "qwen3:8b")) as stub, stub.saying("The cat ", "is called ", "Pickle."):
        yield stub


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with a conversation of 500 messages, and the id of that."""
    data = tmp_path_factory.mktemp("e2e") / "data"
    data.mkdir()
    database = Database(data / "gestalt.db")
    conversations = Conversations(database)
    id_ = conversations.create(LOCAL_OWNER, TALK)
    for number in range(1, 251):
        answer = HARD[number - 247] if number > 246 else f"It is the {number}th bell, and the tide is {number} cm high."
        conversations.add(LOCAL_OWNER, id_, Role.USER, f"Question {number}?", Finish.COMPLETE)
        conversations.add(LOCAL_OWNER, id_, Role.ASSISTANT, answer, Finish.COMPLETE)
    database.close()
    return data, id_


@pytest.fixture(scope="module")
def app(talk: tuple[Path, str], ollama: OllamaStub, browser: Browser) -> Iterator[App]:
    app = App(talk[0], OLLAMA_BASE_URL=ollama.url, LLM_BACKEND_TYPE="ollama", GOOGLE_API_KEY="")
    app.environment["DEFAULT_MODEL_NAME_OR_PATH"] = "llama3.2:latest"
    app.start()
    page = browser.new_page()
    page.goto(f"{app.url}/documents")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        {"name": "harbour.md", "mimeType": "text/markdown", "buffer": NOTES.encode()}
    )
    expect(page.get_by_text("1 document, 1 ready")).to_be_visible(timeout=PATIENCE)
    page.close()
    yield app
    app.kill()


def talked(app: App, page: Page, *questions: str) -> None:
    """A new chat with these questions, answered."""
    page.goto(app.url)
    for question in questions:
        ask(page, question)
        answered(page)


def choose(page: Page, menu: Locator, item: str) -> None:
    menu.click()
    page.get_by_role("menuitem", name=item).click()


def answer_again(page: Page, model: str) -> None:
    choose(page, last_answer(page).get_by_role("button", name="Answer again"), model)
    expect(last_answer(page)).to_contain_text("2 / 2", timeout=PATIENCE)
    answered(page)


def step(place: Locator, by: int) -> Locator:
    """The button to the version before or after a message."""
    return place.locator(f'[class*="st-key-version-{by}-"]').get_by_role("button")


def edit(page: Page) -> Locator:
    """The buttons to put a question otherwise."""
    return page.get_by_test_id("stChatMessage").locator('[class*="st-key-edit-"]').get_by_role("button", name="edit")


def attach(page: Page, name: str, text: str) -> None:
    page.get_by_test_id("stChatInput").locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "text/markdown", "buffer": text.encode()}
    )
    expect(page.get_by_role("button", name=f"Remove {name}")).to_be_visible()


def sidebar(page: Page) -> Locator:
    """The sidebar, opened where the page is narrow."""
    opener = page.get_by_test_id("stExpandSidebarButton")
    if opener.is_visible():
        opener.click()
    return page.get_by_test_id("stSidebar")


def violations(page: Page) -> list[str]:
    """What axe finds to be serious, with the places."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:250]} {node.get('failureSummary', '')[:250]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if not node["html"].startswith(LEFT_TO_STREAMLIT.get(rule["id"], "nothing"))
    ]


# --- versions ---


def test_another_model_answers_again_and_both_answers_stay(app: App, page: Page, ollama: OllamaStub) -> None:
    talked(app, page, CAT)
    with ollama.saying("The harbour cat ", "is called ", "Pickle."):
        answer_again(page, "qwen3:8b")
    expect(last_answer(page)).to_contain_text("2 / 2")
    expect(last_answer(page)).to_contain_text("The harbour cat is called Pickle.")
    step(last_answer(page), -1).click()
    expect(last_answer(page)).to_contain_text("1 / 2")
    expect(last_answer(page)).to_contain_text("The cat is called Pickle.")
    expect(step(last_answer(page), -1)).to_be_disabled()
    last_answer(page).get_by_role("button", name="Compare answers").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The harbour cat is called Pickle.")
    expect(dialog).to_contain_text("The cat is called Pickle.")
    expect(dialog).to_contain_text("What differed")
    expect(dialog.get_by_test_id("stDataFrame")).to_contain_text("qwen3:8b")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_an_edited_question_starts_a_branch_and_the_old_one_is_kept(app: App, page: Page) -> None:
    talked(app, page, CAT, LAMP)
    messages = page.get_by_test_id("stChatMessage")
    edit(page).first.click()
    box = messages.first.get_by_role("textbox", name="Question")
    expect(box).to_have_value(CAT)
    box.fill("Where does the harbour cat of Vik sleep?")
    page.get_by_role("button", name="Ask this instead").click()
    expect(messages).to_have_count(2)
    answered(page)
    expect(messages.first).to_contain_text("Where does the harbour cat of Vik sleep?")
    expect(messages.first).to_contain_text("2 / 2")
    step(messages.first, -1).click()
    expect(messages).to_have_count(4)
    expect(messages.first).to_contain_text(CAT)
    expect(messages.nth(2)).to_contain_text(LAMP)
    step(messages.first, 1).click()
    expect(messages).to_have_count(2)


# --- answers that end early, or run on ---


def test_stop_before_the_first_word(app: App, page: Page, ollama: OllamaStub) -> None:
    page.goto(app.url)
    with ollama.silent(60):
        ask(page, CAT)
        expect(last_answer(page).get_by_text("Reading the passages")).to_be_visible(timeout=PATIENCE)
        page.get_by_role("button", name="Stop").click()
        expect(last_answer(page)).to_contain_text("Stopped.")
    expect(last_answer(page).get_by_role("button", name="Answer again")).to_be_visible()
    shoot(page, "chat-stopped-before-the-first-word")
    ask(page, LAMP)
    answered(page)


def test_stop_in_mid_answer_keeps_the_text(app: App, page: Page, ollama: OllamaStub) -> None:
    page.goto(app.url)
    with ollama.stalling(after=2):
        ask(page, CAT)
        expect(last_answer(page)).to_contain_text("The cat is called ▌", timeout=PATIENCE)
        page.get_by_role("button", name="Stop").click()
        expect(last_answer(page)).to_contain_text("Stopped. The text so far is kept.")
    expect(last_answer(page)).to_contain_text("The cat is called")
    page.reload()
    expect(last_answer(page)).to_contain_text("The cat is called")


def test_a_failed_answer_can_be_tried_again(app: App, page: Page, ollama: OllamaStub) -> None:
    page.goto(app.url)
    with ollama.saying(""):
        ask(page, CAT)
        again = last_answer(page).get_by_role("button", name="Try again")
        expect(again).to_be_visible(timeout=PATIENCE)
        shoot(page, "chat-failed")
    again.click()
    expect(last_answer(page)).to_contain_text("The cat is called Pickle.", timeout=PATIENCE)
    expect(last_answer(page)).to_contain_text("2 / 2")
    expect(again).to_have_count(0)


def test_where_the_model_fails_the_documents_are_quoted(app: App, page: Page, ollama: OllamaStub) -> None:
    page.goto(app.url)
    with ollama.failing(500, {"error": "llama runner process has terminated: exit status 2"}):
        ask(page, CAT)
        answered(page)
    expect(last_answer(page)).to_contain_text("The harbour cat of Vik is called Pickle.")
    expect(last_answer(page).get_by_text("The documents are quoted instead.")).to_be_visible()
    shoot(page, "chat-quoted-instead")


def test_a_reload_and_a_second_window_follow_the_running_answer(
    app: App, page: Page, browser: Browser, ollama: OllamaStub
) -> None:
    page.goto(app.url)
    words = [f"word{number} " for number in range(60)]
    with ollama.saying("Pickle says ", *words, "at last."), ollama.having(pace=0.5):
        ask(page, CAT)
        expect(last_answer(page)).to_contain_text("word1 ", timeout=PATIENCE)
        page.reload()
        expect(last_answer(page)).to_contain_text("Pickle says word0 word1")
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        other = browser.new_page()
        other.goto(page.url)
        expect(last_answer(other)).to_contain_text("Pickle says word0 word1")
        expect(other.get_by_role("button", name="Stop")).to_be_visible()
        ollama.pace = 0.002
        for window in (page, other):
            expect(last_answer(window)).to_contain_text("at last.")
            answered(window)
            expect(window.get_by_role("button", name="Stop")).to_have_count(0)
            expect(window.get_by_test_id("stChatMessage")).to_have_count(2)
        other.close()


# --- the list ---


def test_chats_are_found_renamed_pinned_deleted_and_brought_back(app: App, page: Page, ollama: OllamaStub) -> None:
    with ollama.saying("It leaves ", "with a ", "thunderous horn."):
        talked(app, page, FERRY)
    address = page.url
    talked(app, page, LAMP)
    aside = page.get_by_test_id("stSidebar")
    search = aside.get_by_role("textbox", name="Search chats")
    search.fill("thunderous")
    search.press("Enter")
    expect(aside).to_contain_text("with a thunderous horn")
    expect(aside.get_by_role("button", name=LAMP[:20])).to_have_count(0)
    shoot(page, "chat-search")
    aside.get_by_role("button", name=FERRY[:20]).click()
    expect(page).to_have_url(address)
    search.fill("")
    search.press("Enter")
    menu = page.locator(".st-key-chat_menu").get_by_role("button")
    choose(page, menu, "Rename")
    title = page.get_by_role("dialog").get_by_role("textbox", name="Title")
    expect(title).to_have_value(FERRY)
    title.fill("Timetable of the *ferry*")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="Timetable of the *ferry*")).to_be_visible()
    expect(page).to_have_title("Timetable of the *ferry* · Gestalt")
    choose(page, menu, "Pin")
    expect(aside.get_by_text("Pinned", exact=True)).to_be_visible()
    choose(page, menu, "Delete")
    expect(page.get_by_role("heading", name="Ask your own documents")).to_be_visible()
    expect(aside).to_contain_text("Deleted “Timetable of the *ferry*”.")
    expect(aside.get_by_text("Pinned", exact=True)).to_have_count(0)
    shoot(page, "chat-deleted")
    aside.get_by_role("button", name="Undo").click()
    expect(last_answer(page)).to_contain_text("thunderous horn")
    expect(aside.get_by_text("Pinned", exact=True)).to_be_visible()
    expect(page).to_have_url(address)


def test_a_chat_is_exported_as_markdown_and_as_json(app: App, page: Page) -> None:
    talked(app, page, CAT)
    expect(page).to_have_title(f"{CAT} · Gestalt")
    choose(page, page.locator(".st-key-chat_menu").get_by_role("button"), "Export")
    dialog = page.get_by_role("dialog")
    with page.expect_download() as saved:
        dialog.get_by_role("button", name="Markdown").click()
    assert saved.value.suggested_filename == "What is the harbour cat of Vik called.md"
    text = saved.value.path().read_text(encoding="utf-8")
    assert text.startswith(f"# {CAT}\n\n## {CAT}\n\nThe cat is called Pickle. [1]")
    assert "Sources:\n\n- [1] harbour.md" in text
    with page.expect_download() as saved:
        dialog.get_by_role("button", name="JSON").click()
    whole = json.loads(saved.value.path().read_text(encoding="utf-8"))
    assert whole["title"] == CAT
    assert [message["text"] for message in whole["messages"]] == [CAT, "The cat is called Pickle."]
    assert whole["messages"][1]["passages"][0]["document"] == "harbour.md"


# --- files, presets, the box ---


def test_an_attached_file_answers_in_its_chat_only_and_can_be_removed(app: App, page: Page, ollama: OllamaStub) -> None:
    page.goto(app.url)
    attach(page, "shed.md", "# Shed 9\n\nThe spare key to Shed 9 hangs behind the barometer.")
    with ollama.saying("It hangs ", "behind the ", "barometer."):
        ask(page, "Where does the spare key to Shed 9 hang?")
        answered(page)
    expect(last_answer(page)).to_contain_text("shed.md")
    assert "behind the barometer" in json.dumps(ollama.requests[-1].body)
    chip = page.locator('[class*="st-key-file-"]').get_by_role("button", name="shed.md")
    chip.click()
    expect(page.get_by_text("only questions in this chat search it")).to_be_visible()
    shoot(page, "chat-file")
    page.get_by_role("button", name="Remove from this chat").click()
    expect(chip).to_have_count(0)
    page.goto(f"{app.url}/documents")
    expect(page.get_by_text("1 document, 1 ready")).to_be_visible()


def test_new_chats_start_with_the_default_preset(app: App, page: Page, ollama: OllamaStub) -> None:
    page.goto(app.url)
    aside = page.get_by_test_id("stSidebar")
    aside.get_by_text("Settings").click()
    instructions = aside.get_by_role("textbox", name="Instructions")
    instructions.fill("Speak like a harbour master.")
    instructions.press("Tab")
    aside.get_by_role("button", name="Save as preset").click()
    page.get_by_role("textbox", name="Name").fill("Harbour")
    page.get_by_role("textbox", name="Name").press("Tab")
    page.get_by_role("button", name="Save", exact=True).click()
    aside.get_by_role("button", name="For new chats", exact=True).click()
    preset = aside.get_by_role("combobox", name=re.compile("Preset"))
    expect(aside.get_by_role("button", name="Not for new chats")).to_be_visible()
    expect(preset).to_have_value(re.compile("Harbour"))
    talked(app, page, CAT)  # in a session of its own
    assert "Speak like a harbour master." in json.dumps(ollama.requests[-1].body)
    aside.get_by_text("Settings").click()
    expect(instructions).to_have_value("Speak like a harbour master.")
    aside.get_by_role("button", name="Delete preset").click()
    expect(preset).to_have_count(0)


def test_by_keyboard_from_question_to_question(app: App, page: Page) -> None:
    talked(app, page, CAT)
    box = page.get_by_test_id("stChatInputTextArea")
    expect(box).to_be_focused()
    page.keyboard.type("And when is the lamp")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("on the pier of Vik lit?")
    expect(box).to_have_value("And when is the lamp\non the pier of Vik lit?")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("stChatMessage")).to_have_count(4)
    answered(page)
    expect(box).to_be_focused()
    expect(box).to_have_value("")


def test_a_long_conversation_shows_its_end_and_more_on_demand(app: App, page: Page, talk: tuple[Path, str]) -> None:
    page.goto(f"{app.url}/?c={talk[1]}")
    messages = page.get_by_test_id("stChatMessage")
    expect(messages).to_have_count(10)
    expect(messages.first).to_contain_text("Question 246?")
    page.get_by_role("button", name="Show earlier messages (490)").click()
    expect(messages).to_have_count(50)
    expect(messages.first).to_contain_text("Question 226?")
    expect(page.get_by_role("button", name="Show earlier messages (450)")).to_be_visible()


# --- how it looks, and for whom ---


@pytest.fixture(scope="module")
def rich(app: App, browser: Browser, ollama: OllamaStub) -> str:
    """The address of a conversation with versions and an attached file."""
    page = browser.new_page()
    page.goto(app.url)
    attach(page, "opening-hours-of-the-pier.md", "The pier of Vik opens at six.")
    ask(page, LAMP)
    answered(page)
    with ollama.saying("The lamp is lit at 18:30. ", "It is green. ", "Napoleon built it in 1807."):
        answer_again(page, "qwen3:8b")
    address = page.url
    page.close()
    return address


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_seen_and_read_by_everyone(
    app: App, browser: Browser, talk: tuple[Path, str], rich: str, width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type] # parametrized
        reduced_motion="reduce",
    )
    page = context.new_page()
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        shoot(page, f"chat-{name}-{scheme}-{width}")
        found[name] = violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name

    page.goto(app.url)
    expect(page.get_by_role("heading", name="Ask your own documents")).to_be_visible()
    look("welcome")
    page.goto(rich)
    expect(last_answer(page)).to_contain_text("2 / 2")
    look("versions")
    last_answer(page).get_by_role("button", name="Compare answers").click()
    expect(page.get_by_role("dialog")).to_contain_text("What differed")
    look("compare")
    page.keyboard.press("Escape")
    last_answer(page).get_by_role("button", name="About this answer").click()
    expect(page.get_by_role("dialog")).to_contain_text("What the model was given")
    look("about")
    page.keyboard.press("Escape")
    edit(page).click()
    expect(page.get_by_role("button", name="Ask this instead")).to_be_visible()
    look("edit")
    page.get_by_role("button", name="Cancel").click()
    page.locator('[class*="st-key-file-"]').get_by_role("button").click()
    expect(page.get_by_role("button", name="Remove from this chat")).to_be_visible()
    look("attached")
    page.goto(f"{app.url}/?c={talk[1]}")
    expect(last_answer(page)).to_contain_text("18:30")
    look("long")
    aside = sidebar(page)
    aside.get_by_role("textbox", name="Search chats").fill("bell")
    aside.get_by_role("textbox", name="Search chats").press("Enter")
    expect(aside).to_contain_text("and the tide is")
    look("search")
    aside.get_by_text("Settings").click()
    aside.get_by_role("button", name="Save as preset").click()
    expect(page.get_by_role("textbox", name="Name")).to_be_visible()
    look("settings")
    context.close()
    assert not any(found.values()), json.dumps(found, indent=1)
