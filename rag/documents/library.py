"""The library's own books: collections, documents and the text of their pages.

A document goes pending -> indexing -> ready | failed. Knows nothing of vectors or of full text: `ingest.py` keeps those
in step with the rows here. Every call takes the owner.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError

from errors import ConfigurationError
from rag.db import ChunkRow, CollectionRow, Database, DocumentRow, PageRow, now
from rag.schema import Chunk, CollectionRecord, DocumentRecord, DocumentState, Page

DEFAULT_COLLECTION = "My documents"
# No session holds rows that it would have to keep in step.
_ROW = update(DocumentRow).execution_options(synchronize_session=False)


class Submitted(StrEnum):
    """What became of a content that was put into a collection."""

    NEW = "new"
    DUPLICATE = "duplicate"
    """The collection has this content already."""
    VERSION = "version"
    """Another content under a known path; the older one stays, or goes when this one is ready."""


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
        path=row.path,
        version=row.version,
        replaces=row.replaces,
        reason_type=row.reason_type,
        warnings=tuple(row.warnings),
        attempts=row.attempts,
        next_try=row.next_try,
    )


def _collection(row: CollectionRow) -> CollectionRecord:
    return CollectionRecord(row.id, row.name, row.fingerprint)


class Library:
    """Collections and documents in the database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- collections ---

    def collections(self, owner: str) -> list[CollectionRecord]:
        """All collections that `owner` made, by name; not those of files that were attached to a conversation."""
        query = select(CollectionRow).filter_by(owner=owner, deleting=False, conversation_id=None)
        query = query.order_by(func.lower(CollectionRow.name))
        with self.database.session() as session:
            return [_collection(row) for row in session.scalars(query)]

    def collection(self, owner: str, name: str = DEFAULT_COLLECTION, *, create: bool = False) -> CollectionRecord:
        """The collection called `name`; `create` makes it where it is missing.

        Raises:
            ConfigurationError: there is none, and it was not to be made, or the name cannot be used.
        """
        name = " ".join(name.split())
        with self.database.session() as session:
            query = select(CollectionRow).filter_by(owner=owner, name=name, deleting=False)
            row = session.scalar(query)
            if row is None and create:
                _require_name(name)
                # Two first visitors at once make one collection.
                session.execute(insert(CollectionRow).values(owner=owner, name=name).on_conflict_do_nothing())
                row = session.scalar(query)
            if row is None:
                raise ConfigurationError(
                    f"There is no collection called “{name}”.", "Add a document to it first, or correct the name."
                )
            return _collection(row)

    def attached(self, owner: str, conversation_id: str, *, create: bool = False) -> CollectionRecord | None:
        """The collection of the files that were attached to a conversation; None where there are none."""
        with self.database.session() as session:
            query = select(CollectionRow).filter_by(owner=owner, conversation_id=conversation_id, deleting=False)
            row = session.scalar(query)
            if row is None and create:
                # Nobody calls it by its name, which has to be no other collection's.
                values = {
                    "owner": owner,
                    "name": f"Files of chat {conversation_id}",
                    "conversation_id": conversation_id,
                }
                session.execute(insert(CollectionRow).values(**values).on_conflict_do_nothing())
                row = session.scalar(query)
            return _collection(row) if row else None

    def rename(self, owner: str, collection_id: str, name: str) -> None:
        """Give a collection another name.

        Raises:
            ConfigurationError: the name is empty, too long or taken.
        """
        name = " ".join(name.split())
        _require_name(name)
        try:
            with self.database.session() as session:
                session.execute(update(CollectionRow).filter_by(owner=owner, id=collection_id).values(name=name))
        except IntegrityError:
            raise ConfigurationError(
                f"There is a collection called “{name}” already.", "Choose another name."
            ) from None

    def mark_collection(self, owner: str, collection_id: str) -> None:
        """Begin to delete a collection: nobody sees it any more. Its name is free at once."""
        with self.database.session() as session:
            session.execute(
                update(CollectionRow).filter_by(owner=owner, id=collection_id).values(deleting=True, name=collection_id)
            )

    def marked_collections(self) -> list[tuple[str, CollectionRecord]]:
        """`(owner, collection)` of those whose deletion was begun."""
        with self.database.session() as session:
            rows = session.scalars(select(CollectionRow).filter_by(deleting=True)).all()
            return [(row.owner, _collection(row)) for row in rows]

    def forget_collection(self, owner: str, collection_id: str) -> None:
        """Remove the row of a collection whose documents and indexes are gone."""
        with self.database.session() as session:
            session.execute(delete(CollectionRow).filter_by(owner=owner, id=collection_id))

    # --- documents ---

    def begin(
        self, owner: str, collection_id: str, path: str, sha256: str, size: int, *, replaces: str | None = None
    ) -> tuple[DocumentRecord, Submitted]:
        """A row for this content in the collection, pending.

        Content that is already there, ready or on its way, is a duplicate; content that failed is tried again.

        Args:
            owner: whose collection.
            collection_id: its id.
            path: relative to what was named; its last part is the document's name.
            sha256: of the content.
            size: of the content, in bytes.
            replaces: the document that goes when this one is ready.
        """
        name = path.rsplit("/", 1)[-1]
        with self.database.session() as session:
            session.scalars(select(CollectionRow.id).filter_by(owner=owner, id=collection_id)).one()
            mine = select(DocumentRow).filter_by(owner=owner, collection_id=collection_id)
            near = session.scalars(mine.where(or_(DocumentRow.sha256 == sha256, DocumentRow.path == path))).all()
            row = next((row for row in near if row.sha256 == sha256), None)
            if row is not None and row.state != DocumentState.FAILED:
                return _document(row), Submitted.DUPLICATE
            others = [other for other in near if other is not row]
            if row is None:
                row = DocumentRow(owner=owner, collection_id=collection_id, sha256=sha256, size=size)
                session.add(row)
            row.name, row.path, row.state, row.reason, row.reason_type = name, path, DocumentState.PENDING, "", ""
            row.progress, row.attempts, row.next_try, row.replaces = 0.0, 0, None, replaces
            row.version = 1 if replaces else 1 + max((other.version for other in others), default=0)
            session.flush()
            return _document(row), Submitted.VERSION if others else Submitted.NEW

    def same_path(self, owner: str, collection_id: str, path: str) -> list[DocumentRecord]:
        """The documents that came under a path, newest version first."""
        query = (
            select(DocumentRow)
            .filter_by(owner=owner, collection_id=collection_id, path=path)
            .where(DocumentRow.state != DocumentState.DELETING)
            .order_by(DocumentRow.version.desc(), DocumentRow.created.desc())
        )
        with self.database.session() as session:
            return [_document(row) for row in session.scalars(query)]

    def documents(self, owner: str, collection_id: str) -> list[DocumentRecord]:
        """The documents of a collection, newest first."""
        query = (
            select(DocumentRow)
            .filter_by(owner=owner, collection_id=collection_id)
            .order_by(DocumentRow.created.desc(), DocumentRow.name)
        )
        with self.database.session() as session:
            return [_document(row) for row in session.scalars(query)]

    def find(
        self,
        owner: str,
        collection_id: str,
        *,
        text: str = "",
        states: Collection[DocumentState] = (),
        order: str = "created",
        descending: bool = True,
        first: int = 0,
        limit: int = 50,
    ) -> tuple[list[DocumentRecord], int]:
        """Some documents of a collection, and how many there are of the kind.

        Args:
            owner: whose collection.
            collection_id: its id.
            text: stands in the path, in any case.
            states: in one of these; in any where there are none.
            order: created, name, state, pages, chunks or size.
            descending: the greatest first.
            first: how many to skip.
            limit: how many to give.
        """
        wanted: list[ColumnElement[bool]] = [
            DocumentRow.owner == owner,
            DocumentRow.collection_id == collection_id,
        ]
        if text.strip():
            wanted.append(DocumentRow.path.icontains(text.strip(), autoescape=True))
        if states:
            wanted.append(DocumentRow.state.in_(states))
        column = getattr(DocumentRow, order) if order != "name" else func.lower(DocumentRow.name)
        query = select(DocumentRow).where(*wanted).order_by(column.desc() if descending else column, DocumentRow.id)
        with self.database.session() as session:
            total = session.scalar(select(func.count()).select_from(DocumentRow).where(*wanted)) or 0
            return [_document(row) for row in session.scalars(query.offset(first).limit(limit))], total

    def counts(self, owner: str, collection_id: str) -> dict[DocumentState, int]:
        """How many documents of a collection are in each state; states without one are left out."""
        query = (
            select(DocumentRow.state, func.count())
            .filter_by(owner=owner, collection_id=collection_id)
            .group_by(DocumentRow.state)
        )
        with self.database.session() as session:
            return {DocumentState(state): number for state, number in session.execute(query)}

    def document(self, owner: str, document_id: str) -> DocumentRecord | None:
        """One document, or None where it is gone."""
        with self.database.session() as session:
            row = session.scalar(select(DocumentRow).filter_by(owner=owner, id=document_id))
            return _document(row) if row else None

    def update(self, owner: str, document_id: str, *, only: DocumentState | None = None, **values: Any) -> bool:
        """Set columns of a document's row, where `only` is given only if it is in that state; whether it was set."""
        query = _ROW.filter_by(owner=owner, id=document_id)
        with self.database.session() as session:
            done = session.execute((query.filter_by(state=only) if only else query).values(**values))
            return bool(done.rowcount)  # type: ignore[attr-defined] # an UPDATE has a cursor's result

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
        """`(owner, document)` of every document in one of `states`, oldest first."""
        return self._owned(select(DocumentRow).where(DocumentRow.state.in_(states)))

    def due(self, limit: int | None = None) -> list[tuple[str, DocumentRecord]]:
        """`(owner, document)` of what waits and may be tried now, oldest first: the queue of the ingest worker."""
        waited = or_(DocumentRow.next_try.is_(None), DocumentRow.next_try <= now())
        return self._owned(select(DocumentRow).where(DocumentRow.state == DocumentState.PENDING, waited), limit)

    def replacing(self) -> list[tuple[str, DocumentRecord]]:
        """`(owner, document)` of every ready document that another one has still to make way for."""
        ready = DocumentRow.state == DocumentState.READY
        return self._owned(select(DocumentRow).where(ready, DocumentRow.replaces.is_not(None)))

    def _owned(self, query: Select[DocumentRow], limit: int | None = None) -> list[tuple[str, DocumentRecord]]:
        with self.database.session() as session:
            rows = session.scalars(query.order_by(DocumentRow.created).limit(limit))
            return [(row.owner, _document(row)) for row in rows]

    def in_work(self, owner: str, document_ids: Collection[str]) -> set[str]:
        """Which of these are being indexed still: nobody cancelled or deleted them."""
        query = select(DocumentRow.id).filter_by(owner=owner, state=DocumentState.INDEXING)
        with self.database.session() as session:
            return set(session.scalars(query.where(DocumentRow.id.in_(document_ids))))

    def contents(self) -> set[str]:
        """The sha256 of every document of every owner."""
        with self.database.session() as session:
            return set(session.scalars(select(DocumentRow.sha256)))

    def content_in_use(self, sha256: str) -> bool:
        """Whether any document of any owner still has this content."""
        with self.database.session() as session:
            return session.scalar(select(DocumentRow.id).filter_by(sha256=sha256).limit(1)) is not None

    # --- pages ---

    def set_pages(self, owner: str, document_id: str, pages: Sequence[Page], **values: Any) -> None:
        """Keep the text that was read, in place of what was kept before, and set columns of the document's row."""
        with self.database.session() as session:
            session.execute(_ROW.filter_by(owner=owner, id=document_id).values(pages=len(pages), **values))
            session.execute(delete(PageRow).filter_by(owner=owner, document_id=document_id))
            rows = [
                {
                    "owner": owner,
                    "document_id": document_id,
                    "position": position,
                    "number": page.number,
                    "label": page.label,
                    "text": page.text,
                }
                for position, page in enumerate(pages)
            ]
            if rows:
                session.execute(insert(PageRow), rows)

    def page(self, owner: str, document_id: str, position: int) -> Page | None:
        """The page at a position (0-based) as it was read, or None."""
        with self.database.session() as session:
            row = session.scalar(select(PageRow).filter_by(owner=owner, document_id=document_id, position=position))
            return Page(row.text, row.number, row.label) if row else None

    def find_page(self, owner: str, document_id: str, number: int | None, label: str) -> tuple[int, Page] | None:
        """The page with that number and label, which together name it, and its position; None where there is none."""
        query = select(PageRow).filter_by(owner=owner, document_id=document_id, number=number, label=label)
        with self.database.session() as session:
            row = session.scalar(query.order_by(PageRow.position).limit(1))
            return (row.position, Page(row.text, row.number, row.label)) if row else None

    def chunks(self, owner: str, document_id: str, page: Page) -> list[Chunk]:
        """How a page was cut. Number and label together name it."""
        of_page = {"document_id": document_id, "page": page.number, "label": page.label}
        query = select(ChunkRow).filter_by(owner=owner, **of_page).order_by(ChunkRow.position)
        with self.database.session() as session:
            return [
                Chunk(row.position, row.text, row.start, row.end, row.page, row.heading, row.label)
                for row in session.scalars(query)
            ]

    def forget(self, owner: str, document_id: str) -> None:
        """Remove the rows of a document whose chunks are out of both indices."""
        with self.database.session() as session:
            for table in (ChunkRow, PageRow):
                session.execute(delete(table).filter_by(owner=owner, document_id=document_id))
            session.execute(delete(DocumentRow).filter_by(owner=owner, id=document_id))


def _require_name(name: str) -> None:
    if not 1 <= len(name) <= 80:
        raise ConfigurationError("A collection needs a name of 1 to 80 characters.", "Choose another name.")
