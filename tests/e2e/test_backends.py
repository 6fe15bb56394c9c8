"""Switching who answers, in a real browser: between the embedded model and stubs of servers, one of them dead."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import App, shoot
from tests.e2e.test_visit import PATIENCE, answered, ask, last_answer, pick
from tests.stubs.ollama_server import OllamaStub
from tests.stubs.openai_server import OpenAIStub

pytestmark = pytest.mark.e2e

NOBODY = "http://127.0.0.1:9"
QUESTION = "How high is the lighthouse on Gannet Holm?"
KEY = "a-key-that-nobody-may-see"


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaStub]:
    with OllamaStub(models=("llama3.2", "qwen3:8b")) as stub, stub.saying("It is ", "31 metres ", "tall."):
        yield stub


@pytest.fixture(scope="module")
def vllm() -> Iterator[OpenAIStub]:
    with OpenAIStub(models=("granite",), key=KEY) as stub, stub.saying("The lighthouse ", "is 31 metres ", "tall."):
        yield stub


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, ollama: OllamaStub, vllm: OpenAIStub) -> Iterator[App]:
    app = App(
        tmp_path_factory.mktemp("e2e") / "data",
        OLLAMA_BASE_URL=ollama.url,
        VLLM_BASE_URL=vllm.url,
        VLLM_API_KEY=KEY,
        INSTRUCTLAB_BASE_URL=NOBODY,
        GOOGLE_API_KEY="",
        GESTALT_LOG_LEVEL="DEBUG",
    )
    app.start()
    yield app
    app.kill()


def test_the_chosen_backend_answers_next(app: App, page: Page) -> None:
    page.goto(app.url)
    page.get_by_role("button", name="Load the sample documents").click()
    page.get_by_role("button", name=QUESTION).click(timeout=PATIENCE)
    answered(page)
    pick(page, "Model", "llama3.2 · Ollama")
    ask(page, "And how tall is it, the lighthouse on Gannet Holm?")
    expect(last_answer(page)).to_contain_text("llama3.2:latest · first word", timeout=PATIENCE)
    expect(last_answer(page)).to_contain_text("It is 31 metres tall.")
    pick(page, "Model", "granite · vLLM")
    ask(page, "Please say once more how high the lighthouse on Gannet Holm is.")
    expect(last_answer(page)).to_contain_text("granite · first word", timeout=PATIENCE)
    expect(page.get_by_test_id("stChatMessage")).to_have_count(6)
    shoot(page, "three-backends-in-one-conversation")


def test_what_a_model_thinks_is_folded(app: App, page: Page, vllm: OpenAIStub) -> None:
    page.goto(app.url)
    pick(page, "Model", "granite · vLLM")
    thoughts = "<think>\nThe passage names a height. ", "Or is it the depth?\n</think>\n\n"
    with vllm.saying(*thoughts, "The lighthouse ", "is 31 metres ", "tall."):
        ask(page, QUESTION)
        answered(page)
    answer = last_answer(page)
    expect(answer).to_contain_text("The lighthouse is 31 metres tall")
    expect(answer.get_by_text("Or is it the depth?")).to_be_hidden()
    shoot(page, "thoughts-folded")
    answer.get_by_text(re.compile(r"Thought for \d+ s")).click()
    expect(answer.get_by_text("Or is it the depth?")).to_be_visible()
    expect(answer.get_by_text("not supported")).to_have_count(0)
    shoot(page, "thoughts")


def test_a_dead_backend_is_a_sentence_and_a_hint(app: App, page: Page) -> None:
    page.goto(app.url)
    pick(page, "Model", "InstructLab: not available")
    sidebar = page.get_by_test_id("stSidebar")
    expect(sidebar.get_by_text(f"InstructLab at {NOBODY} cannot be reached.")).to_be_visible()
    expect(sidebar.get_by_text("Start it with: ilab model serve")).to_be_visible()
    shoot(page, "dead-backend")
    ask(page, QUESTION)
    expect(last_answer(page).get_by_text("cannot be reached")).to_be_visible(timeout=PATIENCE)
    expect(last_answer(page)).to_contain_text("The documents are quoted instead.")
    expect(last_answer(page)).to_contain_text("31 metres")
    expect(last_answer(page).get_by_text("Sources (")).to_be_visible()
    shoot(page, "dead-backend-answer")
    pick(page, "Model", "Google Gemini: not available")
    expect(sidebar.get_by_text("Google Gemini has no key.")).to_be_visible()
    shoot(page, "missing-key")


def test_another_backend_answers_instead_and_is_named(app: App, page: Page) -> None:
    page.goto(app.url)
    pick(page, "Model", "InstructLab: not available")
    page.get_by_test_id("stSidebar").get_by_text("Settings").click()
    pick(page, "Fallback", "Ollama")
    ask(page, QUESTION)
    expect(last_answer(page).get_by_text("Ollama answered instead.")).to_be_visible(timeout=PATIENCE)
    expect(last_answer(page)).to_contain_text("It is 31 metres tall.")
    shoot(page, "fallback")


def test_the_backends_page_loads_and_unloads(app: App, page: Page, ollama: OllamaStub) -> None:
    page.goto(f"{app.url}/models")
    expect(page.get_by_role("heading", name="Models", exact=True)).to_be_visible()
    card = page.get_by_test_id("stVerticalBlock").filter(has=page.get_by_role("heading", name="Ollama")).last
    expect(card.get_by_text("2 models")).to_be_visible()
    card.get_by_role("button", name="Unload").click()
    expect(card.get_by_text("freed on Ollama")).to_be_visible()
    assert httpx.get(f"{ollama.url}/api/ps").json() == {"models": []}
    shoot(page, "backends")
    card.get_by_role("button", name="Load", exact=True).click()
    expect(card.get_by_text("llama3.2:latest: ready")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    shoot(page, "backends-narrow")


def test_the_backends_page_in_the_dark(app: App, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 1400}, color_scheme="dark")
    page = context.new_page()
    page.goto(f"{app.url}/models")
    expect(page.get_by_text("Google Gemini has no key.")).to_be_visible()
    shoot(page, "backends-dark")
    context.close()


def test_two_models_side_by_side(app: App, page: Page) -> None:
    page.goto(f"{app.url}/compare")
    expect(page.get_by_role("heading", name="Compare two models")).to_be_visible()
    ask(page, QUESTION)
    expect(page.get_by_text("SmolLM2-135M-Instruct · first word")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("llama3.2:latest · first word")).to_be_visible(timeout=PATIENCE)
    shoot(page, "compare")
    page.get_by_role("link", name="Continue this chat").last.click()
    expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
    assert re.search(r"\?c=[0-9a-f]{32}", page.url)


def test_no_key_is_on_a_page_or_in_the_servers_log(app: App, page: Page, vllm: OpenAIStub) -> None:
    page.goto(f"{app.url}/models")
    expect(page.get_by_text(f"vLLM at {vllm.url}")).to_be_visible()
    assert KEY not in page.content()
    log = (app.data.parent / "server.log").read_text(encoding="utf-8")
    assert any(KEY in str(request.headers) for request in vllm.requests)
    assert "vLLM" in log or "granite" in log or vllm.url in log
    assert KEY not in log
