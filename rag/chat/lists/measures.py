"""Totals, averages and extremes of a column of numbers: “How much did we spend on travel?”."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import fsum

from rag.chat.lists.bound import Bound
from rag.chat.lists.found import Found, Items, Part
from rag.chat.lists.request import Request
from rag.chat.lists.rows import IDENTIFIES, Cells, cells
from rag.chat.lists.values import number, unit_of
from rag.chat.lists.words import forms, is_currency, is_generic, is_money, root, stems, words

_CURRENCY = re.compile(
    r"[€$£¥]|\b(?:EUR|USD|GBP|CHF|SEK|NOK|DKK|JPY)\b|\b(?:euro|dollar|pound|franc|krone)", re.IGNORECASE
)
_TOTAL_ROW = re.compile(
    r"(?:grand |sub-?|overall )?(?:totals?|sums?)\b.*|average|mean"
    r"|gesamt(?:summe|betrag)?|(?:zwischen)?summe|sous-total",
    re.IGNORECASE,
)
_SAID = frozenset(map(root, "amount cost price value money total sum spend spent pay paid spending".split()))
"""Stems of words that say no more than that amounts of money are meant."""


@dataclass(slots=True)
class _Table:
    about: frozenset[str]
    rows: list[tuple[Cells, Found]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Fit:
    """The rows of a table that are meant, and its column of numbers."""

    column: str
    rows: list[tuple[Cells, Found]]
    where: str


class Measures:
    """Reads the tables of all documents, page by page."""

    def __init__(self, request: Request) -> None:
        self.request = request
        asked = [word for word in request.words if not (is_generic(word) or is_currency(word))]
        self.asked = [word for word in asked if root(word) not in _SAID]
        self.is_money = len(self.asked) < len(asked) or request.is_spent
        if not self.asked and request.is_spent:
            self.asked = ["expenses"]
        self._tables: dict[tuple[str, ...], _Table] = {}

    def read(self, part: Part) -> None:
        """Read a page."""
        for unit in part.units:
            if unit.kind == "row" and (row := cells(unit, part.passage.text)):
                if any(_TOTAL_ROW.fullmatch(value) for _, value in row):
                    continue  # it would count twice
                key = (part.passage.document_id, part.passage.label, *part.path(unit))
                table = self._tables.setdefault(key, _Table(part.about(unit)))
                table.rows.append((row, part.place(unit, unit.text)))

    def result(self) -> tuple[str, Items] | None:
        """The number in words and its rows; None unless one kind of table fits and all its numbers can be read."""
        fits = [fit for table in self._tables.values() for fit in self._fits(table)] if self.asked else []
        rows = [row for fit in fits for row in fit.rows]
        documents = {item.passage.document_id for _, item in rows}
        twice = len(documents) > 1 and len({item.name for _, item in rows}) < len(rows)
        if not rows or twice or len({(fit.column, fit.where) for fit in fits}) > 1:
            return None
        column = fits[0].column
        texts = [dict(row).get(column, "") for row, _ in rows]
        values = [number(text) for text in texts]
        numbers = [value for value in values if value is not None]
        units = {_unit(row, column) for row, _ in rows}
        if len(numbers) < len(rows) or len(units) > 1 or not _is_clear(texts):
            return None
        if self.request.measure in ("total", "average") and any("%" in text for text in texts):
            return None
        return self._told(numbers, rows, f"{column} of {_rows(len(rows))}{fits[0].where}", units.pop())

    def _told(
        self, numbers: Sequence[float], rows: Sequence[tuple[Cells, Found]], of: str, unit: str
    ) -> tuple[str, Items]:
        match self.request.measure:
            case "total":
                value, name = fsum(numbers), "in total"
            case "average":
                value, name = fsum(numbers) / len(numbers), "on average"
            case "largest":
                value, name = max(numbers), "is the largest"
            case _:
                value, name = min(numbers), "is the smallest"
        items = Items("rows")
        for each, (_, item) in zip(numbers, rows, strict=True):
            if name in ("in total", "on average") or each == value:
                items.add_place(item)
        whole = all(each == int(each) for each in (*numbers, value))
        shown = f"{value:,.0f}" if whole else f"{value:,.2f}"
        said = f"{shown}{f' {unit}' if unit else ''} {name}"
        return (f"{said} {of}" if name.startswith("is") else f"{said} ({of})"), items

    def _fits(self, table: _Table) -> Iterator[_Fit]:
        """The rows that are meant, if every word of the question is in the table's name, a column's or a row."""
        columns = dict.fromkeys(name for row, _ in table.rows for name, _ in row)
        numeric = [name for name in columns if _is_numeric(name, table)]
        unnamed = [word for word in self.asked if root(word) not in table.about]
        named = [name for name in numeric if any(forms(word) & stems(name) for word in unnamed)]
        amounts = named or [name for name in numeric if is_money(name)]
        if len(amounts) != 1 or (self.is_money and not is_money(amounts[0])):
            return
        own = frozenset().union(*(stems(name) for name in columns))
        filters = [word for word in unnamed if not (forms(word) & stems(amounts[0]) or root(word) in own)]
        rows, equal = table.rows, list[str]()
        for word in filters:
            same = self._columns_with(word, rows)
            if len(same) > 1:
                return  # of what it is the value cannot be told
            equal += same
            rows = [row for row in rows if self._has(word, row[0], same)]
        if self.request.bound:
            bound = self.request.bound
            within = [_within(row, bound) for row, _ in rows]
            if None in within:
                return
            rows = [row for row, is_in in zip(rows, within, strict=True) if is_in]
        values = {f"{name} is {value}": None for row, _ in rows for name, value in row if name in equal}
        where = f" whose {' and '.join(values)}" if equal else f" with “{' '.join(filters)}”" if filters else ""
        where += f" {self.request.bound.text}" if self.request.bound else ""
        # A word of the table's name that is also a value of some rows may mean only these.
        either = {root(word) for word in self.asked} & table.about
        unclear = any(0 < sum(any(stems(v) == {e} for _, v in row) for row, _ in rows) < len(rows) for e in either)
        if rows and not unclear and (filters or either or named):
            yield _Fit(amounts[0], rows, where)

    def _columns_with(self, word: str, rows: Sequence[tuple[Cells, Found]]) -> list[str]:
        """The columns in which a word of the question is a whole value, or one with other words of it."""
        asked = {root(each) for each in self.asked}
        found = {
            name: value
            for row, _ in rows
            for name, value in row
            if root(word) in stems(value) and stems(value) <= asked
        }
        verbatim = [name for name, value in found.items() if word in words(value)]
        return verbatim or list(found)

    def _has(self, word: str, row: Cells, same: Sequence[str]) -> bool:
        asked = {root(each) for each in self.asked}
        return any(
            root(word) in stems(value) and (not same or (name in same and stems(value) <= asked)) for name, value in row
        )


def _is_numeric(name: str, table: _Table) -> bool:
    """Whether a column has numbers that measure something; one that cannot be read does not make it another."""
    values = [dict(row).get(name, "") for row, _ in table.rows]
    return stems(name).isdisjoint(IDENTIFIES) and 2 * sum(number(value) is not None for value in values) > len(values)


def _within(row: Cells, bound: Bound) -> bool | None:
    return next((is_in for name, value in row if not is_money(name) and (is_in := bound.has(value)) is not None), None)


def _unit(row: Cells, column: str) -> str:
    """The currency or unit of a row's number, which may stand in the column's name or in a column of its own."""
    value = dict(row).get(column, "")
    others = [other for name, other in row if "currency" in name.casefold() or "währung" in name.casefold()]
    for text in (value, column, *others):
        if found := _CURRENCY.search(text):
            return found[0].upper() if len(found[0]) == 3 else found[0].lower()
    return unit_of(value) or unit_of(column)


def _is_clear(texts: Sequence[str]) -> bool:
    """Whether commas and points mean the same in all numbers: not “1.234” next to “62,50”."""
    ends = {mark for text in texts for mark, _ in re.findall(r"\d([.,])(\d{1,2})(?!\d)", text)}
    three = {mark for text in texts for mark in re.findall(r"\d([.,])\d{3}(?!\d)", text)}
    return len(ends) < 2 and ends.isdisjoint(three) and (ends != {","} or "." not in three)


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
