"""Tables as lines of text that are understood one by one.

A short table is its header and its rows, the cells joined with ` | `. In a long one each row names its columns
("Team: Reds | Wins: 97"), because a search finds a few rows out of the middle. It must not know of file formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from itertools import chain

SHORT = 600
"""Characters of a table that likely stays in one chunk."""
_HEAD_ROWS = 30
"""How far down a header is looked for."""
_VALUE = re.compile(
    r"[^\w(]*\(?[-+−]?[\d.,:/\s'-]*\d[\d.,:/\s'-]*[^\w]*(?:[KMB]|[A-Z]{3})?|TRUE|FALSE|n/?a", re.IGNORECASE
)

Row = Sequence[str]


def table_lines(rows: Iterable[Row]) -> Iterator[str]:
    """One line a row, without empty rows and columns; never holds more than the beginning of the table."""
    filled: Iterator[Row] = (cells for cells in (tuple(map(_cell, row)) for row in rows) if any(cells))
    head: list[Row] = []
    size = 0
    for row in filled:
        head.append(row)
        size += sum(map(len, row)) + 3 * len(row)
        if size > SHORT and len(head) >= _HEAD_ROWS:
            return (yield from _long(head, filled))
    width = max(map(len, head), default=0)
    used = [column for column in range(width) if any(len(row) > column and row[column] for row in head)]
    if size > SHORT and len(head) > 2:
        return (yield from _long(head, ()))
    for row in head:
        yield " | ".join(row[column] if column < len(row) else "" for column in used).rstrip(" |")
    return None


def cell_text(value: object, number_format: str = "") -> str:
    """A value of a spreadsheet as a person reads it: dates in ISO, 15 digits as Excel shows, percents where it does."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        percent = "%" in number_format
        return f"{value * 100 if percent else value:.15g}{'%' if percent else ''}"
    if isinstance(value, datetime):
        return str(value.date() if value.time() == time() else value.replace(microsecond=0))
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _long(head: Sequence[Row], rest: Iterable[Row]) -> Iterator[str]:
    """Rows above the header as they are (a title, a remark), the others with the names of their columns."""
    at = _header(head)
    if at is None:
        for row in chain(head, rest):
            yield " | ".join(row).strip(" |")
        return
    for row in head[:at]:
        yield " | ".join(filter(None, row))
    names = head[at]
    yield " | ".join(filter(None, names))
    for row in chain(head[at + 1 :], rest):
        if row == names:  # the header printed again, as at the top of each page
            continue
        yield " | ".join(_named(names, column, cell) for column, cell in enumerate(row) if cell)


def _named(names: Row, column: int, cell: str) -> str:
    name = names[column].rstrip(":") if column < len(names) else ""
    return f"{name}: {cell}" if name else cell


def _header(head: Sequence[Row]) -> int | None:
    """The first row of words only that is about as wide as the rows below it."""
    widths = sorted(sum(map(bool, row)) for row in head)
    usual = widths[len(widths) // 2]
    for at, row in enumerate(head[:-1]):
        cells = [cell for cell in row if cell]
        if len(cells) >= max(2, 0.6 * usual):
            words = sum(not _is_value(cell) for cell in cells)
            # The first wide row decides: below it are data. A year may stand over a column.
            return at if words >= max(1, 0.5 * len(cells)) and len(set(cells)) > 0.5 * len(cells) else None
    return None


def _is_value(cell: str) -> bool:
    return len(cell) <= 40 and _VALUE.fullmatch(cell) is not None


def _cell(text: str) -> str:
    return " ".join(text.split())
