"""Tells headings from sentences, items and cells: with markup, with numbers, or by standing alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.chat.evidence import CELL
from rag.schema import Span

HEADING = 70
"""Characters of the longest line without markup that is taken for a heading."""

_MARKDOWN = re.compile(r"(#{1,6})[ \t]+(.+)")
ITEM = re.compile(
    r"(?:[*•‣◦▪●–—\-+]|\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)]|\d{1,2}(?:\.\d{1,2})+\.?(?=\s+[^\W\d_a-zß-ÿ]))\s"
)
_CLAUSE = re.compile(r"(\d{1,2}(?:\.\d{1,2})+\.?|\d{1,2}[.)])(?:\s+|$)(.*)", re.DOTALL)
"""A clause or heading with its number."""
END = ".!?:;,。！？…؟।|"
BLANK = re.compile(r"\n[ \t\r]*\n")
_CAPITAL = r"(?:[A-ZÀ-Þ\d][\w'’.&-]*|of|and|the|&)"
NAMES = re.compile(rf"(?:From|To|Cc|Von|An|De|À|Para): .*|{_CAPITAL}(?:,? {_CAPITAL}){{0,5}}(?<!\.)")
"""Names alone, as in an address, also the sender or receiver of a mail."""
_YEAR = re.compile(r"\b\d{4}$")


@dataclass(slots=True)
class Heading:
    """A heading above some units; `start` and `end` are what stands below it in the passage."""

    title: str
    level: int
    start: int = -1
    end: int = -1


def with_numbers(text: str, places: Sequence[Span]) -> list[Span]:
    """The places, with the number of a clause or heading and what it numbers as one."""
    joined = list[Span]()
    for start, end in places:
        lone = joined and _CLAUSE.fullmatch(text, *joined[-1])
        if lone and not lone[2] and text[joined[-1][1] : start].count("\n") <= 1:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def heading_at(text: str, places: Sequence[Span], at: int, *, first: bool) -> Heading | None:
    """The heading at one of the statements of a text, if it is one; `first` if the text begins its document."""
    start, end = places[at]
    line = text[start:end]
    if marked := _MARKDOWN.fullmatch(line):
        return Heading(marked[2].strip(" #*"), len(marked[1]))
    if clause := _CLAUSE.fullmatch(line):
        return Heading(" ".join(line.split()), 7 + _depth(clause)) if _is_numbered_heading(text, places, at) else None
    if len(line) > HEADING or "\n" in line or line[-1] in END or "|" in line or ITEM.match(line) or ": " in line:
        return None
    alone = (at == 0 or "\n" in text[places[at - 1][1] : start]) and at + 1 < len(places)
    if not alone or "\n" not in text[end : places[at + 1][0]] or line[0].islower():
        return None
    following = text[slice(*places[at + 1])]
    if first and at == 0 and BLANK.search(text[end : places[1][0]]) and NAMES.fullmatch(line):
        return Heading(line, 1)  # the title
    if len(following) <= CELL and following[-1] not in END:  # a cell, or a heading above a heading
        return None
    if at and text[places[at - 1][1] - 1] not in END and "\n\n" not in text[places[at - 1][1] : start]:
        return None
    return Heading(line, 7)


def _depth(clause: re.Match[str]) -> int:
    return clause[1].strip(".)").count(".")


def _is_numbered_heading(text: str, places: Sequence[Span], at: int) -> bool:
    """Whether a numbered line is a title: it does not end as a sentence, and its text or deeper numbers follow."""
    start, end = places[at]
    clause = _CLAUSE.fullmatch(text, start, end)
    if not clause or not clause[2] or at + 1 == len(places) or "\n" not in text[end : places[at + 1][0]]:
        return False
    title = clause[2]
    if len(title) > HEADING or "\n" in title or title[-1] in END or title[0].islower() or _YEAR.search(title):
        return False
    if following := _CLAUSE.fullmatch(text, *places[at + 1]):
        return _depth(following) > _depth(clause)
    before = _CLAUSE.fullmatch(text, *places[at - 1]) if at else None
    in_list = before and _depth(before) == _depth(clause) and text[before.end() - 1] not in END
    return not in_list and not ITEM.match(text, places[at + 1][0])
