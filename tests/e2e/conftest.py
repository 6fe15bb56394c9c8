"""The real app on a fresh data folder, and a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from settings import ROOT

SHOTS = ROOT / "build" / "e2e"
# The first page of a cold server and a cold browser takes 3 to 5 s on two busy cores.
expect.set_options(timeout=20_000)


class App:
    """A running app."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.data = data
        self.environment = environment
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it is healthy."""
        with (self.data.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(self.port)],
                cwd=ROOT,
                env=os.environ | {"GESTALT_DATA_DIR": str(self.data), "HF_HUB_OFFLINE": "1"} | self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._is_healthy():
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)

    def _is_healthy(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        assert self.process
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("e2e") / "data")
    app.start()
    yield app
    app.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "run `make e2e`: it installs chromium"
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*flags, "--disable-sync"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    yield page
    context.close()


def shoot(page: Page, name: str) -> None:
    """A screenshot under build/e2e/."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(400)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=False)
