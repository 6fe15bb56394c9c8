"""Read CSV and TSV as a stream of rows; encoding and delimiter are detected."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from errors import UnreadableDocument
from rag.documents.input_file import PART, InputFile, Pages, to_parts
from rag.documents.tables import table_lines
from rag.documents.text import encoding_of

_SAMPLE = 2**20
_DELIMITERS = "\t;|,"  # in order of precedence: a comma may be part of the numbers between semicolons
_EVEN = 0.9
MAX_FIELD = 2**20  # characters of one cell; more means an unclosed quotation mark


def read_csv(source: InputFile) -> Pages:
    """Read the table as lines (see `tables`), a long one in parts."""
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
        # An unclosed quotation mark makes the rest of the file one field.
        csv.field_size_limit(MAX_FIELD)
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
    try:
        yield from csv.reader(io.StringIO(text), delimiter=delimiter)
    except csv.Error:
        return


def _sample(path: Path) -> bytes:
    """Return the beginning and later blocks that are not ASCII, as an accent may come late in a long table."""
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
        while (block := file.read(_SAMPLE)) and len(sample) < 4 * _SAMPLE:
            if not block.isascii() and b"\0" not in block:
                sample += b"\n" + block[block.index(b"\n") + 1 :] if b"\n" in block else block
    return sample
