"""What can be quoted of a passage: its sentences, list items and table rows, and what each needs to be understood."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise

from rag.chat.evidence import CELL, CELLS, table_rows
from rag.chat.headings import BLANK, END, HEADING, ITEM, NAMES, Heading, heading_at, with_numbers
from rag.chat.statements import statements
from rag.schema import Passage, Span

_NUMERIC = re.compile(r"[^\w(]*\(?[-+−]?\d[\d.,:/ ]*[^\w]*(?:[a-zA-Z]{1,3})?")
_NAMED_CELLS = re.compile(r"[^|:]{1,60}: [^|]*(?: \| [^|:]{1,60}: [^|]*)*")
_FORMULA = re.compile(
    r"(?:Dear|Hi|Hello|(?:Sehr )?geehrte[rs]?|Liebe[rs]?|Hallo|Cher|Chère|Madame|Monsieur|Estimad[oa]s?|Querid[oa]s?)\b"
    r"(?:[^.?!:,]|(?:Mrs?|Ms|Dr|Prof)\.){0,40}[,!]?"
    r"|Yours(?: \w+)?,?|(?:With )?(?:best|kind|warm) (?:\w+ )?(?:regards|wishes),?"
    r"|Mit (?:\w+ )?(?:freundlich|best|herzlich)\w* Gr(?:u|ü)(?:ß|ss)\w*,?",
    re.IGNORECASE,
)
"""A salutation or the end of a letter."""
_PRONOUN = re.compile(r"(?:He|She|It|They|This|These|That|Those|His|Her|Its|Their|Both|Er|Sie|Es|Il|Elle|Ella|Él)\b")

_RULE = re.compile(r"\s*\|?[ \t]*:?-{3}")


@dataclass(slots=True)
class Unit:
    """A sentence, list item or table row: `passage.text[start:end]`."""

    number: int
    """Of its passage, from 1."""
    start: int
    end: int
    text: str
    """On one line."""
    headings: tuple[Heading, ...]
    """Outermost first."""
    lead: Span | None = None
    """The line that introduces its list, or the header of its table."""
    lead_text: str = ""
    introduces: bool = False
    """It is such a line."""
    block: Span = (0, 0)
    """Its paragraph; its list with the line that introduces it; its table with the header."""
    kind: str = "sentence"
    """sentence, item or row."""
    whole: bool = True
    """False if it is cut off at the edge of the passage."""
    bare: bool = False
    """It says nothing: a salutation, an address, a name or number alone, a header without its table."""

    @property
    def refers_back(self) -> bool:
        """Whether it begins with a pronoun for what stands before it."""
        return self.kind == "sentence" and bool(_PRONOUN.match(self.text))


@dataclass(slots=True)
class _Reader:
    """Reads a passage statement by statement."""

    number: int
    passage: Passage
    outline: list[Heading]
    units: list[Unit] = field(default_factory=list)
    block: list[Unit] = field(default_factory=list)
    lead: Span | None = None
    last: int = 0

    def read(self) -> list[Unit]:
        text = self.passage.text
        places = list(_with_rows(text, with_numbers(text, statements(text))))
        for at, (start, end) in enumerate(places):
            gap = text[self.last : start]
            if self.lead and text[slice(*self.lead)] == text[start:end]:
                pass  # the header of the table once more
            elif heading := heading_at(text, places, at, first=not self.passage.start):
                self.close()
                self.outline = [above for above in self.outline if above.level < heading.level] + [heading]
            else:
                self.add(start, end, gap)
            self.last = end
        self.close()
        _mark_cut(text, self.units)
        _mark_bare(text, self.units)
        return self.units

    def add(self, start: int, end: int, gap: str) -> None:
        text = self.passage.text
        line, new_line = text[start:end], not self.units or "\n" in gap
        before = self.block[-1] if self.block else None
        kind = _kind(line, gap, before, self.lead, new_line=new_line)
        if before and before.kind == "item" and kind == "sentence" and not new_line:
            before.end, before.text = end, " ".join(text[before.start : end].split())  # the item's next sentence
            self.extend(start, end)
            return
        if before and (kind != before.kind or (kind != "item" and BLANK.search(gap))):
            self.close()
        if kind == "sentence":
            self.lead = None
        lead = None if kind == "row" and _NAMED_CELLS.fullmatch(line.strip("| ")) else self.lead
        unit = Unit(self.number, start, end, " ".join(line.split()), tuple(self.outline), lead, kind=kind)
        if kind == "row" and not self.block and _is_header(line):
            self.lead = (start, end)
        self.block.append(unit)
        self.units.append(unit)
        self.extend(start, end)
        if kind == "sentence" and text[end - 1] in ":：":
            # What follows on lines of its own is its list, also without marks.
            self.close()
            self.lead = (start, end)

    def extend(self, start: int, end: int) -> None:
        """Count what stands there as below the headings."""
        for above in self.outline:
            above.start, above.end = start if above.start < 0 else above.start, end

    def close(self) -> None:
        """End the paragraph, list or table."""
        if self.block:
            first, last = self.block[0], self.block[-1]
            lead = first.lead or (self.lead if first.kind == "row" and len(self.block) > 1 else None)
            span = (min(first.start, lead[0]) if lead else first.start, last.end)
            for unit in self.block:
                unit.block = span
                unit.lead_text = " ".join(self.passage.text[slice(*unit.lead)].split()) if unit.lead else ""
            for unit in self.units:
                if (unit.start, unit.end) == lead:
                    unit.introduces, unit.block = True, span
        self.block, self.lead = [], None


def read_units(number: int, passage: Passage) -> list[Unit]:
    """The units of a passage in their order. Headings are none."""
    titles = passage.heading.split(" › ") if passage.heading else []
    outline = [Heading(title, level) for level, title in enumerate(titles, 1)]
    return _Reader(number, passage, outline).read()


def _kind(line: str, gap: str, before: Unit | None, lead: Span | None, *, new_line: bool) -> str:
    if " | " in line or line.startswith("|") or (line.count("\n") > 1 and all(map(_is_cell, line.split("\n")))):
        return "row"
    if new_line and ITEM.match(line):
        return "item"
    unmarked = before is None or (before.kind == "item" and not ITEM.match(f"{before.text} "))
    if new_line and not BLANK.search(gap) and lead and unmarked:
        return "item"
    return "sentence"


def _with_rows(text: str, places: Sequence[Span]) -> Iterator[Span]:
    """The places, with tables that a PDF yields cell by cell as rows."""
    # A blank line ends a table: an address and the lines below it are none.
    ends = accumulate((bool(BLANK.search(text[a:b])) for (_, a), (b, _) in pairwise(places)), initial=0)
    for (is_cell, _), group in groupby(  # without places there is still the first of the ends
        zip(places, ends, strict=False), key=lambda each: (_is_cell(text[slice(*each[0])]), each[1])
    ):
        cells = [place for place, _ in group]
        yield from table_rows(text, cells) if is_cell and len(cells) >= CELLS else cells


def _is_cell(line: str) -> bool:
    if not line.strip():
        return False
    marked = line[0] == "#" or " | " in line or ": " in line or ITEM.match(line)
    return len(line) <= CELL and line[-1] not in END and not marked


def _is_header(row: str) -> bool:
    """Whether a row is one of names: a number in it is a year."""
    cells = [cell.strip() for cell in re.split(r"\||\n", row)]
    numbers = [cell for cell in cells if _NUMERIC.fullmatch(cell)]
    named = bool(_NAMED_CELLS.fullmatch(row.strip("| ")))
    return not named and all(re.fullmatch(r"(?:19|20)\d\d", number) for number in numbers)


def _mark_cut(text: str, units: Sequence[Unit]) -> None:
    """Mark the first and last unit if the passage seems to begin or end inside them."""
    if not units:
        return
    first, last = units[0], units[-1]
    rows = [unit.text.count(" | ") for unit in units if unit.kind == "row"]
    usual = max(rows, key=rows.count, default=0)
    for unit in (first, last):
        if unit.kind == "row" and len(rows) > 2 and unit.text.count(" | ") < usual:
            unit.whole = False
    for unit in units:  # a signature, a page number
        if unit.kind == "sentence" and unit.text.isascii() and unit.text[-1] not in END and len(unit.text.split()) <= 3:
            unit.whole = False
    if text[first.start].islower() and first.kind == "sentence":
        first.whole = False
    if last.kind == "sentence" and last.end == len(text.rstrip()) and len(last.text) > HEADING:
        last.whole = last.whole and text[last.end - 1] in END + "\"'”’)*"


def _mark_bare(text: str, units: Sequence[Unit]) -> None:
    for unit in units:
        if unit.kind == "row":
            alone = unit.block == (unit.start, unit.end) and not unit.lead and _is_header(unit.text)
            unit.bare = alone and (unit is units[-1] or bool(_RULE.match(text, unit.end)))
        else:
            if unit.kind == "sentence" and NAMES.fullmatch(unit.text):
                unit.bare, unit.whole = True, False
            unit.bare = unit.bare or bool(_FORMULA.fullmatch(unit.text)) or not any(map(str.isalpha, unit.text))
