"""Ollama: a server that stores models and loads them into memory on demand.

The window is always sent, because Ollama silently truncates longer prompts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

import httpx
import psutil
from langchain_core.language_models import BaseChatModel
from pydantic import Field
from typing_extensions import override

from backends.base import Capabilities, Loaded, ModelInfo, Progress, Released, Report
from backends.ollama_window import context_length, largest_window
from backends.ollama_wire import OllamaWire
from backends.server import LIST_TIMEOUT_S, RootAddress, ServerBackend, ServerSettings, StoredServer
from errors import BackendUnavailable
from options import GenerationOptions
from settings import Settings, prefixed

if TYPE_CHECKING:
    from ollama import Client

LOAD_TIMEOUT_S = 600.0
"""For reading a model from the server's disk."""
UNLOAD_TIMEOUT_S = 10.0
CONTEXT_LENGTHS_TIMEOUT_S = 1.0
"""For requesting context lengths while listing models; the next list has the rest."""
MAX_CACHE_BYTES = 2 * 2**30
"""Largest cache of a window, because the server's memory is unknown."""


class OllamaSettings(ServerSettings):
    """Settings of the Ollama backend."""

    model_config = prefixed("OLLAMA")

    base_url: RootAddress = "http://localhost:11434"
    num_ctx: Annotated[int | None, Field(ge=256)] = None
    """Tokens of the window; by default the model's own, as far as memory allows."""
    keep_alive: str | None = None
    """How long a model stays in memory after an answer (`10m`, `-1` for ever); by default the server's setting."""


class OllamaBackend(ServerBackend):
    """The models of an Ollama server. Thread-safe."""

    name = "ollama"
    label = "Ollama"
    capabilities: ClassVar[Capabilities] = Capabilities(
        unloads=True, pulls=True, free_model_name=True, counts_cached=False
    )
    start_hint = "Start it with: ollama serve, or correct its address on the Models page."
    settings_class = OllamaSettings
    server: OllamaSettings

    def __init__(self, settings: Settings, stored: StoredServer | None = None) -> None:
        super().__init__(settings, stored)
        self._windows: dict[str, int] = {}
        # By digest, because each takes a request.
        self._details: dict[str, Mapping[str, Any]] = {}

    @override
    def make_wire(self) -> OllamaWire:
        return OllamaWire(self.label)

    def list_models(self) -> list[ModelInfo]:
        """Return the installed models, those in memory first; what the server does not tell of one is left out."""
        deadline = time.monotonic() + CONTEXT_LENGTHS_TIMEOUT_S
        models, resident = self._models(), self._resident()
        for name, model in models.items():
            digest = model.get("digest")
            if digest and digest not in self._details and time.monotonic() < deadline:
                self._details[digest] = self._show(name)
        infos = [
            _info(name, model, self._details.get(model.get("digest") or "", {}), in_memory=name in resident)
            for name, model in models.items()
        ]
        return sorted(infos, key=lambda info: not info.in_memory)

    def check(self) -> None:
        """Return if the server responds."""
        self._request("GET", "/api/version")

    def load(self, model: str, report: Report) -> Loaded:
        """Make the server load a model, with the window that the answers will use."""
        report(Progress(f"Asking {self.location}"))
        name = _full_name(model)
        names = list(self._models())
        if name not in names:
            raise self.model_not_found(name, names)
        window = self._window(name)
        report(Progress(f"Ollama is loading {model}"))
        # Ollama generates nothing without a prompt. Other servers with its protocol might, hence the limit.
        options = {"num_ctx": window, "num_predict": 1}
        self._client(LOAD_TIMEOUT_S).generate(name, options=options, keep_alive=self.server.keep_alive)
        self._windows[model] = window
        running = self._resident().get(name)
        if running is None:
            return Loaded(context_window=window)
        size, on_gpu = int(running.get("size") or 0), int(running.get("size_vram") or 0)
        share = round(100 * on_gpu / size) if size else 0
        return Loaded(
            context_window=running.get("context_length") or window,
            device={0: "CPU", 100: "GPU"}.get(share, f"GPU {share} %, CPU {100 - share} %"),
            quantization=(running.get("details") or {}).get("quantization_level"),
            size_bytes=size or None,
            revision=running.get("digest"),
        )

    def unload(self, model: str) -> Released | None:
        """Make the server unload a model (`keep_alive=0`), and measure whether it did."""
        name = _full_name(model)
        before = self._size_in_memory(name)
        self._client().generate(name, keep_alive=0, options={"num_predict": 1})
        deadline = time.monotonic() + UNLOAD_TIMEOUT_S
        while (left := self._size_in_memory(name)) and time.monotonic() < deadline:
            time.sleep(0.1)
        self._windows.pop(model, None)
        return Released("Ollama", before, before - left) if before else None

    def pull(self, model: str, report: Report) -> None:
        """Make the server download a model from Ollama's library. A cancelled download resumes next time."""
        for step in self._client(self.server.timeout).pull(model, stream=True):
            fraction = step.completed / step.total if step.completed and step.total else None
            size = f" of {step.total / 1e9:.1f} GB" if step.total else ""
            report(Progress(f"Pulling {model}{size}: {step.status}", fraction))

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """Return a ChatOllama for `model`."""
        from backends.ollama_chat_model import OllamaChatModel

        return OllamaChatModel(
            model=model,
            base_url=self.url,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            num_predict=options.max_new_tokens,
            num_ctx=self._windows.get(model) or self._window(_full_name(model)),
            stop=list(options.stop) or None,
            seed=options.seed,
            keep_alive=self.server.keep_alive,
            client_kwargs=self.http_options(self.server.timeout),
            sync_client_kwargs={"transport": self.transport(self.server.max_retries)},
            async_client_kwargs={"transport": self.transport(self.server.max_retries)},
            reasoning=True,
        )

    def _client(self, timeout: float = LIST_TIMEOUT_S) -> Client:
        from ollama import Client

        return Client(self.url, transport=self.transport(), **self.http_options(timeout))

    def _window(self, name: str) -> int:
        if self.server.num_ctx:
            return self.server.num_ctx
        budget = MAX_CACHE_BYTES
        if urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1"):
            budget = min(budget, psutil.virtual_memory().available // 4)
        return largest_window(_facts(self._show(name)), budget)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return what an endpoint answers. Ollama's client refuses a reply if a single field of it is missing."""
        with httpx.Client(transport=self.transport(), **self.http_options(LIST_TIMEOUT_S)) as client:
            response = client.request(method, f"{self.url}{path}", json=body)
        response.raise_for_status()
        with self.reading_response():
            return response.json()

    def _models(self) -> dict[str, dict[str, Any]]:
        """Return the installed models by name."""
        with self.reading_response():
            listed = self._request("GET", "/api/tags")["models"] or ()
            return {model.get("model") or model["name"]: model for model in listed}

    def _resident(self) -> dict[str, dict[str, Any]]:
        """Return the models in the server's memory by name; none if it does not tell."""
        with suppress(httpx.HTTPStatusError, KeyError, TypeError, AttributeError, BackendUnavailable):
            return {model.get("model") or model["name"]: model for model in self._request("GET", "/api/ps")["models"]}
        return {}

    def _size_in_memory(self, name: str) -> int:
        return int(self._resident().get(name, {}).get("size") or 0)

    def _show(self, name: str) -> Mapping[str, Any]:
        """Return the details of a model; empty if the server does not tell."""
        with suppress(httpx.HTTPStatusError, BackendUnavailable):
            found = self._request("POST", "/api/show", {"model": name})
            return found if isinstance(found, dict) else {}
        return {}


def _facts(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts of a model under GGUF's keys."""
    facts = shown.get("model_info")
    return facts if isinstance(facts, dict) else {}


def _info(name: str, model: Mapping[str, Any], shown: Mapping[str, Any], *, in_memory: bool) -> ModelInfo:
    details, can = model.get("details") or {}, shown.get("capabilities") or ()
    parts = (details.get(each) for each in ("family", "parameter_size", "quantization_level"))
    return ModelInfo(
        name,
        name.removesuffix(":latest"),
        context_window=context_length(_facts(shown)),
        size_bytes=model.get("size"),
        family=" ".join(part for part in parts if part),
        in_memory=in_memory,
        thinks="thinking" in can,
        sees="vision" in can,
    )


def _full_name(model: str) -> str:
    """Return the name as the server lists it, with a tag."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"
