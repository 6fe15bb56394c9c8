"""Adding, processing and deleting documents."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import NoResultFound

from errors import ConfigurationError, DocumentTooLarge, EmptyDocument, PasswordRequired, StoreError
from rag.documents import indexing as indexing_module
from rag.documents import ingest as ingest_module
from rag.documents.library import Submitted
from rag.schema import DocumentRecord, DocumentState
from tests.ingest_environment import ANN, IngestEnvironment

TEXT = "\n\n".join(f"Paragraph {i} tells of ferry number {i * 7} and its {i * 3} lamps." for i in range(60)).encode()


class Environment(IngestEnvironment):
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
def env(tmp_path: Path) -> Iterator[Environment]:
    env = Environment(tmp_path, chunk_tokens=500, chunk_overlap=10, max_bytes=100_000)
    yield env
    env.close()


def test_add_and_delete_a_document(env: Environment) -> None:
    reported: list[float] = []
    document, _ = env.ingest.submit(ANN, env.collection, "a.txt", TEXT)
    done = env.ingest.process(ANN, document.id, reported.append)
    assert done
    assert (done.state, done.pages, done.progress, done.reason) == (DocumentState.READY, 1, 1.0, "")
    assert done.chunks > 20
    assert reported == sorted(reported)
    assert env.traces(document.id) == (done.chunks, done.chunks, done.chunks, 1)
    assert env.library.page(ANN, document.id, 0).text.startswith("Paragraph 0")  # type: ignore[union-attr]
    env.ingest.delete(ANN, document.id)
    assert env.traces(document.id) == (0, 0, 0, 0)
    assert list(env.uploads.iterdir()) == []
    assert env.library.document(ANN, document.id) is None
    env.ingest.delete(ANN, document.id)


def test_duplicates_are_skipped_and_failures_retried(env: Environment) -> None:
    first = env.add("a.txt", TEXT)
    again, outcome = env.ingest.submit(ANN, env.collection, "b.txt", TEXT)
    assert outcome is Submitted.DUPLICATE
    assert (again.id, again.name, again.chunks) == (first.id, "a.txt", first.chunks)
    broken = env.add("c.pdf", b"%PDF-1.4 nothing")
    assert broken.state is DocumentState.FAILED
    assert "c.pdf" in broken.reason
    retried, outcome = env.ingest.submit(ANN, env.collection, "c.pdf", b"%PDF-1.4 nothing")
    assert (retried.id, retried.state, outcome) == (broken.id, DocumentState.PENDING, Submitted.NEW)
    env.ingest.process(ANN, broken.id)
    env.ingest.retry(ANN, broken.id)
    env.ingest.retry(ANN, first.id)
    assert [d.id for _, d in env.library.in_states(DocumentState.PENDING)] == [broken.id]


def test_two_collections_share_an_original(env: Environment) -> None:
    first = env.add("a.txt", TEXT)
    other = env.library.collection(ANN, "other", create=True).id
    second, outcome = env.ingest.submit(ANN, other, "a.txt", TEXT)
    assert outcome is Submitted.NEW
    assert len(list(env.uploads.iterdir())) == 1
    env.ingest.delete(ANN, first.id)
    assert len(list(env.uploads.iterdir())) == 1
    env.ingest.delete(ANN, second.id)
    assert list(env.uploads.iterdir()) == []


def test_empty_and_large_files_are_rejected(env: Environment) -> None:
    with pytest.raises(EmptyDocument, match="empty file"):
        env.ingest.submit(ANN, env.collection, "a.txt", b"")
    with pytest.raises(DocumentTooLarge, match="limit"):
        env.ingest.submit(ANN, env.collection, "a.txt", b"x" * 100_001)
    assert env.library.documents(ANN, env.collection) == []
    assert env.add("blank.txt", b" \n ").state is DocumentState.FAILED


def test_paths_in_names_are_sanitised(env: Environment) -> None:
    assert env.add("../../etc/passwd.txt", b"a text").name == "passwd.txt"
    assert env.add("C:\\docs\\b.txt", b"another text").name == "b.txt"


def test_interrupted_document_leaves_no_orphans(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing_module, "BATCH", 8)
    batches = 0

    class Killed(BaseException):
        pass

    def kill(texts: list[str]) -> None:
        nonlocal batches
        batches += 1
        if batches == 3:
            raise Killed

    env.embeddings.before_batch = kill
    document, _ = env.ingest.submit(ANN, env.collection, "a.txt", TEXT)
    with pytest.raises(Killed):
        env.ingest.process(ANN, document.id)
    assert env.traces(document.id)[0] == 16
    (env.uploads / "abc.partial").write_bytes(b"half an upload")
    # The next process makes longer and so fewer chunks; ids of the first attempt must not remain.
    env.embeddings.before_batch = lambda texts: None
    env.embeddings.max_tokens = 200
    env.ingest.recover()
    assert len(list(env.uploads.iterdir())) == 1
    [(_, waiting)] = env.library.in_states(DocumentState.PENDING)
    done = env.ingest.process(ANN, waiting.id)
    assert done
    assert done.state is DocumentState.READY
    assert env.traces(document.id) == (done.chunks, done.chunks, done.chunks, 1)


def test_interrupted_delete_is_finished(env: Environment) -> None:
    document = env.add("a.txt", TEXT)
    env.library.update(ANN, document.id, state=DocumentState.DELETING)
    env.ingest.recover()
    assert env.traces(document.id) == (0, 0, 0, 0)


def test_delete_during_processing(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing_module, "BATCH", 8)
    batches = 0

    def delete(texts: list[str]) -> None:
        nonlocal batches
        batches += 1
        if batches == 3:
            env.ingest.delete(ANN, document.id)

    env.embeddings.before_batch = delete
    document, _ = env.ingest.submit(ANN, env.collection, "a.txt", TEXT)
    assert env.ingest.process(ANN, document.id) is None
    assert env.traces(document.id) == (0, 0, 0, 0)


# --- small documents, embedded together ---


@pytest.fixture
def small(env: Environment) -> list[DocumentRecord]:
    """Four pending documents, one of them broken."""
    contents = [b"The moon is wide.", b"%PDF-1.4 nothing", b"The sun is wider.", b"A pier is long."]
    return [env.ingest.submit(ANN, env.collection, f"{n}.txt", content)[0] for n, content in enumerate(contents)]


def states(env: Environment, documents: list[DocumentRecord]) -> str:
    """Return the first letters of the states."""
    found = [env.library.document(ANN, document.id) for document in documents]
    return "".join(document.state.value[0] if document else "-" for document in found)


def test_small_documents_are_embedded_together(env: Environment, small: list[DocumentRecord]) -> None:
    batches: list[list[str]] = []
    env.embeddings.before_batch = batches.append
    assert env.ingest.process_next() == 4
    assert states(env, small) == "rfrr"
    assert batches == [["The moon is wide.", "The sun is wider.", "A pier is long."]]
    assert [env.traces(small[n].id)[2:] for n in (0, 1, 2)] == [(1, 1), (0, 0), (1, 1)]
    assert env.ingest.process_next() == 0


def test_failed_batch_is_retried_one_by_one(env: Environment, small: list[DocumentRecord]) -> None:
    def choke(texts: list[str]) -> None:
        if "The sun is wider." in texts:
            raise RuntimeError("poison")

    env.embeddings.before_batch = choke
    env.ingest.process_next()
    assert states(env, small) == "rffr"
    assert "inside Gestalt" in env.library.document(ANN, small[2].id).reason  # type: ignore[union-attr]


def test_cancel_and_delete_within_a_batch(env: Environment, small: list[DocumentRecord]) -> None:
    def meanwhile(texts: list[str]) -> None:
        env.ingest.cancel(ANN, small[0].id)
        env.ingest.delete(ANN, small[2].id)

    env.embeddings.before_batch = meanwhile
    env.ingest.process_next()
    assert states(env, small) == "ff-r"
    assert env.traces(small[3].id)[:2] == (1, 1)


def test_document_cancelled_before_its_turn_is_not_read(
    env: Environment, small: list[DocumentRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = env.indexing.parse

    def cancel_the_last(*arguments: Any) -> Any:
        env.ingest.cancel(ANN, small[3].id)
        return parse(*arguments)

    monkeypatch.setattr(env.indexing, "parse", cancel_the_last)
    env.ingest.process_next()
    assert states(env, small) == "rfrf"


def test_only_small_documents_of_one_collection_are_batched(env: Environment) -> None:
    other = env.library.collection(ANN, "other", create=True).id
    large = b"The moon is wide. " * 3000
    for n, content in enumerate([b"a", b"b", b"c", large, b"d", b"e"]):
        env.ingest.submit(ANN, env.collection if n < 2 else other, f"{n}.txt", content)
    assert [env.ingest.process_next() for _ in range(5)] == [2, 1, 1, 2, 0]


def test_worker_continues_after_a_failure(env: Environment) -> None:
    done = threading.Event()
    env.embeddings.before_batch = lambda texts: done.set() if "last" in texts[0] else None
    for name, content in (("a.pdf", b"%PDF-1.4 broken"), ("b.txt", b"the last one")):
        env.ingest.submit(ANN, env.collection, name, content)
    env.ingest.start()
    assert done.wait(10)
    env.ingest.close()
    states = {d.name: d.state for d in env.library.documents(ANN, env.collection)}
    assert states == {"a.pdf": DocumentState.FAILED, "b.txt": DocumentState.READY}


def test_bug_is_reported_by_reference(env: Environment) -> None:
    def bug(texts: list[str]) -> None:
        raise ZeroDivisionError("secret detail")

    env.embeddings.before_batch = bug
    failed = env.add("a.txt", TEXT)
    assert failed.state is DocumentState.FAILED
    assert "the log has it under" in failed.reason
    assert "secret" not in failed.reason


def test_changed_embedding_model_is_reported(env: Environment) -> None:
    env.add("a.txt", TEXT)
    env.embeddings.fingerprint = "others"
    failed = env.add("b.txt", b"some other text")
    assert failed.state is DocumentState.FAILED
    assert "another embedding model" in failed.reason


def test_delete_after_the_embedding_model_changed(env: Environment) -> None:
    document = env.add("a.txt", TEXT)
    env.embeddings.fingerprint = "others"
    env.library.update(ANN, document.id, state=DocumentState.DELETING)
    env.ingest.recover()
    assert env.traces(document.id) == (0, 0, 0, 0)


def test_worker_recovers_from_a_database_failure(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    document, _ = env.ingest.submit(ANN, env.collection, "a.txt", TEXT)
    env.library.update(ANN, document.id, state=DocumentState.INDEXING)
    failed, done = threading.Event(), threading.Event()
    queue = env.library.in_states

    def fail_once(*states: DocumentState) -> list[tuple[str, DocumentRecord]]:
        if not failed.is_set():
            failed.set()
            raise StoreError("disk full")
        return queue(*states)

    env.embeddings.before_batch = lambda texts: done.set()
    monkeypatch.setattr(env.ingest, "recover", lambda: None)
    monkeypatch.setattr(env.library, "in_states", fail_once)
    env.ingest.start()
    assert failed.wait(5)
    env.ingest.wake()
    assert done.wait(10)


def test_unwritable_disk_is_reported(env: Environment) -> None:
    env.uploads.rmdir()
    with pytest.raises(StoreError, match=r"“a\.txt” could not be stored"):
        env.ingest.submit(ANN, env.collection, "a.txt", TEXT)


def test_owners_are_isolated(env: Environment) -> None:
    document = env.add("a.txt", TEXT)
    assert env.library.documents("bob", env.collection) == []
    assert env.library.document("bob", document.id) is None
    env.ingest.delete("bob", document.id)
    assert env.ingest.process("bob", document.id) is None
    with pytest.raises(NoResultFound):
        env.ingest.submit("bob", env.collection, "b.txt", b"his")
    assert env.library.page("bob", document.id, 0) is None
    assert env.traces(document.id)[0] == document.chunks


# --- versions, places and second thoughts ---


def test_new_version_is_kept_with_the_old_one(env: Environment) -> None:
    old = env.add("notes/a.txt", TEXT)
    document, outcome = env.ingest.submit(ANN, env.collection, "notes/a.txt", TEXT + b" More.")
    assert outcome is Submitted.VERSION
    done = env.ingest.process(ANN, document.id)
    assert done
    assert (done.state, done.version, done.title) == (DocumentState.READY, 2, "a.txt (version 2)")
    assert [d.id for d in env.library.same_path(ANN, env.collection, "notes/a.txt")] == [done.id, old.id]


def test_replacement_embeds_only_changes(env: Environment) -> None:
    old = env.add("a.txt", TEXT)
    embedded: list[str] = []
    answering: list[int] = []

    def watch(texts: list[str]) -> None:
        embedded.extend(texts)
        answering.append(env.traces(old.id)[2])

    env.embeddings.before_batch = watch
    changed = TEXT.replace(b"ferry number 413", b"ferry number 999")
    document, outcome = env.ingest.submit(ANN, env.collection, "a.txt", changed, replace=True)
    done = env.ingest.process(ANN, document.id)
    assert done
    assert (outcome, done.state, done.version, done.replaces) == (Submitted.VERSION, DocumentState.READY, 1, None)
    assert 0 < len(embedded) <= 2
    assert answering == [old.chunks]  # the old one answered until the new one was ready
    assert env.library.document(ANN, old.id) is None
    assert env.traces(document.id) == (done.chunks, done.chunks, done.chunks, 1)
    assert len(list(env.uploads.iterdir())) == 1


def test_failed_replacement_keeps_the_old_version(env: Environment) -> None:
    old = env.add("a.pdf.txt", TEXT)
    document, _ = env.ingest.submit(ANN, env.collection, "a.pdf.txt", b"%PDF-1.4 broken", replace=True)
    failed = env.ingest.process(ANN, document.id)
    assert failed
    assert failed.state is DocumentState.FAILED
    kept = env.library.document(ANN, old.id)
    assert kept
    assert kept.state is DocumentState.READY


def test_interrupted_replacement_is_finished(env: Environment) -> None:
    old = env.add("a.txt", TEXT)
    new = env.add("b.txt", TEXT + b" More.")
    env.library.update(ANN, new.id, replaces=old.id)
    env.ingest.recover()
    assert env.library.document(ANN, old.id) is None
    assert env.library.with_replaced() == []


def test_move_keeps_vectors(env: Environment) -> None:
    document = env.add("a.txt", TEXT)
    other = env.library.collection(ANN, "other", create=True)
    env.embeddings.before_batch = lambda texts: pytest.fail("it was embedded again")
    env.ingest.move(ANN, document.id, other)
    [(_, waiting)] = env.library.due()
    done = env.ingest.process(ANN, waiting.id)
    assert done
    assert (done.state, done.collection_id) == (DocumentState.READY, other.id)
    assert env.library.documents(ANN, env.collection) == []
    assert env.store.count(env.collection, "words") == 0
    assert env.store.count(other.id, "words") == done.chunks
    env.embeddings.before_batch = lambda texts: None
    again = env.add("a.txt", TEXT)
    assert env.ingest.move(ANN, again.id, other) is Submitted.DUPLICATE
    assert env.library.documents(ANN, env.collection) == []


def test_cancel_while_waiting_and_reading(env: Environment) -> None:
    waiting, _ = env.ingest.submit(ANN, env.collection, "a.txt", TEXT)
    env.ingest.cancel(ANN, waiting.id)
    cancelled = env.ingest.process(ANN, waiting.id)
    assert cancelled
    assert (cancelled.state, cancelled.reason_type) == (DocumentState.FAILED, "Cancelled")
    env.embeddings.before_batch = lambda texts: env.ingest.cancel(ANN, waiting.id)
    env.ingest.retry(ANN, waiting.id)
    cancelled = env.ingest.process(ANN, waiting.id)
    assert cancelled
    assert "cancelled" in cancelled.reason
    env.embeddings.before_batch = lambda texts: None
    env.ingest.retry(ANN, waiting.id)
    done = env.ingest.process(ANN, waiting.id)
    assert done
    assert env.traces(waiting.id) == (done.chunks, done.chunks, done.chunks, 1)


def test_temporary_failures_are_retried_a_few_times(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(texts: list[str]) -> None:
        raise StoreError("The disk is full.", "Free some space.")

    env.embeddings.before_batch = full
    document = env.add("a.txt", TEXT)
    assert (document.state, document.attempts) == (DocumentState.PENDING, 1)
    assert "disk is full" in document.reason
    assert document.next_try
    assert env.library.due() == []
    for _ in range(ingest_module.ATTEMPTS - 1):
        env.library.update(ANN, document.id, next_try=None)
        [(_, due)] = env.library.due()
        env.ingest.process(ANN, due.id)
    failed = env.library.document(ANN, document.id)
    assert failed
    assert failed.state is DocumentState.FAILED


def test_password_is_used_once_and_not_stored(env: Environment, tmp_path: Path) -> None:
    from pypdf import PdfWriter
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "plain.pdf"))
    canvas.drawString(72, 700, "The vault opens at noon.")
    canvas.save()
    writer = PdfWriter(clone_from=tmp_path / "plain.pdf")
    writer.encrypt("a-secret-password", algorithm="AES-256")
    writer.write(tmp_path / "locked.pdf")
    document = env.add("locked.pdf", (tmp_path / "locked.pdf").read_bytes())
    assert document.reason_type == PasswordRequired.__name__
    assert ingest_module.needs_password(document)
    env.ingest.retry(ANN, document.id, "wrong")
    assert env.ingest.process(ANN, document.id).reason_type == PasswordRequired.__name__  # type: ignore[union-attr]
    env.ingest.retry(ANN, document.id, "a-secret-password")
    done = env.ingest.process(ANN, document.id)
    assert done
    assert done.state is DocumentState.READY
    env.database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("test.db*"))
    assert b"a-secret-password" not in stored
    assert "a-secret-password" not in repr(env.ingest.__dict__)


def test_delete_collection(env: Environment) -> None:
    first = env.add("a.txt", TEXT)
    env.add("b.txt", b"Another text")
    env.ingest.delete_collection(ANN, env.collection)
    assert env.library.collections(ANN) == []
    assert env.traces(first.id) == (0, 0, 0, 0)
    assert list(env.uploads.iterdir()) == []
    assert env.library.collection(ANN, create=True).id != env.collection


def test_interrupted_deletion_of_a_collection_is_finished(env: Environment) -> None:
    env.add("a.txt", TEXT)
    env.library.mark_collection_deleting(ANN, env.collection)
    assert env.library.collections(ANN) == []
    env.ingest.recover()
    assert env.library.collections_being_deleted() == []
    assert list(env.uploads.iterdir()) == []


def test_collection_names_are_unique(env: Environment) -> None:
    other = env.library.collection(ANN, " Field   notes ", create=True)
    assert other.name == "Field notes"
    for name in ("", "  ", "x" * 81, "My documents"):
        with pytest.raises(ConfigurationError):
            env.library.rename(ANN, other.id, name)
    env.library.rename(ANN, other.id, "Notes")
    assert [c.name for c in env.library.collections(ANN)] == ["My documents", "Notes"]


def test_find_documents(env: Environment) -> None:
    for name in ("b_1.txt", "a%.txt", "C.txt"):
        env.add(name, name.encode())
    env.add("broken.pdf", b"%PDF-1.4 nothing")
    find = partial(env.library.find, ANN, env.collection)
    found, total = find(order="name", descending=False, limit=2)
    assert ([d.name for d in found], total) == (["a%.txt", "b_1.txt"], 4)
    assert [d.name for d in find(order="name", descending=False, first=2)[0]] == ["broken.pdf", "C.txt"]
    assert [d.name for d in find(text="%")[0]] == ["a%.txt"]
    assert [d.name for d in find(states=[DocumentState.FAILED])[0]] == ["broken.pdf"]
    assert env.library.counts(ANN, env.collection) == {DocumentState.READY: 3, DocumentState.FAILED: 1}


# --- another embedding model ---


def rebuild(env: Environment) -> None:
    while env.indexing.rebuild_step():
        pass


def test_rebuild_with_another_model(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing_module, "BATCH", 8)
    document = env.add("a.txt", TEXT)
    index = env.indexing.rebuild(ANN, env.collection, "other")
    assert index
    assert (index.active, index.wanted, index.identity["dimension"]) == (False, True, 256)
    assert env.indexing.rebuild_step()
    assert env.library.collection(ANN).fingerprint == "words"  # the old one goes on answering
    late = env.add("late.txt", b"A text that came while the other index was being built.")
    gone = env.add("gone.txt", b"A text that goes while the other index is being built.")
    env.ingest.delete(ANN, gone.id)
    env.indexing._done.clear()  # as after a kill: looked at again, not embedded again
    rebuild(env)
    assert env.library.collection(ANN).fingerprint == "other"
    assert env.store.count(env.collection, "other") == document.chunks + late.chunks
    assert [i.active for i in env.indexing.indexes.all(ANN, env.collection)] == [False, True]
    after = env.add("after.txt", b"This one is embedded by the new model.")
    assert env.store.count(env.collection, "other") == document.chunks + late.chunks + after.chunks
    with pytest.raises(ConfigurationError, match="in use"):
        env.indexing.drop_index(ANN, env.library.collection(ANN), "other")
    env.indexing.drop_index(ANN, env.library.collection(ANN), "words")
    assert env.store.count(env.collection, "words") == 0
    env.ingest.delete(ANN, document.id)
    assert env.store.count(env.collection, "other") == late.chunks + after.chunks


def test_rebuild_with_the_active_model_is_rejected(env: Environment) -> None:
    assert env.indexing.rebuild(ANN, env.collection, "other") is None  # nothing is there yet
    env.add("a.txt", TEXT)
    with pytest.raises(ConfigurationError, match="already in use"):
        env.indexing.rebuild(ANN, env.collection, "embedded")
