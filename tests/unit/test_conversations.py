"""Conversations and their messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from errors import ConfigurationError
from options import AnswerOptions, GenerationOptions
from rag.chat import export
from rag.chat.conversations import Conversations, title_of
from rag.chat.presets import Presets
from rag.chat.records import differences
from rag.db import Database, now
from rag.schema import Check, Citation, Finish, Message, Passage, Preset, Role, Timings, Usage, Verdict


@pytest.fixture
def conversations(tmp_path: Path) -> Iterator[Conversations]:
    database = Database(tmp_path / "test.db")
    yield Conversations(database)
    database.close()


def test_a_message_comes_back_as_it_was_stored(conversations: Conversations) -> None:
    chat = conversations.create("ann", "How long is the pier?")
    conversations.add("ann", chat, Role.USER, "How long is the pier?", Finish.COMPLETE)
    answer = conversations.add("ann", chat, Role.ASSISTANT, "", Finish.RUNNING)
    whole = replace(
        answer,
        text="62 metres.",
        finish=Finish.COMPLETE,
        passages=(Passage("d:0", "d", "a.pdf", 1, "62 metres", 0, 9, 1.0, 0.5, 2.0),),
        citations=(Citation(1, "d", "a.pdf", 1, "62 metres", 0, 9, 10),),
        usage=Usage(10, 3),
        timings=Timings(0.1, 0.2, 0.3),
        notes=("cut",),
        error={"type": "x", "message": "y", "hint": "z"},
    )
    conversations.save("ann", whole)
    assert conversations.messages("ann", chat)[1] == whole
    assert [m.role for m in conversations.messages("ann", chat)] == [Role.USER, Role.ASSISTANT]


def test_the_list_has_the_owners_conversations_newest_first(conversations: Conversations) -> None:
    first = conversations.create("ann", "first")
    second = conversations.create("ann", "second")
    conversations.create("bob", "his")
    conversations.add("ann", first, Role.USER, "again", Finish.COMPLETE)
    assert [c.id for c in conversations.list("ann")] == [first, second]
    assert conversations.get("bob", first) is None
    assert conversations.messages("bob", first) == ()


def test_another_owners_conversation_cannot_be_changed(conversations: Conversations) -> None:
    chat = conversations.create("ann", "hers")
    message = conversations.add("ann", chat, Role.USER, "hers", Finish.COMPLETE)
    conversations.save("bob", replace(message, text="his"))
    conversations.delete("bob", chat)
    assert conversations.messages("ann", chat)[0].text == "hers"
    conversations.delete("ann", chat)
    assert conversations.get("ann", chat) is None


def test_an_answer_left_running_by_a_kill_is_marked_failed_with_its_text(conversations: Conversations) -> None:
    chat = conversations.create("ann", "q")
    answer = conversations.add("ann", chat, Role.ASSISTANT, "The pier is", Finish.RUNNING)
    assert conversations.recover() == 1
    [message] = conversations.messages("ann", chat)
    assert (message.id, message.finish, message.text) == (answer.id, Finish.FAILED, "The pier is")
    assert message.error
    assert message.error["hint"]
    assert conversations.recover() == 0


def test_a_title_is_made_of_the_questions_words() -> None:
    assert title_of("  How   long\nis it? ") == "How long is it?"
    assert title_of("word " * 40).endswith("word …")
    assert len(title_of("word " * 40)) <= 62


# --- the list ---


def test_pinned_conversations_come_first_and_titles_can_be_changed(conversations: Conversations) -> None:
    first, second = (conversations.create("ann", title) for title in ("first", "second"))
    conversations.pin("ann", first, True)
    conversations.rename("ann", first, "  A better\nname ")
    conversations.rename("ann", first, "   ")
    conversations.rename("bob", second, "his")
    assert [(c.title, c.pinned) for c in conversations.list("ann")] == [("A better name", True), ("second", False)]
    conversations.pin("ann", first, False)
    assert [c.id for c in conversations.list("ann")] == [second, first]


def test_search_covers_titles_and_messages_in_any_case(conversations: Conversations) -> None:
    pier, ferry = conversations.create("ann", "The pier"), conversations.create("ann", "Überfahrt")
    conversations.add("ann", ferry, Role.USER, "When does it go?", Finish.COMPLETE)
    conversations.add("ann", ferry, Role.ASSISTANT, "x " * 60 + "At the PIER, 50 % of days.\nAt noon.", Finish.COMPLETE)
    conversations.create("bob", "The pier of Bob")
    found = conversations.find("ann", "the  Pier")
    assert [c.id for c in found] == [ferry, pier]
    assert "At the PIER, 50 % of days." in found[0].found
    assert found[0].found.startswith("…")
    assert found[1].found == ""
    assert [c.id for c in conversations.find("ann", "überFAHRT")] == [ferry]
    assert [c.id for c in conversations.find("ann", "50 %")] == [ferry]
    assert conversations.find("ann", "_") == []


def test_a_deleted_conversation_can_be_restored_for_a_day(conversations: Conversations) -> None:
    chat = conversations.create("ann", "q")
    conversations.add("ann", chat, Role.USER, "q", Finish.COMPLETE)
    conversations.hide("ann", chat)
    assert conversations.list("ann") == conversations.find("ann", "q") == []
    assert conversations.get("ann", chat) is None
    assert conversations.hidden() == []
    assert conversations.hidden(now() + timedelta(1)) == [("ann", chat)]
    conversations.restore("bob", chat)
    assert conversations.get("ann", chat) is None
    conversations.restore("ann", chat)
    assert [m.text for m in conversations.messages("ann", chat)] == ["q"]


def test_a_conversation_keeps_the_options_of_its_last_question(conversations: Conversations) -> None:
    chat = conversations.create("ann", "q")
    assert conversations.options("ann", chat) is None
    options = AnswerOptions(model="owl", collection_ids=("c",), generation=GenerationOptions(temperature=0.5))
    conversations.save_options("ann", chat, options, "brief")
    assert conversations.options("ann", chat) == (options, "brief")
    assert conversations.options("bob", chat) is None


# --- branches ---


def texts(conversations: Conversations, chat: str) -> list[str]:
    return [message.text for message in conversations.messages("ann", chat)]


def test_versions_of_a_message_are_branches_and_none_is_lost(conversations: Conversations) -> None:
    chat = conversations.create("ann", "q1")

    def say(role: Role, text: str, **parent: str | None) -> Message:
        return conversations.add("ann", chat, role, text, Finish.COMPLETE, **parent)

    q1 = say(Role.USER, "q1")
    a1 = say(Role.ASSISTANT, "a1")
    say(Role.USER, "q2")
    a2 = say(Role.ASSISTANT, "a2")
    other = say(Role.ASSISTANT, "a1 again", parent_id=q1.id)
    assert texts(conversations, chat) == ["q1", "a1 again"]
    assert other.versions == (a1.id, other.id)
    conversations.show("ann", a1.id)
    assert texts(conversations, chat) == ["q1", "a1", "q2", "a2"], "with all that followed it"
    edited = say(Role.USER, "q1 edited", parent_id=None)
    assert texts(conversations, chat) == ["q1 edited"]
    assert edited.versions == (q1.id, edited.id)
    conversations.show("bob", a2.id)
    assert texts(conversations, chat) == ["q1 edited"]
    conversations.show("ann", q1.id)
    assert texts(conversations, chat) == ["q1", "a1 again"], "the newest of its branches"
    assert [m.text for m in conversations.up_to("ann", a2.id)] == ["q1", "a1", "q2", "a2"]
    assert conversations.up_to("ann", None) == conversations.up_to("bob", a2.id) == ()


def test_reading_only_the_last_messages(conversations: Conversations) -> None:
    chat = conversations.create("ann", "q")
    for number in range(5):
        conversations.add("ann", chat, Role.USER, str(number), Finish.COMPLETE)
    assert [m.text for m in conversations.messages("ann", chat, last=2)] == ["3", "4"]
    assert conversations.length("ann", chat) == 5
    assert conversations.length("bob", chat) == 0


def test_a_message_keeps_the_record_of_what_made_it(conversations: Conversations) -> None:
    chat = conversations.create("ann", "q")
    message = conversations.add("ann", chat, Role.ASSISTANT, "a", Finish.COMPLETE)
    assert conversations.record("ann", message.id) == {}
    conversations.save("ann", message, {"model": "owl"})
    assert conversations.record("ann", message.id) == {"model": "owl"}
    assert conversations.record("bob", message.id) == {}


# --- files ---


ANSWER = "It is *62* metres long [1, 2]. Juno Hale built it. Ask again."
CHECKED: dict[str, Any] = {
    "text": ANSWER.replace(" [1, 2]", ""),
    "passages": (
        Passage("d:0", "d", "a_b_.pdf", 1, "62 metres", 0, 9, 1.0, 0.5, 2.0),
        Passage("d:1", "d", "b.pptx", 2, "long", 0, 4, 0.5, 0.5, 2.0, label="Slide 2"),
        Passage("d:2", "d", "c.pdf", 3, "no", 0, 2, 0.5, 0.5, 2.0),
    ),
    "citations": (
        Citation(1, "d", "a_b_.pdf", 1, "62\nmetres ![x](http://x)", 0, 9, 23),
        Citation(2, "d", "b.pptx", 2, "long", 0, 4, 23, label="Slide 2"),
        Citation(1, "d", "a_b_.pdf", 1, "metres", 3, 9, 0),
    ),
    "checks": (
        Check(0, 23, Verdict.SUPPORTED, 0.9, citation=0),
        Check(24, 43, Verdict.UNSUPPORTED, 0.1),
        Check(44, 54, Verdict.NO_CLAIM, 0.0),
    ),
}


def test_a_conversation_is_written_as_markdown_and_json(conversations: Conversations) -> None:
    chat = conversations.create("ann", "How long is it?")
    conversations.add("ann", chat, Role.USER, "How long\nis it?", Finish.COMPLETE)
    answer = conversations.add("ann", chat, Role.ASSISTANT, "", Finish.RUNNING, model="owl")
    error = {"type": "x", "message": "The end is missing.", "hint": "Ask again."}
    whole = replace(answer, finish=Finish.FAILED, error=error, notes=("It was cut.",), **CHECKED)
    conversations.save("ann", whole)
    record = conversations.get("ann", chat)
    assert record
    written = export.markdown(record, conversations.messages("ann", chat))
    marked = "It is *62* metres long. [1] [2] Juno Hale built it. [not in the passages] Ask again."
    assert written.startswith(
        f"# How long is it?\n\n## How long is it?\n\n{marked}\n\n*The end is missing. Ask again.*\n\n*It was cut.*\n\n"
        "Sources:\n\n"
        "- [1] a\\_b\\_.pdf, page 1: “62 metres !\\[x\\](http://x)”\n"
        "- [2] b.pptx, Slide 2: “long”\n"
        "- [1] a\\_b\\_.pdf, page 1, fits the question: “metres”\n\n*owl, "
    )
    assert "c.pdf" not in written
    asked, answered = json.loads(export.as_json(record, conversations.messages("ann", chat)))["messages"]
    assert (asked["text"], answered["text"]) == ("How long\nis it?", CHECKED["text"])
    assert answered["passages"][2]["document"] == "c.pdf"
    assert answered["citations"][1]["quote"] == "long"
    assert answered["mode"] == "written"
    assert [(check["text"], check["verdict"], check["passages"]) for check in answered["checks"]] == [
        ("It is *62* metres long.", "supported", [1, 2]),
        ("Juno Hale built it.", "unsupported", []),
        ("Ask again.", "no claim", []),
    ]
    assert marked in answered["markdown"]


def test_an_answer_is_copied_as_plain_text(conversations: Conversations) -> None:
    chat = conversations.create("ann", "q")
    answer = conversations.add("ann", chat, Role.ASSISTANT, "", Finish.COMPLETE)
    assert export.plain(export.answer(replace(answer, **CHECKED))) == (
        "It is 62 metres long. [1] [2] Juno Hale built it. [not in the passages] Ask again.\n\nSources:\n\n"
        "- [1] a_b_.pdf, page 1: “62 metres ![x](http://x)”\n- [2] b.pptx, Slide 2: “long”\n"
        "- [1] a_b_.pdf, page 1, fits the question: “metres”"
    )
    text = '# Head\n\n**Bold *both* `code`** snake_case_x 2*3*4 [a](http://b "c")\n```py\nx_y\n```\n- item * 2 *'
    plain = "Head\n\nBold both code snake_case_x 2*3*4 a (http://b)\nx_y\n- item * 2 *"
    assert export.plain(text) == plain


def test_an_answer_that_found_nothing_lists_the_nearest_passages(conversations: Conversations) -> None:
    chat = conversations.create("ann", "q")
    answer = conversations.add("ann", chat, Role.ASSISTANT, "I could not find this.", Finish.COMPLETE)
    found = replace(answer, passages=CHECKED["passages"], abstained=True)
    assert export.plain(export.answer(found)) == (
        "I could not find this.\n\nNearest passages:\n\n"
        "- [1] a_b_.pdf, page 1\n- [2] b.pptx, Slide 2\n- [3] c.pdf, page 3"
    )


# --- presets ---


def test_presets_are_kept_by_name_and_one_may_be_the_default(conversations: Conversations) -> None:
    presets = Presets(conversations.database)
    presets.save("ann", " Strict  one ", AnswerOptions(strict=False))
    presets.save("ann", "brief", AnswerOptions(instructions="Be brief."))
    presets.save("bob", "his", AnswerOptions())
    assert [preset.name for preset in presets.list("ann")] == ["brief", "Strict one"]
    assert presets.default("ann") is None
    presets.make_default("ann", "Strict one")
    presets.make_default("ann", "brief")
    presets.save("ann", "brief", AnswerOptions(instructions="Be very brief."))
    assert presets.default("ann") == Preset("brief", AnswerOptions(instructions="Be very brief."), is_default=True)
    presets.make_default("ann", None)
    assert presets.default("ann") is None
    presets.delete("ann", ["brief", "his"])
    assert [preset.name for preset in presets.list("ann")] == ["Strict one"]
    assert len(presets.list("bob")) == 1
    with pytest.raises(ConfigurationError):
        presets.save("ann", "  ", AnswerOptions())


def test_differences_between_two_records() -> None:
    one = {"model": "owl", "options": {"seed": None, "top_k": 4}, "passages": [{"passage": "a.pdf", "sha256": "1"}]}
    other = {"model": "wren", "options": {"seed": 1, "top_k": 4}, "revision": "0123456789abcdef", "prompt": ["x"]}
    assert differences(one, other) == [
        ("model", "owl", "wren"),
        ("options.seed", "", "1"),
        ("passages", "a.pdf", "-"),
        ("revision", "-", "0123456789ab"),
    ]
    assert differences(one, one) == []


def test_the_options_of_the_last_question_are_there_for_the_next_chat(conversations: Conversations) -> None:
    assert conversations.last_options("ann") is None
    first, second, asked_nothing = (conversations.create("ann", text) for text in ("one", "two", "three"))
    conversations.save_options("ann", first, AnswerOptions(backend="a", model="x"))
    conversations.save_options("ann", second, AnswerOptions(backend="b", model="y"))
    conversations.add("ann", first, Role.USER, "again", Finish.COMPLETE)
    assert asked_nothing
    last = conversations.last_options("ann")
    assert last
    assert (last.backend, last.model) == ("a", "x")
    assert conversations.last_options("bob") is None
