"""Check that database, vectors, full text and originals agree, and repair what does not.

Requires exclusive use of the data folder and a stopped worker, so that unfinished work is that of a killed process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute

from rag.db import ChunkRow, CollectionRow, Database, DocumentRow, IndexRow, PageRow
from rag.documents.ingest import Ingest
from rag.index.lexical import LexicalIndex
from rag.index.store import VectorStore
from rag.schema import DocumentRecord, DocumentState

BATCH = 10_000  # rows fetched at once
MAX_NAMES = 3  # documents named by a finding
_CHUNKS: dict[str, tuple[str, InstrumentedAttribute[Any]]] = {
    "words": ("no-words", ChunkRow.id),
    "meaning": ("no-vector", ChunkRow.chunk_id),
}
_INTACT = (DocumentState.READY, DocumentState.PENDING)
Documents = dict[str, DocumentRecord]  # those of a collection, by id


@dataclass(frozen=True, slots=True)
class Finding:
    """An inconsistency: its kind for scripts, a sentence, and the name of the collection if it is about one."""

    kind: str
    count: int
    text: str
    repair: Callable[[], str]  # returns a sentence on what was done; idempotent; may raise StoreError
    collection: str = ""
    documents: tuple[DocumentRecord, ...] = ()


class Integrity:
    """Checks a data folder, of all owners."""

    def __init__(self, database: Database, store: VectorStore, lexical: LexicalIndex, ingest: Ingest) -> None:
        self._database, self._store, self._lexical, self._ingest = database, store, lexical, ingest
        self._library, self._indexing, self._originals = ingest.library, ingest.indexing, ingest.originals

    def check(self) -> Iterator[Finding]:
        """Yield all findings without changing anything. May raise StoreError."""
        yield from self._unfinished()
        with self._database.session() as session:
            query = select(CollectionRow).filter_by(deleting=False).order_by(func.lower(CollectionRow.name))
            collections = session.scalars(query).all()
        for collection in collections:
            documents = {d.id: d for d in self._library.documents(collection.owner, collection.id)}
            yield from self._check_words(collection, documents)
            yield from self._check_vectors(collection, documents)
            yield from self._check_counts(collection, documents)
            lost = [d for d in documents.values() if d.state in _INTACT and not self._has_original(d)]
            yield from self._reread(collection, "no-original", lost, "without an original")
        yield from self._orphaned_originals()
        yield from self._orphaned_indexes()

    def _unfinished(self) -> Iterator[Finding]:
        def repair() -> str:
            self._ingest.recover()
            return "Documents were requeued, deletions finished."

        half_read = [d for _, d in self._library.in_states(DocumentState.INDEXING)]
        half_gone = [d for _, d in self._library.in_states(DocumentState.DELETING)]
        for kind, documents in (("half read", half_read), ("half deleted", half_gone)):
            if documents:
                sentence = f"{_number(documents, 'document')} left {kind}: {_names(documents)}."
                yield Finding(kind.replace(" ", "-"), len(documents), sentence, repair, "", tuple(documents))
        if marked := self._library.collections_being_deleted():
            sentence = f"{_number(marked, 'collection')} left half deleted."
            yield Finding("half-deleted", len(marked), sentence, repair)

    def _check_words(self, collection: CollectionRow, documents: Documents) -> Iterator[Finding]:
        with self._database.session() as session:
            found = self._lexical.ids(session, collection.id)
        yield from self._compare(collection, documents, found, "words")

        def remove() -> None:
            with self._database.session() as session:
                self._lexical.delete(session, collection.id, found)

        yield from _orphans("orphaned-words", found, "full-text row", "chunk", remove, collection.name)

    def _check_vectors(self, collection: CollectionRow, documents: Documents) -> Iterator[Finding]:
        # Vectors are written before rows; an unfinished document removes its own when it is processed again.
        unfinished = {d.id for d in documents.values() if d.state is not DocumentState.READY}
        indexes = self._indexing.indexes.all(collection.owner, collection.id)
        fingerprints = {index.fingerprint: index.active for index in indexes}
        if not any(fingerprints.values()):
            fingerprints[""] = True  # no active index: all vectors are missing
        for fingerprint, active in fingerprints.items():
            found = self._store.all_ids(collection.id, fingerprint)
            required = documents if active else {}  # other indexes are old or not complete yet
            yield from self._compare(collection, required, found, "meaning")
            orphans = [id_ for id_ in found if id_.partition(":")[0] not in unfinished]
            remove = partial(self._store.delete, collection.id, fingerprint, orphans)
            yield from _orphans("orphaned-vectors", orphans, "vector", "chunk", remove, collection.name)

    def _compare(self, collection: CollectionRow, documents: Documents, ids: set[Any], by: str) -> Iterator[Finding]:
        """Remove the chunks in the database from `ids`, and yield a finding if some of `documents` are not there."""
        kind, key = _CHUNKS[by]
        missing = Counter[str]()
        query = select(key, ChunkRow.document_id).filter_by(collection_id=collection.id)
        with self._database.session() as session:
            for id_, document_id in session.execute(query.execution_options(yield_per=BATCH)):
                if id_ in ids:
                    ids.remove(id_)
                else:
                    missing[document_id] += 1
        # Unfinished documents are processed again anyway.
        found = [documents[id_] for id_ in missing if id_ in documents and documents[id_].state is DocumentState.READY]
        chunks = sum(missing[document.id] for document in found)
        what = f"of which {chunks:,} of the chunks cannot be found by their {by}"
        yield from self._reread(collection, kind, found, what)

    def _check_counts(self, collection: CollectionRow, documents: Documents) -> Iterator[Finding]:
        counts = []
        mine = select(DocumentRow.id).filter_by(collection_id=collection.id)
        for table in (ChunkRow, PageRow):
            query = select(table.document_id, func.count()).where(table.document_id.in_(mine))
            with self._database.session() as session:
                counts.append(dict(session.execute(query.group_by(table.document_id)).all()))
        chunks, pages = counts
        ready = [document for document in documents.values() if document.state is DocumentState.READY]
        wrong = [d for d in ready if (d.chunks, d.pages) != (chunks.get(d.id, 0), pages.get(d.id, 0))]
        yield from self._reread(collection, "wrong-numbers", wrong, "with more or fewer pages or chunks than recorded")

    def _orphaned_originals(self) -> Iterator[Finding]:
        with self._database.session() as session:
            known = set(session.scalars(select(DocumentRow.sha256)))
        found = [sha256 for sha256 in self._originals if sha256 not in known]

        def remove() -> None:
            for sha256 in found:
                self._originals.remove(sha256)

        yield from _orphans("orphaned-originals", found, "original", "document", remove)

    def _orphaned_indexes(self) -> Iterator[Finding]:
        with self._database.session() as session:
            collections = set(session.scalars(select(CollectionRow.id)))
            tables = self._lexical.collections(session) - collections
            known = session.execute(select(IndexRow.collection_id, IndexRow.fingerprint)).all()
        names = self._store.orphans((collection_id, fingerprint) for collection_id, fingerprint in known)
        drop_vectors = partial(self._store.drop_orphans, names)

        def drop_words() -> None:
            with self._database.session() as session:
                for id_ in tables:
                    self._lexical.drop(session, id_)

        yield from _orphans("orphaned-vector-table", names, "vector table", "collection", drop_vectors)
        yield from _orphans("orphaned-word-table", tables, "full-text table", "collection", drop_words)

    def _reread(
        self, collection: CollectionRow, kind: str, documents: Sequence[DocumentRecord], what: str
    ) -> Iterator[Finding]:
        def repair() -> str:
            states = Counter(self._read_again(collection.owner, document) for document in documents)
            queued, failed = states[DocumentState.PENDING], states[DocumentState.FAILED]
            done = [f"{queued:,} put back into the queue."] if queued else []
            return " ".join([*done, f"{failed:,} marked as failed: add the files again."] if failed else done)

        if documents:
            sentence = f"“{collection.name}”: {_number(documents, 'document')} {what}: {_names(documents)}."
            yield Finding(kind, len(documents), sentence, repair, collection.name, tuple(documents))

    def _read_again(self, owner: str, document: DocumentRecord) -> DocumentState | None:
        with self._indexing.lock:
            current = self._library.document(owner, document.id)
            if current is None or current.state not in _INTACT:
                return None if current is None else current.state
            if not self._has_original(current):
                # Its rows are kept until the file is added again or the document deleted.
                reason = "Its original is gone. Add the file again."
                self._library.update(owner, current.id, state=DocumentState.FAILED, reason=reason, reason_type="")
                return DocumentState.FAILED
            with self._database.session() as session:
                last = session.scalar(select(func.max(ChunkRow.position)).filter_by(document_id=current.id))
            written = max(current.chunks, 0 if last is None else last + 1)
            self._indexing.remove(owner, replace(current, chunks=written))
            values: dict[str, Any] = {"progress": 0.0, "attempts": 0, "next_try": None}
            self._library.update(owner, current.id, state=DocumentState.PENDING, **values)
            return DocumentState.PENDING

    def _has_original(self, document: DocumentRecord) -> bool:
        return self._originals.path(document.sha256).is_file()


def _orphans(
    kind: str, items: Collection[Any], what: str, of: str, remove: Callable[[], None], collection: str = ""
) -> Iterator[Finding]:
    number = _number(items, what)

    def repair() -> str:
        remove()
        return f"{number} removed."

    if items:
        where = f"“{collection}”: " if collection else ""
        yield Finding(kind, len(items), f"{where}{number} of no {of}.", repair, collection)


def _number(items: Collection[Any], what: str) -> str:
    return f"{len(items):,} {what}{'' if len(items) == 1 else 's'}"


def _names(documents: Sequence[DocumentRecord]) -> str:
    more = f" and {len(documents) - MAX_NAMES:,} more" if len(documents) > MAX_NAMES else ""
    return ", ".join(f"“{document.title}”" for document in documents[:MAX_NAMES]) + more
