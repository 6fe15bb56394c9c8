"""Real servers for testing the backends: installed into a venv each, started on loopback, and always stopped.

    with servers.running("vllm") as server:
        httpx.get(f"{server.url}/v1/models", headers=server.headers)

A venv is built under build/servers/<name> and kept until its recipe changes. The server's log is
build/servers/<name>.log, its home folder build/servers/<name>-home. All servers use the embedded model. Start one at a
time: vLLM alone takes 3 GB and both cores.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

import conversion
from backends import embedded_model
from settings import ROOT
from tests.integration.recipes import KEY, RECIPES, WINDOW, Recipe

FOLDER = ROOT / "build" / "servers"


@dataclass(slots=True)
class Server:
    """A server on its own port, which it keeps after a restart."""

    name: str
    url: str
    model: str
    """Its name of the embedded model."""
    key: str
    """Its key; empty if it needs none."""
    log: Path
    upstream: Server | None = None
    """The llama.cpp server behind a proxy."""
    process: subprocess.Popen[bytes] | None = None
    seconds_to_start: float = 0.0

    @property
    def headers(self) -> dict[str, str]:
        """The header with its key in OpenAI's protocol."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def start(self) -> None:
        """Start it, and the server behind it if needed, and wait until it is ready.

        Raises:
            RuntimeError: it exited or was not ready in time; includes the end of its log.
        """
        if self.upstream and not self.upstream.is_running:
            self.upstream.start()
        recipe, given = RECIPES[self.name], facts(self)
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                _filled(recipe.command, given),
                cwd=FOLDER,
                env=_environment(recipe, given),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait(recipe, began + recipe.start_timeout)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_start = time.monotonic() - began

    @property
    def is_running(self) -> bool:
        """Whether its process is running."""
        return self.process is not None and self.process.poll() is None

    def _wait(self, recipe: Recipe, deadline: float) -> None:
        while not self._answers(recipe.ready):
            if not self.is_running or time.monotonic() > deadline:
                raise RuntimeError(f"{self.log} ends with:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def cpu_seconds(self) -> float:
        """CPU time so far of its processes and those of the server behind it."""
        if self.process is None:
            return 0.0
        main = psutil.Process(self.process.pid)
        used = [process.cpu_times() for process in (main, *main.children(recursive=True))]
        behind = self.upstream.cpu_seconds() if self.upstream else 0.0
        return behind + sum(float(times.user + times.system) for times in used)

    def _answers(self, path: str) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(self.url + path, headers=self.headers, timeout=5).status_code == 200
        return False

    def kill(self) -> None:
        """Send SIGKILL to all its processes, but not to the server behind it."""
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """Terminate it and the server behind it; kill it after ten seconds."""
        if self.process and self.is_running:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        self.kill()  # and its remaining children
        if self.upstream:
            self.upstream.stop()


def start(name: str) -> Server:
    """Install a server if needed, and start it."""
    install(name)
    server = _at_free_port(name, FOLDER / f"{name}.log")
    if RECIPES[name].over_llama:
        install("llama")
        server.upstream = _at_free_port("llama", FOLDER / f"{name}-llama.log")
    server.start()
    return server


@contextmanager
def running(name: str) -> Iterator[Server]:
    """Run a server within the block."""
    server = start(name)
    try:
        yield server
    finally:
        server.stop()


def install(name: str) -> None:
    """Build the venv of a server, unless it matches its recipe.

    Raises:
        CalledProcessError: a step failed; build/servers/<name>-install.log has the reason.
    """
    recipe, venv = RECIPES[name], FOLDER / name
    stamp = venv / "installed.txt"
    lines = (
        *recipe.install,
        *(f"-c {line}" for line in recipe.constraints),
        *(f"- {line}" for line in recipe.uninstall),
    )
    expected = "\n".join((*lines, *recipe.setup))
    if stamp.is_file() and stamp.read_text() == expected:
        return
    shutil.rmtree(venv, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    constraints = FOLDER / f"{name}-constraints.txt"
    constraints.write_text("\n".join(recipe.constraints))
    with (FOLDER / f"{name}-install.log").open("wb") as log:

        def run(*command: str | Path, **environment: str) -> None:
            subprocess.run(
                command, cwd=FOLDER, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            ).check_returncode()

        pip = (venv / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
        run(sys.executable, "-m", "venv", venv)
        run(*pip, "install", "-c", constraints, *recipe.install, **recipe.build)
        if recipe.uninstall:
            run(*pip, "uninstall", "-y", *recipe.uninstall)
        given = facts(_at_free_port(name, FOLDER / f"{name}.log"))
        for command in recipe.setup:
            run(*_filled(command, given), **_environment(recipe, given))
    stamp.write_text(expected)


def facts(server: Server) -> dict[str, str]:
    """Return the values for the templates of a recipe."""
    gguf = embedded_model.find_gguf()
    assert gguf, conversion.INSTALL
    return {
        "here": str(Path(__file__).parent),
        "venv": str(FOLDER / server.name),
        "home": str(FOLDER / f"{server.name}-home"),
        "gguf": str(gguf),
        "safetensors": str(embedded_model.ensure(ROOT / "build", lambda progress: None)),
        "name": embedded_model.NAME,
        "window": str(WINDOW),
        "key": KEY,
        "port": server.url.rsplit(":", 1)[1],
        "upstream": server.upstream.url if server.upstream else "",
    }


def _filled(template: str, given: dict[str, str]) -> list[str]:
    return [word.format(**given) for word in template.split()]


def _environment(recipe: Recipe, given: dict[str, str]) -> dict[str, str]:
    home = Path(given["home"])
    home.mkdir(parents=True, exist_ok=True)
    folders = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE", "STATE")}
    path = f"{given['venv']}/bin{os.pathsep}{os.environ['PATH']}"
    own = {name: value.format(**given) for name, value in recipe.environment.items()}
    loopback = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_OFFLINE": "1"}
    return os.environ | {"PATH": path, "HOME": str(home)} | folders | loopback | own


def _at_free_port(name: str, log: Path) -> Server:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    log.unlink(missing_ok=True)
    recipe = RECIPES[name]
    gguf = str(embedded_model.find_gguf())
    return Server(name, url, recipe.model.format(name=embedded_model.NAME, gguf=gguf), recipe.key, log)
