"""Which embedding model: an embedded one, or another from a folder, the Hugging Face hub or LangChain."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings
from typing_extensions import override

from accelerator import choose_device, load_torch
from errors import ConfigurationError, EmbeddingMismatch
from rag.index import multilingual_model
from rag.index.embeddings import NAME as ENGLISH
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.index.indexes import Indexes
from rag.index.multilingual_model import NAME as MULTILINGUAL
from rag.index.multilingual_model import MultilingualModel
from settings import Settings, load_attribute

EMBEDDED = "embedded"
"""The value of GESTALT_EMBEDDING_MODEL for the embedded model of a collection's language. An index of this name is the
English one, until something in another language arrives; the names of the two models fix one of them."""
LANGCHAIN = "langchain:"  # the prefix of such a value
HUB_SECONDS = 5.0
LANGCHAIN_TOKENS = 256
_TOKEN = re.compile(r"[\u0e00-\u0e7f\u2e80-\ud7ff\uf900-\ufaff]|\w{1,4}|[^\w\s]")


class SentenceTransformerModel(EmbeddingModel):
    """Any other model in sentence-transformers format, run by langchain_huggingface."""

    pooling = "sentence-transformers-l2"
    latin_only = False

    @override
    def _load(self) -> Any:
        load_torch()
        device = choose_device(self._wanted_device)
        from langchain_huggingface import HuggingFaceEmbeddings

        document = self._prompts.get("document") or self._prompts.get("passage") or ""
        return HuggingFaceEmbeddings(
            model_name=str(self.folder),
            model_kwargs={
                "device": device,
                "local_files_only": True,
                "trust_remote_code": False,
                "model_kwargs": {"use_safetensors": True},
            },
            encode_kwargs={"normalize_embeddings": True, "prompt": document},
            query_encode_kwargs={"normalize_embeddings": True, "prompt": self._prompts.get("query", "")},
        )

    @override
    def _encode(self, texts: Sequence[str], *, query: bool) -> list[list[float]]:
        model: Embeddings = self._model()
        self._require_fit(map(self.count, texts))
        return [model.embed_query(text) for text in texts] if query else model.embed_documents(list(texts))


class LangChainModel(EmbeddingModel):
    """Any LangChain `Embeddings`, from `langchain:module:attribute`: an instance, a class or a factory.

    Token counts are an estimate: 4 letters of a word, a Chinese, Japanese, Korean or Thai character, or a punctuation
    mark. The fingerprint is made of name and dimension, so a change of model behind them is not detected.
    """

    latin_only = False
    max_tokens = LANGCHAIN_TOKENS
    _prompts: dict[str, str] = {}  # noqa: RUF012 - replaces a property

    def __init__(self, name: str) -> None:
        super().__init__(Path(), name=name)
        found = load_attribute(name.removeprefix(LANGCHAIN), "GESTALT_EMBEDDING_MODEL")
        self._loaded = found if isinstance(found, Embeddings) or not callable(found) else found()
        if not isinstance(self._loaded, Embeddings):
            raise ConfigurationError(
                f"The setting GESTALT_EMBEDDING_MODEL names {name}, which is no LangChain Embeddings.",
                "Name an instance, a class or a function that returns one.",
            )

    @override
    @cached_property
    def dimension(self) -> int:
        return len(self.embed_query("dimension"))

    @override
    @cached_property
    def fingerprint(self) -> str:
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', self.name)}-{self.dimension}"

    @property
    @override
    def identity(self) -> dict[str, Any]:
        return {name: value for name, value in super().identity.items() if name != "weights"}

    @override
    def spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in _TOKEN.finditer(text)]

    @override
    def count(self, text: str) -> int:
        return len(self.spans(text))

    @override
    def _encode(self, texts: Sequence[str], *, query: bool) -> list[list[float]]:
        import numpy as np

        self._require_fit(map(self.count, texts))
        embeddings: Embeddings = self._loaded
        try:
            made = [embeddings.embed_query(t) for t in texts] if query else embeddings.embed_documents(list(texts))
        # Whatever its client raises; the text of it may contain a key.
        except Exception as error:
            raise ConfigurationError(
                f"The embedding model {self.name} failed: {type(error).__name__}.",
                "Check GESTALT_EMBEDDING_MODEL, and the server and key of that model.",
            ) from error
        norms = np.linalg.norm(vectors := np.asarray(made, dtype=float), axis=1, keepdims=True)
        unit: list[list[float]] = (vectors / np.maximum(norms, 1e-12)).tolist()
        return unit


class EmbeddingModels:
    """Opens embedding models, each once, and finds the one that indexed a collection."""

    def __init__(
        self, settings: Settings, indexes: Indexes, open_model: Callable[[Settings], EmbeddingModel] | None = None
    ) -> None:
        self._settings, self._indexes = settings, indexes
        self._open = open_model or open_embeddings
        self._models: dict[str, EmbeddingModel] = {}
        self._lock = threading.Lock()

    def get(self, name: str = "") -> EmbeddingModel:
        """A model by its value of GESTALT_EMBEDDING_MODEL, by default the current one. Raises ConfigurationError."""
        name = name or self._settings.embedding_model
        name = EMBEDDED if name == ENGLISH else name  # one copy in memory
        with self._lock:
            if name not in self._models:
                self._models[name] = self._open(self._settings.model_copy(update={"embedding_model": name}))
            return self._models[name]

    def has_multilingual(self) -> bool:
        """Whether multilingual-e5-small can be used: it is installed on Linux x86-64 only."""
        return multilingual_model.is_available(self._settings.data_dir)

    def choices(self) -> list[str]:
        """The models that a collection can be indexed with: the embedded ones, or the one that the settings name."""
        if self._settings.embedding_model not in (EMBEDDED, ENGLISH, MULTILINGUAL):
            return [self._settings.embedding_model]
        return [ENGLISH, MULTILINGUAL] if self.has_multilingual() else [ENGLISH]

    def of(self, owner: str, collection_id: str) -> EmbeddingModel:
        """The model of a collection, or the current one if nothing is indexed yet.

        Raises EmbeddingMismatch if the model of that name has changed since, ConfigurationError.
        """
        active = self._indexes.active(owner, collection_id)
        embeddings = self.get(active.embedding_model if active else "")
        if active and active.fingerprint != embeddings.fingerprint:
            raise EmbeddingMismatch(
                f"The collection was indexed by another embedding model ({active.fingerprint}).",
                "Set GESTALT_EMBEDDING_MODEL back to it, or index the collection again on the Documents page.",
            )
        return embeddings


def open_embeddings(settings: Settings) -> EmbeddingModel:
    """The model of GESTALT_EMBEDDING_MODEL: an embedded one, a folder, a Hugging Face id, or LangChain's import path.

    Weights load on first use. Raises ConfigurationError within seconds, also without a network.
    """
    wanted = settings.embedding_model
    if wanted in (EMBEDDED, ENGLISH):
        return EmbeddingModel(embedded_folder(), device=settings.device)
    if wanted == MULTILINGUAL:
        return MultilingualModel(settings.data_dir, device=settings.device)
    if wanted.startswith(LANGCHAIN):
        return LangChainModel(wanted)
    folder = model_folder(wanted, "GESTALT_EMBEDDING_MODEL")
    if not (folder / "tokenizer.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ConfigurationError(
            f"The embedding model {wanted} cannot be used: {folder} lacks tokenizer.json or *.safetensors.",
            "Choose a sentence-transformers model with safetensors weights, or set GESTALT_EMBEDDING_MODEL=embedded.",
        )
    return SentenceTransformerModel(folder, name=wanted, device=settings.device)


def model_folder(name: str, setting: str) -> Path:
    """The folder of a sentence-transformers model: `name` if it is a folder, else from the hub's cache or the hub.

    Raises a ConfigurationError that names `setting`.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    # Do not ask the network for what cannot be an id, such as a missing path.
    unavailable = ConfigurationError(
        f"The model {name} is neither a folder here nor available from the Hugging Face hub.",
        f"Check {setting} and the network, or leave it at its default.",
    )
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise unavailable
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*/config.json", "*_Dense/*.safetensors"]
    try:
        return Path(snapshot_download(name, local_files_only=True, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        pass
    try:
        # Without a network this fails at once; a download would retry for a minute.
        HfApi().model_info(name, timeout=HUB_SECONDS)
        return Path(snapshot_download(name, allow_patterns=patterns))
    # The hub's client raises its own errors, httpx's and the operating system's.
    except Exception as error:
        raise unavailable from error
