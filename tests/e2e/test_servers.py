"""Setting up a server on the page: it answers, is there again after a restart, and its key is nowhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import App, shoot
from tests.e2e.test_visit import PATIENCE, answered, ask, last_answer, pick
from tests.stubs.openai_server import OpenAIStub

pytestmark = pytest.mark.e2e

QUESTION = "How high is the lighthouse on Gannet Holm?"
KEY = "sk-typed-by-hand-and-never-seen-again"


@pytest.fixture(scope="module")
def stub() -> Iterator[OpenAIStub]:
    with OpenAIStub(models=("granite",), key=KEY) as stub, stub.saying("The lighthouse ", "is 31 metres ", "tall."):
        yield stub


def card(page: Page, name: str) -> Locator:
    return page.get_by_test_id("stVerticalBlock").filter(has=page.get_by_role("heading", name=name)).last


def fill(page: Page, label: str, value: str) -> None:
    box = page.get_by_role("dialog").get_by_role("textbox", name=label)
    box.fill(value)
    box.press("Tab")


def test_a_server_is_added_with_its_key_and_tested(app: App, page: Page, stub: OpenAIStub) -> None:
    page.goto(app.url)
    page.get_by_role("button", name="Load the sample documents").click()
    expect(page.get_by_text("4 documents ready to search")).to_be_visible(timeout=PATIENCE)
    page.goto(f"{app.url}/models")
    page.get_by_role("button", name="Add a server").click()
    dialog = page.get_by_role("dialog")
    pick(page, "What runs there?", "LM Studio", place="stDialog")
    expect(dialog.get_by_role("textbox", name="Address")).to_have_value("http://localhost:1234/v1")
    expect(dialog.get_by_role("textbox", name="Name")).to_have_value("LM Studio")
    fill(page, "Name", "The big box")
    fill(page, "Address", stub.url)
    fill(page, "Key", "wrong")
    dialog.get_by_role("button", name="Test").click()
    expect(dialog.get_by_text("refused the key")).to_be_visible()
    fill(page, "Key", KEY)
    dialog.get_by_role("button", name="Test").click()
    expect(dialog.get_by_text("with 1 model; granite gave a word")).to_be_visible()
    shoot(page, "server-form")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    expect(card(page, "The big box").get_by_text("1 model")).to_be_visible()
    shoot(page, "server-added")


def test_it_answers(app: App, page: Page) -> None:
    page.goto(app.url)
    pick(page, "Model", "granite · The big box")
    ask(page, QUESTION)
    answered(page)
    expect(last_answer(page)).to_contain_text("granite · first word")
    expect(last_answer(page)).to_contain_text("The lighthouse is 31 metres tall")


def test_it_is_there_after_a_restart_and_can_be_changed(app: App, page: Page, stub: OpenAIStub) -> None:
    app.kill()
    app.start()
    page.goto(app.url)
    pick(page, "Model", "granite · The big box")
    ask(page, f"{QUESTION} Say it again.")
    expect(last_answer(page)).to_contain_text("granite · first word", timeout=PATIENCE)
    page.goto(f"{app.url}/models")
    card(page, "The big box").get_by_role("button", name="Change").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("textbox", name="Address")).to_have_value(stub.url)
    key = dialog.get_by_role("textbox", name="Key")
    expect(key).to_have_value("")
    expect(key).to_have_attribute("placeholder", "unchanged")
    fill(page, "Name", "The bigger box")
    dialog.get_by_text("More", exact=True).click()
    dialog.get_by_role("spinbutton", name="Temperature").fill("0.7")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    expect(card(page, "The bigger box").get_by_text("1 model")).to_be_visible()
    card(page, "The bigger box").get_by_role("button", name="Test").click()
    expect(card(page, "The bigger box").get_by_text("granite gave a word")).to_be_visible()
    shoot(page, "server-tested")


def test_its_settings_are_those_that_questions_to_it_begin_with(app: App, page: Page, stub: OpenAIStub) -> None:
    page.goto(app.url)
    pick(page, "Model", "SmolLM2 135M, embedded · Local (Hugging Face)")
    pick(page, "Model", "granite · The bigger box")
    page.wait_for_timeout(1500)  # a question that is sent before the page is drawn again has the options from before
    ask(page, f"{QUESTION} Be quick.")
    expect(last_answer(page)).to_contain_text("granite · first word", timeout=PATIENCE)
    assert stub.requests[-1].body["temperature"] == 0.7


def test_it_is_disabled_and_removed(app: App, page: Page) -> None:
    page.goto(f"{app.url}/models")
    card(page, "The bigger box").get_by_role("button", name="Disable").click()
    expect(page.get_by_text("Disabled")).to_be_visible()
    shoot(page, "server-disabled")
    page.get_by_role("button", name="Enable").click()
    expect(card(page, "The bigger box").get_by_text("1 model")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_form_in_light_and_dark_wide_and_narrow(app: App, browser: Browser, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{app.url}/models")
    expect(card(page, "The bigger box").get_by_text("1 model")).to_be_visible()
    shoot(page, f"models-{scheme}-{width}")
    page.get_by_role("button", name="Add a server").click()
    page.get_by_role("dialog").get_by_text("More", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("spinbutton", name="Time-out (seconds)")).to_be_visible()
    shoot(page, f"server-form-{scheme}-{width}")
    context.close()


def test_the_key_is_nowhere(app: App, page: Page, stub: OpenAIStub) -> None:
    page.goto(f"{app.url}/models")
    expect(card(page, "The bigger box")).to_be_visible()
    assert KEY not in page.content()
    assert any(request.headers.get("authorization") == f"Bearer {KEY}" for request in stub.requests)
    files = [path for path in app.data.parent.rglob("*") if path.is_file()]
    assert app.data / "secret.key" in files
    assert app.data.parent / "server.log" in files
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    card(page, "The bigger box").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="The bigger box")).to_be_hidden()
