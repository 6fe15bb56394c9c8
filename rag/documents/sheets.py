"""Read workbooks row by row, a page per sheet, including hidden ones; a sheet's declared size is not trusted."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from errors import DocumentTooLarge
from rag.documents.input_file import InputFile, Pages, decrypt, open_zip
from rag.documents.tables import Row, cell_text, table_lines
from rag.schema import Page

logger = logging.getLogger(__name__)

MAX_CELLS = 30_000_000  # of one workbook, including empty ones before a filled one
MAX_MERGED = 100_000
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})"')

Table = tuple[str, bool, Callable[[], Iterable[Row]]]  # name, whether it is hidden, what reads its rows


def read_xlsx(source: InputFile) -> Pages:
    """Read an XLSX, with the stored results of formulas."""
    import openpyxl

    open_zip(source).close()
    # Opened here because openpyxl checks the extension of a path, and stored files have none.
    with (
        source.path.open("rb") as file,
        closing(openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)) as book,
    ):
        tables = [(sheet.title, sheet.sheet_state != "visible", partial(_rows, sheet)) for sheet in book.worksheets]
        yield from pages_of(source, tables)


def read_xls(source: InputFile) -> Pages:
    """Read an XLS."""
    import xlrd

    quiet = io.StringIO()  # xlrd prints warnings
    try:
        book = xlrd.open_workbook(str(source.path), logfile=quiet)
    except xlrd.XLRDError as error:
        if "encrypted" not in str(error):
            raise
        book = xlrd.open_workbook(file_contents=decrypt(source), logfile=quiet)
    tables = [(sheet.name, bool(sheet.visibility), partial(_old_rows, book, sheet)) for sheet in book.sheets()]
    yield from pages_of(source, tables)


def pages_of(source: InputFile, tables: Sequence[Table]) -> Pages:
    """Yield a page per sheet; a broken one only causes a warning if there are others."""
    cells = 0

    def counted(rows: Iterable[Row]) -> Iterator[Row]:
        nonlocal cells
        for row in rows:
            cells += len(row) + 1
            if cells > MAX_CELLS:
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
    sheet.reset_dimensions()
    for at, cells in enumerate(sheet.iter_rows(), 1):
        row = [cell_text(cell.value, cell.number_format if isinstance(cell.value, float) else "") for cell in cells]
        if any(row):
            # A merged cell has its value in its first row; repeat it in the others.
            for column, (bottom, value) in filling.items():
                if at <= bottom and column < len(row):
                    row[column] = row[column] or value
        for column, bottom in merged.get(at, ()):
            filling[column] = bottom, row[column] if column < len(row) else ""
        yield row


def _merged(sheet: Any) -> dict[int, list[tuple[int, int]]]:
    """Return the cells merged over several rows: first row -> (column from 0, last row)."""
    from openpyxl.utils import column_index_from_string

    found: dict[int, list[tuple[int, int]]] = {}
    with sheet._get_source() as file:  # openpyxl's streaming reader skips them; they come after all cells
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
