"""An image in an answer must not make the browser tell its server anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from rag.chat.conversations import Conversations
from rag.db import Database
from rag.schema import LOCAL_OWNER, Finish, Role
from tests.e2e.conftest import App
from tests.e2e.test_visit import last_answer

pytestmark = pytest.mark.e2e


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the paths that were requested from it."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


def test_an_image_in_an_answer_is_not_fetched(tmp_path: Path, page: Page, listener: tuple[str, list[str]]) -> None:
    address, paths = listener
    data = tmp_path / "data"
    data.mkdir()
    database = Database(data / "gestalt.db")
    conversations = Conversations(database)
    chat = conversations.create(LOCAL_OWNER, "Show me the pier")
    forms = ("![x]", r"\![x]", r"\\![x]", "!![x]", "![x][leak]")
    text = "\n\n".join([*(f"{form}({address}/leak)" for form in forms), f"[leak]: {address}/leak", "The end."])
    conversations.add(LOCAL_OWNER, chat, Role.USER, "Show me the pier", Finish.COMPLETE)
    conversations.add(LOCAL_OWNER, chat, Role.ASSISTANT, text, Finish.COMPLETE)
    database.close()
    app = App(data)
    app.start()
    try:
        page.goto(f"{app.url}/?c={chat}")
        expect(last_answer(page)).to_contain_text("The end.")
        page.wait_for_timeout(1000)
        assert paths == []
        page.request.get(f"{address}/probe")
        assert paths == ["/probe"], "the server hears requests"
    finally:
        app.kill()
