"""An ingest pipeline over one data folder: real database, real Chroma, words for an embedding model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rag.db import Database
from rag.documents.indexing import Indexing
from rag.documents.ingest import Ingest
from rag.documents.library import Library
from rag.documents.loaders import load
from rag.documents.originals import Originals
from rag.index.collection import CollectionIndex
from rag.index.embedding_models import EmbeddingModels
from rag.index.indexes import Indexes
from rag.index.lexical import LexicalIndex
from rag.index.multilingual_model import NAME as MULTILINGUAL
from rag.index.store import VectorStore
from rag.schema import DocumentRecord
from settings import Settings
from tests.fake_embeddings import WordEmbeddings

ANN = "ann"


class IngestEnvironment:
    def __init__(
        self,
        folder: Path,
        *,
        chunk_tokens: int,
        chunk_overlap: int,
        max_bytes: int = 1_000_000,
        model: str = "embedded",
    ) -> None:
        self.uploads = folder / "uploads"
        self.uploads.mkdir(parents=True, exist_ok=True)
        self.database = Database(folder / "test.db")
        self.store = VectorStore(folder / "chroma")
        lexical = LexicalIndex(self.database)
        self.library = Library(self.database)
        self.embeddings = WordEmbeddings()
        models = {
            "embedded": self.embeddings,
            "other": WordEmbeddings(fingerprint="other", max_tokens=20),
            MULTILINGUAL: WordEmbeddings(fingerprint=MULTILINGUAL),
        }
        indexes = Indexes(self.database)
        self.indexing = Indexing(
            self.library,
            Originals(self.uploads),
            indexes,
            partial(CollectionIndex, self.database, self.store, lexical),
            EmbeddingModels(Settings(), indexes, lambda settings: models[settings.embedding_model]),
            load,
            model=model,
            chunk_tokens=chunk_tokens,
            chunk_overlap=chunk_overlap,
        )
        self.ingest = Ingest(self.library, self.indexing.originals, self.indexing, max_bytes=max_bytes)
        self.collection = self.library.collection(ANN, create=True).id

    def add(self, name: str, content: bytes) -> DocumentRecord:
        """Add a document and process it."""
        document, _ = self.ingest.submit(ANN, self.collection, name, content)
        done = self.ingest.process(ANN, document.id)
        assert done
        return done

    def close(self) -> None:
        """Release files and threads."""
        self.ingest.close()
        self.store.close()
        self.database.close()
