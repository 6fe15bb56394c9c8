"""An ingestion that is killed midway, and checks after it.

The functions run in separate processes, so that each opens the stores again like a restart.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

from sqlalchemy import select, text

from rag.db import ChunkRow, DocumentRow, PageRow
from rag.documents import indexing
from rag.schema import DocumentState
from tests.ingest_environment import ANN, IngestEnvironment

DOCUMENTS = 2
BATCHES = 8
"""At least this many for all of them."""


def content(number: int, version: int = 1) -> bytes:
    """A document of about thirty chunks; its second version changes one paragraph."""
    paragraphs = [f"Document {number} tells in paragraph {i} of ferry {i * 7 + number}." for i in range(90)]
    if version > 1:
        paragraphs[40] = f"Document {number} was changed here."
    return "\n\n".join(paragraphs).encode()


def environment(folder: Path) -> IngestEnvironment:
    return IngestEnvironment(folder, chunk_tokens=40, chunk_overlap=5)


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
    env = environment(folder)
    batches = 0

    def count(texts: list[str]) -> None:
        nonlocal batches
        batches += 1
        if batches == batch:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

    env.embeddings.before_batch = count
    found.write_text(json.dumps(wrong(env)))
    env.ingest.recover()
    for number in range(first, first + DOCUMENTS):
        env.ingest.submit(ANN, env.collection, f"{number}.txt", content(number))
    finish(env)
    for number in range(first, first + DOCUMENTS):
        env.ingest.submit(ANN, env.collection, f"{number}.txt", content(number, 2), replace=True)
    finish(env)
    for document in env.library.same_path(ANN, env.collection, f"{first}.txt"):
        env.ingest.delete(ANN, document.id)


def finish(env: IngestEnvironment) -> None:
    while env.ingest.process_next():
        pass


def inspect(folder: Path, found: Path) -> None:
    """Write inconsistencies to `found` after a complete recovery."""
    env = environment(folder)
    env.ingest.recover()
    finish(env)
    waiting = env.library.in_states(*(set(DocumentState) - {DocumentState.READY}))
    lasting = [f"{document.name} is {document.state} for ever" for _, document in waiting]
    found.write_text(json.dumps(wrong(env) + leftovers(env) + lasting))


def wrong(env: IngestEnvironment) -> list[str]:
    """Inconsistencies that recovery could not repair. Unfinished documents may be incomplete."""
    with env.database.session() as session:
        documents = {row.id: row for row in session.scalars(select(DocumentRow))}
        chunks = {row.chunk_id: row for row in session.scalars(select(ChunkRow))}
        pages = {row.document_id for row in session.scalars(select(PageRow))}
        session.expunge_all()
    table = f"lexical_{env.collection}"
    with env.database.engine.connect() as connection:
        there = connection.execute(text("select 1 from sqlite_master where name = :name"), {"name": table}).first()
        words = set(connection.execute(text(f"select rowid from {table}")).scalars()) if there else set()
    vectors = env.store.all_ids(env.collection, "words")
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
        f"{row.name} lacks its original"
        for row in documents.values()
        if not env.indexing.originals.path(row.sha256).exists()
    ]
    return findings


def leftovers(env: IngestEnvironment) -> list[str]:
    """What recovery should have removed: orphaned originals and replaced documents."""
    with env.database.session() as session:
        rows = session.execute(select(DocumentRow.sha256, DocumentRow.path, DocumentRow.version)).all()
    paths = [(path, version) for _, path, version in rows]
    findings = [
        f"original {sha} is an orphan" for sha in env.indexing.originals if sha not in {row.sha256 for row in rows}
    ]
    return findings + [f"{path} exists twice" for path in set(paths) if paths.count(path) > 1]
