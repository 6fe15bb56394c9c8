"""The way in and out again: real database, real Chroma, words for an embedding model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import NoResultFound

from errors import DocumentTooLarge, EmbeddingMismatch, EmptyDocument, StoreError
from rag.db import Database
from rag.documents import ingest as ingest_module
from rag.documents.ingest import Ingest
from rag.documents.library import Library
from rag.index.collection import CollectionIndex
from rag.index.lexical import LexicalIndex
from rag.index.store import VectorStore
from rag.schema import DocumentRecord, DocumentState
from tests.fake_embeddings import WordEmbeddings

ANN = "ann"
TEXT = "\n\n".join(f"Paragraph {i} tells of ferry number {i * 7} and its {i * 3} lamps." for i in range(60)).encode()


@dataclass
class House:
    """One data folder and what works on it."""

    database: Database
    store: VectorStore
    library: Library
    embeddings: WordEmbeddings
    ingest: Ingest
    collection: str
    uploads: Path

    def add(self, name: str, content: bytes) -> DocumentRecord:
        document, _ = self.ingest.submit(ANN, self.collection, name, content)
        done = self.ingest.process(ANN, document.id)
        assert done
        return done

    def traces(self, document_id: str) -> tuple[int, int, int, int]:
        """Vectors, full-text rows, chunk rows and page rows."""
        with self.database.engine.connect() as connection:
            table = connection.execute(text(f"select name from sqlite_master where name='lexical_{self.collection}'"))
            lexical = f"select count(*) from lexical_{self.collection}" if table.first() else "select 0"
            counts = [connection.execute(text(lexical)).scalar_one()]
            for name in ("chunks", "pages"):
                query = text(f"select count(*) from {name} where document_id = :id")
                counts.append(connection.execute(query, {"id": document_id}).scalar_one())
        return (self.store.count(self.collection, "words"), *counts)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    database = Database(tmp_path / "test.db")
    store, lexical, library, embeddings = (
        VectorStore(tmp_path / "chroma"),
        LexicalIndex(database),
        Library(database),
        WordEmbeddings(),
    )

    open_index = partial(CollectionIndex, database, store, lexical)
    ingest = Ingest(library, uploads, open_index, embeddings, max_bytes=100_000, chunk_tokens=500, chunk_overlap=10)
    collection = library.collection(ANN, create=True).id
    yield House(database, store, library, embeddings, ingest, collection, uploads)
    ingest.close()
    store.close()
    database.close()


def test_a_document_goes_in_and_out_without_a_trace(house: House) -> None:
    told: list[float] = []
    document, _ = house.ingest.submit(ANN, house.collection, "a.txt", TEXT)
    done = house.ingest.process(ANN, document.id, told.append)
    assert done
    assert (done.state, done.pages, done.progress, done.reason) == (DocumentState.READY, 1, 1.0, "")
    assert done.chunks > 20
    assert told == sorted(told)
    assert house.traces(document.id) == (done.chunks, done.chunks, done.chunks, 1)
    assert house.library.page_text(ANN, document.id, None).startswith("Paragraph 0")
    house.ingest.delete(ANN, document.id)
    assert house.traces(document.id) == (0, 0, 0, 0)
    assert list(house.uploads.iterdir()) == []
    assert house.library.document(ANN, document.id) is None
    house.ingest.delete(ANN, document.id)


def test_the_same_content_comes_once_and_failed_content_is_tried_again(house: House) -> None:
    first = house.add("a.txt", TEXT)
    again, duplicate = house.ingest.submit(ANN, house.collection, "b.txt", TEXT)
    assert duplicate
    assert (again.id, again.name, again.chunks) == (first.id, "a.txt", first.chunks)
    broken = house.add("c.pdf", b"%PDF-1.4 nothing")
    assert broken.state is DocumentState.FAILED
    assert "c.pdf" in broken.reason
    retried, duplicate = house.ingest.submit(ANN, house.collection, "c.pdf", b"%PDF-1.4 nothing")
    assert (retried.id, retried.state, duplicate) == (broken.id, DocumentState.PENDING, False)
    house.ingest.process(ANN, broken.id)
    house.ingest.retry(ANN, broken.id)
    house.ingest.retry(ANN, first.id)
    assert [d.id for _, d in house.library.in_state(DocumentState.PENDING)] == [broken.id]


def test_one_original_serves_two_collections(house: House) -> None:
    first = house.add("a.txt", TEXT)
    other = house.library.collection(ANN, "other", create=True).id
    second, duplicate = house.ingest.submit(ANN, other, "a.txt", TEXT)
    assert not duplicate
    assert len(list(house.uploads.iterdir())) == 1
    house.ingest.delete(ANN, first.id)
    assert len(list(house.uploads.iterdir())) == 1
    house.ingest.delete(ANN, second.id)
    assert list(house.uploads.iterdir()) == []


def test_what_cannot_be_taken_is_refused_with_a_reason(house: House) -> None:
    with pytest.raises(EmptyDocument, match="empty file"):
        house.ingest.submit(ANN, house.collection, "a.txt", b"")
    with pytest.raises(DocumentTooLarge, match="limit"):
        house.ingest.submit(ANN, house.collection, "a.txt", b"x" * 100_001)
    assert house.library.documents(ANN, house.collection) == []
    assert house.add("blank.txt", b" \n ").state is DocumentState.FAILED


def test_a_path_in_a_name_stays_outside(house: House) -> None:
    assert house.add("../../etc/passwd.txt", b"a text").name == "passwd.txt"
    assert house.add("C:\\docs\\b.txt", b"another text").name == "b.txt"


def test_a_kill_in_the_middle_is_done_again_without_orphans(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "BATCH", 8)
    batches = 0

    class Killed(BaseException):
        pass

    def kill(texts: list[str]) -> None:
        nonlocal batches
        batches += 1
        if batches == 3:
            raise Killed

    house.embeddings.before_batch = kill
    document, _ = house.ingest.submit(ANN, house.collection, "a.txt", TEXT)
    with pytest.raises(Killed):
        house.ingest.process(ANN, document.id)
    assert house.traces(document.id)[0] == 16
    (house.uploads / "abc.partial").write_bytes(b"half an upload")
    # The next process cuts longer chunks: fewer of them, so that ids of the first attempt would be left over.
    house.embeddings.before_batch = lambda texts: None
    house.embeddings.max_tokens = 200
    house.ingest.recover()
    assert len(list(house.uploads.iterdir())) == 1
    [(_, waiting)] = house.library.in_state(DocumentState.PENDING)
    done = house.ingest.process(ANN, waiting.id)
    assert done
    assert done.state is DocumentState.READY
    assert house.traces(document.id) == (done.chunks, done.chunks, done.chunks, 1)


def test_a_delete_that_a_kill_interrupted_is_finished_at_the_start(house: House) -> None:
    document = house.add("a.txt", TEXT)
    house.library.update(ANN, document.id, state=DocumentState.DELETING)
    house.ingest.recover()
    assert house.traces(document.id) == (0, 0, 0, 0)


def test_a_delete_while_it_is_being_read_wins(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "BATCH", 8)
    batches = 0

    def delete(texts: list[str]) -> None:
        nonlocal batches
        batches += 1
        if batches == 3:
            house.ingest.delete(ANN, document.id)

    house.embeddings.before_batch = delete
    document, _ = house.ingest.submit(ANN, house.collection, "a.txt", TEXT)
    assert house.ingest.process(ANN, document.id) is None
    assert house.traces(document.id) == (0, 0, 0, 0)


def test_the_worker_takes_what_is_waiting_and_goes_on_after_a_failure(house: House) -> None:
    done = threading.Event()
    house.embeddings.before_batch = lambda texts: done.set() if "last" in texts[0] else None
    for name, content in (("a.pdf", b"%PDF-1.4 broken"), ("b.txt", b"the last one")):
        house.ingest.submit(ANN, house.collection, name, content)
    house.ingest.start()
    assert done.wait(10)
    house.ingest.close()
    states = {d.name: d.state for d in house.library.documents(ANN, house.collection)}
    assert states == {"a.pdf": DocumentState.FAILED, "b.txt": DocumentState.READY}


def test_a_bug_leaves_a_reference_and_no_traceback(house: House) -> None:
    def bug(texts: list[str]) -> None:
        raise ZeroDivisionError("secret detail")

    house.embeddings.before_batch = bug
    failed = house.add("a.txt", TEXT)
    assert failed.state is DocumentState.FAILED
    assert "the log has it under" in failed.reason
    assert "secret" not in failed.reason


def test_another_embedding_model_is_refused_by_name(house: House) -> None:
    house.add("a.txt", TEXT)
    house.embeddings.fingerprint = "others"
    failed = house.add("b.txt", b"some other text")
    assert failed.state is DocumentState.FAILED
    assert "another embedding model" in failed.reason
    with pytest.raises(EmbeddingMismatch, match="My documents"):
        house.library.claim(ANN, house.collection, "others")


def test_a_document_leaves_also_after_the_embedding_model_changed(house: House) -> None:
    document = house.add("a.txt", TEXT)
    house.embeddings.fingerprint = "others"
    house.library.update(ANN, document.id, state=DocumentState.DELETING)
    house.ingest.recover()
    assert house.traces(document.id) == (0, 0, 0, 0)


def test_the_worker_survives_a_database_that_fails_and_takes_the_document_up_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, _ = house.ingest.submit(ANN, house.collection, "a.txt", TEXT)
    house.library.update(ANN, document.id, state=DocumentState.INDEXING)
    failed, done = threading.Event(), threading.Event()
    queue = house.library.in_state

    def fail_once(*states: DocumentState) -> list[tuple[str, DocumentRecord]]:
        if not failed.is_set():
            failed.set()
            raise StoreError("disk full")
        return queue(*states)

    house.embeddings.before_batch = lambda texts: done.set()
    monkeypatch.setattr(house.ingest, "recover", lambda: None)
    monkeypatch.setattr(house.library, "in_state", fail_once)
    house.ingest.start()
    assert failed.wait(5)
    house.ingest.wake()
    assert done.wait(10)


def test_a_disk_that_cannot_be_written_is_told(house: House) -> None:
    house.uploads.rmdir()
    with pytest.raises(StoreError, match=r"“a\.txt” could not be stored"):
        house.ingest.submit(ANN, house.collection, "a.txt", TEXT)


def test_nothing_of_another_owner_is_seen_or_touched(house: House) -> None:
    document = house.add("a.txt", TEXT)
    assert house.library.documents("bob", house.collection) == []
    assert house.library.document("bob", document.id) is None
    house.ingest.delete("bob", document.id)
    assert house.ingest.process("bob", document.id) is None
    with pytest.raises(NoResultFound):
        house.ingest.submit("bob", house.collection, "b.txt", b"his")
    assert house.library.page_text("bob", document.id, None) == ""
    assert house.traces(document.id)[0] == document.chunks
