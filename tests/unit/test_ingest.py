"""The way in and out again: real database, real Chroma, words for an embedding model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import NoResultFound

from errors import ConfigurationError, DocumentTooLarge, EmptyDocument, PasswordRequired, StoreError
from rag.db import Database
from rag.documents import indexing as indexing_module
from rag.documents import ingest as ingest_module
from rag.documents.indexing import Indexing
from rag.documents.ingest import Ingest
from rag.documents.library import Library, Submitted
from rag.documents.loaders import load
from rag.documents.originals import Originals
from rag.index.collection import CollectionIndex
from rag.index.indexes import Indexes
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
    indexing: Indexing
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

    indexing = Indexing(
        library,
        Originals(uploads),
        Indexes(database),
        partial(CollectionIndex, database, store, lexical),
        {"embedded": embeddings, "other": WordEmbeddings(fingerprint="other", max_tokens=20)}.__getitem__,
        load,
        model="embedded",
        chunk_tokens=500,
        chunk_overlap=10,
    )
    ingest = Ingest(library, indexing.originals, indexing, max_bytes=100_000)
    collection = library.collection(ANN, create=True).id
    yield House(database, store, library, embeddings, ingest, indexing, collection, uploads)
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
    assert house.library.page(ANN, document.id, 0).text.startswith("Paragraph 0")  # type: ignore[union-attr]
    house.ingest.delete(ANN, document.id)
    assert house.traces(document.id) == (0, 0, 0, 0)
    assert list(house.uploads.iterdir()) == []
    assert house.library.document(ANN, document.id) is None
    house.ingest.delete(ANN, document.id)


def test_the_same_content_comes_once_and_failed_content_is_tried_again(house: House) -> None:
    first = house.add("a.txt", TEXT)
    again, outcome = house.ingest.submit(ANN, house.collection, "b.txt", TEXT)
    assert outcome is Submitted.DUPLICATE
    assert (again.id, again.name, again.chunks) == (first.id, "a.txt", first.chunks)
    broken = house.add("c.pdf", b"%PDF-1.4 nothing")
    assert broken.state is DocumentState.FAILED
    assert "c.pdf" in broken.reason
    retried, outcome = house.ingest.submit(ANN, house.collection, "c.pdf", b"%PDF-1.4 nothing")
    assert (retried.id, retried.state, outcome) == (broken.id, DocumentState.PENDING, Submitted.NEW)
    house.ingest.process(ANN, broken.id)
    house.ingest.retry(ANN, broken.id)
    house.ingest.retry(ANN, first.id)
    assert [d.id for _, d in house.library.in_states(DocumentState.PENDING)] == [broken.id]


def test_one_original_serves_two_collections(house: House) -> None:
    first = house.add("a.txt", TEXT)
    other = house.library.collection(ANN, "other", create=True).id
    second, outcome = house.ingest.submit(ANN, other, "a.txt", TEXT)
    assert outcome is Submitted.NEW
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
    monkeypatch.setattr(indexing_module, "BATCH", 8)
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
    [(_, waiting)] = house.library.in_states(DocumentState.PENDING)
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
    monkeypatch.setattr(indexing_module, "BATCH", 8)
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


# --- small documents, embedded together ---


@pytest.fixture
def small(house: House) -> list[DocumentRecord]:
    """Four that wait: three good ones, and a file that is broken."""
    contents = [b"The moon is wide.", b"%PDF-1.4 nothing", b"The sun is wider.", b"A pier is long."]
    return [house.ingest.submit(ANN, house.collection, f"{n}.txt", content)[0] for n, content in enumerate(contents)]


def states(house: House, documents: list[DocumentRecord]) -> str:
    """Of each the first letter."""
    found = [house.library.document(ANN, document.id) for document in documents]
    return "".join(document.state.value[0] if document else "-" for document in found)


def test_small_documents_are_embedded_together(house: House, small: list[DocumentRecord]) -> None:
    batches: list[list[str]] = []
    house.embeddings.before_batch = batches.append
    assert house.ingest.process_next() == 4
    assert states(house, small) == "rfrr"
    assert batches == [["The moon is wide.", "The sun is wider.", "A pier is long."]]
    assert [house.traces(small[n].id)[2:] for n in (0, 1, 2)] == [(1, 1), (0, 0), (1, 1)]
    assert house.ingest.process_next() == 0


def test_what_fails_together_is_tried_alone(house: House, small: list[DocumentRecord]) -> None:
    def choke(texts: list[str]) -> None:
        if "The sun is wider." in texts:
            raise RuntimeError("poison")

    house.embeddings.before_batch = choke
    house.ingest.process_next()
    assert states(house, small) == "rffr"
    assert "inside Gestalt" in house.library.document(ANN, small[2].id).reason  # type: ignore[union-attr]


def test_what_is_cancelled_or_deleted_among_others_stays_out(house: House, small: list[DocumentRecord]) -> None:
    def meanwhile(texts: list[str]) -> None:
        house.ingest.cancel(ANN, small[0].id)
        house.ingest.delete(ANN, small[2].id)

    house.embeddings.before_batch = meanwhile
    house.ingest.process_next()
    assert states(house, small) == "ff-r"
    assert house.traces(small[3].id)[:2] == (1, 1)


def test_what_was_cancelled_before_its_turn_is_not_read(
    house: House, small: list[DocumentRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = house.indexing.parse

    def cancel_the_last(*arguments: Any) -> Any:
        house.ingest.cancel(ANN, small[3].id)
        return parse(*arguments)

    monkeypatch.setattr(house.indexing, "parse", cancel_the_last)
    house.ingest.process_next()
    assert states(house, small) == "rfrf"


def test_only_small_documents_of_one_collection_wait_for_each_other(house: House) -> None:
    other = house.library.collection(ANN, "other", create=True).id
    large = b"The moon is wide. " * 3000
    for n, (where, content) in enumerate(
        [
            (house.collection, b"a"),
            (house.collection, b"b"),
            (other, b"c"),
            (other, large),
            (other, b"d"),
            (other, b"e"),
        ]
    ):
        house.ingest.submit(ANN, where, f"{n}.txt", content)
    assert [house.ingest.process_next() for _ in range(5)] == [2, 1, 1, 2, 0]


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
    queue = house.library.in_states

    def fail_once(*states: DocumentState) -> list[tuple[str, DocumentRecord]]:
        if not failed.is_set():
            failed.set()
            raise StoreError("disk full")
        return queue(*states)

    house.embeddings.before_batch = lambda texts: done.set()
    monkeypatch.setattr(house.ingest, "recover", lambda: None)
    monkeypatch.setattr(house.library, "in_states", fail_once)
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
    assert house.library.page("bob", document.id, 0) is None
    assert house.traces(document.id)[0] == document.chunks


# --- versions, places and second thoughts ---


def test_a_new_version_stays_beside_the_old_one(house: House) -> None:
    old = house.add("notes/a.txt", TEXT)
    document, outcome = house.ingest.submit(ANN, house.collection, "notes/a.txt", TEXT + b" More.")
    assert outcome is Submitted.VERSION
    done = house.ingest.process(ANN, document.id)
    assert done
    assert (done.state, done.version, done.title) == (DocumentState.READY, 2, "a.txt (version 2)")
    assert [d.id for d in house.library.same_path(ANN, house.collection, "notes/a.txt")] == [done.id, old.id]


def test_a_new_version_takes_the_place_of_the_old_one_and_embeds_what_changed(house: House) -> None:
    old = house.add("a.txt", TEXT)
    embedded: list[str] = []
    answering: list[int] = []

    def watch(texts: list[str]) -> None:
        embedded.extend(texts)
        answering.append(house.traces(old.id)[2])

    house.embeddings.before_batch = watch
    changed = TEXT.replace(b"ferry number 413", b"ferry number 999")
    document, outcome = house.ingest.submit(ANN, house.collection, "a.txt", changed, replace=True)
    done = house.ingest.process(ANN, document.id)
    assert done
    assert (outcome, done.state, done.version, done.replaces) == (Submitted.VERSION, DocumentState.READY, 1, None)
    assert 0 < len(embedded) <= 2
    assert answering == [old.chunks]  # the old one answered until the new one was ready
    assert house.library.document(ANN, old.id) is None
    assert house.traces(document.id) == (done.chunks, done.chunks, done.chunks, 1)
    assert len(list(house.uploads.iterdir())) == 1


def test_a_replacement_that_fails_leaves_the_old_version(house: House) -> None:
    old = house.add("a.pdf.txt", TEXT)
    document, _ = house.ingest.submit(ANN, house.collection, "a.pdf.txt", b"%PDF-1.4 broken", replace=True)
    failed = house.ingest.process(ANN, document.id)
    assert failed
    assert failed.state is DocumentState.FAILED
    kept = house.library.document(ANN, old.id)
    assert kept
    assert kept.state is DocumentState.READY


def test_a_replacement_that_a_kill_interrupted_is_finished_at_the_start(house: House) -> None:
    old = house.add("a.txt", TEXT)
    new = house.add("b.txt", TEXT + b" More.")
    house.library.update(ANN, new.id, replaces=old.id)
    house.ingest.recover()
    assert house.library.document(ANN, old.id) is None
    assert house.library.with_replaced() == []


def test_a_document_moves_with_its_vectors(house: House) -> None:
    document = house.add("a.txt", TEXT)
    other = house.library.collection(ANN, "other", create=True)
    house.embeddings.before_batch = lambda texts: pytest.fail("it was embedded again")
    house.ingest.move(ANN, document.id, other)
    [(_, waiting)] = house.library.due()
    done = house.ingest.process(ANN, waiting.id)
    assert done
    assert (done.state, done.collection_id) == (DocumentState.READY, other.id)
    assert house.library.documents(ANN, house.collection) == []
    assert house.store.count(house.collection, "words") == 0
    assert house.store.count(other.id, "words") == done.chunks
    house.embeddings.before_batch = lambda texts: None
    again = house.add("a.txt", TEXT)
    assert house.ingest.move(ANN, again.id, other) is Submitted.DUPLICATE
    assert house.library.documents(ANN, house.collection) == []


def test_a_document_is_cancelled_while_it_waits_and_while_it_is_read(house: House) -> None:
    waiting, _ = house.ingest.submit(ANN, house.collection, "a.txt", TEXT)
    house.ingest.cancel(ANN, waiting.id)
    cancelled = house.ingest.process(ANN, waiting.id)
    assert cancelled
    assert (cancelled.state, cancelled.reason_type) == (DocumentState.FAILED, "Cancelled")
    house.embeddings.before_batch = lambda texts: house.ingest.cancel(ANN, waiting.id)
    house.ingest.retry(ANN, waiting.id)
    cancelled = house.ingest.process(ANN, waiting.id)
    assert cancelled
    assert "cancelled" in cancelled.reason
    house.embeddings.before_batch = lambda texts: None
    house.ingest.retry(ANN, waiting.id)
    done = house.ingest.process(ANN, waiting.id)
    assert done
    assert house.traces(waiting.id) == (done.chunks, done.chunks, done.chunks, 1)


def test_what_may_pass_by_itself_is_tried_again_later_and_not_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(texts: list[str]) -> None:
        raise StoreError("The disk is full.", "Free some space.")

    house.embeddings.before_batch = full
    document = house.add("a.txt", TEXT)
    assert (document.state, document.attempts) == (DocumentState.PENDING, 1)
    assert "disk is full" in document.reason
    assert document.next_try
    assert house.library.due() == []
    for _ in range(ingest_module.ATTEMPTS - 1):
        house.library.update(ANN, document.id, next_try=None)
        [(_, due)] = house.library.due()
        house.ingest.process(ANN, due.id)
    failed = house.library.document(ANN, document.id)
    assert failed
    assert failed.state is DocumentState.FAILED


def test_a_password_is_asked_for_used_once_and_never_stored(house: House, tmp_path: Path) -> None:
    from pypdf import PdfWriter
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "plain.pdf"))
    canvas.drawString(72, 700, "The vault opens at noon.")
    canvas.save()
    writer = PdfWriter(clone_from=tmp_path / "plain.pdf")
    writer.encrypt("a-secret-password", algorithm="AES-256")
    writer.write(tmp_path / "locked.pdf")
    document = house.add("locked.pdf", (tmp_path / "locked.pdf").read_bytes())
    assert document.reason_type == PasswordRequired.__name__
    assert ingest_module.needs_password(document)
    house.ingest.retry(ANN, document.id, "wrong")
    assert house.ingest.process(ANN, document.id).reason_type == PasswordRequired.__name__  # type: ignore[union-attr]
    house.ingest.retry(ANN, document.id, "a-secret-password")
    done = house.ingest.process(ANN, document.id)
    assert done
    assert done.state is DocumentState.READY
    house.database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("test.db*"))
    assert b"a-secret-password" not in stored
    assert "a-secret-password" not in repr(house.ingest.__dict__)


def test_a_collection_goes_with_all_that_is_in_it(house: House) -> None:
    first = house.add("a.txt", TEXT)
    house.add("b.txt", b"Another text")
    house.ingest.delete_collection(ANN, house.collection)
    assert house.library.collections(ANN) == []
    assert house.traces(first.id) == (0, 0, 0, 0)
    assert list(house.uploads.iterdir()) == []
    assert house.library.collection(ANN, create=True).id != house.collection


def test_a_collection_whose_deletion_a_kill_interrupted_goes_at_the_start(house: House) -> None:
    house.add("a.txt", TEXT)
    house.library.mark_collection_deleting(ANN, house.collection)
    assert house.library.collections(ANN) == []
    house.ingest.recover()
    assert house.library.collections_being_deleted() == []
    assert list(house.uploads.iterdir()) == []


def test_collections_have_names_of_their_own(house: House) -> None:
    other = house.library.collection(ANN, " Field   notes ", create=True)
    assert other.name == "Field notes"
    for name in ("", "  ", "x" * 81, "My documents"):
        with pytest.raises(ConfigurationError):
            house.library.rename(ANN, other.id, name)
    house.library.rename(ANN, other.id, "Notes")
    assert [c.name for c in house.library.collections(ANN)] == ["My documents", "Notes"]


def test_documents_are_found_by_name_and_state_a_page_at_a_time(house: House) -> None:
    for name in ("b_1.txt", "a%.txt", "C.txt"):
        house.add(name, name.encode())
    house.add("broken.pdf", b"%PDF-1.4 nothing")
    find = partial(house.library.find, ANN, house.collection)
    found, total = find(order="name", descending=False, limit=2)
    assert ([d.name for d in found], total) == (["a%.txt", "b_1.txt"], 4)
    assert [d.name for d in find(order="name", descending=False, first=2)[0]] == ["broken.pdf", "C.txt"]
    assert [d.name for d in find(text="%")[0]] == ["a%.txt"]
    assert [d.name for d in find(states=[DocumentState.FAILED])[0]] == ["broken.pdf"]
    assert house.library.counts(ANN, house.collection) == {DocumentState.READY: 3, DocumentState.FAILED: 1}


# --- another embedding model ---


def rebuild(house: House) -> None:
    while house.indexing.rebuild_step():
        pass


def test_another_model_is_indexed_beside_the_old_one_and_swapped_when_it_is_complete(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing_module, "BATCH", 8)
    document = house.add("a.txt", TEXT)
    index = house.indexing.rebuild(ANN, house.collection, "other")
    assert index
    assert (index.active, index.wanted, index.identity["dimension"]) == (False, True, 256)
    assert house.indexing.rebuild_step()
    assert house.library.collection(ANN).fingerprint == "words"  # the old one goes on answering
    late = house.add("late.txt", b"A text that came while the other index was being built.")
    gone = house.add("gone.txt", b"A text that goes while the other index is being built.")
    house.ingest.delete(ANN, gone.id)
    house.indexing._done.clear()  # as after a kill: looked at again, not embedded again
    rebuild(house)
    assert house.library.collection(ANN).fingerprint == "other"
    assert house.store.count(house.collection, "other") == document.chunks + late.chunks
    assert [i.active for i in house.indexing.indexes.all(ANN, house.collection)] == [False, True]
    after = house.add("after.txt", b"This one is embedded by the new model.")
    assert house.store.count(house.collection, "other") == document.chunks + late.chunks + after.chunks
    with pytest.raises(ConfigurationError, match="in use"):
        house.indexing.drop_index(ANN, house.library.collection(ANN), "other")
    house.indexing.drop_index(ANN, house.library.collection(ANN), "words")
    assert house.store.count(house.collection, "words") == 0
    house.ingest.delete(ANN, document.id)
    assert house.store.count(house.collection, "other") == late.chunks + after.chunks


def test_indexing_again_by_the_model_that_answers_is_refused(house: House) -> None:
    assert house.indexing.rebuild(ANN, house.collection, "other") is None  # nothing is there yet
    house.add("a.txt", TEXT)
    with pytest.raises(ConfigurationError, match="already in use"):
        house.indexing.rebuild(ANN, house.collection, "embedded")
