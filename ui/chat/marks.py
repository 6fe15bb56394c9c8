"""The marks after the sentences of an answer as badges.

A number is a link to a fragment of the page; `passage_view` listens for clicks on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.chat import marks
from rag.schema import Check, Citation, Message, Mode
from ui.widgets import text

UNSUPPORTED = f":orange-badge[:material/help: {marks.UNSUPPORTED}]"
LONGEST_NAME = 40  # characters of a place in a badge, which is never broken into lines

# In escaped text, where a table has the cells between bars:
_CELLS = re.compile(r" *\\\| *")
_EDGES = re.compile(r"^\\\| *| *\\\|(?= *$)", re.MULTILINE)
_RULE = re.compile(r"(?:\\[|:-]| )+")


def target(message: Message, place: int) -> str:
    """The link to a place of an answer, see `passage_view.places`."""
    return f"#source-{message.conversation_id}-{message.id}-{place}"


def marked(message: Message) -> str:
    """The Markdown of an answer with a mark after each checked sentence."""
    if message.route and message.route.verbatim:
        return "".join(_verbatim(message))
    written = marks.marked(
        message.text, message.checks, message.citations, lambda place: _number(message, place), UNSUPPORTED
    )
    return text.answer(written)


def _number(message: Message, place: int, *, named: bool = False) -> str:
    citation = message.citations[place]
    # The title is the tooltip, and what a screen reader reads after the number.
    title = text.literal(" ".join(citation.place.split())).replace('"', r"\"")
    name = f" · {text.literal(text.short(' '.join(citation.place.split()), LONGEST_NAME))}" if named else ""
    return f':green-badge[[\u00a0{citation.n}{name}\u00a0]({target(message, place)} "{title}")]'


def _verbatim(message: Message) -> Iterator[str]:
    """What the application says as Markdown, and between it the words of documents, which are no markup."""
    quotes, at = message.mode is Mode.QUOTED, 0
    for check in message.checks:
        said, place, at = message.text[at : check.start], check.citation or 0, check.end
        quoted = text.emphasised(message.text[check.start : check.end], message.citations[place].bold)
        # The header that a row needs to be understood is on the line above it.
        header = said.rstrip("\n").rpartition("\n")[2] if quotes else ""
        table = _table(text.literal(header), quoted) if quotes else ""
        yield text.answer(said.removesuffix(f"{header}\n") if table else said)
        yield f"{table or _EDGES.sub('', quoted)} {_number(message, place, named=quotes)}"
    yield text.answer(message.text[at:])


def _table(header: str, quoted: str) -> str:
    """Escaped rows below a header, or their first line, as a Markdown table; empty if they are not."""
    lines = [line.strip() for line in [header, *quoted.split("\n")] if line.strip()]
    rows = [_CELLS.split(_EDGES.sub("", line)) for line in lines if not _RULE.fullmatch(line)]
    width = len(rows[0])
    named = bool(header) or not any(map(str.isdigit, "".join(rows[0])))
    if not named or len(rows) < 2 or not all(2 <= len(row) <= width for row in rows):
        return ""
    rows.insert(1, ["---"] * width)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n"


def marked_so_far(answer: str, checks: Sequence[Check], citations: Sequence[Citation]) -> str:
    """Like `marked`, for an answer being written: its numbers are not links yet."""

    def number(place: int) -> str:
        return f":green-badge[{citations[place].n}]"

    return text.answer(marks.marked(answer, checks, citations, number, UNSUPPORTED))
