"""Writes and removes the vectors, full-text rows and chunk rows of a collection together.

Vectors are written first and removed last, so a chunk row never lacks its vector. Vectors that a crash leaves behind
have deterministic ids and are found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, select

from rag.db import ChunkRow, Database
from rag.index.lexical import LexicalIndex
from rag.index.store import VectorStore
from rag.schema import Chunk


def chunk_id(document_id: str, position: int) -> str:
    """The id of a chunk, the same whenever the document is indexed."""
    return f"{document_id}:{position}"


@dataclass(frozen=True, slots=True)
class CollectionIndex:
    """Vectors, full-text rows and chunk rows of one collection and embedding model.

    What writes raises StoreError.
    """

    database: Database
    store: VectorStore
    lexical: LexicalIndex
    collection_id: str
    fingerprint: str

    def add(self, owner: str, chunks: Sequence[tuple[str, Chunk]], vectors: Sequence[Sequence[float]]) -> None:
        """Write `(document id, chunk)` pairs with their vectors, replacing those that exist."""
        ids = [chunk_id(document_id, chunk.position) for document_id, chunk in chunks]
        self.store.add(self.collection_id, self.fingerprint, ids, vectors)
        rows = [
            {"owner": owner, "chunk_id": id_, "collection_id": self.collection_id, "document_id": document_id}
            | asdict(chunk)
            for id_, (document_id, chunk) in zip(ids, chunks, strict=True)
        ]
        with self.database.session() as session:
            numbers = session.scalars(insert(ChunkRow).returning(ChunkRow.id, sort_by_parameter_order=True), rows)
            texts = [chunk.text for _, chunk in chunks]
            self.lexical.add(session, self.collection_id, zip(numbers, texts, strict=True))

    def delete(self, owner: str, document_id: str, chunks: int) -> None:
        """Remove a document with at most `chunks` chunks. Idempotent."""
        with self.database.session() as session:
            numbers = session.scalars(select(ChunkRow.id).filter_by(owner=owner, document_id=document_id)).all()
            self.lexical.delete(session, self.collection_id, numbers)
            session.execute(delete(ChunkRow).filter_by(owner=owner, document_id=document_id))
        ids = [chunk_id(document_id, position) for position in range(chunks)]
        self.store.delete(self.collection_id, self.fingerprint, ids)

    def drop(self) -> None:
        """Remove vectors and full-text rows; the chunk rows are already gone. Idempotent."""
        self.drop_vectors()
        with self.database.session() as session:
            self.lexical.drop(session, self.collection_id)

    # --- vectors only: the full-text rows serve all indexes of a collection ---

    def drop_vectors(self) -> None:
        """Remove all vectors. Idempotent."""
        self.store.drop(self.collection_id, self.fingerprint)

    def count(self) -> int:
        """How many vectors there are."""
        return self.store.count(self.collection_id, self.fingerprint)

    def vectors(self, owner: str, document_id: str) -> dict[str, Sequence[float]]:
        """Text -> vector, for the chunks of a document."""
        query = select(ChunkRow.chunk_id, ChunkRow.text).filter_by(owner=owner, document_id=document_id)
        with self.database.session() as session:
            texts = {id_: text for id_, text in session.execute(query)}  # noqa: C416 - rows are no pairs
        found = self.store.vectors(self.collection_id, self.fingerprint, list(texts))
        return {texts[id_]: vector for id_, vector in found.items()}

    def without_vector(self, owner: str, after: int, n: int) -> tuple[int, list[tuple[str, str]]]:
        """The last row read after the row `after`, and `(chunk id, text)` of `n` or more chunks without a vector here.

        Fewer than `n` are all that are left.
        """
        found: list[tuple[str, str]] = []
        while len(found) < n:
            query = (
                select(ChunkRow.id, ChunkRow.chunk_id, ChunkRow.text)
                .filter_by(owner=owner, collection_id=self.collection_id)
                .where(ChunkRow.id > after)
                .order_by(ChunkRow.id)
                .limit(n)
            )
            with self.database.session() as session:
                rows = session.execute(query).all()
            if not rows:
                break
            stored = self.store.vectors(self.collection_id, self.fingerprint, [row.chunk_id for row in rows])
            found += [(row.chunk_id, row.text) for row in rows if row.chunk_id not in stored]
            after = rows[-1].id
        return after, found

    def add_vectors(self, owner: str, ids: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        """Write the vectors of those chunks that still exist."""
        with self.database.session() as session:
            query = select(ChunkRow.chunk_id).where(ChunkRow.owner == owner, ChunkRow.chunk_id.in_(ids))
            existing = set(session.scalars(query))
        kept = {id_: vector for id_, vector in zip(ids, vectors, strict=True) if id_ in existing}
        self.store.add(self.collection_id, self.fingerprint, list(kept), list(kept.values()))
