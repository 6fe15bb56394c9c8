"""Read and write question sets as CSV and JSON lines. Bad rows are reported with their number and the reason."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from errors import ConfigurationError
from evaluation.questions import GoldQuestion, as_row, from_row

COLUMNS = ("question", "answers", "documents", "use")
EXPECTED = "A CSV file has the columns question, answers and documents, a JSON lines file these keys in each line."
MOST = 10_000
"""Questions that a file may have."""
_LISTS = ("answers", "documents", "answer", "document")
_BETWEEN = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was left out."""

    row: int
    """From 1; the header of a CSV file is row 1, as in a spreadsheet."""
    reason: str
    """As a clause: “it has no question”."""

    def __str__(self) -> str:
        return f"Row {self.row} is left out: {self.reason}."


@dataclass(frozen=True, slots=True)
class ReadSet:
    """The contents of a file."""

    questions: tuple[GoldQuestion, ...]
    problems: tuple[Problem, ...]


Row = tuple[int, dict[str, Any] | str]
"""Number of a row, and its cells or why it is unreadable."""


def read(name: str, content: bytes) -> ReadSet:
    """Read a CSV or JSON lines file; its extension decides which, or else how the text begins.

    Raises ConfigurationError if it is neither, is empty, or has too many rows.
    """
    text = _decoded(content)
    looks_json = text.lstrip()[:1] in ("{", "[")
    is_json = name.lower().endswith((".jsonl", ".ndjson")) or (looks_json and not name.lower().endswith(".csv"))
    rows = list(_json_rows(text) if is_json else _csv_rows(name, text))
    if not rows:
        raise ConfigurationError(f"{name} has no questions.", EXPECTED)
    if len(rows) > MOST:
        raise ConfigurationError(f"{name} has {len(rows):,} questions.", f"Split it: a set has {MOST:,} at most.")
    return check(rows)


def check(rows: Iterable[Row]) -> ReadSet:
    """Parse rows into questions and problems; of duplicate questions the first is kept."""
    kept: dict[str, tuple[int, GoldQuestion]] = {}
    problems: list[Problem] = []
    for number, cells in rows:
        if isinstance(cells, str):
            problems.append(Problem(number, cells))
            continue
        try:
            question = from_row(cells)
        except ValueError as error:
            problems.append(Problem(number, str(error)))
            continue
        first, _ = kept.setdefault(question.key, (number, question))
        if first != number:
            problems.append(Problem(number, f"row {first} asks the same"))
    return ReadSet(tuple(question for _, question in kept.values()), tuple(problems))


def _decoded(content: bytes) -> str:
    """Decode UTF-8, UTF-16 with a byte order mark, or else Windows-1252."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _json_rows(text: str) -> Iterator[Row]:
    # Not splitlines(): JSON strings may have other Unicode line separators.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError):
            yield number, "it is not valid JSON"
        else:
            yield number, cells if isinstance(cells, dict) else "it is not a JSON object"


def _csv_rows(name: str, text: str) -> Iterator[Row]:
    header = next((line for line in text.splitlines() if line.strip()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    names: list[str] | None = None
    for number in count(1):
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield number, "its quotes are unbalanced or a cell is too long"
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = [cell.strip().casefold() for cell in cells]
            if "question" not in names:
                raise ConfigurationError(f"{name} has no column “question”.", EXPECTED)
        elif len(cells) > len(names):
            yield number, f"it has {len(cells)} cells, and the header has {len(names)}"
        else:
            row = zip(names, cells, strict=False)
            yield number, {key: split(cell) if key in _LISTS else cell for key, cell in row}


def split(cell: str) -> list[str]:
    """Split a cell at bars; “\\|” is a bar that belongs to a text."""
    return [part.strip().replace("\\|", "|") for part in _BETWEEN.split(cell) if part.strip()]


def joined(texts: Iterable[str]) -> str:
    """Join texts into one cell, the inverse of `split`."""
    return " | ".join(text.replace("|", "\\|") for text in texts)


def as_csv(questions: Sequence[GoldQuestion]) -> str:
    """Write a CSV file with a header, for `read`."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for q in questions:
        writer.writerow([q.question, joined(q.answers), joined(q.documents), "yes" if q.use else "no"])
    return out.getvalue()


def as_jsonl(questions: Sequence[GoldQuestion]) -> str:
    """Write JSON lines, for `read`."""
    return "".join(json.dumps(as_row(question), ensure_ascii=False) + "\n" for question in questions)
