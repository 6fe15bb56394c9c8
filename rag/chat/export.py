"""A conversation as a file: Markdown for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime

from rag.schema import ConversationRecord, Finish, Message, Role

_ENDS = {Finish.STOPPED: "stopped", Finish.FAILED: "failed", Finish.RUNNING: "still being written"}


def markdown(conversation: ConversationRecord, messages: Sequence[Message]) -> str:
    """The shown branch: questions as headings, answers with their sources."""
    return "\n\n".join([f"# {conversation.title}", *(part for message in messages for part in _parts(message))]) + "\n"


def _parts(message: Message) -> Iterator[str]:
    if message.role is Role.USER:
        yield f"## {' '.join(message.text.split())}"
        return
    if message.text:
        yield message.text
    if message.error:
        yield f"*{message.error['message']} {message.error['hint']}*"
    if message.passages and not message.abstained:
        used = sorted({citation.n for citation in message.citations}) or range(1, len(message.passages) + 1)
        yield "\n".join(["Sources:", "", *(f"{n}. {message.passages[n - 1].place}" for n in used)])
    about = [message.model or "no model", message.created.isoformat(timespec="seconds")]
    yield f"*{', '.join([*about, *([_ENDS[message.finish]] if message.finish in _ENDS else [])])}*"


def as_json(conversation: ConversationRecord, messages: Sequence[Message]) -> str:
    """The shown branch with everything stored about its messages."""
    whole = {"id": conversation.id, "title": conversation.title, "updated": conversation.updated}
    stored = whole | {"messages": [asdict(message) for message in messages]}
    return json.dumps(stored, ensure_ascii=False, indent=1, default=datetime.isoformat)
