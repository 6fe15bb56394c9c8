"""Marks after the sentences of an answer: the number of the passage that supports it, or that none does.

A number is a link to a fragment of the page; `passage_view` listens for clicks on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.schema import Check, Citation, Message, Mode, Verdict
from ui.widgets import text

UNSUPPORTED = ":orange-badge[:material/help: not in the passages]"
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


def target(message: Message, place: int) -> str:
    """The link to a place of an answer, see `passage_view.places`."""
    return f"#source-{message.conversation_id}-{message.id}-{place}"


def marked(message: Message) -> str:
    """The Markdown of an answer with a mark after each checked sentence."""
    if message.route and message.route.verbatim:
        return "".join(_verbatim(message))
    return text.answer(_insert(message.text, _marks(message.checks, message.citations, message)))


def _verbatim(message: Message) -> Iterator[str]:
    """What the application says as Markdown, and between it the words of documents, which are no markup."""
    at = 0
    for check in message.checks:
        yield text.answer(message.text[at : check.start])
        place, at = check.citation or 0, check.end
        citation = message.citations[place]
        yield text.emphasised(message.text[check.start : check.end], citation.bold)
        yield f" {_number(citation, place, message)}"
        if message.mode is Mode.QUOTED:
            yield f" :small[:gray[{text.literal(' '.join(citation.place.split()))}]]"
    yield text.answer(message.text[at:])


def marked_so_far(answer: str, checks: Sequence[Check], citations: Sequence[Citation]) -> str:
    """Like `marked`, for an answer being written: its numbers are not links yet."""
    return text.answer(_insert(answer, _marks(checks, citations)))


def _marks(
    checks: Sequence[Check], citations: Sequence[Citation], message: Message | None = None
) -> Iterator[tuple[int, str]]:
    """Offset and Markdown of each mark."""
    if not checks:  # stored by a version without checks
        for place, citation in enumerate(citations):
            if citation.answer_end:
                yield citation.answer_end, _number(citation, place, message)
    for check in checks:
        if check.verdict is Verdict.UNSUPPORTED:
            yield check.end, UNSUPPORTED
        elif check.verdict is Verdict.SUPPORTED and check.citation is not None and check.citation < len(citations):
            yield check.end, _number(citations[check.citation], check.citation, message)


def _number(citation: Citation, place: int, message: Message | None) -> str:
    if message is None:
        return f":green-badge[{citation.n}]"
    # The title is the tooltip, and what a screen reader reads after the number.
    title = text.literal(" ".join(citation.place.split())).replace('"', r"\"")
    return f':green-badge[[\u00a0{citation.n}\u00a0]({target(message, place)} "{title}")]'


def _insert(answer: str, marks: Iterator[tuple[int, str]]) -> str:
    for at, mark in sorted(marks, key=lambda item: item[0], reverse=True):
        if len(_FENCE.findall(answer, 0, at)) % 2:
            continue  # inside code
        line = answer[answer.rfind("\n", 0, at) + 1 : at].strip()
        if not line.strip("|:- "):
            continue  # the line below the header of a table
        if line.startswith("|") and line.endswith("|"):  # into the last cell of a table's row
            at = answer.rindex("|", 0, at)
        answer = f"{answer[:at].rstrip(' ')} {mark}{answer[at:]}"
    return answer
