"""Each kind of inconsistency: made, found and repaired."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from rag.schema import LOCAL_OWNER, DocumentRecord, DocumentState
from tests.conftest import PIER, FakeServices

MOON = b"The moon is 3474 kilometres wide."
Kinds = list[tuple[str, int]]


def sql(services: FakeServices, statement: str, **values: object) -> None:
    with services.database.session() as session:
        session.execute(text(statement), values)


def kinds(services: FakeServices) -> Kinds:
    return [(finding.kind, finding.count) for finding in services.check()]


def repair(services: FakeServices) -> str:
    return " ".join(finding.repair() for finding in list(services.check()))


def fingerprint(services: FakeServices) -> str:
    return services.embeddings.get().fingerprint


@pytest.fixture
def pier(services: FakeServices) -> DocumentRecord:
    services.put("moon.txt", MOON)
    return services.put("pier.md", PIER)


def test_no_findings_in_a_consistent_library(services: FakeServices) -> None:
    assert kinds(services) == []
    services.put("pier.md", PIER)
    services.put("broken.pdf", b"%PDF-1.4 broken")
    services.library.collection(LOCAL_OWNER, "empty", create=True)
    other = services.library.collection(LOCAL_OWNER, "other", create=True)
    services.ingest.submit(LOCAL_OWNER, other.id, "pier.md", PIER)
    assert kinds(services) == []


def lose_a_vector(services: FakeServices, pier: DocumentRecord) -> None:
    services.store.delete(pier.collection_id, fingerprint(services), [f"{pier.id}:0"])


def lose_all_vectors(services: FakeServices, pier: DocumentRecord) -> None:
    services.store.drop(pier.collection_id)


def lose_words(services: FakeServices, pier: DocumentRecord) -> None:
    sql(services, f"DELETE FROM lexical_{pier.collection_id} WHERE rowid = 2")


def lose_all_words(services: FakeServices, pier: DocumentRecord) -> None:
    sql(services, f"DROP TABLE lexical_{pier.collection_id}")


def lose_chunks(services: FakeServices, pier: DocumentRecord) -> None:
    sql(services, "DELETE FROM chunks WHERE document_id = :id", id=pier.id)


def lose_pages(services: FakeServices, pier: DocumentRecord) -> None:
    sql(services, "DELETE FROM pages WHERE document_id = :id", id=pier.id)


def forget_the_number(services: FakeServices, pier: DocumentRecord) -> None:
    services.library.update(LOCAL_OWNER, pier.id, chunks=0)


LOSSES: list[tuple[Callable[[FakeServices, DocumentRecord], None], Kinds]] = [
    (lose_a_vector, [("no-vector", 1)]),
    (lose_all_vectors, [("no-vector", 2)]),
    (lose_words, [("no-words", 1)]),
    (lose_all_words, [("no-words", 2)]),
    (lose_chunks, [("orphaned-words", 1), ("orphaned-vectors", 1), ("wrong-numbers", 1)]),
    (lose_pages, [("wrong-numbers", 1)]),
    (forget_the_number, [("wrong-numbers", 1)]),
]


@pytest.mark.parametrize(("lose", "found"), LOSSES, ids=[lose.__name__ for lose, _ in LOSSES])
def test_incomplete_document_is_read_again(
    services: FakeServices,
    pier: DocumentRecord,
    lose: Callable[[FakeServices, DocumentRecord], None],
    found: Kinds,
) -> None:
    lose(services, pier)
    assert kinds(services) == found
    assert any("“pier.md”" in finding.text for finding in services.check())
    assert "back into the queue" in repair(services)
    assert kinds(services) == []
    waiting = services.library.due()
    assert pier.id in {document.id for _, document in waiting}
    for owner, document in waiting:
        assert services.ingest.process(owner, document.id)
    assert services.library.ready(LOCAL_OWNER, pier.collection_id) == 2
    assert kinds(services) == []
    retrieval = services.searching.retrieve(LOCAL_OWNER, "How long is the pier?", services.settings.answer)
    assert retrieval.passages[0].document_id == pier.id


def test_document_without_original_fails_until_added_again(services: FakeServices, pier: DocumentRecord) -> None:
    (services.folder.uploads / pier.sha256).unlink()
    assert kinds(services) == [("no-original", 1)]
    assert "add the files again" in repair(services)
    failed = services.library.document(LOCAL_OWNER, pier.id)
    assert failed
    assert (failed.state, failed.reason) == (DocumentState.FAILED, "Its original is gone. Add the file again.")
    assert kinds(services) == []
    assert services.put("pier.md", PIER).state is DocumentState.READY
    assert kinds(services) == []


def test_orphaned_vectors_and_words_are_removed(services: FakeServices, pier: DocumentRecord) -> None:
    vector = services.embeddings.get().embed_query("ghost")
    services.store.add(pier.collection_id, fingerprint(services), ["ghost:0", f"{pier.id}:7"], [vector, vector])
    sql(services, f"INSERT INTO lexical_{pier.collection_id} (rowid, text) VALUES (99, 'ghost')")
    assert kinds(services) == [("orphaned-words", 1), ("orphaned-vectors", 2)]
    assert repair(services) == "1 full-text row removed. 2 vectors removed."
    assert kinds(services) == []
    assert services.store.count(pier.collection_id, fingerprint(services)) == 2


def test_inactive_index_is_checked_for_orphans_only(services: FakeServices, pier: DocumentRecord) -> None:
    services.indexes.add(LOCAL_OWNER, pier.collection_id, "older", "older", {})
    vector = services.embeddings.get().embed_query("ghost")
    services.store.add(pier.collection_id, "older", ["ghost:0"], [vector])
    assert kinds(services) == [("orphaned-vectors", 1)]
    repair(services)
    assert kinds(services) == []


def test_missing_active_index(services: FakeServices, pier: DocumentRecord) -> None:
    services.indexes.remove(LOCAL_OWNER, pier.collection_id, fingerprint(services))
    assert kinds(services) == [("no-vector", 2), ("orphaned-vector-table", 1)]
    repair(services)
    for owner, document in services.library.due():
        services.ingest.process(owner, document.id)
    assert services.library.ready(LOCAL_OWNER, pier.collection_id) == 2
    assert kinds(services) == []


def test_orphans_of_deleted_collections_are_removed(services: FakeServices, pier: DocumentRecord) -> None:
    services.store.add("gone", "words", ["d:0"], [services.embeddings.get().embed_query("x")])
    sql(services, "CREATE VIRTUAL TABLE lexical_gone USING fts5(text)")
    (services.folder.uploads / ("0" * 64)).write_bytes(b"nobody's")
    assert kinds(services) == [("orphaned-originals", 1), ("orphaned-vector-table", 1), ("orphaned-word-table", 1)]
    repair(services)
    assert kinds(services) == []
    assert not (services.folder.uploads / ("0" * 64)).exists()
    assert services.store.count("gone", "words") == 0


def test_unfinished_work_is_found_and_finished(services: FakeServices, pier: DocumentRecord) -> None:
    moon = services.put("sun.txt", b"The sun is wider.")
    doomed = services.library.collection(LOCAL_OWNER, "doomed", create=True)
    services.ingest.submit(LOCAL_OWNER, doomed.id, "pier.md", PIER)
    services.library.mark_collection_deleting(LOCAL_OWNER, doomed.id)
    services.library.update(LOCAL_OWNER, pier.id, state=DocumentState.INDEXING)
    services.library.update(LOCAL_OWNER, moon.id, state=DocumentState.DELETING)
    assert kinds(services) == [("half-read", 1), ("half-deleted", 1), ("half-deleted", 1)]
    repair(services)
    assert kinds(services) == []
    assert [document.id for _, document in services.library.due()] == [pier.id]
    assert services.library.document(LOCAL_OWNER, moon.id) is None


def test_check_changes_nothing(services: FakeServices, pier: DocumentRecord) -> None:
    lose_a_vector(services, pier)
    before = kinds(services)
    assert kinds(services) == before
    assert services.library.due() == []


def test_findings_name_only_a_few_documents(services: FakeServices) -> None:
    for number in range(5):
        services.put(f"{number}.txt", f"Text number {number}.".encode())
    collection = services.library.collection(LOCAL_OWNER)
    services.store.drop(collection.id)
    [finding] = services.check()
    assert finding.text.startswith("“My documents”: 5 documents of which 5 of the chunks cannot be found by their")
    assert finding.text.endswith("and 2 more.")
    assert len(finding.documents) == 5


def test_all_owners_are_checked(services: FakeServices) -> None:
    hers = services.library.collection("ann", create=True)
    document, _ = services.ingest.submit("ann", hers.id, "pier.md", PIER)
    services.ingest.process("ann", document.id)
    services.store.drop(hers.id)
    assert kinds(services) == [("no-vector", 1)]
    repair(services)
    assert [(owner, found.id) for owner, found in services.library.due()] == [("ann", document.id)]
