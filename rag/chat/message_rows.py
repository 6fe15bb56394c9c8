"""A message as a row of the database and back."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from rag.db import MessageRow
from rag.schema import Message

_MESSAGE = TypeAdapter(Message)
_FIXED = {"id", "conversation_id", "role", "created", "parent_id", "versions"}
"""What never changes, or follows from other messages."""
_COLUMNS = [column.key for column in MessageRow.__table__.columns if column.key in Message.__dataclass_fields__]


def message_of(row: MessageRow, versions: tuple[str, ...] = ()) -> Message:
    """The message of a row; `versions` are the messages in the same place."""
    return _MESSAGE.validate_python({name: getattr(row, name) for name in _COLUMNS} | {"versions": versions})


def columns(message: Message) -> dict[str, Any]:
    """The values to store of a message that changes."""
    values: dict[str, Any] = _MESSAGE.dump_python(message, mode="json", exclude=_FIXED)
    return values
