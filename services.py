"""The composition root: the one place where the library and the backends meet.

Pages, the command line and tests use the same `Services`. Opening them is quick: models, Chroma and torch are loaded
when they are first needed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from backends.base import GenerationOptions, Loaded
from backends.manager import ModelManager
from backends.translate import translate
from errors import BackendError, ConfigurationError
from rag.chat.conversations import Conversations
from rag.chat.turn import Answerer, Question
from rag.chat.turns import Turn, Turns
from rag.chat.writer import LeasedModel
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
    fallback: str | None = None
    """The backend that answers where the first cannot begin to; an empty one turns the setting off."""
    options: GenerationOptions | None = None
    passages: int | None = None
    strict: bool | None = None


def _once(retrieve: Callable[[str, Sequence[str]], Retrieval]) -> Callable[[str, Sequence[str]], Retrieval]:
    """`retrieve` that searches at its first call and gives that result at all others, from any thread."""
    lock, found = threading.Lock(), list[Retrieval]()

    def search(text: str, history: Sequence[str]) -> Retrieval:
        with lock:
            if not found:
                found.append(retrieve(text, history))
            return found[0]

    return search


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
        return self.turns.start(self._question(owner, ask))

    def compare(self, owner: str, ask: Ask, models: Sequence[tuple[str, str]]) -> list[tuple[Message, Turn]]:
        """Ask several models the same question over one retrieval; a conversation and a turn each, all running.

        Args:
            owner: who asks.
            ask: the question; its backend, model, fallback and conversation are not used.
            models: backend and model of each answer.

        Raises:
            RequestRejected: the question is empty.
            ConfigurationError: no such backend.
        """
        retrieve = _once(self._question(owner, ask).retrieve)
        asked = [replace(ask, backend=b, model=m, conversation_id=None, fallback="") for b, m in models]
        questions = [self._question(owner, each) for each in asked]
        return [
            self.turns.start(replace(question, retrieve=retrieve, title=f"{question.model}: {ask.text}"))
            for question in questions
        ]

    def _question(self, owner: str, ask: Ask) -> Question:
        backend = ask.backend or self.settings.backend
        model = ask.model
        if not model:
            try:
                model = self.default_model(owner, backend)
            except BackendError:
                # Said by the turn, which shows the passages and may fall back.
                model = ""
        options = ask.options or self.default_options()
        fallback = self.settings.fallback if ask.fallback is None else ask.fallback
        collection = self.library.collection(owner, ask.collection, create=ask.collection == DEFAULT_COLLECTION)
        ready = self.ready_documents(owner, collection.id)

        def answerer(name: str, model: str) -> Answerer:
            return Answerer(self.manager.backend(name).label, lambda: self._lease(owner, name, model, options))

        answerers = [answerer(backend, model)]
        if fallback and fallback != backend:
            answerers.append(answerer(fallback, ""))
        return Question(
            owner=owner,
            conversation_id=ask.conversation_id,
            text=ask.text,
            searched=f"{ready} document{'' if ready == 1 else 's'} in “{collection.name}”",
            retrieve=lambda text, history: self.retrieve(
                owner, text, history=history, k=ask.passages, collection=collection.name
            ),
            answerers=answerers,
            backend=backend,
            model=model,
            max_new_tokens=options.max_new_tokens,
            strict=self.settings.strict if ask.strict is None else ask.strict,
        )

    @asynccontextmanager
    async def _lease(self, owner: str, name: str, model: str, options: GenerationOptions) -> AsyncIterator[LeasedModel]:
        model = model or await asyncio.to_thread(self.default_model, owner, name)
        async with self.manager.use(name, model, options) as chat:
            loaded = self.manager.status(name, model).loaded or Loaded()
            backend = self.manager.backend(name)
            yield LeasedModel(
                backend=name,
                model=model,
                chat=chat,
                window=loaded.context_window,
                prompt_limit=loaded.prompt_limit,
                count_tokens=partial(backend.count_tokens, model),
                exact=backend.capabilities.counts_tokens,
            )

    def default_model(self, owner: str, backend: str, listed: Sequence[str] | None = None) -> str:
        """The model that a person who chose none gets.

        The setting for the default backend, else the last one that answered, else the first that is listed.

        Args:
            owner: who asks.
            backend: name of the backend.
            listed: names of its models; asked for where they are not given, which may take seconds.

        Raises:
            BackendError: the backend cannot be asked.
            ConfigurationError: it lists none.
        """
        if self.is_set(backend):
            return str(self.settings.model)
        who = self.manager.backend(backend)
        if listed is None:
            try:
                listed = [model.name for model in who.list_models()]
            except Exception as error:
                if translated := translate(error, who.place, who.start_hint):
                    raise translated from error
                raise
        last = self.conversations.last_model(owner, backend)
        if last and last in listed:
            return last
        if not listed:
            raise ConfigurationError(f"{who.label} lists no model.", "Type a model's name, or add a model to it.")
        return listed[0]

    def is_set(self, backend: str) -> bool:
        """Whether the settings name a model of that backend."""
        return backend == self.settings.backend and bool(self.settings.model)

    def default_options(self) -> GenerationOptions:
        """Generation options as the settings have them."""
        settings = self.settings
        return GenerationOptions(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_new_tokens=settings.max_new_tokens,
        )

    def warm_up(self, owner: str) -> None:
        """Load the default models in the background, once, so that the first question need not wait for them."""

        if self._warmed:
            return
        self._warmed = True

        def load() -> None:
            try:
                self.embeddings.embed_query("warm up")
                self.manager.load(self.settings.backend, self.default_model(owner, self.settings.backend))
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
