"""The rows of collections, documents and pages. A document goes pending -> indexing -> ready | failed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Delete, Select, Update, delete, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError

from errors import ConfigurationError
from rag.db import ChunkRow, CollectionRow, Database, DocumentRow, PageRow, now
from rag.schema import Chunk, CollectionRecord, DocumentRecord, DocumentState, Page

DEFAULT_COLLECTION = "My documents"
_UPDATE = update(DocumentRow).execution_options(synchronize_session=False)


class Submitted(StrEnum):
    """The result of adding a file to a collection."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the collection already has this content
    VERSION = "version"  # new content under a known path


def _document(row: DocumentRow) -> DocumentRecord:
    values = {field.name: getattr(row, field.name) for field in fields(DocumentRecord)}
    return DocumentRecord(**values | {"state": DocumentState(row.state), "warnings": tuple(row.warnings)})


def _collection(row: CollectionRow) -> CollectionRecord:
    return CollectionRecord(row.id, row.name, row.fingerprint)


class Library:
    """Collections, documents and pages in the database, by owner."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def _execute(self, statement: Update | Delete) -> int:
        """Return the number of rows that it changed."""
        with self.database.session() as session:
            return session.execute(statement).rowcount  # type: ignore[attr-defined, no-any-return] # a cursor's result

    def collections(self, owner: str) -> list[CollectionRecord]:
        """Return the collections of `owner` by name, without those of conversations' attachments."""
        query = select(CollectionRow).filter_by(owner=owner, deleting=False, conversation_id=None)
        query = query.order_by(func.lower(CollectionRow.name))
        with self.database.session() as session:
            return [_collection(row) for row in session.scalars(query)]

    def collection(self, owner: str, name: str = DEFAULT_COLLECTION, *, create: bool = False) -> CollectionRecord:
        """Return a collection by name; `create` makes a missing one. Raises ConfigurationError."""
        name = " ".join(name.split())
        if create:
            _require_name(name)
        found = self._find_or_add({"owner": owner, "name": name}, name if create else "")
        if found is None:
            raise ConfigurationError(
                f"There is no collection called “{name}”.", "Add a document to it first, or correct the name."
            )
        return found

    def attached(self, owner: str, conversation_id: str, *, create: bool = False) -> CollectionRecord | None:
        """Return the collection of the files attached to a conversation; `create` makes a missing one."""
        name = f"Files of chat {conversation_id}" if create else ""  # not shown, but has to be unique
        return self._find_or_add({"owner": owner, "conversation_id": conversation_id}, name)

    def _find_or_add(self, key: dict[str, str], new_name: str) -> CollectionRecord | None:
        """Return the collection with these columns; a name makes a missing one."""
        query = select(CollectionRow).filter_by(**key, deleting=False)
        with self.database.session() as session:
            row = session.scalar(query)
            if row is None and new_name:
                # Safe if two requests do this at once.
                session.execute(insert(CollectionRow).values(**key | {"name": new_name}).on_conflict_do_nothing())
                row = session.scalar(query)
            return _collection(row) if row else None

    def rename(self, owner: str, collection_id: str, name: str) -> None:
        """Rename a collection, or raise ConfigurationError if the name is empty, too long or taken."""
        name = " ".join(name.split())
        _require_name(name)
        try:
            self._execute(update(CollectionRow).filter_by(owner=owner, id=collection_id).values(name=name))
        except IntegrityError:
            raise ConfigurationError(
                f"There is a collection called “{name}” already.", "Choose another name."
            ) from None

    def mark_collection_deleting(self, owner: str, collection_id: str) -> None:
        """Hide a collection that is to be deleted, and free its name."""
        mine = update(CollectionRow).filter_by(owner=owner, id=collection_id)
        self._execute(mine.values(deleting=True, name=collection_id))

    def collections_being_deleted(self) -> list[tuple[str, CollectionRecord]]:
        """Return `(owner, collection)` of the collections marked for deletion."""
        with self.database.session() as session:
            rows = session.scalars(select(CollectionRow).filter_by(deleting=True))
            return [(row.owner, _collection(row)) for row in rows]

    def remove_collection(self, owner: str, collection_id: str) -> None:
        """Delete the row of a collection whose documents and indices are deleted."""
        self._execute(delete(CollectionRow).filter_by(owner=owner, id=collection_id))

    def enqueue(
        self, owner: str, collection_id: str, path: str, sha256: str, size: int, *, replaces: str | None = None
    ) -> tuple[DocumentRecord, Submitted]:
        """Add a pending row, or reset a failed document's; `replaces` is the id of what to delete when it is ready."""
        name = path.rsplit("/", 1)[-1]
        with self.database.session() as session:
            session.scalars(select(CollectionRow.id).filter_by(owner=owner, id=collection_id)).one()
            mine = select(DocumentRow).filter_by(owner=owner, collection_id=collection_id)
            similar = session.scalars(mine.where(or_(DocumentRow.sha256 == sha256, DocumentRow.path == path))).all()
            row = next((row for row in similar if row.sha256 == sha256), None)
            if row is not None and row.state != DocumentState.FAILED:
                return _document(row), Submitted.DUPLICATE
            others = [other for other in similar if other is not row]
            if row is None:
                row = DocumentRow(owner=owner, collection_id=collection_id, sha256=sha256, size=size)
                session.add(row)
            row.name, row.path, row.state, row.reason, row.reason_type = name, path, DocumentState.PENDING, "", ""
            row.progress, row.attempts, row.next_try, row.replaces = 0.0, 0, None, replaces
            row.version = 1 if replaces else 1 + max((other.version for other in others), default=0)
            session.flush()
            return _document(row), Submitted.VERSION if others else Submitted.NEW

    def same_path(self, owner: str, collection_id: str, path: str) -> list[DocumentRecord]:
        """Return the documents added under a path, newest version first."""
        query = select(DocumentRow).filter_by(owner=owner, collection_id=collection_id, path=path)
        query = query.where(DocumentRow.state != DocumentState.DELETING)
        return self._documents(query.order_by(DocumentRow.version.desc(), DocumentRow.created.desc()))

    def documents(self, owner: str, collection_id: str) -> list[DocumentRecord]:
        """Return the documents of a collection, newest first."""
        query = select(DocumentRow).filter_by(owner=owner, collection_id=collection_id)
        return self._documents(query.order_by(DocumentRow.created.desc(), DocumentRow.name))

    def _documents(self, query: Select[DocumentRow]) -> list[DocumentRecord]:
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
        """Return `limit` documents of a collection from the `first` match, and the total number of matches.

        `text` is part of the path in any case, `order` a column (created, name, state, pages, chunks or size).
        """
        matches: list[ColumnElement[bool]] = [DocumentRow.owner == owner, DocumentRow.collection_id == collection_id]
        if text.strip():
            matches.append(DocumentRow.path.icontains(text.strip(), autoescape=True))
        if states:
            matches.append(DocumentRow.state.in_(states))
        column = getattr(DocumentRow, order) if order != "name" else func.lower(DocumentRow.name)
        query = select(DocumentRow).where(*matches).order_by(column.desc() if descending else column, DocumentRow.id)
        with self.database.session() as session:
            total = session.scalar(select(func.count()).select_from(DocumentRow).where(*matches)) or 0
            return [_document(row) for row in session.scalars(query.offset(first).limit(limit))], total

    def counts(self, owner: str, collection_id: str) -> dict[DocumentState, int]:
        """Return the number of documents of a collection by state, without zeros."""
        query = select(DocumentRow.state, func.count()).filter_by(owner=owner, collection_id=collection_id)
        with self.database.session() as session:
            rows = session.execute(query.group_by(DocumentRow.state))
            return {DocumentState(state): number for state, number in rows}

    def document(self, owner: str, document_id: str) -> DocumentRecord | None:
        """Return a document, None if it does not exist."""
        query = select(DocumentRow).filter_by(owner=owner, id=document_id)
        return next(iter(self._documents(query)), None)

    def update(self, owner: str, document_id: str, *, only: DocumentState | None = None, **values: Any) -> bool:
        """Set columns of a document's row, if given `only` in that state; return whether it was updated."""
        query = _UPDATE.filter_by(owner=owner, id=document_id)
        return self._execute((query.filter_by(state=only) if only else query).values(**values)) > 0

    def count(self, owner: str, collection_id: str, state: DocumentState) -> int:
        """Return the number of documents of a collection in `state`."""
        return self.counts(owner, collection_id).get(state, 0)

    def ready(self, owner: str, collection_id: str) -> int:
        """Return how many documents of a collection can be searched."""
        return self.count(owner, collection_id, DocumentState.READY)

    def in_states(self, *states: DocumentState) -> list[tuple[str, DocumentRecord]]:
        """Return `(owner, document)` of every document in one of `states`, oldest first."""
        return self._owned(select(DocumentRow).where(DocumentRow.state.in_(states)))

    def due(self, limit: int | None = None) -> list[tuple[str, DocumentRecord]]:
        """Return `(owner, document)` of pending documents whose next attempt is due, oldest first."""
        waited = or_(DocumentRow.next_try.is_(None), DocumentRow.next_try <= now())
        return self._owned(select(DocumentRow).where(DocumentRow.state == DocumentState.PENDING, waited), limit)

    def with_replaced(self) -> list[tuple[str, DocumentRecord]]:
        """Return `(owner, document)` of every ready document whose replaced one is not deleted yet."""
        ready = DocumentRow.state == DocumentState.READY
        return self._owned(select(DocumentRow).where(ready, DocumentRow.replaces.is_not(None)))

    def _owned(self, query: Select[DocumentRow], limit: int | None = None) -> list[tuple[str, DocumentRecord]]:
        with self.database.session() as session:
            rows = session.scalars(query.order_by(DocumentRow.created).limit(limit))
            return [(row.owner, _document(row)) for row in rows]

    def being_indexed(self, owner: str, document_ids: Collection[str]) -> set[str]:
        """Return those of these documents that are being indexed, and so not cancelled or deleted."""
        query = select(DocumentRow.id).filter_by(owner=owner, state=DocumentState.INDEXING)
        with self.database.session() as session:
            return set(session.scalars(query.where(DocumentRow.id.in_(document_ids))))

    def all_hashes(self) -> set[str]:
        """Return the sha256 of every document of every owner."""
        with self.database.session() as session:
            return set(session.scalars(select(DocumentRow.sha256)))

    def is_in_use(self, sha256: str) -> bool:
        """Whether any document of any owner has this content."""
        with self.database.session() as session:
            return session.scalar(select(DocumentRow.id).filter_by(sha256=sha256).limit(1)) is not None

    def set_pages(self, owner: str, document_id: str, pages: Sequence[Page], **values: Any) -> None:
        """Replace a document's pages, and set columns of its row."""
        with self.database.session() as session:
            session.execute(_UPDATE.filter_by(owner=owner, id=document_id).values(pages=len(pages), **values))
            session.execute(delete(PageRow).filter_by(owner=owner, document_id=document_id))
            key = {"owner": owner, "document_id": document_id}
            if rows := [key | {"position": position} | asdict(page) for position, page in enumerate(pages)]:
                session.execute(insert(PageRow), rows)

    def page(self, owner: str, document_id: str, position: int) -> Page | None:
        """Return the page at a position (from 0), or None."""
        with self.database.session() as session:
            row = session.scalar(select(PageRow).filter_by(owner=owner, document_id=document_id, position=position))
            return Page(row.text, row.number, row.label) if row else None

    def find_page(self, owner: str, document_id: str, number: int | None, label: str) -> tuple[int, Page] | None:
        """Return the page with this number and label, and its position (from 0), or None."""
        query = select(PageRow).filter_by(owner=owner, document_id=document_id, number=number, label=label)
        with self.database.session() as session:
            row = session.scalar(query.order_by(PageRow.position).limit(1))
            return (row.position, Page(row.text, row.number, row.label)) if row else None

    def chunks(self, owner: str, document_id: str, page: Page) -> list[Chunk]:
        """Return the chunks of a page."""
        of_page = {"document_id": document_id, "page": page.number, "label": page.label}
        query = select(ChunkRow).filter_by(owner=owner, **of_page).order_by(ChunkRow.position)
        with self.database.session() as session:
            rows = session.scalars(query)
            return [Chunk(r.position, r.text, r.start, r.end, r.page, r.heading, r.label) for r in rows]

    def remove(self, owner: str, document_id: str) -> None:
        """Delete the rows of a document that is no longer in any index."""
        with self.database.session() as session:
            for table in (ChunkRow, PageRow):
                session.execute(delete(table).filter_by(owner=owner, document_id=document_id))
            session.execute(delete(DocumentRow).filter_by(owner=owner, id=document_id))


def _require_name(name: str) -> None:
    if not 1 <= len(name) <= 80:
        raise ConfigurationError("The name of a collection must have 1 to 80 characters.", "Choose another name.")
