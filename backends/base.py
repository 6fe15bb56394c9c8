"""The contract of a backend: a class, one per file, that answers questions with a language model.

It owns its settings (with its own environment prefix), lists its models and hands out a LangChain chat model.
Exceptions of both are translated in `backends/translate.py`. Does not import documents, conversations or Streamlit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from langchain_core.language_models import BaseChatModel

from errors import AppError, ConfigurationError, ModelNotFound
from options import GenerationOptions
from settings import Settings

SMALL_MODEL_PARAMETERS = 1_000_000_000
"""Models with fewer parameters cannot follow instructions longer than a few sentences."""


class State(StrEnum):
    """The state of a model, the same for all backends."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do. Pages check these instead of backend names."""

    loads_weights: bool = False
    """Models use this process's memory, so only one is resident at a time."""
    unloads: bool = False
    """`unload` frees memory, here or on the server."""
    pulls: bool = False
    """`pull` downloads a missing model."""
    lists_models: bool = True
    free_model_name: bool = False
    """Models that are not in the list can be entered by name."""
    variants: tuple[str, ...] = ()
    """Suffixes for loading a model in another way: `name@variant`."""
    counts_tokens: bool = False
    """`count_tokens` is exact, not an estimate."""
    reports_usage: bool = True
    counts_cached: bool = True
    """The tokens of a prompt that it reports include those that its server had cached."""
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Fields of GenerationOptions that it ignores, each with the reason."""

    @property
    def options(self) -> frozenset[str]:
        """The fields of GenerationOptions that it supports."""
        return frozenset(GenerationOptions.model_fields) - frozenset(self.cannot)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model in a backend's list."""

    name: str
    label: str
    note: str = ""
    """One sentence to show before the model is chosen."""
    context_window: int | None = None
    size_bytes: int | None = None
    family: str = ""
    """Architecture and size as the backend names them: “llama 8.0B Q4_0”."""
    in_memory: bool = False
    """Its server has it in memory now."""
    thinks: bool = False
    """It thinks before it answers."""
    sees: bool = False
    """It reads pictures."""
    price: tuple[float, float] | None = None
    """US dollars for a million tokens of a prompt, and of an answer."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What loading a model takes of this machine, and what it has."""

    download_bytes: int
    """0 if it is here."""
    disk_free_bytes: int
    memory_bytes: int
    memory_free_bytes: int
    device: str
    licence: str = ""

    @property
    def fits(self) -> bool:
        """Whether there is enough of everything."""
        return self.memory_bytes <= self.memory_free_bytes and self.download_bytes <= self.disk_free_bytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """Facts about a model that is ready; None if the backend does not know."""

    context_window: int | None = None
    prompt_limit: int | None = None
    """Tokens in the longest prompt that it answers well, if that was measured and is less than its window."""
    device: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    size_bytes: int | None = None
    parameters: int | None = None
    revision: str | None = None
    """Identifies the weights: a commit or a digest."""

    @property
    def is_small(self) -> bool:
        """Whether it needs the shortest instructions; False if its size is unknown."""
        return self.parameters is not None and self.parameters < SMALL_MODEL_PARAMETERS


@dataclass(frozen=True, slots=True)
class Released:
    """What a model used, and how much less memory is in use now, as measured on the device after unloading it."""

    device: str
    size_bytes: int
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a load."""

    text: str
    fraction: float | None = None
    """0 to 1; None if unknown."""


@dataclass(frozen=True, slots=True)
class Status:
    """State of one model of one backend."""

    state: State
    progress: Progress | None = None
    error: AppError | None = None
    loaded: Loaded | None = None
    released: Released | None = None
    """From the last unload, until the next load."""


class LoadCancelledError(BaseException):
    """Raised by a Report to cancel the load. Not an Exception, because the libraries between catch those."""


Report = Callable[[Progress], None]
"""Receives the progress of a load. May raise LoadCancelledError."""


class Backend(ABC):
    """One source of answers. Register subclasses in `backends/__init__.py`."""

    name: str
    """Identifies it in options; a server that a user added has a name of its own."""
    label: str
    capabilities: ClassVar[Capabilities]
    start_hint: str
    """What to do when it is down: the command that starts it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def list_models(self) -> list[ModelInfo]:
        """Return the models to choose from, the default first, without loading weights. Raises BackendError."""

    @abstractmethod
    def check(self) -> None:
        """Raise BackendError or ConfigurationError if it cannot be used, within 10 seconds, without loading weights."""

    @abstractmethod
    def load(self, model: str, report: Report) -> Loaded:
        """Make `model` ready: load its weights, or check server, key and model. Raises BackendError."""

    @property
    def location(self) -> str:
        """The backend as the subject of a sentence: “vLLM at http://localhost:8000”."""
        return self.label

    def suggestions(self) -> list[ModelInfo]:
        """Return good models that can be loaded by name and are not in its list."""
        return []

    def needs(self, model: str) -> Needs | None:
        """Return what loading a model takes of this machine; None if nothing. May ask the network for seconds.

        Raises BackendError if there is no such model.
        """
        return None

    def unload(self, model: str) -> Released | None:
        """Free what `load` allocated; None if that cannot be measured. Raises BackendError if the server did not."""
        return None

    def pull(self, model: str, report: Report) -> None:
        """Download a missing model, if `capabilities.pulls`. Raises BackendError."""
        raise ModelNotFound(f"{self.label} cannot download models.", "Choose one that it lists.")

    @abstractmethod
    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """Return a chat model for a model that is ready. Closing or cancelling its stream stops the backend's work."""

    def is_small(self, model: str) -> bool:
        """Whether a model is known to be small before it is loaded."""
        return False

    def count_tokens(self, model: str, text: str) -> int:
        """Return the tokens of `text`. By default an estimate that errs high: three and a half bytes per token."""
        # Bytes rather than characters: scripts with three bytes per character use about one token for each.
        return (2 * len(text.encode()) + 6) // 7

    def left_out(self, model: str) -> Sequence[str]:
        """Return the fields of a request that its server refused for a model, and that are no longer sent."""
        return ()

    def likelihood(self, model: str, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Return the mean log-probability of a question's tokens after each text, by a model that is ready.

        Waits for its turn. Raises BackendError, or ConfigurationError if the backend cannot.
        """
        raise ConfigurationError(f"{self.label} cannot compare texts.", "Choose another model for that.")
