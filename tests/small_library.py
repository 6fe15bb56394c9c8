"""A library to fill row by row: a real database, FTS5 and Chroma, and a small deterministic embedding model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.db import ChunkRow, CollectionRow, Database, DocumentRow, PageRow
from rag.index.embeddings import EmbeddingModel
from rag.index.lexical import LexicalIndex
from rag.index.retriever import HybridRetriever
from rag.index.store import VectorStore


class Words(EmbeddingModel):
    """Bags of hashed words: the cosine grows with the share of common words."""

    dimension = 64
    fingerprint = "words-64"
    max_tokens = 254

    def __init__(self) -> None:
        super().__init__(Path())

    def count(self, text: str) -> int:
        return len(text.split())

    def embed_query(self, text: str) -> list[float]:
        vector = np.full(self.dimension, 1e-3)
        for word in re.findall(r"\w+", text.lower()):
            vector[hashlib.sha256(word.encode()).digest()[0] % self.dimension] += 1
        unit: list[float] = (vector / np.linalg.norm(vector)).tolist()
        return unit

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


FERRY = "The Tarrow Sound ferry sails every hour from pier nine."
PUFFIN = "Puffins breed on the cliffs of the island from May to July."
FIRE = "In case of a fire the code word is marigold."
RENT = "The rent of the boathouse is due on the first day of each month."
TEXTS = [FERRY, PUFFIN, FIRE, RENT, *(f"Section {n} of the minutes has nothing to report." for n in range(40))]


@dataclass
class SmallLibrary:
    """What a retriever needs, and methods to fill it."""

    database: Database
    store: VectorStore
    lexical: LexicalIndex
    embeddings: EmbeddingModel

    def add(self, collection: str, document: str, texts: list[str], *, owner: str = "me", state: str = "ready") -> None:
        """Add a page and a chunk for each of `texts`; a page starts with ten spaces that are in no chunk."""
        pages = [" " * 10 + text for text in texts]
        spans = [(position, 10, len(page)) for position, page in enumerate(pages)]
        self._write(collection, document, pages, spans, owner, state)

    def add_page(self, collection: str, document: str, text: str, spans: list[tuple[int, int]]) -> None:
        """Add one page, and its chunks by start and end."""
        self._write(collection, document, [text], [(0, start, end) for start, end in spans], "me", "ready")

    def _write(
        self,
        collection: str,
        document: str,
        pages: list[str],
        spans: list[tuple[int, int, int]],
        owner: str,
        state: str,
    ) -> None:
        fingerprint = self.embeddings.fingerprint
        held = {"owner": owner, "collection_id": collection}
        with self.database.session() as session:
            if session.get(CollectionRow, collection) is None:
                session.add(CollectionRow(owner=owner, id=collection, name=collection, fingerprint=fingerprint))
                session.flush()
            name = f"{document}.pdf"
            session.add(DocumentRow(**held, id=document, name=name, sha256=document, size=1, state=state))
            session.flush()
            session.add_all(
                PageRow(owner=owner, document_id=document, position=position, number=position + 1, text=text)
                for position, text in enumerate(pages)
            )
            rows = [
                ChunkRow(
                    **held,
                    chunk_id=f"{document}:{position}",
                    document_id=document,
                    position=position,
                    page=page + 1,
                    start=start,
                    end=end,
                    text=pages[page][start:end],
                )
                for position, (page, start, end) in enumerate(spans)
            ]
            session.add_all(rows)
            session.flush()
            self.lexical.add(session, collection, [(row.id, row.text) for row in rows])
        vectors = self.embeddings.embed_documents([row.text for row in rows])
        self.store.add(collection, fingerprint, [row.chunk_id for row in rows], vectors)

    def retriever(self, *collections: str, owner: str = "me", **fields: Any) -> HybridRetriever:
        return HybridRetriever(
            owner=owner,
            collection_ids=collections,
            database=self.database,
            store=self.store,
            lexical=self.lexical,
            embeddings=self.embeddings,
            **fields,
        )


@contextmanager
def small_library(folder: Path) -> Iterator[SmallLibrary]:
    database = Database(folder / "db.sqlite")
    library = SmallLibrary(database, VectorStore(folder / "chroma"), LexicalIndex(database), Words())
    yield library
    library.store.close()
    database.close()
