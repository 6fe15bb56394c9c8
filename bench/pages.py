"""The chat page in a real browser: a long conversation, an idle tab, many tabs following answers. JSON lines.

    python -m bench.pages [--messages 500] [--tabs 1,8,16]

The model is a stub that sends a word every 100 ms. Figures are the server's CPU time, as the browser's depends on the
number of tabs; opening a page is wall time, with server and browser on the same cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rag.chat.conversations import Conversations
from rag.db import Database
from rag.schema import LOCAL_OWNER, Finish, Message, Passage, Role
from tests.e2e.conftest import App
from tests.stubs.openai_server import OpenAIStub

TEXT = "The pier at Gannet Holm is **62 metres** long, and was repaired by Leo Marsh.\n\n- first\n- second\n\n`code`"
PASSAGES = [Passage(f"d:{n}", "d", "pier.md", n, TEXT * 5, 0, 500, 1.0, 0.5, 2.0) for n in range(1, 5)]
OPENED, IDLE_S, FOLLOWED_S = 7, 20.0, 10.0
WORDS, PACE_S = 1900, 0.1


def emit(**figures: Any) -> None:
    print(json.dumps({name: round(v, 3) if isinstance(v, float) else v for name, v in figures.items()}), flush=True)


def write(data: Path, messages: int) -> str:
    """Write a conversation of `messages` messages; return its id."""
    data.mkdir(parents=True, exist_ok=True)
    database = Database(data / "gestalt.db")
    conversations = Conversations(database)
    chat = conversations.create(LOCAL_OWNER, f"{messages} messages")
    for number in range(messages):
        if number % 2:
            answer = conversations.add(LOCAL_OWNER, chat, Role.ASSISTANT, TEXT, Finish.COMPLETE)
            conversations.save(LOCAL_OWNER, _with_passages(answer))
        else:
            conversations.add(LOCAL_OWNER, chat, Role.USER, f"Question {number}?", Finish.COMPLETE)
    database.close()
    return chat


def _with_passages(answer: Message) -> Message:
    return replace(answer, passages=tuple(PASSAGES), model="tiny")


def wait_until_idle(app: App) -> None:
    """Wait until the work of the start and the first visit is done."""
    before, now = -1.0, cpu(app)
    while now - before > 0.05:
        time.sleep(1)
        before, now = now, cpu(app)


def cpu(app: App) -> float:
    assert app.process
    times = psutil.Process(app.process.pid).cpu_times()
    return float(times.user + times.system)


def open_chat(page: Page, app: App, chat: str) -> float:
    """Open a conversation; return the seconds until its last answer is visible."""
    started = time.perf_counter()
    page.goto(f"{app.url}/?c={chat}")
    expect(page.get_by_role("button", name="Answer again").last).to_be_visible()
    return time.perf_counter() - started


def long_conversations(browser: Browser, app: App, chats: dict[int, str]) -> None:
    """Open each conversation several times, alternating, with a warm cache: by address, and by a click in the list. The
    first screen, without messages, is the cost of Streamlit itself."""
    context = browser.new_context()
    page = context.new_page()
    open_chat(page, app, chats[min(chats)])
    wait_until_idle(app)
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}

    def note(what: str, messages: int, opening: Callable[[], object]) -> None:
        before, started = cpu(app), time.perf_counter()
        opening()
        seconds = time.perf_counter() - started
        page.wait_for_timeout(500)
        found.setdefault((what, messages), []).append((seconds, cpu(app) - before))

    def first_screen() -> None:
        page.goto(app.url)
        expect(page.get_by_role("heading", name="Ask your own documents")).to_be_visible()

    def click(messages: int) -> None:
        page.get_by_test_id("stSidebar").get_by_role("button", name=f"{messages} messages", exact=True).click()
        expect(page.get_by_role("heading", name=f"{messages} messages")).to_be_visible()
        expect(page.get_by_role("button", name="Answer again").last).to_be_visible()

    for _ in range(OPENED):
        note("first screen", 0, first_screen)
        for messages, chat in chats.items():
            note("address", messages, partial(open_chat, page, app, chat))
        for messages in chats:
            note("click", messages, partial(click, messages))
    for (what, messages), times in found.items():
        seconds, used = zip(*times, strict=True)
        emit(
            what=what,
            messages=messages,
            seconds=statistics.median(seconds),
            server_cpu_seconds=statistics.median(used),
        )
    context.close()


def idle(browser: Browser, app: App, chat: str) -> None:
    page = browser.new_page()
    open_chat(page, app, chat)
    page.wait_for_timeout(3000)
    before = cpu(app)
    page.wait_for_timeout(1000 * IDLE_S)
    with_tab = cpu(app) - before
    page.close()
    time.sleep(3)
    before = cpu(app)
    time.sleep(IDLE_S)
    emit(what="idle", cpu_share_with_a_tab=with_tab / IDLE_S, cpu_share_without=(cpu(app) - before) / IDLE_S)


def followed(browser: Browser, app: App, tabs: int) -> None:
    """Tabs that each follow an answer, at 10 words a second."""
    pages = [browser.new_page() for _ in range(tabs)]
    for page in pages:
        page.goto(app.url)
        box = page.get_by_role("textbox", name="Ask your documents")
        box.fill("How long is the pier at Gannet Holm?")
        box.press("Enter")
        expect(page.get_by_text("word1 ")).to_be_visible(timeout=60_000)
    before, started = cpu(app), time.perf_counter()
    time.sleep(FOLLOWED_S)
    share = (cpu(app) - before) / (time.perf_counter() - started)
    for page in pages:
        page.close()
    emit(what="follow", tabs=tabs, server_cpu_share=share, each=share / tabs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--tabs", default="1,8,16")
    parser.add_argument("--only-follow", action="store_true", help="skip opening and the idle tab")
    options = parser.parse_args()
    expect.set_options(timeout=30_000)
    words = [f"word{number} " for number in range(WORDS)]
    with tempfile.TemporaryDirectory() as folder, OpenAIStub(models=("tiny",), max_model_len=9000) as stub:
        stub.said, stub.pace = words, PACE_S
        data = Path(folder) / "data"
        chats = {messages: write(data, messages) for messages in (20, options.messages)}
        app = App(
            data,
            VLLM_BASE_URL=stub.url,
            LLM_BACKEND_TYPE="vllm",
            GESTALT_STRICT="false",
            DEFAULT_LLM_MAX_NEW_TOKENS=str(WORDS),
        )
        app.start()
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
                )
                if not options.only_follow:
                    long_conversations(browser, app, chats)
                    idle(browser, app, chats[options.messages])
                for tabs in options.tabs.split(","):
                    followed(browser, app, int(tabs))
        finally:
            app.kill()


if __name__ == "__main__":
    main()
