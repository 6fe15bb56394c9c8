"""The passages of an answer as evidence: their sentences, the weight of each word, and where entities occur."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

from rag.chat.claims import Entity, Words, analyse
from rag.chat.statements import statements
from rag.schema import Passage

GAP = 6
"""Words that a sentence boundary adds to a distance."""
REACH = 8.0
"""Distance in words at which proximity falls to a third."""
HEADING = 60
"""Characters of the longest unpunctuated line that counts as a heading."""
CELL, CELLS = 30, 6
"""Longest cell in characters and smallest table in cells, for tables that a PDF yields cell by cell."""
NAME_ENDINGS = frozenset(("a", "an", "di", "e", "es", "ese", "i", "ian", "ic", "ish", "n", "s", "y"))
"""Endings by which stems of the same name may differ: Norman and Normandy."""
_PRONOUNS = frozenset(("he", "her", "his", "it", "its", "she", "their", "they", "these", "this", "those"))


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A sentence, list item or table row of a passage."""

    number: int
    """Of its passage, from 1."""
    start: int
    end: int
    """`passage.text[start:end]`."""
    text: str
    """On one line; if it begins with a pronoun, preceded by the names of the previous sentence."""
    words: Words
    stems: frozenset[str]
    """Its stems, those of the headings above it, and those of the names that its first pronoun may refer to."""
    context: frozenset[str]
    """Its stems and those of its neighbours and the headings above it, or of the header of its table."""
    first: int
    """Position of its first word in the passage."""


class Evidence:
    """The passages of an answer, and its question."""

    def __init__(self, passages: Sequence[Passage], question: str) -> None:
        self.passages = passages
        self.question = question
        self.asked = analyse(question)
        self.spans = [span for number, passage in enumerate(passages, 1) for span in _spans(number, passage)]
        frequency = Counter(stem for span in self.spans for stem in span.words.content)
        self._idf = {stem: math.log(1 + len(self.spans) / count) for stem, count in frequency.items()}
        self._unknown = math.log(2 + len(self.spans))
        self.known = frozenset(frequency).union(*(_title(passage) for passage in passages))
        """Stems of the passages, their headings and the names of their documents."""
        self.of_passage = {
            number: frozenset().union(*(span.words.content for span in self.spans if span.number == number))
            for number in range(1, len(passages) + 1)
        }
        self._positions: dict[tuple[int, str], list[int]] = {}
        for span in self.spans:
            for at, stem in enumerate(span.words.sequence, span.first):
                if stem:
                    self._positions.setdefault((span.number, stem), []).append(at)

    def weight(self, stems: Iterable[str]) -> float:
        """Sum of inverse document frequencies, over spans; stems that no span has weigh most."""
        return sum(self._idf.get(stem, self._unknown) for stem in stems)

    def coverage(self, found: Set[str], of: Set[str]) -> float:
        """Weighted share of `of` that is in `found`, 0 to 1; 1 if `of` is empty."""
        whole = self.weight(of)
        return self.weight(found & of) / whole if whole else 1.0

    @cached_property
    def entities(self) -> list[tuple[int, int, Entity]]:
        """`(passage, position, entity)` of every number and name."""
        return [(span.number, span.first + entity.at, entity) for span in self.spans for entity in span.words.entities]

    @cached_property
    def name_stems(self) -> frozenset[str]:
        """Stems that are part of a name in a passage or in the question."""
        found = [entity for _, _, entity in self.entities] + list(self.asked.entities)
        return frozenset(stem for entity in found if not entity.is_number for stem in entity.stems)

    @cached_property
    def common_stems(self) -> frozenset[str]:
        """Stems of passages and question that are never part of a name there."""
        return (frozenset(self._idf) | self.asked.content) - self.name_stems

    @cached_property
    def _acronyms(self) -> frozenset[str]:
        runs = (entity.stems for _, _, entity in self.entities if len(entity.stems) > 1)
        return frozenset("".join(stem[0] for stem in stems) for stems in runs)

    def missing(self, words: Words) -> tuple[str, ...]:
        """The numbers and names that occur in no passage, as the text writes them."""
        missing: dict[str, None] = {}
        for entity in words.entities:
            parts = [part for stem, part in zip(entity.stems, entity.parts, strict=True) if not self._occurs(stem)]
            if parts:
                missing[" ".join(parts)] = None
        return tuple(missing)

    def _occurs(self, stem: str) -> bool:
        if stem in self.known or stem in self._acronyms:
            return True
        if stem[0] == "#" or len(stem) < 4:
            return False
        # Norman and Normandy, America and American, but not John and Johnson.
        similar = (sorted((stem, other), key=len) for other in self.known if len(other) >= 4 and other[:4] == stem[:4])
        return any(long.startswith(short) and long[len(short) :] in NAME_ENDINGS for short, long in similar)

    def positions(self, span: TextSpan, stems: Iterable[str]) -> list[int]:
        """Positions of any of `stems` in the span; in its passage if the span has none."""
        found = [at for stem in stems for at in self._positions.get((span.number, stem), ())]
        inside = [at for at in found if span.first <= at < span.first + len(span.words.sequence)]
        return inside or found

    def proximity(self, number: int, positions: Iterable[int], anchors: Set[str]) -> float:
        """How near the stems `anchors` are to the best of some positions in a passage, 0 to 1."""
        there = [(found, self._idf[stem]) for stem in anchors if (found := self._positions.get((number, stem)))]
        if not there:
            return 0.0
        return max((_proximity(at, there) for at in positions), default=0.0) / self.weight(anchors)

    def unmentioned(self, stems: Set[str], *, numbers: bool) -> dict[int, list[int]]:
        """Positions in each passage of the numbers, or the names, that share no stem with `stems`."""
        found: dict[int, list[int]] = {}
        for passage, at, entity in self.entities:
            if entity.is_number == numbers and stems.isdisjoint(entity.stems):
                found.setdefault(passage, []).append(at)
        return found

    def context(self, spans: Sequence[TextSpan]) -> str:
        """The text of spans and their neighbours, in the order of the passages."""
        places = {place for place, span in enumerate(self.spans) if span in spans}
        near = {
            other
            for place in places
            for other in range(max(0, place - 1), min(len(self.spans), place + 2))
            if self.spans[other].number == self.spans[place].number
        }
        return " ".join(self.spans[place].text for place in sorted(near))

    def question_overlap(self, span: TextSpan) -> float:
        """Weighted share of the question's stems in a span, 0 to 1; those in its context count half."""
        own, asked = span.words.content, self.asked.content
        whole = self.weight(asked) or 1.0
        return (self.weight(asked & own) + 0.5 * self.weight((asked & span.context) - own)) / whole


def _title(passage: Passage) -> frozenset[str]:
    """Stems of a passage's headings and of its document's name, without the numbers in the latter."""
    name = analyse(re.sub(r"[\W_]+", " ", passage.document)).content
    return analyse(passage.heading).content.union(stem for stem in name if stem[0] != "#")


def _proximity(at: int, anchors: Sequence[tuple[Sequence[int], float]]) -> float:
    total = 0.0
    for positions, weight in anchors:
        after = bisect_left(positions, at)
        distance = min(abs(at - position) for position in positions[max(0, after - 1) : after + 1])
        total += weight * math.exp(-max(0, distance - 1) / REACH)
    return total


def _spans(number: int, passage: Passage) -> Iterator[TextSpan]:
    text = passage.text
    rows = list(_rows(text, statements(text)))
    words = [analyse(" ".join(text[start:end].split())) for start, end, _ in rows]
    above = title = _title(passage)
    first = 0
    for i, (start, end, header) in enumerate(rows):
        near = words[max(0, i - 1) : i + 2] if header is None else [words[header], words[i]]
        context = above.union(*(each.content for each in near))
        # The names of the previous sentence, if this one begins with a pronoun.
        refers = i > 0 and not _PRONOUNS.isdisjoint(words[i].forms[:1])
        antecedents = [entity for entity in words[i - 1].entities if not entity.is_number] if refers else []
        stems = above.union(words[i].content, *(name.stems for name in antecedents))
        line = " ".join([part for name in antecedents for part in name.parts] + text[start:end].split())
        yield TextSpan(number, start, end, line, words[i], stems, context, first)
        first += len(words[i].sequence) + GAP
        if header is None and (text[end - 1] == ":" or (end - start <= HEADING and text[end - 1] not in ".!?;,")):
            above = title | words[i].content


def _rows(text: str, places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int | None]]:
    """`places` with table cells joined into rows: `(start, end, index of the table's header or None)`."""
    index = 0
    for shape, group in groupby(places, key=lambda place: _shape(text[slice(*place)])):
        rows = list(group)
        if table := shape == "row" or (shape == "cell" and len(rows) >= CELLS):
            rows = table_rows(text, rows) if shape == "cell" else rows
        yield from ((start, end, index if table else None) for start, end in rows)
        index += len(rows)


def _shape(line: str) -> str:
    if " | " in line:
        return "row"
    return "cell" if len(line) <= CELL and line[0] != "#" and line[-1] not in ".!?:;," else ""


def table_rows(text: str, cells: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join cells into rows; a row begins with text after a number."""
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
