"""Marks after the sentences of an answer: the numbers of the passages that support it, or that none does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from rag.schema import Check, Citation, Verdict

UNSUPPORTED = "not in the passages"
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


def supporting(check: Check, citations: Sequence[Citation]) -> list[int]:
    """Indexes of the citations that support a sentence, one for each passage."""
    if check.verdict is not Verdict.SUPPORTED:
        return []
    places = [index for index, citation in enumerate(citations) if citation.answer_end == check.end]
    if check.citation is not None and check.citation < len(citations):
        places.insert(0, check.citation)
    of_passage = dict[int, int]()
    for place in places:
        of_passage.setdefault(citations[place].n, place)
    return list(of_passage.values())


def marked(
    answer: str,
    checks: Sequence[Check],
    citations: Sequence[Citation],
    number: Callable[[int], str],
    unsupported: str = f"[{UNSUPPORTED}]",
) -> str:
    """The Markdown of an answer with a mark after each checked sentence; `number` writes that of a citation's index."""
    marks = list(_marks(checks, citations, number, unsupported))
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


def _marks(
    checks: Sequence[Check], citations: Sequence[Citation], number: Callable[[int], str], unsupported: str
) -> Iterator[tuple[int, str]]:
    """Offset and Markdown of each mark."""
    if not checks:  # stored by a version without checks
        for place, citation in enumerate(citations):
            if citation.answer_end:
                yield citation.answer_end, number(place)
    for check in checks:
        if check.verdict is Verdict.UNSUPPORTED:
            yield check.end, unsupported
        elif places := supporting(check, citations):
            yield check.end, " ".join(map(number, places))
