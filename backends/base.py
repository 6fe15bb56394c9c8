"""The contract of a backend: who answers.

A backend is one class in one file. It owns its settings (with an environment prefix of its own), lists its models,
says how it is, and hands out a LangChain chat model. It knows nothing of documents, of conversations or of Streamlit.

    name, label        its key in the table, and what a person reads
    capabilities       what the pages draw from: no page knows a backend by name
    start_hint         the command that a person types when it is down
    list_models()      what can be chosen; quick, never loads weights
    check()            raises a BackendError when it cannot be used; quick, never loads weights
    load(model, ...)   makes the model ready: loads weights, or checks server, key and model
    unload(model)      gives back what `load` took
    pull(model, ...)   fetches a model that is missing, where it can
    chat_model(...)    a BaseChatModel whose stream ends its work when the stream is closed
    count_tokens(...)  in the model's own tokens

Whatever a method or the chat model raises is translated at one border, `backends/translate.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import ClassVar

from langchain_core.language_models import BaseChatModel

from errors import AppError, ModelNotFound
from options import GenerationOptions
from settings import Settings


class State(StrEnum):
    """Where a model of a backend is; the same for all backends."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do; the pages draw from this."""

    loads_weights: bool = False
    """Its models take this process's memory: one is resident at a time."""
    unloads: bool = False
    """`unload` gives memory back, here or in its server."""
    pulls: bool = False
    """`pull` fetches a model that is missing."""
    lists_models: bool = True
    free_model_name: bool = False
    """A model that is not in the list may be typed."""
    variants: tuple[str, ...] = ()
    """Ways to load a model that its name may end in: `name@variant`."""
    counts_tokens: bool = False
    """`count_tokens` is the model's own count, no estimate."""
    reports_usage: bool = True
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Fields of GenerationOptions that it does not honour, each with the reason."""

    @property
    def options(self) -> frozenset[str]:
        """Fields of GenerationOptions that it honours."""
        return frozenset(option.name for option in fields(GenerationOptions)) - frozenset(self.cannot)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that can be chosen."""

    name: str
    """What `load` and `chat_model` take."""
    label: str
    note: str = ""
    """One sentence that a person should know before choosing it."""
    context_window: int | None = None
    size_bytes: int | None = None
    family: str = ""
    """Architecture and size as its backend names them: “llama 8.0B Q4_0”."""
    in_memory: bool = False
    """Its server holds it in memory now."""


SMALL = 1_000_000_000
"""Parameters. Models below it lose their way in instructions of more than a few sentences."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Facts of a model that is ready; None where the backend cannot say."""

    context_window: int | None = None
    prompt_limit: int | None = None
    """Tokens of the longest prompt that it answers well from, where that was measured and is less than its window."""
    device: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    size_bytes: int | None = None
    parameters: int | None = None
    revision: str | None = None
    """Which weights these are: a commit or a digest."""

    @property
    def is_small(self) -> bool:
        """It wants the shortest instructions; a model of unknown size does not."""
        return self.parameters is not None and self.parameters < SMALL


@dataclass(frozen=True, slots=True)
class Released:
    """What unloading gave back, as measured on the device afterwards."""

    device: str
    size_bytes: int
    """What the model took."""
    freed_bytes: int
    """How much less is in use now."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load has come."""

    text: str
    fraction: float | None = None
    """0 to 1, or None where it cannot be known."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of one model of one backend."""

    state: State
    progress: Progress | None = None
    error: AppError | None = None
    loaded: Loaded | None = None
    released: Released | None = None
    """Of the last unloading, until the next load."""


Report = Callable[[Progress], None]
"""Takes the progress of a load. It may raise to end the load."""


class Backend(ABC):
    """One way to answer. Subclasses are registered in the table of `backends/__init__.py`."""

    name: ClassVar[str]
    label: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    start_hint: ClassVar[str]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def list_models(self) -> list[ModelInfo]:
        """Models that can be chosen, the default first.

        Raises:
            BackendError: the backend cannot be reached.
        """

    @abstractmethod
    def check(self) -> None:
        """Return when the backend can be used, within ten seconds and without loading weights.

        Raises:
            BackendError, ConfigurationError: it cannot; with the way out.
        """

    @abstractmethod
    def load(self, model: str, report: Report) -> Loaded:
        """Make `model` ready for `chat_model`.

        Raises:
            BackendError: it cannot be made ready.
        """

    @property
    def place(self) -> str:
        """Who is talked to, as the subject of a sentence: “vLLM at http://localhost:8000”."""
        return self.label

    def unload(self, model: str) -> Released | None:
        """Give back what `load` took; None where nothing here can measure it.

        Raises:
            BackendError: the server did not do it.
        """
        return None

    def pull(self, model: str, report: Report) -> None:
        """Fetch a model that is missing, where the capabilities say that it can.

        Raises:
            BackendError: it cannot be fetched.
        """
        raise ModelNotFound(f"{self.label} cannot fetch a model.", "Choose one that it lists.")

    @abstractmethod
    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """A chat model for a model that is ready. Closing or cancelling its stream ends the backend's work."""

    def count_tokens(self, model: str, text: str) -> int:
        """Tokens of `text`; where the backend has no tokenizer, an estimate that is rather too high than too low.

        Three and a half bytes a token. Bytes, not characters: scripts that take three bytes a character take about a
        token for one.
        """
        return (2 * len(text.encode()) + 6) // 7
