"""Ollama: a server that keeps models and brings them into memory when they are asked for.

Tells the server how large a window to make, for it cuts a longer prompt in silence; loads, unloads and pulls through
its own protocol. The ollama package and langchain-ollama are imported when they are needed.
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
from backends.server import CONNECT_S, LOOK_S, ONE_REQUEST, Address, ServerBackend, ServerSettings, tls
from options import GenerationOptions
from settings import Settings, prefixed

if TYPE_CHECKING:
    from ollama import Client, ListResponse

LOAD_S = 600.0
"""Seconds that a server may take to read a model from its disk."""
UNLOAD_S = 10.0
LENGTHS_S = 1.0
"""Seconds that a list may spend on asking for context lengths; the next list knows the others."""
CACHE_BYTES = 2 * 2**30
"""What the cache of a window may take where nobody knows the server's memory."""
SMALLEST_WINDOW = 2048
UNKNOWN_WINDOW = 4096
"""Tokens of the window where the model does not tell its own."""


class OllamaSettings(ServerSettings):
    """Settings of the Ollama backend."""

    model_config = prefixed("OLLAMA")

    base_url: Address = "http://localhost:11434"
    num_ctx: Annotated[int | None, Field(ge=256)] = None
    """Tokens of the window; the model's own, as far as memory allows, where it is not set."""
    keep_alive: str | None = None
    """How long a model stays in memory after an answer (`10m`, `-1` for ever); the server's default if not set."""


class OllamaBackend(ServerBackend):
    """The models of an Ollama server. Its methods may be called from any thread."""

    name: ClassVar[str] = "ollama"
    label: ClassVar[str] = "Ollama"
    capabilities: ClassVar[Capabilities] = Capabilities(unloads=True, pulls=True, free_model_name=True)
    start_hint: ClassVar[str] = "Start it with: ollama serve, or correct OLLAMA_BASE_URL."
    kind = OllamaSettings
    server: OllamaSettings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._windows: dict[str, int] = {}
        # By digest: to ask for it is a request for each model.
        self._lengths: dict[str, int | None] = {}

    def list_models(self) -> list[ModelInfo]:
        """The installed models, those in memory first."""
        client = self._client()
        deadline = time.monotonic() + LENGTHS_S
        with self.understood():
            resident = {model.model for model in client.ps().models}
            models = client.list().models
            for model in models:
                if model.digest and model.digest not in self._lengths and time.monotonic() < deadline:
                    self._lengths[model.digest] = _context_length(client.show(model.model or "").modelinfo or {})
        found = [_info(model, self._lengths.get(model.digest or ""), resident) for model in models]
        return sorted(found, key=lambda info: not info.in_memory)

    def check(self) -> None:
        """Whether the server is there."""
        httpx.get(f"{self.url}/api/version", **self._connection(LOOK_S)).raise_for_status()

    def load(self, model: str, report: Report) -> Loaded:
        """Have the server bring a model into its memory, with the window that the answers will use."""
        report(Progress(f"Asking {self.place}"))
        name = _tagged(model)
        with self.understood():
            names = [each.model or "" for each in self._client().list().models]
        if name not in names:
            raise self.missing(name, names)
        window = self._window(name)
        report(Progress(f"Ollama is loading {model}"))
        # Without a prompt it answers nothing; a server that only speaks Ollama's protocol may, so one token.
        options = {"num_ctx": window, "num_predict": 1}
        self._client(LOAD_S).generate(name, options=options, keep_alive=self.server.keep_alive)
        self._windows[model] = window
        return self._loaded(name, window)

    def _loaded(self, name: str, window: int) -> Loaded:
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
        """Have the server take a model out of its memory (`keep_alive=0`), and look whether it did."""
        name = _tagged(model)
        client = self._client()
        before = _sizes(client).get(name, 0)
        client.generate(name, keep_alive=0, options={"num_predict": 1})
        deadline = time.monotonic() + UNLOAD_S
        while (left := _sizes(client).get(name, 0)) and time.monotonic() < deadline:
            time.sleep(0.1)
        self._windows.pop(model, None)
        return Released("Ollama", before, before - left) if before else None

    def pull(self, model: str, report: Report) -> None:
        """Have the server fetch a model from Ollama's library. A download that was ended goes on where it was."""
        for step in self._client(self.server.timeout).pull(model, stream=True):
            fraction = step.completed / step.total if step.completed and step.total else None
            size = f" of {step.total / 1e9:.1f} GB" if step.total else ""
            report(Progress(f"Pulling {model}{size}: {step.status}", fraction))

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """A ChatOllama that says how an answer ended as the others do."""
        from backends.ollama_chat_model import OllamaChatModel

        retries = self.server.max_retries
        return OllamaChatModel(
            model=model,
            base_url=self.url,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            num_predict=options.max_new_tokens,
            num_ctx=self._windows.get(model) or self._window(_tagged(model)),
            stop=list(options.stop) or None,
            seed=options.seed,
            keep_alive=self.server.keep_alive,
            client_kwargs=self._connection(self.server.timeout),
            sync_client_kwargs={"transport": httpx.HTTPTransport(retries=retries, verify=tls())},
            async_client_kwargs={"transport": httpx.AsyncHTTPTransport(retries=retries, verify=tls())},
        )

    def _client(self, timeout: float = LOOK_S) -> Client:
        from ollama import Client

        return Client(self.url, **self._connection(timeout))

    def _connection(self, timeout: float) -> dict[str, Any]:
        return {
            "timeout": httpx.Timeout(timeout, connect=CONNECT_S),
            "headers": ONE_REQUEST,
            "auth": self.auth,
            "verify": tls(),
        }

    def _window(self, name: str) -> int:
        if self.server.num_ctx:
            return self.server.num_ctx
        budget = CACHE_BYTES
        if urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1"):
            budget = min(budget, psutil.virtual_memory().available // 4)
        return fitting_window(self._client().show(name).modelinfo or {}, budget)


def _info(model: ListResponse.Model, window: int | None, resident: Collection[str | None]) -> ModelInfo:
    name, details = model.model or "", model.details
    parts = (details.family, details.parameter_size, details.quantization_level) if details else ()
    return ModelInfo(
        name,
        name.removesuffix(":latest"),
        context_window=window,
        size_bytes=model.size,
        family=" ".join(part for part in parts if part),
        in_memory=name in resident,
    )


def fitting_window(facts: Mapping[str, Any], budget: int) -> int:
    """Tokens of the largest window of a model whose cache of keys and values takes `budget` bytes at most.

    Args:
        facts: `model_info` of Ollama's `/api/show`, keys as in GGUF.
        budget: bytes. The cache holds a key and a value a head and layer for each token, two bytes a number.

    Returns:
        A multiple of 1024, at least 2048, unless the model's own window is smaller.
    """
    longest = _context_length(facts)
    if longest is None:
        return UNKNOWN_WINDOW
    arch = facts.get("general.architecture", "")
    layers, heads, width, kv_heads, key, value = (facts.get(f"{arch}.{name}") for name in _SHAPE)
    if not (layers and heads and width):
        return min(longest, UNKNOWN_WINDOW)
    # Some models tell the heads of each layer.
    heads, kv_heads = (max(told) if isinstance(told, list) else told for told in (heads, kv_heads or heads))
    bytes_per_token = 2 * layers * kv_heads * ((key or width // heads) + (value or width // heads))
    affordable = budget // bytes_per_token // 1024 * 1024
    return int(min(longest, max(affordable, SMALLEST_WINDOW)))


_SHAPE = (
    "block_count",
    "attention.head_count",
    "embedding_length",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
)


def _context_length(facts: Mapping[str, Any]) -> int | None:
    found = facts.get(f"{facts.get('general.architecture', '')}.context_length")
    return found if isinstance(found, int) else None


def _tagged(model: str) -> str:
    """The name as the server lists it."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _sizes(client: Client) -> dict[str, int]:
    """Bytes of each model in the server's memory."""
    return {model.model or "": int(model.size or 0) for model in client.ps().models}
