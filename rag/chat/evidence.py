"""What an answer is held against: the sentences of its passages, and how much each of their words says.

Needs no model. Knows nothing of answers or verdicts.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

from rag.chat.claims import Name, Words, read
from rag.chat.statements import statements
from rag.schema import Passage

GAP = 6
"""Words that the end of a sentence counts for in a distance."""
REACH = 8.0
"""Words in which closeness falls to a third."""
HEADING = 60
"""Characters of the longest line without an end that is taken for a heading."""
CELL, CELLS = 30, 6
"""Characters of the longest cell, and cells of the smallest table, where a PDF gave a table cell by cell."""


ENDINGS = frozenset(("a", "an", "di", "e", "es", "ese", "i", "ian", "ic", "ish", "n", "s", "y"))
"""By which stems of one name differ."""


@dataclass(frozen=True, slots=True)
class Span:
    """A sentence, an item or a table row of a passage."""

    number: int
    """Of its passage, from 1."""
    start: int
    end: int
    """`passage.text[start:end]`."""
    text: str
    """On one line; where it begins with a pronoun, after the names of the sentence before."""
    words: Words
    own: frozenset[str]
    """Its stems, those of the headings above it, and where it begins with a pronoun the names before it."""
    around: frozenset[str]
    """Its own stems and those of its neighbours and of the heading above it, or of the head of its table."""
    first: int
    """Position of its first word in the passage."""


class Evidence:
    """The passages of an answer and its question."""

    def __init__(self, passages: Sequence[Passage], question: str) -> None:
        self.passages = passages
        self.question = question
        self.asked = read(question)
        self.spans = [span for number, passage in enumerate(passages, 1) for span in _spans(number, passage)]
        frequency = Counter(stem for span in self.spans for stem in span.words.content)
        self._rarity = {stem: math.log(1 + len(self.spans) / count) for stem, count in frequency.items()}
        self._unknown = math.log(2 + len(self.spans))
        self.known = frozenset(frequency).union(*(_title(passage) for passage in passages))
        """Stems that stand in a passage, its heading or the name of its document."""
        self.of_passage = {
            number: frozenset().union(*(span.words.content for span in self.spans if span.number == number))
            for number in range(1, len(passages) + 1)
        }
        self._positions: dict[tuple[int, str], list[int]] = {}
        for span in self.spans:
            for at, stem in enumerate(span.words.sequence, span.first):
                if stem:
                    self._positions.setdefault((span.number, stem), []).append(at)

    # --- words ---

    def weight(self, stems: Iterable[str]) -> float:
        """How much words say together: rare ones more, those that no passage has most."""
        return sum(self._rarity.get(stem, self._unknown) for stem in stems)

    def share(self, found: Set[str], of: Set[str]) -> float:
        """0 to 1: how much of what `of` says `found` holds; 1 where it says nothing."""
        whole = self.weight(of)
        return self.weight(found & of) / whole if whole else 1.0

    # --- numbers and names ---

    @cached_property
    def names(self) -> list[tuple[int, int, Name]]:
        """`(passage, position, name)` of every number and name."""
        return [(span.number, span.first + name.at, name) for span in self.spans for name in span.words.names]

    @cached_property
    def name_stems(self) -> frozenset[str]:
        """Stems that are part of a name in a passage or in the question."""
        found = [name for _, _, name in self.names] + list(self.asked.names)
        return frozenset(stem for name in found if not name.number for stem in name.stems)

    @cached_property
    def common_stems(self) -> frozenset[str]:
        """Stems of passages and question that are no part of a name there."""
        return (frozenset(self._rarity) | self.asked.content) - self.name_stems

    @cached_property
    def _acronyms(self) -> frozenset[str]:
        runs = (name.stems for _, _, name in self.names if len(name.stems) > 1)
        return frozenset("".join(stem[0] for stem in stems) for stems in runs)

    def missing(self, said: Words) -> tuple[str, ...]:
        """The numbers and names of a sentence that stand in no passage, as the sentence writes them."""
        gone: dict[str, None] = {}
        for name in said.names:
            lost = [part for stem, part in zip(name.stems, name.parts, strict=True) if not self._knows(stem)]
            if lost:
                gone[" ".join(lost)] = None
        return tuple(gone)

    def _knows(self, stem: str) -> bool:
        if stem in self.known or stem in self._acronyms:
            return True
        if stem[0] == "#" or len(stem) < 4:
            return False
        # Norman and Normandy, America and American, but not John and Johnson.
        alike = (sorted((stem, other), key=len) for other in self.known if len(other) >= 4 and other[:4] == stem[:4])
        return any(long.startswith(short) and long[len(short) :] in ENDINGS for short, long in alike)

    # --- places ---

    def places(self, span: Span, stems: Iterable[str]) -> list[int]:
        """Positions of any of `stems` in the span, or else in its passage."""
        found = [at for stem in stems for at in self._positions.get((span.number, stem), ())]
        inside = [at for at in found if span.first <= at < span.first + len(span.words.sequence)]
        return inside or found

    def closeness(self, number: int, places: Iterable[int], anchors: Set[str]) -> float:
        """0 to 1: how near to one of `places` of a passage the words `anchors` stand, at the best of them."""
        there = [(found, self._rarity[stem]) for stem in anchors if (found := self._positions.get((number, stem)))]
        if not there:
            return 0.0
        return max((_near(at, there) for at in places), default=0.0) / self.weight(anchors)

    def others(self, said: Set[str], *, number: bool) -> dict[int, list[int]]:
        """Where in each passage the numbers, or the names, stand of which a sentence says none."""
        found: dict[int, list[int]] = {}
        for passage, at, name in self.names:
            if name.number == number and said.isdisjoint(name.stems):
                found.setdefault(passage, []).append(at)
        return found

    def context(self, spans: Sequence[Span]) -> str:
        """The text of spans with that of their neighbours, in the order of the passages."""
        places = {place for place, span in enumerate(self.spans) if span in spans}
        near = {
            other
            for place in places
            for other in range(max(0, place - 1), min(len(self.spans), place + 2))
            if self.spans[other].number == self.spans[place].number
        }
        return " ".join(self.spans[place].text for place in sorted(near))

    def answers(self, span: Span) -> float:
        """0 to 1: how much of the question the span speaks of, its neighbours counting half."""
        own, asked = span.words.content, self.asked.content
        whole = self.weight(asked) or 1.0
        return (self.weight(asked & own) + 0.5 * self.weight((asked & span.around) - own)) / whole


def _title(passage: Passage) -> frozenset[str]:
    """Stems of the headings above a passage and of its document's name, whose numbers say nothing."""
    name = read(re.sub(r"[\W_]+", " ", passage.document)).content
    return read(passage.heading).content.union(stem for stem in name if stem[0] != "#")


def _near(at: int, anchors: Sequence[tuple[Sequence[int], float]]) -> float:
    near = 0.0
    for places, weight in anchors:
        after = bisect_left(places, at)
        distance = min(abs(at - place) for place in places[max(0, after - 1) : after + 1])
        near += weight * math.exp(-max(0, distance - 1) / REACH)
    return near


def _spans(number: int, passage: Passage) -> Iterator[Span]:
    text = passage.text
    rows = list(_rows(text, statements(text)))
    words = [read(" ".join(text[start:end].split())) for start, end, _ in rows]
    above = title = _title(passage)
    first = 0
    for i, (start, end, head) in enumerate(rows):
        near = words[max(0, i - 1) : i + 2] if head is None else [words[head], words[i]]
        around = above.union(*(each.content for each in near))
        meant = _meant(words[i], words[i - 1]) if i else []
        own = above.union(words[i].content, *(name.stems for name in meant))
        line = " ".join([part for name in meant for part in name.parts] + text[start:end].split())
        yield Span(number, start, end, line, words[i], own, around, first)
        first += len(words[i].sequence) + GAP
        if head is None and (text[end - 1] == ":" or (end - start <= HEADING and text[end - 1] not in ".!?;,")):
            above = title | words[i].content


_PRONOUNS = frozenset(("he", "her", "his", "it", "its", "she", "their", "they", "these", "this", "those"))


def _meant(words: Words, before: Words) -> list[Name]:
    """The names of the sentence before, where a sentence begins with a pronoun."""
    if words.forms[:1] and words.forms[0] in _PRONOUNS:
        return [name for name in before.names if not name.number]
    return []


def _rows(text: str, places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int | None]]:
    """`places` with the cells of tables put together: `(start, end, index of the table's first row or None)`."""
    given = 0
    for shape, group in groupby(places, key=lambda place: _shape(text[slice(*place)])):
        rows = list(group)
        if table := shape == "row" or (shape == "cell" and len(rows) >= CELLS):
            rows = _table_rows(text, rows) if shape == "cell" else rows
        yield from ((start, end, given if table else None) for start, end in rows)
        given += len(rows)


def _shape(line: str) -> str:
    if " | " in line:
        return "row"
    return "cell" if len(line) <= CELL and line[0] != "#" and line[-1] not in ".!?:;," else ""


def _table_rows(text: str, cells: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """A row begins with a name after a number."""
    rows = [cells[0]]
    for before, (start, end) in pairwise(cells):
        cell, last = text[start:end], text[slice(*before)]
        begins = cell[0].isupper() and not _has_digit(cell) and (_has_digit(last) or last.islower())
        if begins:
            rows.append((start, end))
        else:
            rows[-1] = (rows[-1][0], end)
    return rows


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))
