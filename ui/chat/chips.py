"""The marks behind the sentences of an answer: the number of the passage that supports one, or that none does.

A number is a link that the browser keeps to itself: `passage_view` hears of its click.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.schema import Check, Citation, Message, Verdict
from ui.widgets import text

UNSUPPORTED = ":orange-badge[:material/help: not in the passages]"
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


def target(message: Message, place: int) -> str:
    """The address of one of the places of an answer, see `passage_view.places`."""
    return f"#source-{message.conversation_id}-{message.id}-{place}"


def marked(message: Message) -> str:
    """The answer's Markdown with a mark behind each sentence that was checked."""
    return _insert(message.text, _marks(message.checks, message.citations, message))


def marked_so_far(answer: str, checks: Sequence[Check], citations: Sequence[Citation]) -> str:
    """The same of an answer that is being written; its numbers cannot be clicked yet."""
    return _insert(answer, _marks(checks, citations))


def _marks(
    checks: Sequence[Check], citations: Sequence[Citation], message: Message | None = None
) -> Iterator[tuple[int, str]]:
    """Where a mark belongs, and the mark."""
    if not checks:  # stored before there were any
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
    # Its title is what a pointer shows, and what a screen reader says after the number.
    title = text.literal(" ".join(citation.place.split())).replace('"', r"\"")
    return f':green-badge[[\u00a0{citation.n}\u00a0]({target(message, place)} "{title}")]'


def _insert(answer: str, marks: Iterator[tuple[int, str]]) -> str:
    for at, mark in sorted(marks, key=lambda item: item[0], reverse=True):
        if len(_FENCE.findall(answer, 0, at)) % 2:
            continue  # code is drawn as it is
        line = answer[answer.rfind("\n", 0, at) + 1 : at].strip()
        if not line.strip("|:- "):
            continue  # the line below the head of a table
        if line.startswith("|") and line.endswith("|"):  # inside the last cell of a table's row
            at = answer.rindex("|", 0, at)
        answer = f"{answer[:at].rstrip(' ')} {mark}{answer[at:]}"
    return answer
