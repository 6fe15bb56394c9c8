"""The composition root: the only place where the library and the backends meet.

Opening it is quick: models, Chroma and torch are loaded on first use.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from backends import embedded_model
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
from rag.index.embedding_models import EmbeddingModels
from rag.index.embeddings import EmbeddingModel
from rag.index.indexes import Indexes
from rag.index.lexical import LexicalIndex
from rag.index.search import Search
from rag.index.store import VectorStore
from services.asking import Asking
from services.documents import Documents
from services.evaluating import Evaluating, sample_questions
from services.keys import Keys
from services.models import Models
from services.searching import OpenRetriever, Searching
from services.servers import Servers
from settings import Settings

log = logging.getLogger(__name__)


class Services:
    """Everything the application can do with one data folder."""

    def __init__(
        self,
        settings: Settings,
        backends: Sequence[Backend] | None = None,
        *,
        open_embeddings: Callable[[Settings], EmbeddingModel] | None = None,
        open_retriever: OpenRetriever | None = None,
        read: Read | None = None,
    ) -> None:
        """Open the data folder; nothing heavy is loaded. What is given replaces what the settings would choose.

        Raises ConfigurationError if the folder cannot be written, LibraryLocked if another process has it open, and
        StoreError if the database cannot be opened.
        """
        self.settings = settings
        callbacks, open_retriever = settings.load_callbacks(), open_retriever or settings.load_retriever()
        self.folder = DataFolder.open(settings.data_dir)
        try:
            finish_restore(self.folder)
            self.database = Database(self.folder.database)
            self.conversations = Conversations(self.database)
            self.conversations.recover()
        except BaseException:
            self.folder.close()
            raise
        self.store = VectorStore(self.folder.chroma)
        self.lexical = LexicalIndex(self.database)
        self.indexes = Indexes(self.database)
        self.embeddings = EmbeddingModels(settings, self.indexes, open_embeddings)
        self.library = Library(self.database)
        self.parsers = Parsers()
        self.indexing = Indexing(
            self.library,
            Originals(self.folder.uploads),
            self.indexes,
            partial(CollectionIndex, self.database, self.store, self.lexical),
            self.embeddings,
            read or self.parsers.read,
            model=settings.embedding_model,
            chunk_tokens=settings.chunk_tokens,
            chunk_overlap=settings.chunk_overlap,
        )
        self.manager = ModelManager(settings, backends)
        secret = settings.secret_key.get_secret_value() if settings.secret_key else None
        self.servers = Servers(settings, self.database, Keys(self.folder.secret, secret), self.manager)
        if backends is None:
            self.servers.open()
        self.search = Search(
            self.database,
            self.store,
            self.lexical,
            self.embeddings.of,
            settings.device,
            likelihood=partial(self.manager.likelihood, "local", embedded_model.NAME),
            prepare=self.indexing.prepare,
        )
        self.ingest = Ingest(
            self.library,
            self.indexing.originals,
            self.indexing,
            max_bytes=settings.max_upload_mb * 1_000_000,
            when_idle=self.search.calibrate,
        )
        self.documents = Documents(settings, self.library, self.indexes, self.store, self.indexing, self.ingest)
        self.presets = Presets(self.database)
        self.turns = Turns(self.conversations)
        self.models = Models(settings.answer, self.manager, self.conversations)
        self.searching = Searching(self.library, self.search, self.models, open_retriever)
        self.asking = Asking(
            settings,
            self.library,
            self.searching,
            self.models,
            self.manager,
            self.conversations,
            self.turns,
            callbacks,
        )
        evaluating = Evaluating(self.searching, self.asking, self.turns)
        self.evaluations = Evaluations(self.database, evaluating.search, evaluating.answer)
        self._warmed = False

    def make_sample_set(self, owner: str) -> QuestionSet:
        """Create a question set about the sample documents, and queue those that are missing."""
        self.documents.add_samples(owner)
        return self.evaluations.sets.create(owner, "Sample questions", sample_questions())

    def delete_conversation(self, owner: str, conversation_id: str) -> None:
        """Stop a conversation's answers and hide it; `conversations.restore` undoes that for a day."""
        self.turns.cancel_all(owner, conversation_id)
        self.conversations.hide(owner, conversation_id)

    def purge(self) -> None:
        """Remove for good the conversations that were deleted at least a day ago, with their files."""
        for owner, conversation_id in self.conversations.hidden():
            if attached := self.library.attached(owner, conversation_id):
                self.documents.delete_collection(owner, attached.id)
            self.conversations.delete(owner, conversation_id)

    def check(self) -> Iterator[Finding]:
        """Find where database, vectors, full text and originals disagree, while the ingest worker does not run.

        Raises StoreError if one of them cannot be read.
        """
        return Integrity(self.database, self.store, self.lexical, self.ingest).check()

    def counts(self) -> Counts:
        """How much is in the data folder."""
        return count(self.database, self.store)

    def backup(self, file: Path, report: Callable[[float], None], *, with_keys: bool = False) -> Manifest:
        """Back up everything into one file, while the ingest worker does not run; the keys of servers only `with_keys`.

        Raises ConfigurationError if there is such a file already, StoreError if something cannot be read or written.
        """
        return write(self.folder, self.database, self.store, file, report, with_keys=with_keys)

    def warm_up(self, owner: str) -> None:
        """Load the default models in the background, once, before the first question needs them."""
        if self._warmed:
            return
        self._warmed = True

        def load() -> None:
            try:
                collections = self.library.collections(owner)
                used = {self.embeddings.of(owner, each.id) for each in collections}
                for embeddings in used or {self.embeddings.get()}:
                    embeddings.embed_query("warm up")
                backend = self.settings.answer.backend
                self.manager.load(backend, self.models.default(owner, backend))
            except Exception:
                log.warning("Warm-up failed; the first question will say why", exc_info=True)

        threading.Thread(target=load, name="warm-up", daemon=True).start()

    def close(self) -> None:
        """Stop turns and ingestion, unload the models, and release the data folder."""
        workers = (self.evaluations, self.turns, self.documents, self.ingest, self.parsers, self.search, self.manager)
        for part in (*workers, self.store, self.database, self.folder):
            part.close()


def restore(settings: Settings, file: Path, report: Callable[[float], None], *, force: bool = False) -> Manifest:
    """Restore the data folder from a backup; see `rag.backup.restore`."""
    folder = DataFolder.open(settings.data_dir)
    try:
        return restore_backup(folder, file, report, force=force)
    finally:
        folder.close()
