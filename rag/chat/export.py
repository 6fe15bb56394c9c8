"""Answers and conversations as text: Markdown and plain text for people, JSON for programs.

What the passages do not support is marked in all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rag.chat import marks
from rag.schema import ConversationRecord, Finish, Message, Role

_ENDS = {Finish.STOPPED: "stopped", Finish.FAILED: "failed", Finish.RUNNING: "still being written"}
_SPECIAL = re.compile(r"([\\`*_\[\]<>|])")
_STYLED = re.compile(r"(?<![\w\\])(\*\*|__|\*|_|`)(?=\S)(.+?)(?<=[^\s\\])\1(?!\w)")
_LINK = re.compile(r"(?<!\\)\[([^\[\]]+)\]\((\S+?)(?: \"[^\"]*\")?\)")
_LINE = re.compile(r"^ {0,3}(?:#{1,6} +|(?:```|~~~).*\n?)", re.MULTILINE)
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!<>|])")


def answer(message: Message) -> str:
    """An answer in Markdown: each sentence with its mark, then what was noted, and the sources with their quotes."""
    return "\n\n".join(_parts(message))


def plain(markdown: str) -> str:
    """The text of `answer` without Markdown."""
    text = _LINK.sub(r"\1 (\2)", _LINE.sub("", markdown))
    for _ in range(2):  # bold and italic
        text = _STYLED.sub(r"\2", text)
    return _ESCAPED.sub(r"\1", text)


def checks(message: Message) -> list[dict[str, Any]]:
    """The checked sentences, each with the numbers of the passages that support it."""
    cited = message.citations
    return [
        {
            "start": check.start,
            "end": check.end,
            "verdict": check.verdict.value,
            "passages": [cited[place].n for place in marks.supporting(check, cited)],
        }
        for check in message.checks
    ]


def markdown(conversation: ConversationRecord, messages: Sequence[Message]) -> str:
    """The shown branch: questions as headings, answers as in `answer`."""
    return "\n\n".join([f"# {conversation.title}", *map(_entry, messages)]) + "\n"


def _entry(message: Message) -> str:
    if message.role is Role.USER:
        return f"## {' '.join(message.text.split())}"
    verbatim = message.route and message.route.verbatim
    about = [
        f"{message.mode.value}, no model" if verbatim else message.model or "no model",
        message.created.isoformat(timespec="seconds"),
    ]
    about += [_ENDS[message.finish]] if message.finish in _ENDS else []
    return "\n\n".join([*_parts(message), f"*{', '.join(about)}*"])


def _parts(message: Message) -> Iterator[str]:
    if message.text:
        numbered = marks.marked(
            message.text, message.checks, message.citations, lambda place: f"[{message.citations[place].n}]"
        )
        # An image stays text: its server would be told that the file is read.
        yield numbered.replace("![", r"!\[")
    if message.error:
        yield f"*{message.error['message']} {message.error['hint']}*"
    for note in message.notes:
        yield f"*{note}*"
    if sources := list(_sources(message)):
        yield "\n".join(["Nearest passages:" if message.abstained else "Sources:", "", *sources])


def _sources(message: Message) -> Iterator[str]:
    """A line for each citation, or, if there is none, for each passage."""
    for citation in message.citations:
        place = citation.place if citation.answer_end else f"{citation.place}, fits the question"
        yield f"- [{citation.n}] {_literal(place)}: “{_literal(citation.quote)}”"
    if not message.citations:
        yield from (f"- [{number}] {_literal(one.place)}" for number, one in enumerate(message.passages, 1))


def _literal(text: str) -> str:
    """`text` in one line, with nothing in it that is Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def as_json(conversation: ConversationRecord, messages: Sequence[Message]) -> str:
    """The shown branch with everything stored about its messages, and each answer as in `answer`."""
    whole = {"id": conversation.id, "title": conversation.title, "updated": conversation.updated}
    stored = whole | {"messages": [_stored(message) for message in messages]}
    return json.dumps(stored, ensure_ascii=False, indent=1, default=datetime.isoformat)


def _stored(message: Message) -> dict[str, Any]:
    whole = asdict(message)
    if message.role is Role.USER:
        return whole
    for check, known in zip(whole["checks"], checks(message), strict=True):
        check |= {"text": message.text[check["start"] : check["end"]], **known}
    return whole | {"mode": message.mode, "markdown": answer(message)}
