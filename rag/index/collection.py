"""Both indices of a collection and its chunk rows, written and removed together.

Vectors go in first and out last: a chunk row never points to a vector that is missing, and vectors that a kill leaves
behind are found again by their deterministic ids. Knows nothing of files, of the queue or of questions.
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

    def add(self, owner: str, chunks: Sequence[tuple[str, Chunk]], vectors: Sequence[Sequence[float]]) -> None:
        """Write chunks, each after the id of its document, with their vectors; what is there already is replaced.

        Raises:
            StoreError: Chroma could not write, or the vectors are of another length than those there.
        """
        ids = [chunk_id(document_id, chunk.position) for document_id, chunk in chunks]
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
                "heading": chunk.heading,
                "label": chunk.label,
                "text": chunk.text,
            }
            for id_, (document_id, chunk) in zip(ids, chunks, strict=True)
        ]
        with self._database.session() as session:
            numbers = session.scalars(insert(ChunkRow).returning(ChunkRow.id, sort_by_parameter_order=True), rows)
            texts = [chunk.text for _, chunk in chunks]
            self._lexical.add(session, self._collection_id, zip(numbers, texts, strict=True))

    def delete(self, owner: str, document_id: str, chunks: int) -> None:
        """Remove a document of which at most `chunks` chunks were written. Can be repeated.

        Raises:
            StoreError: Chroma could not write.
        """
        with self._database.session() as session:
            numbers = session.scalars(select(ChunkRow.id).filter_by(owner=owner, document_id=document_id)).all()
            self._lexical.delete(session, self._collection_id, numbers)
            session.execute(delete(ChunkRow).filter_by(owner=owner, document_id=document_id))
        self.delete_vectors(document_id, chunks)

    def drop(self) -> None:
        """Remove the index with its words; the chunk rows are gone already. Can be repeated."""
        self.drop_vectors()
        with self._database.session() as session:
            self._lexical.drop(session, self._collection_id)

    # --- vectors alone: the words of a collection serve all of its indexes ---

    def delete_vectors(self, document_id: str, chunks: int) -> None:
        """Remove the vectors of a document of which at most `chunks` were written. Can be repeated."""
        ids = [chunk_id(document_id, position) for position in range(chunks)]
        self._store.delete(self._collection_id, self._fingerprint, ids)

    def drop_vectors(self) -> None:
        """Remove all vectors. Can be repeated."""
        self._store.drop(self._collection_id, self._fingerprint)

    def vectors(self, owner: str, document_id: str) -> dict[str, Sequence[float]]:
        """Text -> vector of the chunks of a document."""
        query = select(ChunkRow.chunk_id, ChunkRow.text).filter_by(owner=owner, document_id=document_id)
        with self._database.session() as session:
            texts = {id_: text for id_, text in session.execute(query)}  # noqa: C416 - rows are no pairs
        found = self._store.vectors(self._collection_id, self._fingerprint, list(texts))
        return {texts[id_]: vector for id_, vector in found.items()}

    def without_vector(self, owner: str, after: int, n: int) -> tuple[int, list[tuple[str, str]]]:
        """`(chunk id, text)` of at most `n` chunks that have no vector here, past the row `after`.

        Returns:
            The last row that was looked at, and the chunks; none where all have one.
        """
        found: list[tuple[str, str]] = []
        while len(found) < n:
            query = (
                select(ChunkRow.id, ChunkRow.chunk_id, ChunkRow.text)
                .filter_by(owner=owner, collection_id=self._collection_id)
                .where(ChunkRow.id > after)
                .order_by(ChunkRow.id)
                .limit(n)
            )
            with self._database.session() as session:
                rows = session.execute(query).all()
            if not rows:
                break
            there = self._store.vectors(self._collection_id, self._fingerprint, [row.chunk_id for row in rows])
            found += [(row.chunk_id, row.text) for row in rows if row.chunk_id not in there]
            after = rows[-1].id
        return after, found

    def add_vectors(self, owner: str, ids: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        """Write vectors of chunks that are there still."""
        with self._database.session() as session:
            there = set(
                session.scalars(select(ChunkRow.chunk_id).where(ChunkRow.owner == owner, ChunkRow.chunk_id.in_(ids)))
            )
        kept = [(id_, vector) for id_, vector in zip(ids, vectors, strict=True) if id_ in there]
        self._store.add(self._collection_id, self._fingerprint, [id_ for id_, _ in kept], [v for _, v in kept])
