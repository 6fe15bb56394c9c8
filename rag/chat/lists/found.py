"""What a list consists of, and the pages that it is read from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from rag.chat.headings import Heading
from rag.chat.lists.words import stems
from rag.chat.units import Unit, read_units
from rag.schema import Passage

LIMIT = 200
"""Items that are kept of a list; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Found:
    """An item of a list."""

    passage: Passage
    """Its whole page."""
    start: int
    end: int
    """Of the item in `passage.text`, a readable whole."""
    name: str
    """What the list shows."""


@dataclass(slots=True)
class Items:
    """The items that were found in one way, each once by its name."""

    what: str
    """For users: “rows whose price is more than 50”."""
    found: dict[str, Found | None] = field(default_factory=dict)
    """By what tells them apart; None above `LIMIT`."""

    def add(self, item: Found, key: str = "") -> None:
        """Add an item unless its name or key was there before."""
        key = key or " ".join(item.name.casefold().split())
        if key not in self.found:
            self.found[key] = item if len(self.found) < LIMIT else None

    def add_place(self, item: Found) -> None:
        """Add an item that differs from others by its place."""
        self.add(item, f"{item.passage.chunk_id}:{item.start}")

    def __len__(self) -> int:
        return len(self.found)


@dataclass(frozen=True, slots=True)
class Part:
    """A page with its units."""

    passage: Passage
    units: Sequence[Unit]
    outline: tuple[str, ...]
    """The document's name and the headings above the page."""

    def path(self, unit: Unit) -> tuple[str, ...]:
        """The document's name and the headings above a unit, outermost first."""
        return (self.outline[0], *(heading.title for heading in unit.headings))

    def about(self, unit: Unit) -> frozenset[str]:
        """The stems of the words of the document's name, of the page's label (of a sheet its name) and the headings."""
        return path_stems((*self.path(unit), self.passage.label))

    def place(self, unit: Unit, name: str) -> Found:
        """A unit as an item."""
        return Found(self.passage, unit.start, unit.end, name)

    def below(self, heading: Heading, unit: Unit) -> Found:
        """A heading with the first unit below it as an item."""
        start = self.passage.text.rfind(heading.title, 0, unit.start)
        return Found(self.passage, start if start >= 0 else unit.start, unit.end, heading.title)


def read_part(passage: Passage, name: str, above: Sequence[str]) -> Part:
    """Read a page of the document `name` under the headings that the page before it ended with."""
    units = read_units(1, replace(passage, heading=" › ".join(above)))
    return Part(passage, units, (name, *above))


def headings_at_end(part: Part) -> tuple[str, ...]:
    """The marked headings that go on on the next page; lines that only look like headings do not."""
    if not part.units:
        return part.outline[1:]
    return tuple(heading.title for heading in part.units[-1].headings if heading.level < 7)


@lru_cache(maxsize=2000)
def path_stems(path: tuple[str, ...]) -> frozenset[str]:
    """The stems of all headings of a path."""
    return frozenset().union(*(stems(title) for title in path))


def pages_of(passages: Iterator[Passage], name: str) -> Iterator[Part]:
    """The pages of a document, one by one."""
    above: tuple[str, ...] = ()
    for passage in passages:
        part = read_part(passage, name, above)
        yield part
        above = headings_at_end(part)
