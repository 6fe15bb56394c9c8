"""Which embedding model: the embedded one, or another that a person chose, from a folder or the Hugging Face hub.

Knows how models are found and what runs them; what a vector is, `embeddings.py` knows.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings
from typing_extensions import override

from accelerator import choose_device, load_torch
from errors import ConfigurationError, EmbeddingMismatch
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.index.indexes import Indexes
from settings import Settings

EMBEDDED = "embedded"
"""The value of GESTALT_EMBEDDING_MODEL that names the model of the package."""
HUB_SECONDS = 5.0


class SentenceTransformerModel(EmbeddingModel):
    """Any other model of the sentence-transformers format, run by langchain_huggingface."""

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


class EmbeddingModels:
    """The embedding models in use, each opened once, and which of them a collection is indexed by."""

    def __init__(
        self, settings: Settings, indexes: Indexes, open_model: Callable[[Settings], EmbeddingModel] | None = None
    ) -> None:
        self._settings, self._indexes = settings, indexes
        self._open = open_model or open_embeddings
        self._models: dict[str, EmbeddingModel] = {}
        self._lock = threading.Lock()

    def get(self, name: str = "") -> EmbeddingModel:
        """A model by a value of GESTALT_EMBEDDING_MODEL, by default the current one; weights load on first use.

        Raises:
            ConfigurationError: it is not available.
        """
        name = name or self._settings.embedding_model
        with self._lock:
            if name not in self._models:
                self._models[name] = self._open(self._settings.model_copy(update={"embedding_model": name}))
            return self._models[name]

    def of(self, owner: str, collection_id: str) -> EmbeddingModel:
        """The model of a collection; the current one if nothing is indexed yet.

        Raises:
            EmbeddingMismatch: another model made the index than the one of that name now.
            ConfigurationError: it is not available.
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
    """The model that GESTALT_EMBEDDING_MODEL names: `embedded`, a folder, or an id on the Hugging Face hub.

    Raises:
        ConfigurationError: it cannot be had; within seconds, also where there is no network.
    """
    wanted = settings.embedding_model
    if wanted == EMBEDDED:
        return EmbeddingModel(embedded_folder(), device=settings.device)
    folder = model_folder(wanted, "GESTALT_EMBEDDING_MODEL")
    if not (folder / "tokenizer.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ConfigurationError(
            f"The embedding model {wanted} cannot be used: {folder} lacks tokenizer.json or *.safetensors.",
            "Choose a sentence-transformers model with safetensors weights, or set GESTALT_EMBEDDING_MODEL=embedded.",
        )
    return SentenceTransformerModel(folder, name=wanted, device=settings.device)


def model_folder(name: str, setting: str) -> Path:
    """The folder of a sentence-transformers model: itself where `name` is one, else the hub's from cache or network.

    Raises:
        ConfigurationError: it cannot be had; `setting` names what is to be checked.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    # A path that is not there looks like no hub id: no reason to ask the network.
    unavailable = ConfigurationError(
        f"The model {name} is neither a folder here nor a model that the Hugging Face hub gives.",
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
        # One short question first: a download would try again and again for a minute where there is no network.
        HfApi().model_info(name, timeout=HUB_SECONDS)
        return Path(snapshot_download(name, allow_patterns=patterns))
    # The hub's client raises its own errors, httpx's and the operating system's: all say that it cannot be had.
    except Exception as error:
        raise unavailable from error
