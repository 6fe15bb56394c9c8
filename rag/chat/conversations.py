"""Conversations and their messages in the database. Every call takes the owner.

A conversation is a tree: each message has a parent, and messages with the same parent are versions of each other. One
branch is shown; a new question follows its last message, the leaf.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import String, cast, delete, func, select, update
from sqlalchemy.orm import Session

from errors import AppError, ConfigurationError
from options import AnswerOptions
from rag.chat.tree import Tree
from rag.db import ConversationRow, Database, MessageRow, now
from rag.schema import ConversationRecord, Feedback, Finish, Message, Role

TITLE_LENGTH = 60
SNIPPET = 40
"""Characters of context on each side of a match."""
KEPT_DELETED = timedelta(days=1)
"""How long a deleted conversation can be restored."""
_MESSAGE = TypeAdapter(Message)
_COLUMNS = [column.key for column in MessageRow.__table__.columns if column.key in Message.__dataclass_fields__]
_FIXED = {"id", "conversation_id", "role", "created", "parent_id", "versions"}
"""What of a message never changes, or follows from other messages."""


def title_of(question: str) -> str:
    """A title of at most 60 characters from the question's own words."""
    words = " ".join(question.split())
    return words if len(words) <= TITLE_LENGTH else words[:TITLE_LENGTH].rsplit(" ", 1)[0] + " …"


def _record(row: ConversationRow, found: str = "") -> ConversationRecord:
    return ConversationRecord(row.id, row.title, row.updated, row.pinned, found)


class Conversations:
    """An owner's conversations."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, owner: str, question: str) -> str:
        """Create a conversation, titled by its first question; return its id."""
        with self.database.session() as session:
            row = ConversationRow(owner=owner, title=title_of(question))
            session.add(row)
            session.flush()
            return row.id

    def list(self, owner: str, limit: int = 30) -> list[ConversationRecord]:
        """Pinned conversations first, then by last use."""
        query = select(ConversationRow).filter_by(owner=owner, deleted=None)
        query = query.order_by(ConversationRow.pinned.desc(), ConversationRow.updated.desc()).limit(limit)
        with self.database.session() as session:
            return [_record(row) for row in session.scalars(query)]

    def find(self, owner: str, text: str, limit: int = 30) -> builtins.list[ConversationRecord]:
        """Conversations with `text` in their title or in a message, ignoring case; newest first."""
        needle = " ".join(text.split()).casefold()
        in_title = func.instr(func.casefold(ConversationRow.title), needle) > 0
        matching = (
            select(MessageRow.conversation_id, MessageRow.text, func.max(MessageRow.position))
            .where(MessageRow.owner == owner, func.instr(func.casefold(MessageRow.text), needle) > 0)
            .group_by(MessageRow.conversation_id)
            .subquery()
        )
        query = (
            select(ConversationRow, matching.c.text)
            .outerjoin(matching, matching.c.conversation_id == ConversationRow.id)
            .where(ConversationRow.owner == owner, ConversationRow.deleted.is_(None))
            .where(in_title | matching.c.conversation_id.is_not(None))
            .order_by(ConversationRow.updated.desc())
            .limit(limit)
        )
        with self.database.session() as session:
            return [_record(row, _around(said or "", needle)) for row, said in session.execute(query)]

    def get(self, owner: str, conversation_id: str) -> ConversationRecord | None:
        """A conversation, or None if the owner has none of that id."""
        with self.database.session() as session:
            row = session.scalar(select(ConversationRow).filter_by(owner=owner, id=conversation_id, deleted=None))
            return _record(row) if row else None

    def rename(self, owner: str, conversation_id: str, title: str) -> None:
        """Change the title; an empty one is ignored."""
        if title := title_of(title):
            self._update(ConversationRow, owner, conversation_id, title=title)

    def pin(self, owner: str, conversation_id: str, pinned: bool) -> None:
        """Pin or unpin it."""
        self._update(ConversationRow, owner, conversation_id, pinned=pinned)

    def options(self, owner: str, conversation_id: str) -> tuple[AnswerOptions, str | None] | None:
        """The options of its last question, and the preset they came from; None if nothing was asked yet."""
        query = select(ConversationRow.options, ConversationRow.preset).filter_by(owner=owner, id=conversation_id)
        with self.database.session() as session:
            found = session.execute(query).first()
        return (AnswerOptions.read(found.options), found.preset) if found and found.options else None

    def last_options(self, owner: str) -> AnswerOptions | None:
        """The options of the last question in any conversation; None before the first, or if they cannot be read."""
        query = select(ConversationRow.options).filter_by(owner=owner)
        query = query.where(cast(ConversationRow.options, String) != "{}")
        with self.database.session() as session:
            found = session.scalar(query.order_by(ConversationRow.updated.desc()).limit(1))
        with suppress(ConfigurationError):
            return AnswerOptions.read(found) if found else None
        return None

    def save_options(self, owner: str, conversation_id: str, options: AnswerOptions, preset: str | None = None) -> None:
        """Save the options of a question."""
        stored = options.model_dump(mode="json")
        self._update(ConversationRow, owner, conversation_id, options=stored, preset=preset)

    def hide(self, owner: str, conversation_id: str) -> None:
        """Delete it; `restore` can undo that for a day."""
        self._update(ConversationRow, owner, conversation_id, deleted=now())

    def restore(self, owner: str, conversation_id: str) -> None:
        """Undo `hide`."""
        self._update(ConversationRow, owner, conversation_id, deleted=None)

    def delete(self, owner: str, conversation_id: str) -> None:
        """Remove a conversation and its messages for good."""
        with self.database.session() as session:
            session.execute(delete(MessageRow).filter_by(owner=owner, conversation_id=conversation_id))
            session.execute(delete(ConversationRow).filter_by(owner=owner, id=conversation_id))

    def hidden(self, before: datetime | None = None) -> builtins.list[tuple[str, str]]:
        """Owner and id of those deleted before a time, by default a day ago."""
        query = select(ConversationRow.owner, ConversationRow.id)
        query = query.where(ConversationRow.deleted < (before or now() - KEPT_DELETED))
        with self.database.session() as session:
            return [(owner, id_) for owner, id_ in session.execute(query)]

    def _update(self, row: type[ConversationRow | MessageRow], owner: str, id_: str, **values: Any) -> None:
        with self.database.session() as session:
            session.execute(update(row).filter_by(owner=owner, id=id_).values(values))

    # --- messages ---

    def messages(self, owner: str, conversation_id: str, last: int | None = None) -> tuple[Message, ...]:
        """The messages of the shown branch, oldest first; only the `last` ones if given."""
        with self.database.session() as session:
            tree = _tree(session, owner, conversation_id)
            path = tree.path(_leaf(session, owner, conversation_id))
            return _read(session, path if last is None else path[-last:], tree)

    def length(self, owner: str, conversation_id: str) -> int:
        """How many messages the shown branch has."""
        with self.database.session() as session:
            return len(_tree(session, owner, conversation_id).path(_leaf(session, owner, conversation_id)))

    def message(self, owner: str, message_id: str) -> Message | None:
        """A message of any branch, or None if the owner has none of that id."""
        with self.database.session() as session:
            row = session.scalar(select(MessageRow).filter_by(owner=owner, id=message_id))
            if row is None:
                return None
            return _read(session, [row.id], _tree(session, owner, row.conversation_id))[0]

    def up_to(self, owner: str, message_id: str | None) -> tuple[Message, ...]:
        """The messages from the first of a conversation to this one; none for None."""
        if message_id is None:
            return ()
        with self.database.session() as session:
            row = session.scalar(select(MessageRow).filter_by(owner=owner, id=message_id))
            if row is None:
                return ()
            tree = _tree(session, owner, row.conversation_id)
            return _read(session, tree.path(row.id), tree)

    def show(self, owner: str, message_id: str) -> None:
        """Show the branch of a message: the newest one that continues it."""
        with self.database.session() as session:
            row = session.scalar(select(MessageRow).filter_by(owner=owner, id=message_id))
            if row is None:
                return
            leaf = _tree(session, owner, row.conversation_id).newest_leaf(row.id)
            session.execute(update(ConversationRow).filter_by(owner=owner, id=row.conversation_id).values(leaf_id=leaf))

    def add(self, owner: str, conversation_id: str, role: Role, text: str, finish: Finish, **values: Any) -> Message:
        """Add a message, which becomes the leaf; `values` are further columns, `parent_id` by default the last leaf."""
        with self.database.session() as session:
            conversation = session.scalars(select(ConversationRow).filter_by(owner=owner, id=conversation_id)).one()
            values = {"parent_id": conversation.leaf_id, "error": None, **values}
            count = select(func.count()).select_from(MessageRow).filter_by(conversation_id=conversation_id)
            row = MessageRow(
                owner=owner, conversation_id=conversation_id, role=role, text=text, finish=finish, **values
            )
            row.position = session.scalar(count) or 0
            session.add(row)
            session.flush()
            conversation.leaf_id, conversation.updated = row.id, now()
            return _message(row, _tree(session, owner, conversation_id))

    def save(self, owner: str, message: Message, record: Mapping[str, Any] | None = None) -> None:
        """Store a message in its row, with the record of what made it."""
        values = _MESSAGE.dump_python(message, mode="json", exclude=_FIXED)
        self._update(MessageRow, owner, message.id, **values, **({"record": dict(record)} if record else {}))

    def fail(self, owner: str, message_id: str, error: AppError) -> None:
        """Mark a message as failed; its text stays as it was stored last."""
        values = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        self._update(MessageRow, owner, message_id, finish=Finish.FAILED, error=values)

    def rate(self, owner: str, message_id: str, feedback: Feedback | None) -> None:
        """Save a user's feedback on an answer; None removes it."""
        self._update(MessageRow, owner, message_id, feedback=asdict(feedback) if feedback else None)

    def record(self, owner: str, message_id: str) -> dict[str, Any]:
        """What made an answer; empty if nothing was stored."""
        with self.database.session() as session:
            return session.scalar(select(MessageRow.record).filter_by(owner=owner, id=message_id)) or {}

    def last_model(self, owner: str, backend: str) -> str | None:
        """The model of a backend that answered last, or None."""
        query = select(MessageRow.model).filter_by(owner=owner, backend=backend, finish=Finish.COMPLETE)
        with self.database.session() as session:
            return session.scalar(query.order_by(MessageRow.created.desc()).limit(1))

    def recover(self) -> int:
        """Mark answers that a killed process left running as failed, keeping their text; return how many."""
        message, hint = "Gestalt was stopped while it was writing this answer.", "Answer again to get the whole answer."
        error = {"type": "Interrupted", "message": message, "hint": hint}
        with self.database.session() as session:
            rows = session.scalars(select(MessageRow).filter_by(finish=Finish.RUNNING)).all()
            for row in rows:
                row.finish, row.error = Finish.FAILED, error
            return len(rows)


def _leaf(session: Session, owner: str, conversation_id: str) -> str | None:
    return session.scalar(select(ConversationRow.leaf_id).filter_by(owner=owner, id=conversation_id))


def _tree(session: Session, owner: str, conversation_id: str) -> Tree:
    query = select(MessageRow.id, MessageRow.parent_id).filter_by(owner=owner, conversation_id=conversation_id)
    return Tree((id_, parent) for id_, parent in session.execute(query.order_by(MessageRow.position)))


def _read(session: Session, ids: Sequence[str], tree: Tree) -> tuple[Message, ...]:
    rows = {row.id: row for row in session.scalars(select(MessageRow).where(MessageRow.id.in_(ids)))}
    return tuple(_message(rows[id_], tree) for id_ in ids)


def _message(row: MessageRow, tree: Tree) -> Message:
    stored = {name: getattr(row, name) for name in _COLUMNS}
    return _MESSAGE.validate_python(stored | {"versions": tree.versions(row.id)})


def _around(text: str, needle: str) -> str:
    """Some words of `text` around `needle`."""
    text = " ".join(text.split())
    at = text.casefold().find(needle)
    if at < 0:
        return ""
    start, end = max(0, at - SNIPPET), at + len(needle) + SNIPPET
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
