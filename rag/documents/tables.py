"""Format tables as lines: cells joined by ` | `, in a long one with the names of their columns; read CSV and TSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Literal

from errors import UnreadableDocument
from rag.documents.input_file import PART, InputFile, Pages, to_parts
from rag.documents.text import encoding_of

SHORT = 600  # characters of a table that probably fits in one chunk
_HEAD_ROWS = 30  # the header is one of these
_VALUE = re.compile(
    r"[^\w(]*\(?[-+−]?[\d.,:/\s'-]*\d[\d.,:/\s'-]*[^\w]*(?:[KMB]|[A-Z]{3})?|TRUE|FALSE|n/?a", re.IGNORECASE
)

_SAMPLE = 2**20
_DELIMITERS = "\t;|,"  # in order of precedence: a comma may be part of the numbers between semicolons
_EVEN = 0.9
MAX_FIELD = 2**20  # characters of one cell; more means an unclosed quotation mark

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


def read_csv(source: InputFile) -> Pages:
    """Read CSV or TSV in any encoding and with any delimiter as lines, a long table in parts."""
    encoding = encoding_of(_sample(source.path))
    if encoding is None:
        raise UnreadableDocument(
            f"{source.name} seems to be binary data, or text in an unknown encoding.",
            "If it is a table, save it as CSV in UTF-8.",
        )
    expected = source.path.stat().st_size // PART
    with source.path.open(encoding=encoding, errors="replace", newline="") as file:
        beginning = file.read(100_000)
        skipped = beginning.index("\n") + 1 if beginning.lower().startswith("sep=") and "\n" in beginning else 0
        delimiter, quoting = dialect(beginning[skipped:])
        if skipped and len(named := beginning[4:skipped].strip()) == 1:
            delimiter = named
        file.seek(0)
        file.read(skipped)
        csv.field_size_limit(MAX_FIELD)  # an unclosed quotation mark makes the rest of the file one field
        lines = (line.replace("\0", "") for line in file)  # csv rejects zero bytes
        yield from to_parts(table_lines(csv.reader(lines, delimiter=delimiter, quoting=quoting)), expected)


def dialect(text: str) -> tuple[str, Literal[0, 3]]:
    """Return the delimiter that splits most lines into equally many cells, and the csv quoting mode."""
    # csv.Sniffer accepts any letter as a delimiter, and takes minutes on some files.

    def evenness(delimiter: str) -> tuple[float, int]:
        try:
            widths = [len(row) for row in islice(csv.reader(io.StringIO(text), delimiter=delimiter), 200) if row]
        except csv.Error:
            widths = []
        usual = max(set(widths), key=widths.count, default=1)
        return (widths.count(usual) / len(widths) if usual > 1 else 0.0, usual)

    scores = {delimiter: evenness(delimiter) for delimiter in _DELIMITERS}
    best = next((one for one in _DELIMITERS if scores[one][0] >= _EVEN), max(_DELIMITERS, key=scores.__getitem__))
    longest = max((len(cell) for row in _rows(text, best) for cell in row), default=0)
    return best, csv.QUOTE_NONE if longest > len(text) // 2 and longest > MAX_FIELD // 20 else csv.QUOTE_MINIMAL


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    with suppress(csv.Error):
        yield from csv.reader(io.StringIO(text), delimiter=delimiter)


def _sample(path: Path) -> bytes:
    """Return the beginning and later blocks that are not ASCII, as an accent may come late in a long table."""
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
        while (block := file.read(_SAMPLE)) and len(sample) < 4 * _SAMPLE:
            if not block.isascii() and b"\0" not in block:
                sample += b"\n" + block[block.index(b"\n") + 1 :] if b"\n" in block else block
    return sample
