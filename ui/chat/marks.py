"""The marks after the sentences of an answer as badges.

A number is a link to a fragment of the page; `passage_view` listens for clicks on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rag.chat import marks
from rag.schema import Check, Citation, Message, Mode
from ui.widgets import text

UNSUPPORTED = f":orange-badge[:material/help: {marks.UNSUPPORTED}]"


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


def _number(message: Message, place: int) -> str:
    citation = message.citations[place]
    # The title is the tooltip, and what a screen reader reads after the number.
    title = text.literal(" ".join(citation.place.split())).replace('"', r"\"")
    return f':green-badge[[\u00a0{citation.n}\u00a0]({target(message, place)} "{title}")]'


def _verbatim(message: Message) -> Iterator[str]:
    """What the application says as Markdown, and between it the words of documents, which are no markup."""
    at = 0
    for check in message.checks:
        yield text.answer(message.text[at : check.start])
        place, at = check.citation or 0, check.end
        citation = message.citations[place]
        yield text.emphasised(message.text[check.start : check.end], citation.bold)
        yield f" {_number(message, place)}"
        if message.mode is Mode.QUOTED:
            yield f" :small[:gray[{text.literal(' '.join(citation.place.split()))}]]"
    yield text.answer(message.text[at:])


def marked_so_far(answer: str, checks: Sequence[Check], citations: Sequence[Citation]) -> str:
    """Like `marked`, for an answer being written: its numbers are not links yet."""

    def number(place: int) -> str:
        return f":green-badge[{citations[place].n}]"

    return text.answer(marks.marked(answer, checks, citations, number, UNSUPPORTED))
