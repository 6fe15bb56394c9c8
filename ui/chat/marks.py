"""The marks after the sentences of an answer as badges.

A number is a link to a fragment of the page; `passage_view` listens for clicks on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rag.chat import marks
from rag.schema import Check, Citation, Message
from ui.widgets import text

UNSUPPORTED = f":orange-badge[:material/help: {marks.UNSUPPORTED}]"


def target(message: Message, place: int) -> str:
    """The link to a place of an answer, see `passage_view.places`."""
    return f"#source-{message.conversation_id}-{message.id}-{place}"


def marked(message: Message) -> str:
    """The Markdown of an answer with a mark after each checked sentence."""

    def number(place: int) -> str:
        citation = message.citations[place]
        # The title is the tooltip, and what a screen reader reads after the number.
        title = text.literal(" ".join(citation.place.split())).replace('"', r"\"")
        return f':green-badge[[\u00a0{citation.n}\u00a0]({target(message, place)} "{title}")]'

    return marks.marked(message.text, message.checks, message.citations, number, UNSUPPORTED)


def marked_so_far(answer: str, checks: Sequence[Check], citations: Sequence[Citation]) -> str:
    """Like `marked`, for an answer being written: its numbers are not links yet."""

    def number(place: int) -> str:
        return f":green-badge[{citations[place].n}]"

    return marks.marked(answer, checks, citations, number, UNSUPPORTED)
