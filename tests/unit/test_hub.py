"""Downloads from a local server that implements the requests of huggingface_hub."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backends import hub
from backends.base import LoadCancelledError, Progress
from backends.huggingface import HuggingFaceBackend
from errors import AuthenticationFailed, ModelNotFound
from settings import Settings
from tests.tiny_model import save

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of-nobody"


class Hub(ThreadingHTTPServer):
    """Serves one model, a/tiny; fails for a/gated, a/down and a/wrong."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {file.name: file.read_bytes() for file in folder.iterdir()}
        self.tokens: set[str | None] = set()
        self.pause = 0.0
        """Seconds between the pieces of a file."""


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "/a/" in self.path:  # the client has requests of its own as well
            self.server.tokens.add(self.headers.get("Authorization"))
        path = self.path.partition("?")[0]
        if "gated" in path or "down" in path or "wrong" in path:
            status = 403 if "gated" in path else 503 if "down" in path else 401
            code = {"X-Error-Code": "GatedRepo"} if "gated" in path else {}
            message = {"X-Error-Message": "Invalid credentials in Authorization header"} if "wrong" in path else {}
            self.answer(b"{}", status, code | message)
        elif "/resolve/" in path:
            name = path.rpartition("/")[2]
            self.answer(self.server.files[name], 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{name}"'})
        elif "/tree/" in path:
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": name}
                for name, content in self.server.files.items()
            ]
            self.answer(json.dumps(tree).encode(), 200, {})
        elif path.startswith("/api/models/a/tiny"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.server.files.items()]
            self.answer(json.dumps({"id": "a/tiny", "sha": COMMIT, "siblings": siblings}).encode(), 200, {})
        else:
            self.answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

    def answer(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(content), 8192):
            self.wfile.write(content[start : start + 8192])
            time.sleep(self.server.pause)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(save(tmp_path / "tiny"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + template)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_is_downloaded_once_with_rising_progress(server: Hub) -> None:
    reports: list[Progress] = []
    server.files["other.json"] = b" " * 60_000  # arrives before the weights
    server.pause = 0.05
    folder = hub.model_folder("a/tiny", reports.append, TOKEN)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == server.files
    assert server.tokens == {f"Bearer {TOKEN}"}
    assert "Asking" in reports[0].text
    fractions = [progress.fraction for progress in reports if progress.fraction is not None]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) > 1
    assert all(0 <= fraction <= 1 for fraction in fractions)
    server.tokens.clear()
    assert hub.model_folder("a/tiny", reports.append) == folder
    assert not server.tokens


def test_a_download_can_be_cancelled(server: Hub, tmp_path: Path) -> None:
    def report(progress: Progress) -> None:
        if progress.fraction is not None:
            raise LoadCancelledError

    server.pause = 0.1  # the weights take seconds
    backend = HuggingFaceBackend(Settings(data_dir=tmp_path, device="cpu"))
    with pytest.raises(LoadCancelledError):
        backend.load("a/tiny", report)
    for thread in threading.enumerate():
        if thread.name == "download a/tiny":
            thread.join(10)
            assert not thread.is_alive()
    # The incomplete download is not used.
    server.pause = 0
    weights = hub.model_folder("a/tiny", lambda progress: None) / "model.safetensors"
    assert weights.read_bytes() == server.files["model.safetensors"]


def test_the_token_is_sent_but_never_shown(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", TOKEN)
    caplog.set_level(logging.DEBUG)
    backend = HuggingFaceBackend(Settings(data_dir=tmp_path, device="cpu"))
    reports: list[Progress] = []
    shown = [repr(backend.local), str(backend.local), backend.local.model_dump_json()]
    for model, error in (("a/gated", AuthenticationFailed), ("a/none", ModelNotFound)):
        with pytest.raises(error, match="HUGGING_FACE_HUB_TOKEN") as raised:
            backend.load(model, reports.append)
        shown += [repr(raised.value), str(raised.value), repr(raised.value.__cause__)]
    assert server.tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in "".join([*shown, *map(repr, reports), caplog.text])


def test_errors_of_the_hub_are_distinguished(server: Hub) -> None:
    with pytest.raises(AuthenticationFailed, match="refused the token"):
        hub.model_folder("a/wrong", lambda progress: None, TOKEN)
    with pytest.raises(ModelNotFound, match="cannot be reached"):
        hub.model_folder("a/down", lambda progress: None)


def test_what_a_model_takes_is_told_before_it_is_downloaded(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = HuggingFaceBackend(Settings(device="cpu"))
    size = sum(map(len, server.files.values()))
    needs = backend.needs("a/tiny")
    assert needs
    assert size / 2 < needs.download_bytes <= size
    assert needs.fits
    assert needs.memory_bytes > needs.download_bytes / 2
    assert needs.memory_free_bytes > 0
    smaller = backend.needs("a/tiny@4-bit")
    assert smaller
    assert smaller.memory_bytes < needs.memory_bytes
    hub.model_folder("a/tiny", lambda progress: None)
    here = backend.needs("a/tiny")
    assert here
    assert here.download_bytes == 0
    monkeypatch.setattr("backends.huggingface.memory_free", lambda device: 1)
    tight = backend.needs("a/tiny")
    assert tight
    assert not tight.fits
    assert backend.needs("SmolLM2-135M-Instruct") is None
    with pytest.raises(ModelNotFound, match="no model a/nothing"):
        backend.needs("a/nothing")
    with pytest.raises(AuthenticationFailed):
        backend.needs("a/gated")
