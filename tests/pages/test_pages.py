"""What a visitor sees, and what a click does."""

from __future__ import annotations

import threading

import pytest
from streamlit.testing.v1 import AppTest

import ui.app
from errors import BackendUnavailable, LibraryLocked, StoreError
from rag.schema import LOCAL_OWNER, Finish, Role
from tests.conftest import PIER, FakeServices
from tests.pages.helpers import QUESTION, answered, ask, button, labels, settle, texts

WIDE = {"max_new_tokens": 4096, "top_k": 500, "top_p": 0.01}


def test_the_first_screen_explains_the_app(app: AppTest, services: FakeServices) -> None:
    app.run()
    assert not app.exception
    assert app.title[0].value == "Ask your own documents"
    assert button(app, "What is the cat in the ticket office called?").disabled
    button(app, "Load the sample documents").click().run()
    collection = services.library.collection(LOCAL_OWNER)
    assert len(services.library.documents(LOCAL_OWNER, collection.id)) == 4


def test_a_question_is_answered_and_shows_its_sources(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("The pier at Gannet Holm is 62 metres long.")
    app.run()
    ask(app, services, QUESTION)
    shown = texts(app)
    assert "is 62 metres long. :green-badge[[\u00a01\u00a0](#source-" in shown
    assert "pier\\.md" in shown
    assert ":yellow-background[" in shown
    assert "parrot · first word after" in shown
    assert app.query_params["c"] == services.conversations.list(LOCAL_OWNER)[0].id
    assert button(app, "**How long is the pier at Gannet Ho…**")
    button(app, "New chat").click().run()
    assert app.title[0].value == "Ask your own documents"


def test_a_running_answer_is_drawn_and_can_be_stopped(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    more = threading.Event()
    services.script.enqueue("The pier is", more)
    app.run()
    app.chat_input[0].set_value(QUESTION).run()
    settle(app, lambda: "The pier is ▌" in texts(app.run()))
    assert "Answer again" not in labels(app)
    button(app, "Stop").click().run()
    settle(app, lambda: answered(services))
    assert "Stopped" in texts(app)
    assert "The pier is" in texts(app)


def test_a_backend_that_is_down_is_one_sentence_with_the_sources(
    app: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.put_pier()
    services.backend.enqueue_load(BackendUnavailable("The server is down.", "Start it."))
    monkeypatch.setattr(services, "warm_up", lambda owner: None)  # the question meets the failure first
    app.run()
    ask(app, services, QUESTION)
    assert "**The server is down\\.**  \nStart it\\." in texts(app)
    assert "62 metres" in texts(app)


def test_abstaining_names_what_was_searched(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    app.run()
    ask(app, services, "zebra xylophone quartz")
    assert "could not find this in your documents" in texts(app)
    assert any(expander.label == "Nearest passages" for expander in app.expander)


def test_the_options_of_the_sidebar_are_used(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    app.run()
    app.sidebar.selectbox(key="model").set_value("scripted/owl").run()
    app.sidebar.slider[1].set_value(0.7).run()
    assert ask(app, services, QUESTION).model == "owl"
    assert services.backend.options[-1].temperature == 0.7


def test_a_link_opens_a_conversation_and_an_unknown_one_is_reported(app: AppTest, services: FakeServices) -> None:
    chat = services.conversations.create(LOCAL_OWNER, "An old question")
    services.conversations.add(LOCAL_OWNER, chat, Role.USER, "An old *question*", Finish.COMPLETE)
    app.query_params["c"] = chat
    app.run()
    assert "An old \\*question\\*" in texts(app)
    app.query_params["c"] = "nonsense"
    app.run()
    assert "no such conversation" in texts(app)


def test_files_are_added_and_deleted_on_the_documents_page(app: AppTest, services: FakeServices) -> None:
    app.run()
    app.switch_page("../pages/documents.py").run()
    assert "Nothing here yet" in texts(app)
    app.file_uploader[0].upload("pier.md", PIER).run()
    app.file_uploader[0].upload("again.md", PIER).run()
    assert "“again\\.md”, which is “pier\\.md”, is already here" in texts(app)
    collection = services.library.collection(LOCAL_OWNER)
    [document] = services.library.documents(LOCAL_OWNER, collection.id)
    services.ingest.process(LOCAL_OWNER, document.id)
    app.run()
    assert "1 document, 1 ready" in texts(app)
    assert app.dataframe[0].value["Name"].tolist() == ["pier.md"]


def test_a_failed_upload_says_why(app: AppTest, services: FakeServices) -> None:
    failed = services.put("broken.pdf", b"%PDF-1.4 nothing")
    app.run()
    app.switch_page("../pages/documents.py").run()
    assert "broken\\.pdf could not be read" in texts(app)
    button(app, "Try again").click().run()
    services.ingest.process(LOCAL_OWNER, failed.id)
    app.run()
    button(app, "Delete broken\\.pdf").click().run()
    button(app, "Delete").click().run()
    assert services.library.document(LOCAL_OWNER, failed.id) is None


def test_a_locked_folder_is_an_error_without_traceback(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked() -> FakeServices:
        raise LibraryLocked("Another process has it open.", "Stop it first.")

    monkeypatch.setattr(ui.app, "services", locked)
    app.run()
    assert not app.exception
    assert "**Another process has it open\\.**  \nStop it first\\." in texts(app)


def test_a_bug_is_a_reference_number(app: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(owner: str, limit: int = 0) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(services.conversations, "list", bug)
    app.run()
    assert not app.exception
    assert "the log has it under" in texts(app)
    assert "secret" not in texts(app)


@pytest.mark.parametrize("options", [{"k": 20, "generation": WIDE}])
def test_sliders_extend_to_the_settings(app: AppTest) -> None:
    app.run()
    assert app.title[0].value == "Ask your own documents"
    assert {slider.key: slider.value for slider in app.sidebar.slider}.items() >= (WIDE | {"k": 20}).items()


@pytest.mark.parametrize("options", [{"backend": "nobody"}, {"fallback": "nobody"}])
def test_an_unknown_backend_in_the_settings_is_reported(app: AppTest) -> None:
    app.run()
    assert "no backend 'nobody'" in texts(app)


def test_a_question_on_a_stale_link_starts_a_new_conversation(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    app.query_params["c"] = "gone"
    app.run()
    ask(app, services, QUESTION)
    assert "Scripted answer" in texts(app)


def test_an_interrupted_answer_is_shown_as_such(app: AppTest, services: FakeServices) -> None:
    chat = services.conversations.create(LOCAL_OWNER, "q")
    services.conversations.add(LOCAL_OWNER, chat, Role.ASSISTANT, "The pier is", Finish.RUNNING)
    app.query_params["c"] = chat
    app.run()
    assert "The pier is" in texts(app)
    assert "interrupted" in texts(app)


def test_an_error_in_a_callback_is_shown(app: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(owner: str, collection_id: str) -> None:
        raise StoreError("The disk is full.", "Make room.")

    monkeypatch.setattr(services.documents, "add_samples", full)
    app.run()
    button(app, "Load the sample documents").click().run()
    assert not app.exception
    assert "The disk is full" in texts(app)
    assert app.title[0].value == "Ask your own documents"
