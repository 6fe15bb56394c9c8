"""The composition root: the one place where the library and the backends meet.

Pages, the command line and tests use the same `Services`. Opening them is quick: models, Chroma and torch are loaded
when they are first needed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

from backends.base import Backend
from backends.manager import ModelManager
from evaluation.evaluations import Evaluations
from evaluation.store import QuestionSet
from rag.backup import Counts, Manifest, count, finish_restore, write
from rag.backup import restore as restore_backup
from rag.chat.conversations import Conversations
from rag.chat.presets import Presets
from rag.chat.turns import Turns
from rag.db import Database
from rag.documents.indexing import Indexing, Read
from rag.documents.ingest import Ingest
from rag.documents.integrity import Finding, Integrity
from rag.documents.library import Library
from rag.documents.originals import Originals
from rag.documents.parsers import Parsers
from rag.folder import DataFolder
from rag.index.collection import CollectionIndex
from rag.index.embedding_models import open_embeddings
from rag.index.embeddings import EmbeddingModel
from rag.index.indexes import Indexes
from rag.index.lexical import LexicalIndex
from rag.index.search import Search
from rag.index.store import VectorStore
from services.asking import Asking
from services.documents import Documents
from services.evaluating import Evaluating, sample_questions
from services.models import Models
from services.searching import Searching
from settings import Settings

log = logging.getLogger(__name__)


class Services:
    """Everything that the application can do, for one data folder."""

    def __init__(self, settings: Settings, backends: Sequence[Backend] | None = None) -> None:
        """Open the data folder; nothing heavy is loaded.

        Args:
            settings: where it is, and how it is used.
            backends: who can answer; all that are registered where they are not given.

        Raises:
            ConfigurationError: the data folder cannot be written.
            LibraryLocked: another process has it open.
            StoreError: the database cannot be opened.
        """
        self.settings = settings
        self.folder = DataFolder.open(settings.data_dir)
        try:
            finish_restore(self.folder)
            self.database = Database(self.folder.database)
        except BaseException:
            self.folder.close()
            raise
        self.library = Library(self.database)
        self.conversations = Conversations(self.database)
        self.conversations.recover()
        self.presets = Presets(self.database)
        self.turns = Turns(self.conversations)
        self.manager = ModelManager(settings, backends)
        self.store = VectorStore(self.folder.chroma)
        self.lexical = LexicalIndex(self.database)
        self.indexes = Indexes(self.database)
        self.search = Search(
            self.database, self.store, self.lexical, lambda o, c: self.indexing.model_of(o, c), settings.device
        )
        self.parsers = Parsers()
        self.read: Read = self.parsers.read
        self._models: dict[str, EmbeddingModel] = {}
        self._models_lock = threading.Lock()
        self.models = Models(settings, self.manager, self.conversations)
        self.searching = Searching(settings, self.library, self.search, self.models)
        self.asking = Asking(
            settings,
            self.library,
            self.searching,
            self.models,
            self.manager,
            self.conversations,
            self.turns,
            self.embedding_model,
        )
        evaluating = Evaluating(self.library, self.searching, self.asking, self.models, self.conversations, self.turns)
        self.evaluations = Evaluations(self.database, evaluating.search, evaluating.answer, evaluating.write)
        self._warmed = False

    @cached_property
    def embeddings(self) -> EmbeddingModel:
        """The embedding model of the settings, which new collections get; its weights load on first use."""
        return open_embeddings(self.settings)

    def embedding_model(self, name: str) -> EmbeddingModel:
        """An embedding model by the name that GESTALT_EMBEDDING_MODEL would have; its weights load on first use.

        Raises:
            ConfigurationError: it cannot be had.
        """
        if name in ("", self.settings.embedding_model):
            return self.embeddings
        with self._models_lock:
            if name not in self._models:
                self._models[name] = open_embeddings(self.settings.model_copy(update={"embedding_model": name}))
            return self._models[name]

    @cached_property
    def indexing(self) -> Indexing:
        """One document into its indices and out of them."""
        return Indexing(
            self.library,
            Originals(self.folder.uploads),
            self.indexes,
            partial(CollectionIndex, self.database, self.store, self.lexical),
            self.embedding_model,
            self.read,
            model=self.settings.embedding_model,
            chunk_tokens=self.settings.chunk_tokens,
            chunk_overlap=self.settings.chunk_overlap,
        )

    @cached_property
    def ingest(self) -> Ingest:
        """The way in. `ingest.start()` begins to work off the queue."""
        return Ingest(
            self.library,
            self.indexing.originals,
            self.indexing,
            max_bytes=self.settings.max_upload_mb * 1_000_000,
            when_idle=self.search.calibrate,
        )

    @cached_property
    def documents(self) -> Documents:
        """What is done with documents."""
        return Documents(self.settings, self.library, self.indexes, self.store, self.indexing, self.ingest)

    def make_sample_set(self, owner: str) -> QuestionSet:
        """A question set about the sample documents, which are put into the queue where they are missing."""
        self.documents.add_samples(owner)
        return self.evaluations.sets.create(owner, "Sample questions", sample_questions())

    # --- conversations ---

    def delete_conversation(self, owner: str, conversation_id: str) -> None:
        """Stop what answers in a conversation and hide it; `conversations.restore` undoes that for a day."""
        self.turns.cancel_all(owner, conversation_id)
        self.conversations.hide(owner, conversation_id)

    def purge(self) -> None:
        """Remove the conversations for good that were deleted a day ago or earlier, with their files."""
        for owner, conversation_id in self.conversations.hidden():
            if attached := self.library.attached(owner, conversation_id):
                self.documents.delete_collection(owner, attached.id)
            self.conversations.delete(owner, conversation_id)

    # --- the data folder ---

    def check(self) -> Iterator[Finding]:
        """Where database, vectors, words and originals disagree. Not while the ingest worker runs.

        Raises:
            StoreError: one of them cannot be read.
        """
        return Integrity(self.database, self.store, self.lexical, self.ingest).check()

    def counts(self) -> Counts:
        """How much is in the data folder, as a backup notes it."""
        return count(self.database, self.store)

    def backup(self, file: Path, report: Callable[[float], None]) -> Manifest:
        """Write everything into one file. Not while the ingest worker runs.

        Raises:
            ConfigurationError: there is such a file already.
            StoreError: something cannot be read or written.
        """
        return write(self.folder, self.database, self.store, file, report)

    def warm_up(self, owner: str) -> None:
        """Load the default models in the background, once, so that the first question need not wait for them."""

        if self._warmed:
            return
        self._warmed = True

        def load() -> None:
            try:
                self.embeddings.embed_query("warm up")
                self.manager.load(self.settings.backend, self.models.default(owner, self.settings.backend))
            except Exception:
                log.warning("Warm-up failed; the first question will say why", exc_info=True)

        threading.Thread(target=load, name="warm-up", daemon=True).start()

    def close(self) -> None:
        """Stop turns and ingest, give back the models, and let another process have the data folder."""
        self.evaluations.close()
        self.turns.close()
        if "documents" in self.__dict__:
            self.documents.close()
        if "ingest" in self.__dict__:
            self.ingest.close()
        self.parsers.close()
        self.manager.close()
        self.store.close()
        self.database.close()
        self.folder.close()


def restore(settings: Settings, file: Path, report: Callable[[float], None], *, force: bool = False) -> Manifest:
    """Make the data folder from a backup, before there are services; see `rag.backup.restore`."""
    folder = DataFolder.open(settings.data_dir)
    try:
        return restore_backup(folder, file, report, force=force)
    finally:
        folder.close()
