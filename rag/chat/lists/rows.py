"""Rows of tables that have a value or a number in a range, and the different values of a column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from rag.chat.lists.bound import Bound
from rag.chat.lists.found import Found, Items, Part, path_stems
from rag.chat.lists.request import Request
from rag.chat.lists.values import number, unit_of
from rag.chat.lists.words import forms, is_anyone, is_currency, is_generic, is_money, root, stems, uncovered
from rag.chat.units import Unit

Cells = list[tuple[str, str]]

_NAMED = re.compile(r"([^|:]{1,60}): (.*)")
IDENTIFIES = frozenset(map(root, ("no", "nr", "number", "id", "code", "name", "title")))
"""Stems of column names that identify rows: numbers there are no quantities."""


def cells(unit: Unit, text: str) -> Cells:
    """The name and value of each cell of a row; none of a header."""
    parts = [part.strip() for part in unit.text.strip("| ").split("|")]
    named = [match.groups() for part in parts if (match := _NAMED.fullmatch(part))]
    if named and len(named) >= len(parts) - 1:
        return [(name.strip(), value.strip()) for name, value in named]
    if unit.lead is None:
        return []
    names = [name.strip() for name in text[slice(*unit.lead)].strip("| ").split("|")]
    return [(name, value) for name, value in zip_longest(names, parts, fillvalue="") if value]


@dataclass(slots=True)
class _Compared:
    """What a table has of what is asked for; a word that it has nowhere makes it a table of something else."""

    missing: list[str]
    """The words that are neither in its name nor in those of its columns."""
    seen: set[str] = field(default_factory=set)
    """Those of them that are in a row."""
    rows: list[Found] = field(default_factory=list)


class Rows:
    """Finds rows page by page of one document."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.head = request.head
        self.asked = [word for word in request.words if not is_generic(word)]
        self.is_fact = False
        """Whether the number that is asked for stands in a cell."""
        self._exact: dict[str, Items] = {}
        self._loose: dict[str, Items] = {}
        self._all: dict[str, Items] = {}
        self._values: dict[str, Items] = {}
        self._tables: dict[tuple[int, str, frozenset[str]], _Compared] = {}

    def read(self, part: Part) -> None:
        """Read a page."""
        for unit in part.units:
            if unit.kind == "row" and (row := cells(unit, part.passage.text)):
                item = part.place(unit, _key(row))
                if self.request.bound:
                    self._compare(row, item, part.about(unit))
                else:
                    self._select(row, item, part.path(unit))

    # --- a number in a range ---

    def _compare(self, row: Cells, item: Found, about: frozenset[str]) -> None:
        bound = self.request.bound
        assert bound
        for rank, name, value in _columns(row, bound):
            within = bound.has(value, name)
            if within is None:
                continue
            names = about.union(*(stems(other) for other, _ in row))
            said = bound.near[rank : rank + 1]
            missing = [
                word
                for word in uncovered(self.asked, names)
                if not (word in said or is_currency(word) or unit_of(word))
            ]
            values = frozenset().union(*(stems(cell) for other, cell in row if missing and other != name))
            table = self._tables.setdefault((rank, name, names), _Compared(missing))
            had = {word for word in missing if root(word) in values}
            table.seen |= had
            if within and len(had) == len(set(missing)):
                table.rows.append(item)
            return

    def bounded(self) -> list[Items]:
        """The rows in the range, if any table is about what is asked for and has such a column."""
        assert self.request.bound
        fitting = {key: table for key, table in self._tables.items() if table.seen.issuperset(table.missing)}
        best = min((rank for rank, _, _ in fitting), default=0)
        found = dict[str, Items]()
        for (rank, name, _), table in fitting.items():
            if rank == best:
                with_ = f", with “{' '.join(table.missing)}”" if table.missing else ""
                what = f"rows whose {name} is {self.request.bound.text}{with_}"
                items = found.setdefault(what, Items(what))
                for item in table.rows:
                    items.add_place(item)
        return [*found.values()]

    # --- a value, a column, or all rows ---

    def _select(self, row: Cells, item: Found, path: tuple[str, ...]) -> None:
        names = path_stems(path).union(*(stems(name) for name, _ in row))
        unnamed = uncovered(self.asked, names)
        column = self._column(row)
        values = [word for word in unnamed if not is_anyone(word)]
        if not values:
            if column is None or column[0] == row[0][0]:
                self._add_all(row, item, path, named=not unnamed)
            elif not unnamed and self._is_subject(column[0]):
                self._add(self._values, column[0], f"values of “{column[0]}”", row, item)
            return
        wanted = {root(word) for word in values}
        if not wanted <= frozenset().union(*(stems(value) for _, value in row)):
            return
        named = [name for name, _ in row if self._names(name)]
        equal = [(name, value) for name, value in row if stems(value) and stems(value) <= wanted]
        if named:
            equal = [cell for cell in equal if cell[0] in named]
        if wanted <= frozenset().union(*(stems(value) for _, value in equal)):
            text = " and ".join(f"whose {name} is {value}" for name, value in equal)
            if self.request.counts and self._amount(row, equal):
                self.is_fact = True
            # In a table of its own it is not the value of something else.
            by = " ".join(name for name, _ in equal) + (" of its own" if row[0] in equal else "")
            self._add(self._exact, by, f"rows {text}", row, item)
        elif not named or any(wanted & stems(value) for name, value in row if name in named):
            self._add(self._loose, "", f"rows with “{' '.join(values)}”", row, item)

    def _amount(self, row: Cells, equal: Cells) -> bool:
        """Whether the question names a column of numbers: “How many candles are in stock?”."""
        named = frozenset().union(*(forms(word) for word in self.asked if word != self.head))
        return any(
            named & stems(name) and number(value) is not None for name, value in row if (name, value) not in equal
        )

    def _column(self, row: Cells) -> tuple[str, str] | None:
        """The cell whose name is what is asked for."""
        same = ((name, value) for name, value in row if root(self.head) in stems(name))
        alike = ((name, value) for name, value in row if forms(self.head) & stems(name))
        return next(same, None) or next(alike, None)

    def _is_subject(self, name: str) -> bool:
        """Whether nothing else than the column is asked for."""
        own = stems(name)
        return not [word for word in self.asked if word in self.request.subject and not forms(word) & own]

    def _names(self, name: str) -> bool:
        """Whether the question names a column next to a value: “in rack R20”."""
        return any(root(word) in stems(name) for word in self.asked if word != self.head)

    def _add_all(self, row: Cells, item: Found, path: tuple[str, ...], *, named: bool) -> None:
        # A title far above does not make any table below it a list of what it names.
        own = path_stems(path[-1:]).union(stems(row[0][0]))
        if (named and self.asked and forms(self.head) & own) or (
            named and is_generic(self.head) and path_stems(path[-1:])
        ):
            where = f"rows of {item.passage.document}" if len(path) == 1 else f"rows under “{path[-1]}”"
            self._all.setdefault(where, Items(where)).add_place(item)

    def _add(self, found: dict[str, Items], by: str, what: str, row: Cells, item: Found) -> None:
        items = found.setdefault(by, Items(what))
        column = self._column(row)
        if column is None or column == row[0]:
            items.add_place(item)
        elif self.request.counts and number(column[1]) is not None:
            self.is_fact = True
        else:
            items.add(Found(item.passage, item.start, item.end, column[1]))

    def strong(self) -> list[Items]:
        """What was surely asked for."""
        return [] if self.is_fact else _longest(self._exact) or [*self._all.values()] or [*self._values.values()]

    def weak(self) -> list[Items]:
        """Rows that have the words anywhere."""
        return [] if self.is_fact else _longest(self._loose)


def _longest(found: dict[str, Items]) -> list[Items]:
    """Of several columns that have the value, the one where it occurs most often."""
    return [max(found.values(), key=len)] if found else []


def _columns(row: Cells, bound: Bound) -> Iterator[tuple[int, str, str]]:
    """The cells whose columns the words name, as (rank of the word, name, value).

    Dates need no name, nor do amounts of money where there is one column of them.
    """
    for rank, word in enumerate(bound.near):
        for name, value in row:
            own = stems(name)
            if forms(word) & own and own.isdisjoint(IDENTIFIES):
                yield rank, name, value
    if bound.is_date:
        yield from ((len(bound.near), name, value) for name, value in row if not is_money(name))
    elif not bound.unit and len(amounts := [cell for cell in row if is_money(cell[0])]) == 1:
        yield len(bound.near), *amounts[0]


def _key(row: Cells) -> str:
    """The value that identifies a row."""
    first = next((value for _, value in row), "")
    if any(map(str.isalpha, first)) or len(row) < 2:
        return first
    return f"{first} {row[1][1]}"
