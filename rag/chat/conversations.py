"""Conversations and their messages in the database. Every call takes the owner."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, func, select, update

from rag.db import ConversationRow, Database, MessageRow, now
from rag.schema import (
    Check,
    Citation,
    ConversationRecord,
    Feedback,
    Finish,
    Ledger,
    Message,
    Part,
    Passage,
    Role,
    Share,
    Timings,
    Usage,
    Verdict,
)

TITLE_LENGTH = 60


def title_of(question: str) -> str:
    """A title from the question's own words, at most 60 characters."""
    words = " ".join(question.split())
    return words if len(words) <= TITLE_LENGTH else words[:TITLE_LENGTH].rsplit(" ", 1)[0] + " …"


def _message(row: MessageRow) -> Message:
    return Message(
        id=row.id,
        conversation_id=row.conversation_id,
        role=Role(row.role),
        text=row.text,
        created=row.created,
        finish=Finish(row.finish),
        backend=row.backend,
        model=row.model,
        passages=tuple(Passage(**passage) for passage in row.passages),
        citations=tuple(Citation(**citation) for citation in row.citations),
        usage=Usage(**row.usage),
        timings=Timings(**row.timings),
        refused=row.refused,
        error=row.error,
        notes=tuple(row.notes),
        checks=tuple(_check(check) for check in row.checks),
        ledger=_ledger(row.ledger),
        feedback=Feedback(**row.feedback) if row.feedback else None,
    )


def _check(stored: dict[str, Any]) -> Check:
    lists = {key: tuple(stored[key]) for key in ("missing", "cited")}
    return Check(**stored | lists | {"verdict": Verdict(stored["verdict"])})


def _ledger(stored: dict[str, Any]) -> Ledger:
    shares = tuple(Share(**share | {"part": Part(share["part"])}) for share in stored.get("shares", ()))
    return Ledger(**stored | {"shares": shares})


def _columns(message: Message) -> dict[str, Any]:
    values = asdict(message)
    for key in ("id", "conversation_id", "role", "created"):
        del values[key]
    return values | {key: list(values[key]) for key in ("passages", "citations", "notes", "checks")}


class Conversations:
    """What was asked and answered."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, owner: str, question: str) -> str:
        """A new conversation, titled by its first question; its id."""
        with self.database.session() as session:
            row = ConversationRow(owner=owner, title=title_of(question))
            session.add(row)
            session.flush()
            return row.id

    def list(self, owner: str, limit: int = 30) -> list[ConversationRecord]:
        """The newest conversations, the last one used first."""
        query = select(ConversationRow).filter_by(owner=owner).order_by(ConversationRow.updated.desc()).limit(limit)
        with self.database.session() as session:
            return [ConversationRecord(row.id, row.title, row.updated) for row in session.scalars(query)]

    def get(self, owner: str, conversation_id: str) -> ConversationRecord | None:
        """One conversation, or None where the owner has no such one."""
        with self.database.session() as session:
            row = session.scalar(select(ConversationRow).filter_by(owner=owner, id=conversation_id))
            return ConversationRecord(row.id, row.title, row.updated) if row else None

    def last_model(self, owner: str, backend: str) -> str | None:
        """The model of a backend that answered last, or None where none did."""
        query = (
            select(MessageRow.model)
            .filter_by(owner=owner, backend=backend, finish=Finish.COMPLETE)
            .order_by(MessageRow.created.desc())
            .limit(1)
        )
        with self.database.session() as session:
            return session.scalar(query)

    def messages(self, owner: str, conversation_id: str) -> tuple[Message, ...]:
        """All messages, oldest first."""
        query = select(MessageRow).filter_by(owner=owner, conversation_id=conversation_id).order_by(MessageRow.position)
        with self.database.session() as session:
            return tuple(_message(row) for row in session.scalars(query))

    def add(self, owner: str, conversation_id: str, role: Role, text: str, finish: Finish, **values: Any) -> Message:
        """Append a message; `values` are further columns."""
        with self.database.session() as session:
            position = session.scalar(
                select(func.count()).select_from(MessageRow).filter_by(conversation_id=conversation_id)
            )
            row = MessageRow(
                owner=owner,
                conversation_id=conversation_id,
                position=position,
                role=role,
                text=text,
                finish=finish,
                error=None,
                **values,
            )
            session.add(row)
            session.execute(update(ConversationRow).filter_by(owner=owner, id=conversation_id).values(updated=now()))
            session.flush()
            return _message(row)

    def save(self, owner: str, message: Message) -> None:
        """Store `message` over the row that has its id."""
        with self.database.session() as session:
            session.execute(update(MessageRow).filter_by(owner=owner, id=message.id).values(**_columns(message)))

    def rate(self, owner: str, message_id: str, feedback: Feedback | None) -> None:
        """Keep what a person thinks of an answer; None takes it back."""
        stored = asdict(feedback) if feedback else None
        with self.database.session() as session:
            session.execute(update(MessageRow).filter_by(owner=owner, id=message_id).values(feedback=stored))

    def delete(self, owner: str, conversation_id: str) -> None:
        """Remove a conversation and its messages."""
        with self.database.session() as session:
            session.execute(delete(MessageRow).filter_by(owner=owner, conversation_id=conversation_id))
            session.execute(delete(ConversationRow).filter_by(owner=owner, id=conversation_id))

    def recover(self) -> int:
        """Mark answers that a killed process left running as failed, their text kept; how many there were."""
        error = {
            "type": "Interrupted",
            "message": "Gestalt was ended while this answer was being written.",
            "hint": "Ask again to get the whole answer.",
        }
        with self.database.session() as session:
            rows = session.scalars(select(MessageRow).filter_by(finish=Finish.RUNNING)).all()
            for row in rows:
                row.finish, row.error = Finish.FAILED, error
            return len(rows)
