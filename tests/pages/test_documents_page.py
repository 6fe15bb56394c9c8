"""The Documents page, empty, with a few documents and with three thousand."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert
from streamlit.testing.v1 import AppTest

import ui.app
from errors import ConfigurationError
from rag.db import DocumentRow, new_id
from rag.documents.ingest import CANCELLED
from rag.schema import LOCAL_OWNER, CollectionRecord, DocumentRecord, DocumentState
from tests.conftest import FakeServices
from tests.fake_embeddings import WordEmbeddings
from tests.pages.helpers import QUESTION, ask, button, labels, texts, wait
from tests.unit.test_loaders import make_pdf

PAGE = "../pages/documents.py"
NEW = ":material/create_new_folder: New collection"
RENAME = ":material/edit: Rename"
DELETE = ":material/delete: Delete"


@pytest.fixture
def page(app: AppTest) -> AppTest:
    """The documents page; not yet drawn."""
    app.run()
    app.switch_page(PAGE)
    return app


def only(services: FakeServices) -> CollectionRecord:
    [collection] = services.library.collections(LOCAL_OWNER)
    return collection


def documents(services: FakeServices, collection: CollectionRecord | None = None) -> list[DocumentRecord]:
    return services.library.documents(LOCAL_OWNER, (collection or only(services)).id)


def one(services: FakeServices, document_id: str) -> DocumentRecord:
    document = services.library.document(LOCAL_OWNER, document_id)
    assert document
    return document


def fill(services: FakeServices, number: int, state: DocumentState = DocumentState.READY) -> list[str]:
    """That many rows, without anything behind them."""
    collection = services.library.collection(LOCAL_OWNER, create=True)
    rows = [
        {
            "id": new_id(),
            "owner": LOCAL_OWNER,
            "collection_id": collection.id,
            "name": f"letter {n:04}.txt",
            "path": f"letter {n:04}.txt",
            "sha256": new_id(),
            "size": 1000 + n,
            "state": state.value,
            "seconds": 30.0,
        }
        for n in range(number)
    ]
    with services.database.session() as session:
        session.execute(insert(DocumentRow), rows)
    return [str(row["id"]) for row in rows]


def tick(page: AppTest, *rows: int) -> None:
    key = page.dataframe[0].key
    assert key
    page.session_state[key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    page.run()
    assert not page.exception


def names(page: AppTest) -> list[str]:
    return list(page.dataframe[0].value["Name"])


def process(services: FakeServices) -> None:
    """Read all that waits, as the worker does."""
    for owner, document in services.library.due():
        services.ingest.process(owner, document.id)


def test_an_empty_collection_says_how_to_begin(page: AppTest, services: FakeServices) -> None:
    page.run()
    assert "Nothing here yet" in texts(page)
    assert not page.dataframe
    button(page, "Load the sample documents").click().run()
    assert "4 documents, 4 waiting" in texts(page)


def test_each_outcome_of_an_upload_is_one_line(page: AppTest, services: FakeServices) -> None:
    page.run()
    first = [(f"{name}.md", f"The {name} is open.".encode()) for name in "abcde"]
    for name, content in first:
        page.file_uploader[0].upload(name, content)
    page.run()
    assert len(documents(services)) == 5
    assert "and 2 more were added\\." in texts(page)
    for name, content in [*first, ("a.md", b"The a is shut."), ("empty.md", b"")]:
        page.file_uploader[0].upload(name, content)
    page.run()
    shown = texts(page)
    assert "“a\\.md”, “b\\.md”, “c\\.md” and 2 more are already here\\." in shown
    assert "“a\\.md \\(version 2\\)” was added as a new version\\." in shown
    assert "“empty\\.md” is an empty file" in shown
    page.run()
    assert "already here" not in texts(page)


def test_a_new_version_may_replace_the_old_one(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    page.run()
    page.toggle(key="replace_versions").set_value(True).run()
    page.file_uploader[0].upload("pier.md", b"The pier is 70 metres long.").run()
    assert "“pier\\.md” replaces the old version once it is read\\." in texts(page)
    assert len(documents(services)) == 2
    process(services)
    [left] = documents(services)
    assert left.title == "pier.md"
    page.run()
    assert "1 document, 1 ready" in texts(page)


def test_the_queue_shows_progress_and_can_be_cancelled(page: AppTest, services: FakeServices) -> None:
    done = fill(services, 6)
    waiting = fill(services, 5, DocumentState.PENDING)
    services.library.update(
        LOCAL_OWNER, waiting[0], state=DocumentState.INDEXING, name="book.pdf", progress=0.6, pages=12, chunks=200
    )
    page.run()
    shown = texts(page)
    assert "4 waiting, about 2 minutes left" in shown
    [bar] = page.progress
    assert "book\\.pdf · 12 pages, 100 of 200 chunks" in bar.proto.text
    button(page, "").click().run()
    assert one(services, waiting[0]).reason_type == CANCELLED
    button(page, "Cancel all waiting").click().run()
    assert services.library.count(LOCAL_OWNER, only(services).id, DocumentState.FAILED) == 5
    assert services.library.count(LOCAL_OWNER, only(services).id, DocumentState.READY) == len(done)
    assert "left" not in texts(page)


def test_no_time_is_shown_before_it_can_be_estimated(page: AppTest, services: FakeServices) -> None:
    fill(services, 3, DocumentState.PENDING)
    page.run()
    assert "3 waiting. You can leave" in texts(page)
    assert "left" not in texts(page)


def test_three_thousand_documents_are_shown_fifty_a_page(page: AppTest, services: FakeServices) -> None:
    fill(services, 3000)
    page.run()
    assert "3,000 documents, 3,000 ready" in texts(page)
    assert len(names(page)) == 50
    page.selectbox(key="documents_order").set_value("Name, A to Z").run()
    assert names(page)[0] == "letter 0000.txt"
    [pages] = page.pagination
    pages.set_value(60).run()
    assert names(page)[-1] == "letter 2999.txt"
    assert "2,951 to 3,000 of 3,000" in texts(page)
    page.text_input(key="documents_search").set_value("letter 12").run()
    assert (names(page)[0], len(names(page))) == ("letter 1200.txt", 50)
    page.text_input(key="documents_search").set_value("nothing like it").run()
    assert "No document matches" in texts(page)


def test_filters_survive_a_visit_to_another_page(page: AppTest, services: FakeServices) -> None:
    fill(services, 3)
    services.put("broken.pdf", b"%PDF-1.4 nothing")
    page.run()
    page.button_group(key="documents_shown").set_value("Failed").run()
    assert names(page) == ["broken.pdf"]
    page.switch_page("../pages/chat.py").run()
    page.switch_page(PAGE).run()
    assert names(page) == ["broken.pdf"]


def test_all_matching_documents_can_be_deleted_at_once(page: AppTest, services: FakeServices) -> None:
    fill(services, 120)
    services.put_pier()
    page.run()
    page.text_input(key="documents_search").set_value("letter").run()
    tick(page, *range(50))
    button(page, "Select all 120 that match").click().run()
    assert "All 120 documents" in texts(page)
    button(page, "Delete").click().run()
    assert "and 112 more" in texts(page)
    page.button(key="delete_confirmed").click().run()
    wait(lambda: len(documents(services)) == 1)
    page.text_input(key="documents_search").set_value("").run()
    assert names(page) == ["pier.md"]


def test_the_previous_page_is_shown_if_the_last_one_is_gone(page: AppTest, services: FakeServices) -> None:
    ids = fill(services, 51)
    page.run()
    [pages] = page.pagination
    pages.set_value(2).run()
    assert len(names(page)) == 1
    for document_id in ids[:3]:
        services.ingest.delete(LOCAL_OWNER, document_id)
    page.run()
    assert len(names(page)) == 48


def test_ticks_do_not_move_to_other_documents(page: AppTest, services: FakeServices) -> None:
    fill(services, 2)
    page.run()
    tick(page, 0)
    assert "Delete" in labels(page)
    services.put_pier()
    page.run()
    assert "Delete" not in labels(page)


def test_ticked_documents_move_to_another_collection(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    home = only(services)
    target = services.library.collection(LOCAL_OWNER, "Piers", create=True)
    page.run()
    tick(page, 0)
    page.menu_button[-1].click("Piers").run()
    process(services)
    assert documents(services, home) == []
    [moved] = documents(services, target)
    assert (moved.name, moved.state) == ("pier.md", DocumentState.READY)


def test_a_failed_document_says_why_and_can_be_tried_again_or_deleted(page: AppTest, services: FakeServices) -> None:
    failed = services.put("broken.pdf", b"%PDF-1.4 nothing")
    services.put_pier()
    page.run()
    assert "broken\\.pdf could not be read" in texts(page)
    assert "broken.pdf could not be read" in str(list(page.dataframe[0].value["Note"]))
    tick(page, names(page).index("broken.pdf"))
    assert labels(page).count("Try again") == 1
    button(page, "Try again").click().run()
    assert one(services, failed.id).state is DocumentState.PENDING
    button(page, "Cancel").click().run()
    assert "It was cancelled" in texts(page)
    button(page, "Delete").click().run()
    page.button(key="delete_confirmed").click().run()
    assert names(page) == ["pier.md"]


def test_many_failures_are_one_link(page: AppTest, services: FakeServices) -> None:
    fill(services, 4, DocumentState.FAILED)
    services.put_pier()
    page.run()
    button(page, "4 documents failed: see why").click().run()
    assert len(names(page)) == 4


def test_a_password_opens_a_document_and_is_not_stored(page: AppTest, services: FakeServices) -> None:
    failed = services.put("locked.pdf", make_pdf("The pier is 62 metres long.", password="open sesame"))
    page.run()
    page.main.text_input[-1].set_value("open sesame")
    button(page, "Open").click().run()
    process(services)
    page.run()
    assert one(services, failed.id).state is DocumentState.READY
    assert "open sesame" not in str(vars(page))
    assert "Open" not in labels(page)


def test_a_ticked_document_shows_its_warnings(page: AppTest, services: FakeServices) -> None:
    [only_one] = fill(services, 1)
    services.library.update(LOCAL_OWNER, only_one, warnings=["2 pages hold *pictures* only."])
    page.run()
    tick(page, 0)
    assert "2 pages hold \\*pictures\\* only\\." in texts(page)


def menu(page: AppTest, wish: str) -> None:
    page.menu_button[0].click(wish).run()
    assert not page.exception


def test_a_collection_is_made_renamed_and_deleted(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    page.run()
    menu(page, NEW)
    page.text_input[-1].set_value("My  documents")
    button(page, "Create").click().run()
    assert "There is a collection called “My documents” already" in texts(page)
    page.text_input[-1].set_value("Contracts")
    button(page, "Create").click().run()
    assert page.selectbox(key="collection_picker").value == page.query_params["collection"]
    assert "Nothing here yet" in texts(page)
    assert [found.name for found in services.library.collections(LOCAL_OWNER)] == ["Contracts", "My documents"]
    menu(page, RENAME)
    page.text_input[-1].set_value("My documents")
    button(page, "Rename").click().run()
    assert "There is a collection called “My documents” already" in texts(page)
    page.text_input[-1].set_value("Leases")
    button(page, "Rename").click().run()
    assert "Leases" in page.selectbox(key="collection_picker").options
    button(page, "Load the sample documents").click().run()
    menu(page, DELETE)
    assert "This deletes its 4 documents" in texts(page)
    button(page, "Delete the collection").click().run()
    assert [found.name for found in services.library.collections(LOCAL_OWNER)] == ["My documents"]
    assert names(page) == ["pier.md"]


def test_renaming_the_last_collection_creates_no_other(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    page.run()
    menu(page, RENAME)
    page.text_input[-1].set_value("Piers")
    button(page, "Rename").click().run()
    page.switch_page("../pages/chat.py").run()
    assert "1 document ready to search" in texts(page)
    assert [found.name for found in services.library.collections(LOCAL_OWNER)] == ["Piers"]


def test_the_address_names_a_collection_and_the_choice_is_kept(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    other = services.library.collection(LOCAL_OWNER, "Other", create=True)
    page.query_params["collection"] = other.id
    page.run()
    assert "Nothing here yet" in texts(page)
    page.switch_page("../pages/chat.py").run()
    page.switch_page(PAGE).run()
    assert page.selectbox(key="collection_picker").value == other.id
    page.query_params["collection"] = "nonsense"
    page.run()
    assert page.selectbox(key="collection_picker").value == other.id


def test_a_chat_searches_the_collections_that_were_picked(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    app.run()
    assert not app.multiselect
    home, other = only(services), services.library.collection(LOCAL_OWNER, "Other", create=True)
    app.run()
    [picker] = app.multiselect
    assert picker.value == [home.id]
    picker.set_value([home.id, other.id]).run()
    ask(app, services, QUESTION)
    assert services.script.prompts
    app.multiselect[0].set_value([other.id]).run()
    ask(app, services, QUESTION)
    assert "“Other”" in texts(app)
    app.multiselect[0].set_value([]).run()
    app.chat_input[0].set_value(QUESTION).run()
    assert "No collection is chosen" in app.error[0].value
    button(app, "New chat").click().run()
    assert not app.error, "the first page does without a collection"


def test_a_chat_still_searches_its_renamed_collection(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    home = only(services)
    services.library.collection(LOCAL_OWNER, "Other", create=True)
    app.run()
    app.text_input(key="preset_name").set_value("Pier").run()
    app.button(key="preset_save").click().run()
    chat = ask(app, services, QUESTION).conversation_id
    services.library.rename(LOCAL_OWNER, home.id, "Piers")
    services.library.collection(LOCAL_OWNER, "My documents", create=True)
    button(app, "New chat").click().run()
    app.multiselect[0].set_value([]).run()
    app.selectbox(key="preset").set_value(None).run()
    app.selectbox(key="preset").set_value("Pier").run()
    assert app.multiselect[0].value == [home.id]
    app.multiselect[0].set_value([]).run()
    app.button(key=f"open-{chat}").click().run()
    assert app.multiselect[0].value == [home.id]
    ask(app, services, QUESTION)
    assert len(services.script.prompts) == 2


@pytest.mark.parametrize("left", [1, 2])
def test_a_chat_whose_collections_are_gone_searches_nothing_else(
    app: AppTest, services: FakeServices, left: int
) -> None:
    services.put_pier()
    extra = [services.library.collection(LOCAL_OWNER, name, create=True) for name in ("Other", "Third")[:left]]
    app.run()
    app.multiselect[0].set_value([extra[0].id]).run()
    chat = ask(app, services, QUESTION).conversation_id
    app.switch_page(PAGE).run()
    app.selectbox(key="collection_picker").set_value(extra[0].id).run()
    menu(app, DELETE)
    button(app, "Delete the collection").click().run()
    app.switch_page("../pages/chat.py").run()
    app.button(key=f"open-{chat}").click().run()
    assert app.multiselect[0].value == []
    app.chat_input[0].set_value(QUESTION).run()
    assert "The collections of this chat no longer exist" in app.error[0].value
    assert not services.script.prompts, "nothing else was searched instead"
    app.multiselect[0].set_value([services.library.collections(LOCAL_OWNER)[0].id]).run()
    ask(app, services, QUESTION)
    assert services.script.prompts


def test_the_chat_follows_the_collection_of_the_documents_page(page: AppTest, services: FakeServices) -> None:
    services.put_pier()
    home, other = only(services), services.library.collection(LOCAL_OWNER, "Other", create=True)
    page.run()
    page.selectbox(key="collection_picker").set_value(other.id).run()
    page.run()
    assert page.multiselect[0].value == [other.id]
    menu(page, DELETE)
    button(page, "Delete the collection").click().run()
    page.switch_page("../pages/chat.py").run()
    ask(page, services, QUESTION)
    assert services.script.prompts, f"{home.name} is searched"


def test_text_and_chunks_of_a_document_are_shown(page: AppTest, services: FakeServices) -> None:
    pages = ("The pier is 62 metres long. " * 12, "Leo Marsh :red[repaired] it in April.")
    services.put("pier.pdf", make_pdf(*pages))
    page.run()
    tick(page, 0)
    button(page, "Look inside").click().run()
    assert page.header[0].value == "pier\\.pdf"
    assert "62 metres" in page.code[0].value
    shown = texts(page)
    assert "tokens · " in shown
    assert ":green-background[" in shown  # pieces that overlap
    [turn] = page.pagination
    turn.set_value(2).run()
    assert "Page 2" in [element.value for element in page.subheader]
    assert page.code[0].value == "Leo Marsh :red[repaired] it in April."
    assert ":red[" not in texts(page)
    assert page.download_button
    button(page, "All documents").click().run()
    assert names(page) == ["pier.pdf"]


def test_the_address_names_a_page_and_an_unknown_document_is_reported(page: AppTest, services: FakeServices) -> None:
    document = services.put("pier.pdf", make_pdf("one", "two"))
    page.query_params["document"] = document.id
    page.query_params["page"] = "2"
    page.run()
    assert page.code[0].value == "two"
    page.query_params["document"] = "nonsense"
    page.run()
    assert "no such document" in texts(page)


def test_a_long_page_is_shown_in_parts(page: AppTest, services: FakeServices) -> None:
    document = services.put("log.txt", "\n".join(f"Entry {n} of the log." for n in range(1500)).encode())
    page.query_params["document"] = document.id
    page.run()
    assert "Entry 0 of" in page.code[0].value
    [part] = page.pagination
    part.set_value(2).run()
    assert "Entry 0 of" not in page.code[0].value
    assert "Entry 1400 of the log." in page.code[0].value


def test_a_document_that_was_not_read_says_why(page: AppTest, services: FakeServices) -> None:
    failed = services.put("broken.pdf", b"%PDF-1.4 nothing")
    page.query_params["document"] = failed.id
    page.run()
    assert "This document has not been read yet" in texts(page)
    assert "broken\\.pdf could not be read" in texts(page)


def test_the_model_chosen_by_language_can_be_kept(
    page: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.embeddings, "has_multilingual", lambda: False)
    monkeypatch.setattr(services.embeddings, "choices", lambda: ["all-MiniLM-L6-v2"])
    page.run()
    page.session_state["index_box"] = True
    services.put_pier()
    page.run()
    assert "multilingual-e5-small, for other languages, is not installed" in texts(page)
    monkeypatch.setattr(services.embeddings, "has_multilingual", lambda: True)
    page.run()
    assert "in another language changes it to multilingual-e5-small" in texts(page)
    (keep,) = [label for label in labels(page) if "Always use" in label]
    button(page, keep).click().run()
    assert services.indexes.active(LOCAL_OWNER, only(services).id).embedding_model == "all-MiniLM-L6-v2"  # type: ignore[union-attr]
    assert "changes it to" not in texts(page)


def test_a_new_index_is_built_next_to_the_active_one(
    page: AppTest, services: FakeServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.put_pier()
    page.run()
    page.session_state["index_box"] = True
    page.run()
    assert "in use" in texts(page)
    assert "256 dimensions" in texts(page)
    assert not [label for label in labels(page) if label.startswith("Index again")]
    with closing(FakeServices(tmp_path / "other")) as before:
        before.put_pier()
    with closing(FakeServices(tmp_path / "other", settings={"embedding_model": "signs"})) as later:
        later.words = WordEmbeddings(fingerprint="signs")
        monkeypatch.setattr(ui.app, "services", lambda: later)
        page.run()
        button(page, "Index again with signs").click().run()
        assert "being built" in texts(page)
        while later.indexing.rebuild_step():
            pass
        page.run()
        assert "being built" not in texts(page)
        button(page, "Delete this index").click().run()
        assert [index.fingerprint for index in later.indexes.all(LOCAL_OWNER, only(later).id)] == ["signs"]
        with pytest.raises(ConfigurationError):
            later.documents.index_again(LOCAL_OWNER, only(later).id)
