"""Conversations and their messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rag.chat.conversations import Conversations, title_of
from rag.db import Database
from rag.schema import Citation, Finish, Passage, Role, Timings, Usage


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


def test_the_list_is_the_owners_and_newest_first(conversations: Conversations) -> None:
    first = conversations.create("ann", "first")
    second = conversations.create("ann", "second")
    conversations.create("bob", "his")
    conversations.add("ann", first, Role.USER, "again", Finish.COMPLETE)
    assert [c.id for c in conversations.list("ann")] == [first, second]
    assert conversations.get("bob", first) is None
    assert conversations.messages("bob", first) == ()


def test_nobody_writes_into_another_owners_conversation(conversations: Conversations) -> None:
    chat = conversations.create("ann", "hers")
    message = conversations.add("ann", chat, Role.USER, "hers", Finish.COMPLETE)
    conversations.save("bob", replace(message, text="his"))
    conversations.delete("bob", chat)
    assert conversations.messages("ann", chat)[0].text == "hers"
    conversations.delete("ann", chat)
    assert conversations.get("ann", chat) is None


def test_an_answer_that_a_kill_left_running_is_failed_with_its_text(conversations: Conversations) -> None:
    chat = conversations.create("ann", "q")
    answer = conversations.add("ann", chat, Role.ASSISTANT, "The pier is", Finish.RUNNING)
    assert conversations.recover() == 1
    [message] = conversations.messages("ann", chat)
    assert (message.id, message.finish, message.text) == (answer.id, Finish.FAILED, "The pier is")
    assert message.error
    assert message.error["hint"]
    assert conversations.recover() == 0


def test_titles_are_the_questions_words() -> None:
    assert title_of("  How   long\nis it? ") == "How long is it?"
    assert title_of("word " * 40).endswith("word …")
    assert len(title_of("word " * 40)) <= 62
