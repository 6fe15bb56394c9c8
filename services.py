"""The composition root: the one place where the library and the backends meet.

Pages, the command line and tests use the same `Services`. Opening them is quick: models, Chroma and torch are loaded
when they are first needed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from backends.base import GenerationOptions, Loaded
from backends.manager import ModelManager
from errors import ConfigurationError
from rag.chat.conversations import Conversations
from rag.chat.turn import LeasedModel, Question
from rag.chat.turns import Turn, Turns
from rag.db import Database
from rag.documents.ingest import Ingest
from rag.documents.library import DEFAULT_COLLECTION, Library
from rag.folder import DataFolder
from rag.index.collection import CollectionIndex
from rag.index.embedding_models import open_embeddings
from rag.index.embeddings import EmbeddingModel
from rag.index.lexical import LexicalIndex
from rag.index.retriever import HybridRetriever
from rag.index.store import VectorStore
from rag.schema import DocumentState, Message, Retrieval
from settings import ROOT, Settings

log = logging.getLogger(__name__)

SAMPLES = ROOT / "data" / "samples"
SAMPLE_QUESTIONS = (
    "What is the cat in the ticket office called?",
    "Where is the spare key to Shed 3 kept?",
    "How high is the lighthouse on Gannet Holm?",
)
"""Questions to try, each answered by another of the samples."""


def sample_files() -> list[Path]:
    """The sample documents, by name."""
    return sorted(path for path in SAMPLES.iterdir() if path.is_file())


@dataclass(frozen=True, slots=True)
class Ask:
    """A question and how a person wants it answered; None takes the setting."""

    text: str
    collection: str = DEFAULT_COLLECTION
    conversation_id: str | None = None
    backend: str | None = None
    model: str | None = None
    options: GenerationOptions | None = None
    passages: int | None = None
    strict: bool | None = None


class Services:
    """Everything that the application can do, for one data folder."""

    def __init__(self, settings: Settings) -> None:
        """Open the data folder; nothing heavy is loaded.

        Raises:
            ConfigurationError: the data folder cannot be written.
            LibraryLocked: another process has it open.
            StoreError: the database cannot be opened.
        """
        self.settings = settings
        self.folder = DataFolder.open(settings.data_dir)
        try:
            self.database = Database(self.folder.database)
        except BaseException:
            self.folder.close()
            raise
        self.library = Library(self.database)
        self.conversations = Conversations(self.database)
        self.conversations.recover()
        self.turns = Turns(self.conversations)
        self.manager = ModelManager(settings)
        self.store = VectorStore(self.folder.chroma)
        self.lexical = LexicalIndex(self.database)
        self._warmed = False

    @cached_property
    def embeddings(self) -> EmbeddingModel:
        """The library's embedding model; its weights load on first use."""
        return open_embeddings(self.settings)

    @cached_property
    def ingest(self) -> Ingest:
        """The way in. `ingest.start()` begins to work off the queue."""
        return Ingest(
            self.library,
            self.folder.uploads,
            partial(CollectionIndex, self.database, self.store, self.lexical),
            self.embeddings,
            max_bytes=self.settings.max_upload_mb * 1_000_000,
            chunk_tokens=self.settings.chunk_tokens,
            chunk_overlap=self.settings.chunk_overlap,
        )

    # --- documents ---

    def add_samples(self, owner: str) -> None:
        """Put the sample documents into the default collection's queue."""
        collection = self.library.collection(owner, create=True)
        for path in sample_files():
            self.ingest.submit(owner, collection.id, path.name, path)
        self.ingest.wake()

    def ready_documents(self, owner: str, collection_id: str) -> int:
        """How many documents of a collection can be asked."""
        return self.library.count(owner, collection_id, DocumentState.READY)

    # --- questions ---

    def retrieve(
        self, owner: str, question: str, *, history: Sequence[str] = (), k: int | None = None, collection: str
    ) -> Retrieval:
        """The passages for a question, best first, without a model.

        Raises:
            ConfigurationError: there is no such collection.
            StoreError: the index cannot be read.
        """
        found = self.library.collection(owner, collection)
        if not self.ready_documents(owner, found.id):
            return Retrieval(passages=(), refused=True, confidence=0.0, seconds=0.0)
        retriever = HybridRetriever(
            owner=owner,
            collection_ids=(found.id,),
            database=self.database,
            store=self.store,
            lexical=self.lexical,
            embeddings=self.embeddings,
            k=k or self.settings.passages,
        )
        return retriever.retrieve(question, history=history)

    def ask(self, owner: str, ask: Ask) -> tuple[Message, Turn]:
        """Start a turn; the message is stored and still empty, the turn is running.

        Raises:
            RequestRejected: the question is empty, or its conversation is being answered.
            ConfigurationError: no such backend, or no model to choose.
        """
        backend = ask.backend or self.settings.backend
        model = ask.model or self.default_model(backend)
        options = ask.options or self.default_options()
        collection = self.library.collection(owner, ask.collection, create=ask.collection == DEFAULT_COLLECTION)
        ready = self.ready_documents(owner, collection.id)
        question = Question(
            owner=owner,
            conversation_id=ask.conversation_id,
            text=ask.text,
            searched=f"{ready} document{'' if ready == 1 else 's'} in “{collection.name}”",
            retrieve=lambda text, history: self.retrieve(
                owner, text, history=history, k=ask.passages, collection=collection.name
            ),
            answering=lambda: self._lease(backend, model, options),
            backend=backend,
            model=model,
            max_new_tokens=options.max_new_tokens,
            strict=self.settings.strict if ask.strict is None else ask.strict,
        )
        return self.turns.start(question)

    @asynccontextmanager
    async def _lease(self, backend: str, model: str, options: GenerationOptions) -> AsyncIterator[LeasedModel]:
        async with self.manager.use(backend, model, options) as chat:
            loaded = self.manager.status(backend, model).loaded or Loaded()
            count = partial(self.manager.backend(backend).count_tokens, model)
            yield LeasedModel(chat, loaded.context_window, loaded.prompt_limit, count)

    def default_model(self, backend: str, listed: Sequence[str] | None = None) -> str:
        """The model that a person who chose none gets: the setting for the default backend, else the first `listed`.

        Raises:
            ConfigurationError: the backend lists none.
        """
        if backend == self.settings.backend and self.settings.model:
            return self.settings.model
        if listed is None:
            listed = [model.name for model in self.manager.backend(backend).list_models()]
        if not listed:
            raise ConfigurationError(
                f"The backend {backend} has no model to choose.", "Name one in DEFAULT_MODEL_NAME_OR_PATH."
            )
        return listed[0]

    def default_options(self) -> GenerationOptions:
        """Generation options as the settings have them."""
        settings = self.settings
        return GenerationOptions(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_new_tokens=settings.max_new_tokens,
        )

    def warm_up(self) -> None:
        """Load the default models in the background, once, so that the first question need not wait for them."""

        if self._warmed:
            return
        self._warmed = True

        def load() -> None:
            try:
                self.embeddings.embed_query("warm up")
                self.manager.load(self.settings.backend, self.default_model(self.settings.backend))
            except Exception:
                log.warning("Warm-up failed; the first question will say why", exc_info=True)

        threading.Thread(target=load, name="warm-up", daemon=True).start()

    def close(self) -> None:
        """Stop turns and ingest, give back the models, and let another process have the data folder."""
        self.turns.close()
        if "ingest" in self.__dict__:
            self.ingest.close()
        self.manager.close()
        self.store.close()
        self.database.close()
        self.folder.close()
