"""Workbooks: XLSX by openpyxl and the older XLS by xlrd, a page a sheet, hidden sheets too.

It reads row by row, and believes nothing that a sheet says of its own size. It must not know of the other formats.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from errors import DocumentTooLarge
from rag.documents.locked import unlock
from rag.documents.source import Pages, Source, open_zip
from rag.documents.tables import Row, cell_text, table_lines
from rag.schema import Page

logger = logging.getLogger(__name__)

MAX_CELLS = 30_000_000
"""Cells looked at in one workbook, the empty ones before a filled one among them."""
MAX_MERGED = 100_000
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})"')


Table = tuple[str, bool, Callable[[], Iterable[Row]]]
"""Name of a sheet, whether it is hidden, and its rows when they are wanted."""


def read_sheets(source: Source) -> Pages:
    """Each sheet of an XLSX with its position from 1; the values that Excel stored for formulas."""
    import openpyxl

    open_zip(source).close()
    # As a file: of a path it checks the extension, and an upload is kept under another name.
    with (
        source.path.open("rb") as file,
        closing(openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)) as book,
    ):
        yield from pages_of(
            source, [(sheet.title, sheet.sheet_state != "visible", partial(_rows, sheet)) for sheet in book.worksheets]
        )


def read_old_sheets(source: Source) -> Pages:
    """Each sheet of an XLS."""
    import xlrd

    quiet = io.StringIO()  # it prints what it finds odd
    try:
        book = xlrd.open_workbook(str(source.path), logfile=quiet)
    except xlrd.XLRDError as error:
        if "encrypted" not in str(error):
            raise
        book = xlrd.open_workbook(file_contents=unlock(source), logfile=quiet)
    yield from pages_of(
        source, [(sheet.name, bool(sheet.visibility), partial(_old_rows, book, sheet)) for sheet in book.sheets()]
    )


def pages_of(source: Source, tables: Sequence[Table]) -> Pages:
    """A page a sheet. One that is broken is told of where others are not."""
    looked_at = 0

    def counted(rows: Iterable[Row]) -> Iterator[Row]:
        nonlocal looked_at
        for row in rows:
            looked_at += len(row) + 1
            if looked_at > MAX_CELLS:
                raise DocumentTooLarge(
                    f"{source.name} spreads over more than {MAX_CELLS // 10**6} million cells.",
                    "Save the part of it that matters as CSV.",
                )
            yield row

    for number, (title, hidden, rows) in enumerate(tables, 1):
        lines: list[str] = []
        try:
            lines.extend(table_lines(counted(rows())))
        except (DocumentTooLarge, MemoryError):
            raise
        except Exception as error:
            if len(tables) == 1:
                raise
            logger.info("a sheet could not be read: %r", error)
            source.warn(f"Sheet “{title}” could not be read to its end.")
        if lines and len(tables) > 1:
            lines.insert(0, f"# {title}\n")
        yield Page("\n".join(lines), number, f"{title} (hidden)" if hidden else title), len(tables)


def _rows(sheet: Any) -> Iterator[Row]:
    merged = _merged(sheet)
    filling: dict[int, tuple[int, str]] = {}
    sheet.reset_dimensions()  # what the file says of them may be a lie
    for at, cells in enumerate(sheet.iter_rows(), 1):
        row = [cell_text(cell.value, cell.number_format if isinstance(cell.value, float) else "") for cell in cells]
        if any(row):
            # Only the first cell of a merged one holds its value; each of its rows should say it.
            for column, (bottom, value) in filling.items():
                if at <= bottom and column < len(row):
                    row[column] = row[column] or value
        for column, bottom in merged.get(at, ()):
            filling[column] = bottom, row[column] if column < len(row) else ""
        yield row


def _merged(sheet: Any) -> dict[int, list[tuple[int, int]]]:
    """First row -> (column from 0, last row) of the cells merged over several rows, which stand after all others."""
    from openpyxl.utils import column_index_from_string

    found: dict[int, list[tuple[int, int]]] = {}
    with sheet._get_source() as file:  # the reader that streams leaves them out
        end = b""
        while (block := file.read(2**20)) and len(found) < MAX_MERGED:
            for column, top, bottom in _MERGED.findall(end + block):
                if int(bottom) > int(top):
                    found.setdefault(int(top), []).append((column_index_from_string(column.decode()) - 1, int(bottom)))
            end = block[-200:]
    return found


def _old_rows(book: Any, sheet: Any) -> Iterator[Row]:
    import xlrd

    def text(kind: int, value: Any) -> str:
        if kind == xlrd.XL_CELL_DATE:
            try:
                return cell_text(xlrd.xldate_as_datetime(value, book.datemode))
            except (ValueError, OverflowError):
                return cell_text(value)
        if kind == xlrd.XL_CELL_ERROR:
            return str(xlrd.error_text_from_code.get(value, ""))
        return cell_text(bool(value) if kind == xlrd.XL_CELL_BOOLEAN else value)

    for at in range(sheet.nrows):
        yield [text(*cell) for cell in zip(sheet.row_types(at), sheet.row_values(at), strict=True)]
