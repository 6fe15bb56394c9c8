"""Whether the database, the vectors, the words and the originals agree, and how they are made to.

It holds the ids of one index of one collection at a time, never its texts. Whoever asks has the data folder alone, and
no worker takes from the queue meanwhile: what is half done then was left so by a kill.
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

BATCH = 10_000  # rows that are fetched at once
NAMES = 3  # documents that a finding names
_SOUND = (DocumentState.READY, DocumentState.PENDING)
Documents = dict[str, DocumentRecord]
"""Of one collection, by id."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A way in which the parts of the library disagree."""

    kind: str
    """For scripts."""
    count: int
    text: str
    """A sentence."""
    mend: Callable[[], str]
    """Makes them agree, and says in a sentence what was done. Can be repeated. Raises StoreError."""
    collection: str = ""
    """Its name; empty where it is gone, or where it is about none."""
    documents: tuple[DocumentRecord, ...] = ()


class Integrity:
    """Looks at everything in a data folder, of all owners."""

    def __init__(self, database: Database, store: VectorStore, lexical: LexicalIndex, ingest: Ingest) -> None:
        self._database, self._store, self._lexical, self._ingest = database, store, lexical, ingest
        self._library, self._indexing, self._originals = ingest.library, ingest.indexing, ingest.originals

    def check(self) -> Iterator[Finding]:
        """What disagrees; nothing is changed.

        Raises:
            StoreError: the database or an index cannot be read.
        """
        yield from self._unfinished()
        with self._database.session() as session:
            query = select(CollectionRow).filter_by(deleting=False).order_by(func.lower(CollectionRow.name))
            collections = session.scalars(query).all()
        for collection in collections:
            documents = {d.id: d for d in self._library.documents(collection.owner, collection.id)}
            yield from self._words(collection, documents)
            yield from self._vectors(collection, documents)
            yield from self._numbers(collection, documents)
            lost = [d for d in documents.values() if d.state in _SOUND and not self._has_original(d)]
            yield from self._to_read(collection, "no-original", lost, "without an original")
        yield from self._orphaned_originals()
        yield from self._orphaned_indexes()

    def _unfinished(self) -> Iterator[Finding]:
        def mend() -> str:
            self._ingest.recover()
            return "Documents are back in the queue, deletions are finished."

        half_read = [d for _, d in self._library.in_state(DocumentState.INDEXING)]
        half_gone = [d for _, d in self._library.in_state(DocumentState.DELETING)]
        for kind, documents in (("half read", half_read), ("half deleted", half_gone)):
            if documents:
                sentence = f"{_number(documents, 'document')} left {kind}: {_names(documents)}."
                yield Finding(kind.replace(" ", "-"), len(documents), sentence, mend, "", tuple(documents))
        if marked := self._library.marked_collections():
            sentence = f"{_number(marked, 'collection')} left half deleted."
            yield Finding("half-deleted", len(marked), sentence, mend)

    # --- a collection: its rows against its words and its vectors ---

    def _words(self, collection: CollectionRow, documents: Documents) -> Iterator[Finding]:
        with self._database.session() as session:
            there = self._lexical.ids(session, collection.id)
        missing = self._compare(collection.id, ChunkRow.id, there)
        yield from self._lacking(collection, documents, missing, "no-words", "cannot be found by their words")

        def remove() -> None:
            with self._database.session() as session:
                self._lexical.delete(session, collection.id, there)

        yield from _orphans("orphaned-words", there, "full-text row", "chunk", remove, collection.name)

    def _vectors(self, collection: CollectionRow, documents: Documents) -> Iterator[Finding]:
        # A document on its way has vectors before it has rows, and takes them out itself when it goes on.
        open_ones = {d.id for d in documents.values() if d.state is not DocumentState.READY}
        indexes = self._indexing.indexes.all(collection.owner, collection.id)
        fingerprints = {index.fingerprint: index.active for index in indexes}
        if not any(fingerprints.values()):
            fingerprints[""] = True  # none answers: all chunks lack a vector that does
        for fingerprint, answers in fingerprints.items():
            there = self._store.all_ids(collection.id, fingerprint)
            missing = self._compare(collection.id, ChunkRow.chunk_id, there)
            if answers:  # another one is old, or not complete yet
                what = "cannot be found by their meaning"
                yield from self._lacking(collection, documents, missing, "no-vector", what)
            orphans = [id_ for id_ in there if id_.partition(":")[0] not in open_ones]
            remove = partial(self._store.delete, collection.id, fingerprint, orphans)
            yield from _orphans("orphaned-vectors", orphans, "vector", "chunk", remove, collection.name)

    def _compare(self, collection_id: str, key: InstrumentedAttribute[Any], there: set[Any]) -> Counter[str]:
        """How many chunks of each document are not `there`; those that are, are taken out of it."""
        missing = Counter[str]()
        query = select(key, ChunkRow.document_id).filter_by(collection_id=collection_id)
        with self._database.session() as session:
            for id_, document_id in session.execute(query.execution_options(yield_per=BATCH)):
                if id_ in there:
                    there.remove(id_)
                else:
                    missing[document_id] += 1
        return missing

    def _lacking(
        self, collection: CollectionRow, documents: Documents, missing: Counter[str], kind: str, what: str
    ) -> Iterator[Finding]:
        # What is not ready was not finished, and is read again from its start.
        found = [documents[id_] for id_ in missing if id_ in documents and documents[id_].state is DocumentState.READY]
        chunks = sum(missing[document.id] for document in found)
        yield from self._to_read(collection, kind, found, f"of which {chunks:,} of the chunks {what}")

    def _numbers(self, collection: CollectionRow, documents: Documents) -> Iterator[Finding]:
        there = []
        mine = select(DocumentRow.id).filter_by(collection_id=collection.id)
        for table in (ChunkRow, PageRow):
            query = select(table.document_id, func.count()).where(table.document_id.in_(mine))
            with self._database.session() as session:
                there.append(dict(session.execute(query.group_by(table.document_id)).all()))
        chunks, pages = there
        ready = [document for document in documents.values() if document.state is DocumentState.READY]
        wrong = [d for d in ready if (d.chunks, d.pages) != (chunks.get(d.id, 0), pages.get(d.id, 0))]
        yield from self._to_read(collection, "wrong-numbers", wrong, "with more or fewer pages or chunks than noted")

    # --- what is there for nobody ---

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

    # --- documents that are to be read again ---

    def _to_read(
        self, collection: CollectionRow, kind: str, documents: Sequence[DocumentRecord], what: str
    ) -> Iterator[Finding]:
        def mend() -> str:
            states = Counter(self._read_again(collection.owner, document) for document in documents)
            queued, failed = states[DocumentState.PENDING], states[DocumentState.FAILED]
            done = [f"{queued:,} put back into the queue."] if queued else []
            return " ".join([*done, f"{failed:,} marked as failed: add the files again."] if failed else done)

        if documents:
            sentence = f"“{collection.name}”: {_number(documents, 'document')} {what}: {_names(documents)}."
            yield Finding(kind, len(documents), sentence, mend, collection.name, tuple(documents))

    def _read_again(self, owner: str, document: DocumentRecord) -> DocumentState | None:
        with self._indexing.lock:
            now = self._library.document(owner, document.id)
            if now is None or now.state not in _SOUND:
                return None if now is None else now.state
            if not self._has_original(now):
                # What is known of it stays, out of sight, until the file is added again or the document deleted.
                reason = "Its original is gone. Add the file again."
                self._library.update(owner, now.id, state=DocumentState.FAILED, reason=reason, reason_type="")
                return DocumentState.FAILED
            with self._database.session() as session:
                last = session.scalar(select(func.max(ChunkRow.position)).filter_by(document_id=now.id))
            written = max(now.chunks, 0 if last is None else last + 1)
            self._indexing.remove(owner, replace(now, chunks=written))
            self._library.update(owner, now.id, state=DocumentState.PENDING, progress=0.0, attempts=0, next_try=None)
            return DocumentState.PENDING

    def _has_original(self, document: DocumentRecord) -> bool:
        return self._originals.path(document.sha256).is_file()


def _orphans(
    kind: str, items: Collection[Any], what: str, of: str, remove: Callable[[], None], collection: str = ""
) -> Iterator[Finding]:
    number = _number(items, what)

    def mend() -> str:
        remove()
        return f"{number} removed."

    if items:
        where = f"“{collection}”: " if collection else ""
        yield Finding(kind, len(items), f"{where}{number} of no {of}.", mend, collection)


def _number(items: Collection[Any], what: str) -> str:
    return f"{len(items):,} {what}{'' if len(items) == 1 else 's'}"


def _names(documents: Sequence[DocumentRecord]) -> str:
    more = f" and {len(documents) - NAMES:,} more" if len(documents) > NAMES else ""
    return ", ".join(f"“{document.title}”" for document in documents[:NAMES]) + more
