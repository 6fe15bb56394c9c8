"""What a process does that is killed in the middle of an ingestion, and what is found after it.

The functions run in processes of their own, so that each opens the stores anew, as a start after a kill does.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from functools import partial
from pathlib import Path

from sqlalchemy import select, text

from rag.db import ChunkRow, Database, DocumentRow, PageRow
from rag.documents import indexing
from rag.documents.indexing import Indexing
from rag.documents.ingest import Ingest
from rag.documents.library import Library
from rag.documents.loaders import load
from rag.documents.originals import Originals
from rag.index.collection import CollectionIndex
from rag.index.indexes import Indexes
from rag.index.lexical import LexicalIndex
from rag.index.store import VectorStore
from rag.schema import DocumentState
from tests.fake_embeddings import WordEmbeddings

ANN = "ann"
DOCUMENTS = 2
BATCHES = 8
"""That these are embedded in, at least."""


def content(number: int, version: int = 1) -> bytes:
    """A document of about thirty chunks; its second version changes one paragraph."""
    paragraphs = [f"Document {number} tells in paragraph {i} of ferry {i * 7 + number}." for i in range(90)]
    if version > 1:
        paragraphs[40] = f"Document {number} was changed here."
    return "\n\n".join(paragraphs).encode()


class House:
    """The way in over one data folder."""

    def __init__(self, folder: Path) -> None:
        (folder / "uploads").mkdir(parents=True, exist_ok=True)
        self.database = Database(folder / "test.db")
        self.store = VectorStore(folder / "chroma")
        self.lexical = LexicalIndex(self.database)
        self.library = Library(self.database)
        self.originals = Originals(folder / "uploads")
        self.embeddings = WordEmbeddings()
        into = Indexing(
            self.library,
            self.originals,
            Indexes(self.database),
            partial(CollectionIndex, self.database, self.store, self.lexical),
            lambda name: self.embeddings,
            load,
            model="embedded",
            chunk_tokens=40,
            chunk_overlap=5,
        )
        self.ingest = Ingest(self.library, self.originals, into, max_bytes=1_000_000)
        self.collection = self.library.collection(ANN, create=True).id


def work(folder: Path, found: Path, first: int, batch: int | None = None, delay: float = 0.0) -> None:
    """Write inconsistencies to `found`, recover, add documents, replace them, and delete one.

    Args:
        folder: the data folder.
        found: gets a list of sentences, as JSON.
        first: number of the first document.
        batch: the process gets a SIGKILL after so many batches were embedded, if given.
        delay: seconds after that batch.
    """
    indexing.BATCH = 8  # several steps a document
    house = House(folder)
    batches = 0

    def count(texts: list[str]) -> None:
        nonlocal batches
        batches += 1
        if batches == batch:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

    house.embeddings.before_batch = count
    found.write_text(json.dumps(wrong(house)))
    house.ingest.recover()
    for number in range(first, first + DOCUMENTS):
        house.ingest.submit(ANN, house.collection, f"{number}.txt", content(number))
    finish(house)
    for number in range(first, first + DOCUMENTS):
        house.ingest.submit(ANN, house.collection, f"{number}.txt", content(number, 2), replace=True)
    finish(house)
    for document in house.library.same_path(ANN, house.collection, f"{first}.txt"):
        house.ingest.delete(ANN, document.id)


def finish(house: House) -> None:
    while house.ingest.process_next():
        pass


def inspect(folder: Path, found: Path) -> None:
    """Write inconsistencies to `found` after a complete recovery."""
    house = House(folder)
    house.ingest.recover()
    finish(house)
    waiting = house.library.in_states(*(set(DocumentState) - {DocumentState.READY}))
    lasting = [f"{document.name} is {document.state} for ever" for _, document in waiting]
    found.write_text(json.dumps(wrong(house) + leftovers(house) + lasting))


def wrong(house: House) -> list[str]:
    """Inconsistencies that recovery could not repair. Unfinished documents may be incomplete."""
    with house.database.session() as session:
        documents = {row.id: row for row in session.scalars(select(DocumentRow))}
        chunks = {row.chunk_id: row for row in session.scalars(select(ChunkRow))}
        pages = {row.document_id for row in session.scalars(select(PageRow))}
        session.expunge_all()
    table = f"lexical_{house.collection}"
    with house.database.engine.connect() as connection:
        there = connection.execute(text("select 1 from sqlite_master where name = :name"), {"name": table}).first()
        words = set(connection.execute(text(f"select rowid from {table}")).scalars()) if there else set()
    vectors = house.store.all_ids(house.collection, "words")
    ready = {id_ for id_, row in documents.items() if row.state == DocumentState.READY}
    open_ = set(documents) - ready
    findings = [f"{id_} has no vector" for id_ in set(chunks) - vectors]
    findings += [f"row {row} has words and no chunk" for row in words - {c.id for c in chunks.values()}]
    findings += [f"{c.chunk_id} has no words" for c in chunks.values() if c.id not in words]
    findings += [
        f"vector {id_} is an orphan"
        for id_ in vectors - set(chunks)
        if id_.split(":")[0] not in open_  # of a document that is being written, vectors come first
    ]
    for id_ in ready:
        mine = [chunk for chunk in chunks.values() if chunk.document_id == id_]
        if len(mine) != documents[id_].chunks or id_ not in pages:
            findings.append(f"{documents[id_].name} is ready with {len(mine)} of {documents[id_].chunks} chunks")
    findings += [
        f"{row.name} lacks its original" for row in documents.values() if not house.originals.path(row.sha256).exists()
    ]
    return findings


def leftovers(house: House) -> list[str]:
    """What recovery should have removed: orphaned originals and replaced documents."""
    with house.database.session() as session:
        rows = session.execute(select(DocumentRow.sha256, DocumentRow.path, DocumentRow.version)).all()
    paths = [(path, version) for _, path, version in rows]
    findings = [f"original {sha} is an orphan" for sha in house.originals if sha not in {row.sha256 for row in rows}]
    return findings + [f"{path} exists twice" for path in set(paths) if paths.count(path) > 1]
