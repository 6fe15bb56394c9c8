"""A message as a row of the database and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rag.db import MessageRow
from rag.schema import (
    Check,
    Citation,
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

PLACE = "id", "conversation_id", "role", "created", "parent_id", "versions"
"""What a message keeps for good, or what follows from others."""


def message_of(row: MessageRow, versions: tuple[str, ...] = ()) -> Message:
    """The message of a row; `versions` stand in the same place."""
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
        abstained=row.abstained,
        error=row.error,
        notes=tuple(row.notes),
        checks=tuple(_check(check) for check in row.checks),
        ledger=_ledger(row.ledger),
        feedback=Feedback(**row.feedback) if row.feedback else None,
        parent_id=row.parent_id,
        versions=versions,
    )


def _check(stored: dict[str, Any]) -> Check:
    lists = {key: tuple(stored[key]) for key in ("missing", "cited")}
    return Check(**stored | lists | {"verdict": Verdict(stored["verdict"])})


def _ledger(stored: dict[str, Any]) -> Ledger:
    shares = tuple(Share(**share | {"part": Part(share["part"])}) for share in stored.get("shares", ()))
    return Ledger(**stored | {"shares": shares})


def columns(message: Message) -> dict[str, Any]:
    """What is stored of a message that is written on."""
    values = asdict(message)
    for key in PLACE:
        del values[key]
    return values | {key: list(values[key]) for key in ("passages", "citations", "notes", "checks")}
