"""The library's own books: collections, documents and the text of their pages.

A document goes pending -> indexing -> ready | failed. Knows nothing of vectors or of full text: `ingest.py` keeps those
in step with the rows here. Every call takes the owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from errors import ConfigurationError, EmbeddingMismatch
from rag.db import ChunkRow, CollectionRow, Database, DocumentRow, PageRow
from rag.schema import CollectionRecord, DocumentRecord, DocumentState, Page

DEFAULT_COLLECTION = "My documents"


def _document(row: DocumentRow) -> DocumentRecord:
    return DocumentRecord(
        id=row.id,
        collection_id=row.collection_id,
        name=row.name,
        sha256=row.sha256,
        size=row.size,
        state=DocumentState(row.state),
        pages=row.pages,
        chunks=row.chunks,
        seconds=row.seconds,
        reason=row.reason,
        progress=row.progress,
        created=row.created,
    )


class Library:
    """Collections and documents in the database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- collections ---

    def collections(self, owner: str) -> list[CollectionRecord]:
        """All collections of `owner`, by name."""
        with self.database.session() as session:
            rows = session.scalars(select(CollectionRow).filter_by(owner=owner).order_by(CollectionRow.name))
            return [CollectionRecord(row.id, row.name, row.fingerprint) for row in rows]

    def collection(self, owner: str, name: str = DEFAULT_COLLECTION, *, create: bool = False) -> CollectionRecord:
        """The collection called `name`; `create` makes it where it is missing.

        Raises:
            ConfigurationError: there is none, and it was not to be made.
        """
        with self.database.session() as session:
            row = session.scalar(select(CollectionRow).filter_by(owner=owner, name=name))
            if row is None and create:
                # Two first visitors at once make one collection.
                session.execute(insert(CollectionRow).values(owner=owner, name=name).on_conflict_do_nothing())
                row = session.scalar(select(CollectionRow).filter_by(owner=owner, name=name))
            if row is None:
                raise ConfigurationError(
                    f"There is no collection called “{name}”.", "Add a document to it first, or correct the name."
                )
            return CollectionRecord(row.id, row.name, row.fingerprint)

    def fingerprint(self, owner: str, collection_id: str) -> str:
        """The embedding model that indexed the collection; empty where none did yet."""
        with self.database.session() as session:
            return session.scalars(select(CollectionRow.fingerprint).filter_by(owner=owner, id=collection_id)).one()

    def claim(self, owner: str, collection_id: str, fingerprint: str) -> None:
        """Stamp the collection with the embedding model that indexes it; the first document does.

        Raises:
            EmbeddingMismatch: another model indexed it.
        """
        with self.database.session() as session:
            row = session.scalars(select(CollectionRow).filter_by(owner=owner, id=collection_id)).one()
            if row.fingerprint not in ("", fingerprint):
                raise EmbeddingMismatch(
                    f"The collection “{row.name}” was indexed by another embedding model.",
                    "Set GESTALT_EMBEDDING_MODEL back, or add the documents to a new collection.",
                )
            row.fingerprint = fingerprint

    # --- documents ---

    def begin(self, owner: str, collection_id: str, name: str, sha256: str, size: int) -> tuple[DocumentRecord, bool]:
        """A row for this content in the collection, pending; `(record, is_duplicate)`.

        Content that is already there, ready or on its way, is a duplicate; content that failed is tried again.
        """
        with self.database.session() as session:
            session.scalars(select(CollectionRow.id).filter_by(owner=owner, id=collection_id)).one()
            row = session.scalar(select(DocumentRow).filter_by(owner=owner, collection_id=collection_id, sha256=sha256))
            duplicate = row is not None and row.state != DocumentState.FAILED
            if row is None:
                row = DocumentRow(
                    owner=owner, collection_id=collection_id, name=name, sha256=sha256, size=size, state=""
                )
                session.add(row)
            if not duplicate:
                row.name, row.state, row.reason, row.progress = name, DocumentState.PENDING, "", 0.0
            session.flush()
            return _document(row), duplicate

    def documents(self, owner: str, collection_id: str) -> list[DocumentRecord]:
        """The documents of a collection, newest first."""
        query = (
            select(DocumentRow)
            .filter_by(owner=owner, collection_id=collection_id)
            .order_by(DocumentRow.created.desc(), DocumentRow.name)
        )
        with self.database.session() as session:
            return [_document(row) for row in session.scalars(query)]

    def document(self, owner: str, document_id: str) -> DocumentRecord | None:
        """One document, or None where it is gone."""
        with self.database.session() as session:
            row = session.scalar(select(DocumentRow).filter_by(owner=owner, id=document_id))
            return _document(row) if row else None

    def update(self, owner: str, document_id: str, **values: Any) -> None:
        """Set columns of a document's row."""
        with self.database.session() as session:
            session.execute(update(DocumentRow).filter_by(owner=owner, id=document_id).values(**values))

    def count(self, owner: str, collection_id: str, state: DocumentState) -> int:
        """How many documents of a collection are in `state`."""
        with self.database.session() as session:
            query = (
                select(func.count())
                .select_from(DocumentRow)
                .filter_by(owner=owner, collection_id=collection_id, state=state)
            )
            return session.scalar(query) or 0

    def in_state(self, *states: DocumentState) -> list[tuple[str, DocumentRecord]]:
        """`(owner, document)` of every document in one of `states`, oldest first: the queue of the ingest worker."""
        query = select(DocumentRow).where(DocumentRow.state.in_(states)).order_by(DocumentRow.created)
        with self.database.session() as session:
            return [(row.owner, _document(row)) for row in session.scalars(query)]

    def content_in_use(self, sha256: str) -> bool:
        """Whether any document of any owner still has this content."""
        with self.database.session() as session:
            return session.scalar(select(DocumentRow.id).filter_by(sha256=sha256).limit(1)) is not None

    # --- pages ---

    def set_pages(self, owner: str, document_id: str, pages: Sequence[Page]) -> None:
        """Keep the text that was read, in place of what was kept before."""
        with self.database.session() as session:
            session.execute(delete(PageRow).filter_by(owner=owner, document_id=document_id))
            session.add_all(
                PageRow(owner=owner, document_id=document_id, position=position, number=page.number, text=page.text)
                for position, page in enumerate(pages)
            )

    def page_text(self, owner: str, document_id: str, number: int | None) -> str:
        """The text of one page; empty where there is no such page."""
        with self.database.session() as session:
            query = select(PageRow.text).filter_by(owner=owner, document_id=document_id, number=number)
            return session.scalar(query) or ""

    def forget(self, owner: str, document_id: str) -> None:
        """Remove the rows of a document whose chunks are out of both indices."""
        with self.database.session() as session:
            for table in (ChunkRow, PageRow):
                session.execute(delete(table).filter_by(owner=owner, document_id=document_id))
            session.execute(delete(DocumentRow).filter_by(owner=owner, id=document_id))
