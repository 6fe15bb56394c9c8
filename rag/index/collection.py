"""Both indices of a collection and its chunk rows, written and removed together.

Vectors go in first and out first: a chunk row never points to a vector that is missing, and what a kill leaves behind
is found again by its deterministic id. Knows nothing of files, of the queue or of questions.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from rag.db import ChunkRow, Database
from rag.index.lexical import LexicalIndex
from rag.index.store import VectorStore
from rag.schema import Chunk


def chunk_id(document_id: str, position: int) -> str:
    """The id of a chunk, the same whenever the document is indexed."""
    return f"{document_id}:{position}"


class CollectionIndex:
    """The vectors, the words and the chunk rows of one collection under one embedding model."""

    def __init__(
        self, database: Database, store: VectorStore, lexical: LexicalIndex, collection_id: str, fingerprint: str
    ) -> None:
        self._database = database
        self._store = store
        self._lexical = lexical
        self._collection_id = collection_id
        self._fingerprint = fingerprint

    def add(self, owner: str, document_id: str, chunks: Sequence[Chunk], vectors: Sequence[Sequence[float]]) -> None:
        """Write chunks with their vectors; those that are there already are replaced.

        Raises:
            StoreError: Chroma could not write, or the vectors are of another length than those there.
        """
        ids = [chunk_id(document_id, chunk.position) for chunk in chunks]
        self._store.add(self._collection_id, self._fingerprint, ids, vectors)
        rows = [
            {
                "owner": owner,
                "chunk_id": id_,
                "collection_id": self._collection_id,
                "document_id": document_id,
                "position": chunk.position,
                "page": chunk.page,
                "start": chunk.start,
                "end": chunk.end,
                "text": chunk.text,
            }
            for id_, chunk in zip(ids, chunks, strict=True)
        ]
        with self._database.session() as session:
            numbers = session.scalars(insert(ChunkRow).returning(ChunkRow.id, sort_by_parameter_order=True), rows)
            texts = [chunk.text for chunk in chunks]
            self._lexical.add(session, self._collection_id, zip(numbers, texts, strict=True))

    def delete(self, owner: str, document_id: str, chunks: int) -> None:
        """Remove a document of which at most `chunks` chunks were written. Can be repeated.

        Raises:
            StoreError: Chroma could not write.
        """
        ids = [chunk_id(document_id, position) for position in range(chunks)]
        self._store.delete(self._collection_id, self._fingerprint, ids)
        with self._database.session() as session:
            numbers = session.scalars(select(ChunkRow.id).filter_by(owner=owner, document_id=document_id)).all()
            self._lexical.delete(session, self._collection_id, numbers)
            session.execute(delete(ChunkRow).filter_by(owner=owner, document_id=document_id))
