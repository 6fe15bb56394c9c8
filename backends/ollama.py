"""Ollama: a server that stores models and loads them into memory on demand.

The window is always sent, because Ollama silently truncates longer prompts.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

import httpx
import psutil
from langchain_core.language_models import BaseChatModel
from pydantic import Field

from backends.base import Capabilities, Loaded, ModelInfo, Progress, Released, Report
from backends.server import LIST_TIMEOUT_S, Address, ServerBackend, ServerSettings, tls
from options import GenerationOptions
from settings import Settings, prefixed

if TYPE_CHECKING:
    from ollama import Client, ListResponse

LOAD_TIMEOUT_S = 600.0
"""For reading a model from the server's disk."""
UNLOAD_TIMEOUT_S = 10.0
CONTEXT_LENGTHS_TIMEOUT_S = 1.0
"""For requesting context lengths while listing models; the next list has the rest."""
MAX_CACHE_BYTES = 2 * 2**30
"""Largest cache of a window, because the server's memory is unknown."""
MIN_WINDOW = 2048
DEFAULT_WINDOW = 4096
"""Tokens of the window if the model's own is unknown."""


class OllamaSettings(ServerSettings):
    """Settings of the Ollama backend."""

    model_config = prefixed("OLLAMA")

    base_url: Address = "http://localhost:11434"
    num_ctx: Annotated[int | None, Field(ge=256)] = None
    """Tokens of the window; by default the model's own, as far as memory allows."""
    keep_alive: str | None = None
    """How long a model stays in memory after an answer (`10m`, `-1` for ever); by default the server's setting."""


class OllamaBackend(ServerBackend):
    """The models of an Ollama server. Thread-safe."""

    name: ClassVar[str] = "ollama"
    label: ClassVar[str] = "Ollama"
    capabilities: ClassVar[Capabilities] = Capabilities(unloads=True, pulls=True, free_model_name=True)
    start_hint: ClassVar[str] = "Start it with: ollama serve, or correct OLLAMA_BASE_URL."
    settings_class = OllamaSettings
    server: OllamaSettings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._windows: dict[str, int] = {}
        # Cached by digest, because each takes a request.
        self._context_lengths: dict[str, int | None] = {}

    def list_models(self) -> list[ModelInfo]:
        """Return the installed models, those in memory first."""
        client = self._client()
        deadline = time.monotonic() + CONTEXT_LENGTHS_TIMEOUT_S
        with self.reading_response():
            resident = {model.model for model in client.ps().models}
            models = client.list().models
            for model in models:
                if model.digest and model.digest not in self._context_lengths and time.monotonic() < deadline:
                    shown = client.show(model.model or "").modelinfo or {}
                    self._context_lengths[model.digest] = _context_length(shown)
        infos = [_info(model, self._context_lengths.get(model.digest or ""), resident) for model in models]
        return sorted(infos, key=lambda info: not info.in_memory)

    def check(self) -> None:
        """Return if the server responds."""
        httpx.get(f"{self.url}/api/version", **self.http_options(LIST_TIMEOUT_S)).raise_for_status()

    def load(self, model: str, report: Report) -> Loaded:
        """Make the server load a model, with the window that the answers will use."""
        report(Progress(f"Asking {self.location}"))
        name = _full_name(model)
        with self.reading_response():
            names = [each.model or "" for each in self._client().list().models]
        if name not in names:
            raise self.model_not_found(name, names)
        window = self._window(name)
        report(Progress(f"Ollama is loading {model}"))
        # Ollama generates nothing without a prompt. Other servers with its protocol might, hence the limit.
        options = {"num_ctx": window, "num_predict": 1}
        self._client(LOAD_TIMEOUT_S).generate(name, options=options, keep_alive=self.server.keep_alive)
        self._windows[model] = window
        running = next((each for each in self._client().ps().models if each.model == name), None)
        if running is None:
            return Loaded(context_window=window)
        size, on_gpu = int(running.size or 0), int(running.size_vram or 0)
        share = round(100 * on_gpu / size) if size else 0
        return Loaded(
            context_window=running.context_length or window,
            device={0: "CPU", 100: "GPU"}.get(share, f"GPU {share} %, CPU {100 - share} %"),
            quantization=running.details.quantization_level if running.details else None,
            size_bytes=size or None,
            revision=running.digest,
        )

    def unload(self, model: str) -> Released | None:
        """Make the server unload a model (`keep_alive=0`), and measure whether it did."""
        name = _full_name(model)
        client = self._client()
        before = _sizes(client).get(name, 0)
        client.generate(name, keep_alive=0, options={"num_predict": 1})
        deadline = time.monotonic() + UNLOAD_TIMEOUT_S
        while (left := _sizes(client).get(name, 0)) and time.monotonic() < deadline:
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

        retries = self.server.max_retries
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
            sync_client_kwargs={"transport": httpx.HTTPTransport(retries=retries, verify=tls())},
            async_client_kwargs={"transport": httpx.AsyncHTTPTransport(retries=retries, verify=tls())},
        )

    def _client(self, timeout: float = LIST_TIMEOUT_S) -> Client:
        from ollama import Client

        return Client(self.url, **self.http_options(timeout))

    def _window(self, name: str) -> int:
        if self.server.num_ctx:
            return self.server.num_ctx
        budget = MAX_CACHE_BYTES
        if urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1"):
            budget = min(budget, psutil.virtual_memory().available // 4)
        return largest_window(self._client().show(name).modelinfo or {}, budget)


def _info(model: ListResponse.Model, window: int | None, resident: Collection[str | None]) -> ModelInfo:
    name, details = model.model or "", model.details
    parts = (details.family, details.parameter_size, details.quantization_level) if details else ()
    label, family = name.removesuffix(":latest"), " ".join(part for part in parts if part)
    return ModelInfo(
        name, label, context_window=window, size_bytes=model.size, family=family, in_memory=name in resident
    )


def largest_window(model_info: Mapping[str, Any], budget: int) -> int:
    """Return the tokens of the largest window whose cache fits into `budget` bytes: for `/api/show`, with GGUF's keys.

    Per token, the cache has a key and a value for each head and layer, two bytes per number. The window is a multiple
    of 1024 and at least 2048, unless the model's own is smaller.
    """
    own_window = _context_length(model_info)
    if own_window is None:
        return DEFAULT_WINDOW
    arch = model_info.get("general.architecture", "")
    layers, width = model_info.get(f"{arch}.block_count"), model_info.get(f"{arch}.embedding_length")
    heads, kv_heads, key, value = (
        model_info.get(f"{arch}.attention.{name}")
        for name in "head_count head_count_kv key_length value_length".split()
    )
    if not (layers and heads and width):
        return min(own_window, DEFAULT_WINDOW)
    # Some models list the heads of each layer.
    heads, kv_heads = (max(count) if isinstance(count, list) else count for count in (heads, kv_heads or heads))
    bytes_per_token = 2 * layers * kv_heads * ((key or width // heads) + (value or width // heads))
    affordable = budget // bytes_per_token // 1024 * 1024
    return int(min(own_window, max(affordable, MIN_WINDOW)))


def _context_length(model_info: Mapping[str, Any]) -> int | None:
    length = model_info.get(f"{model_info.get('general.architecture', '')}.context_length")
    return length if isinstance(length, int) else None


def _full_name(model: str) -> str:
    """Return the name as the server lists it, with a tag."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _sizes(client: Client) -> dict[str, int]:
    """Return the bytes of each model in the server's memory."""
    return {model.model or "": int(model.size or 0) for model in client.ps().models}
