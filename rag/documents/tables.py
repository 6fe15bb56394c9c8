"""Format tables as lines of text.

A short table is its header and rows, with cells joined by ` | `. In a long one each row names its columns
("Team: Reds | Wins: 97"), because search returns single rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from itertools import chain, repeat

SHORT = 600  # characters of a table that probably fits in one chunk
_HEAD_ROWS = 30  # the header is one of these
_VALUE = re.compile(
    r"[^\w(]*\(?[-+−]?[\d.,:/\s'-]*\d[\d.,:/\s'-]*[^\w]*(?:[KMB]|[A-Z]{3})?|TRUE|FALSE|n/?a", re.IGNORECASE
)

Row = Sequence[str]


def table_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield a line per row, without empty rows and columns; only the beginning of the table is held in memory."""
    tidy = (tuple(" ".join(cell.split()) for cell in row) for row in rows)
    filled: Iterator[Row] = (cells for cells in tidy if any(cells))
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
    """Format a spreadsheet value: dates in ISO, 15 significant digits like Excel, percentages by `number_format`."""
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
    """Yield the rows above the header (a title, a remark) as they are, the others with column names."""
    at = _header(head)
    if at is None:
        for row in chain(head, rest):
            yield " | ".join(row).strip(" |")
        return
    for row in head[:at]:
        yield " | ".join(filter(None, row))
    names = head[at]
    labels = [f"{name.rstrip(':')}: " if name.rstrip(":") else "" for name in names]
    yield " | ".join(filter(None, names))
    for row in chain(head[at + 1 :], rest):
        if row != names:  # a repeated header, as at the top of each page
            yield " | ".join(label + cell for label, cell in zip(chain(labels, repeat("")), row, strict=False) if cell)


def _header(head: Sequence[Row]) -> int | None:
    """Return the index of the first row that is about as wide as the others if it consists of words."""
    widths = sorted(sum(map(bool, row)) for row in head)
    usual = widths[len(widths) // 2]
    for at, row in enumerate(head[:-1]):
        cells = [cell for cell in row if cell]
        if len(cells) >= max(2, 0.6 * usual):
            words = sum(len(cell) > 40 or not _VALUE.fullmatch(cell) for cell in cells)
            # Rows below the first wide one are data. A column name may be a year.
            return at if words >= max(1, 0.5 * len(cells)) and len(set(cells)) > 0.5 * len(cells) else None
    return None
