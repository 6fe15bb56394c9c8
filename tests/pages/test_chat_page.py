"""The Chat page: versions, branches, the list, presets and attached files."""

from __future__ import annotations

from datetime import date

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from errors import BackendUnavailable
from options import AnswerOptions, GenerationOptions
from rag.schema import LOCAL_OWNER, Finish, Role
from tests.conftest import FakeServices
from tests.pages.helpers import QUESTION, answered, ask, button, labels, messages, settle, texts
from ui.sidebar.conversations import age

LONG, OLD = "The pier at Gannet Holm is 62 metres long.", "Leo Marsh repaired it in April."


@pytest.fixture(autouse=True)
def pier(services: FakeServices) -> None:
    """A document to ask."""
    services.put_pier()


def test_an_answer_is_given_again_by_another_model_and_both_are_compared(app: AppTest, services: FakeServices) -> None:
    app.run()
    first = ask(app, services, QUESTION, LONG)
    services.manager.checks.latest("spare", 5)
    app.run()
    services.script.enqueue(OLD)
    again = app.menu_button(key=f"again-{first.id}")
    assert again.options[:3] == ["Quote the documents", "Summarise whole documents", "List everything of this kind"]
    assert again.options[3:5] == ["parrot \\(Scripted\\)", "owl \\(Scripted\\)"]
    again.click(again.options[4]).run()
    settle(app, lambda: answered(services))
    second = messages(services)[-1]
    assert second.versions == (first.id, second.id)
    assert "2 / 2" in texts(app)
    assert LONG not in texts(app)
    app.button(key=f"compare-{second.id}").click().run()
    shown = texts(app)
    assert "What differed" in shown
    assert LONG in shown
    table = app.dataframe[0].value
    assert table[table[""] == "model"].values.tolist() == [["model", "parrot", "owl"]]
    app.button(key=f"version--1-{second.id}").click().run()
    assert messages(services)[-1] == services.conversations.message(LOCAL_OWNER, first.id)
    assert "1 / 2" in texts(app)


def test_an_edited_question_starts_a_branch_and_the_first_one_is_kept(app: AppTest, services: FakeServices) -> None:
    app.run()
    ask(app, services, QUESTION, LONG)
    ask(app, services, "Is it old?", OLD)
    first = messages(services)[0]
    app.button(key=f"edit-{first.id}").click().run()
    assert app.text_area(key=f"edit-text-{first.id}").value == QUESTION
    button(app, "Cancel").click().run()
    app.button(key=f"edit-{first.id}").click().run()
    services.script.enqueue("Leo Marsh repaired it.")
    app.text_area(key=f"edit-text-{first.id}").set_value("Who repaired the pier?")
    button(app, "Ask this instead").click().run()
    settle(app, lambda: answered(services))
    assert [m.text for m in messages(services)] == ["Who repaired the pier?", "Leo Marsh repaired it."]
    now = messages(services)[0]
    app.button(key=f"version--1-{now.id}").click().run()
    assert [m.text for m in messages(services)] == [QUESTION, LONG, "Is it old?", OLD]


def test_a_failed_answer_can_be_tried_again(app: AppTest, services: FakeServices) -> None:
    app.run()
    services.script.enqueue("The pier ", BackendUnavailable("It went away.", "Start it."))
    app.chat_input[0].set_value(QUESTION).run()
    settle(app, lambda: answered(services))
    assert "It went away" in texts(app)
    failed = messages(services)[-1]
    services.script.enqueue(LONG)
    app.button(key=f"retry-{failed.id}").click().run()
    settle(app, lambda: answered(services))
    assert messages(services)[-1].text == LONG
    assert "1 / 2" not in texts(app)
    assert "2 / 2" in texts(app)


def test_a_second_question_during_an_answer_goes_back_into_the_box(app: AppTest, services: FakeServices) -> None:
    app.run()
    services.script.enqueue("The pier ", 1.0, "is long.")
    app.chat_input[0].set_value(QUESTION).run()
    app.chat_input[0].set_value("And how old?").run()
    assert "still being answered" in texts(app)
    assert app.chat_input[0].proto.value == "And how old?"
    settle(app, lambda: answered(services))


def test_an_answer_shows_what_made_it(app: AppTest, services: FakeServices) -> None:
    app.run()
    app.text_area(key="instructions").set_value("Answer in rhymes.").run()
    message = ask(app, services, QUESTION, LONG)
    app.button(key=f"about-{message.id}").click().run()
    facts = dict(app.dataframe[0].value.values.tolist())
    assert facts["model"] == "parrot"
    assert facts["generation.temperature"] == "0.0"
    assert facts["instructions"] == "Answer in rhymes."
    assert any("Answer in rhymes." in code.value for code in app.code)
    assert any(QUESTION in code.value for code in app.code)


def test_the_list_is_searched_by_text(app: AppTest, services: FakeServices) -> None:
    app.run()
    ask(app, services, QUESTION, LONG)
    assert not [field for field in app.text_input if field.key == "chat_search"], "one chat needs no search"
    button(app, "New chat").click().run()
    ask(app, services, "Is the pier old?", OLD)
    app.text_input(key="chat_search").set_value("62 METRES").run()
    entries = [each.label for each in app.sidebar.button if "pier" in each.label]
    assert entries == ["How long is the pier at Gannet Ho…"]
    assert "62 metres" in texts(app)
    app.text_input(key="chat_search").set_value("zebra").run()
    assert "No chat contains “zebra”" in texts(app)


def test_deleting_a_chat_can_be_undone(app: AppTest, services: FakeServices) -> None:
    app.run()
    message = ask(app, services, QUESTION, LONG)
    app.session_state["chat_deleted"] = services.conversations.get(LOCAL_OWNER, message.conversation_id)
    services.delete_conversation(LOCAL_OWNER, message.conversation_id)
    app.run()
    assert "There is no such conversation" in texts(app)
    assert "Deleted “How long is the pier" in texts(app)
    button(app, "Undo").click().run()
    assert LONG in texts(app)
    assert "Deleted" not in texts(app)


def test_chats_are_listed_by_date_and_older_ones_on_demand(app: AppTest, services: FakeServices) -> None:
    ids = [services.conversations.create(LOCAL_OWNER, f"Question {number}") for number in range(9)]
    services.conversations.pin(LOCAL_OWNER, ids[0], True)
    app.run()
    listed = [each for each in labels(app) if each.startswith("Question")]
    assert listed == [f"Question {n}" for n in (0, 8, 7, 6, 5, 4)]
    assert "Pinned\nToday" in "\n".join(str(caption.value) for caption in app.sidebar.caption)
    button(app, "Older chats").click().run()
    assert len([each for each in labels(app) if each.startswith("Question")]) == 9


@pytest.mark.parametrize(
    ("day", "heading"),
    [
        (date(2026, 3, 10), "Today"),
        (date(2026, 3, 9), "Yesterday"),
        (date(2026, 3, 4), "Last 7 days"),
        (date(2026, 3, 3), "Last 30 days"),
        (date(2026, 2, 8), "February 2026"),
    ],
)
def test_headings_of_the_list(day: date, heading: str) -> None:
    assert age(day, date(2026, 3, 10)) == heading


def test_a_long_chat_shows_its_last_messages(app: AppTest, services: FakeServices) -> None:
    chat = services.conversations.create(LOCAL_OWNER, "long")
    for number in range(60):
        role = Role.ASSISTANT if number % 2 else Role.USER
        services.conversations.add(LOCAL_OWNER, chat, role, f"message {number}", Finish.COMPLETE)
    app.query_params["c"] = chat
    app.run()
    assert len(app.chat_message) == 10
    button(app, "Show earlier messages (50)").click().run()
    assert len(app.chat_message) == 50
    button(app, "Show earlier messages (10)").click().run()
    assert len(app.chat_message) == 60
    assert not [each for each in labels(app) if each.startswith("Show earlier")]


def test_a_reopened_chat_has_its_settings(app: AppTest, services: FakeServices) -> None:
    app.run()
    app.sidebar.selectbox(key="model").set_value("scripted/owl").run()
    app.slider(key="temperature").set_value(0.7).run()
    first = ask(app, services, QUESTION, LONG)
    button(app, "New chat").click().run()
    app.slider(key="temperature").set_value(0.2).run()
    app.sidebar.selectbox(key="model").set_value("scripted/parrot").run()
    ask(app, services, "Is the pier old?", OLD)
    app.button(key=f"open-{first.conversation_id}").click().run()
    assert app.slider(key="temperature").value == 0.7
    assert app.sidebar.selectbox(key="model").value == "scripted/owl"


def test_presets_are_saved_applied_and_used_for_new_chats(app: AppTest, services: FakeServices) -> None:
    app.run()
    app.slider(key="temperature").set_value(0.9)
    app.text_area(key="instructions").set_value("In French.").run()
    app.text_input(key="preset_name").set_value("French").run()
    app.button(key="preset_save").click().run()
    assert app.selectbox(key="preset").value == "French"
    app.button(key="preset_make_default").click().run()
    app.slider(key="temperature").set_value(0.1)
    app.text_area(key="instructions").set_value("").run()
    app.selectbox(key="preset").set_value(None).run()
    app.selectbox(key="preset").set_value("French").run()
    assert (app.slider(key="temperature").value, app.text_area(key="instructions").value) == (0.9, "In French.")
    message = ask(app, services, QUESTION, LONG)
    assert services.script.prompts[-1][0].text.endswith("In French.")
    app.text_area(key="instructions").set_value("").run()
    button(app, "New chat").click().run()
    assert app.text_area(key="instructions").value == "In French.", "new chats begin with it"
    app.button(key="preset_make_default").click().run()
    assert services.presets.default(LOCAL_OWNER) is None
    app.button(key="preset_delete").click().run()
    assert services.presets.list(LOCAL_OWNER) == []
    stored = services.conversations.options(LOCAL_OWNER, message.conversation_id)
    assert stored
    assert stored[0].instructions == "In French."


def test_stored_options_that_are_gone_or_out_of_range_are_ignored(app: AppTest, services: FakeServices) -> None:
    chat = services.conversations.create(LOCAL_OWNER, "old")
    odd = AnswerOptions(backend="gone", model="x", fallback="gone", k=50, generation=GenerationOptions(top_k=999))
    services.conversations.save_options(LOCAL_OWNER, chat, odd, preset="gone")
    app.query_params["c"] = chat
    app.run()
    assert not app.exception
    assert not app.error
    assert (app.slider(key="top_k").value, app.slider(key="k").value) == (200, 12)
    assert app.session_state["model"] == "scripted/parrot"


def test_an_attached_file_answers_and_can_be_removed(app: AppTest, services: FakeServices) -> None:
    app.run()
    services.script.enqueue("The ferry is called Marigold.")
    app.chat_input[0].upload("boat.md", b"# Boat\n\nThe ferry is called Marigold.")
    app.chat_input[0].set_value("What is the ferry called?").run()
    [chat] = services.conversations.list(LOCAL_OWNER)
    attached = services.library.attached(LOCAL_OWNER, chat.id)
    assert attached
    [document] = services.library.documents(LOCAL_OWNER, attached.id)
    services.ingest.process(LOCAL_OWNER, document.id)
    settle(app, lambda: answered(services))
    assert messages(services)[-1].citations[0].document == "boat.md"
    assert "only questions in this chat search it" in texts(app)
    app.button(key=f"detach-{document.id}").click().run()
    assert services.library.documents(LOCAL_OWNER, attached.id) == []


def test_files_alone_wait_for_a_question(app: AppTest, services: FakeServices) -> None:
    app.run()
    app.chat_input[0].upload("empty.md", b"").run()
    [chat] = services.conversations.list(LOCAL_OWNER)
    assert chat.title == "About empty.md"
    assert services.conversations.messages(LOCAL_OWNER, chat.id) == ()


def test_sources_of_earlier_answers_load_on_demand(app: AppTest, services: FakeServices) -> None:
    app.run()
    first = ask(app, services, QUESTION, LONG)
    ask(app, services, "Who repaired the pier?", "Leo Marsh.")
    assert f"passage-{first.id}-1" not in {each.key for each in app.button}
    app.session_state[f"sources-{first.id}"] = True
    app.run()
    assert f"passage-{first.id}-1" in {each.key for each in app.button}


def test_a_question_is_not_lost_to_a_part_of_the_page_that_reruns_it(
    app: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.run()
    reruns: list[bool] = []

    def draw(*_: object) -> None:
        if not reruns:
            reruns.append(True)
            st.rerun()

    monkeypatch.setattr("ui.models.pickers.draw_state", draw)
    ask(app, services, QUESTION)
    assert reruns
