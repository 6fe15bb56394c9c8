"""JSON and JSON Lines: one line a value, named by the way to it, so that any piece of the text tells what it is of.

It must not know of the other formats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from errors import DocumentTooLarge, UnreadableDocument
from rag.documents.source import PART, Pages, Source, in_parts
from rag.documents.text import decode

MAX_JSON = 64 * 2**20
"""Bytes of one JSON value; in memory it takes about ten times as much. JSON Lines may be of any length."""


def read_json(source: Source) -> Pages:
    """One JSON value as lines; what is not valid JSON is read as the text that it is."""
    size = source.path.stat().st_size
    if size > MAX_JSON:
        raise DocumentTooLarge(
            f"{source.name} is {size // 2**20} MB of JSON, more than {MAX_JSON // 2**20} MB.",
            "Split it, or save it as JSON Lines (.jsonl), which may be of any length.",
        )
    text = json_text(source)
    try:
        lines = value_lines(parse_json(text))
    except RecursionError:
        source.warn("The JSON is nested too deeply to be taken apart; it was read as plain text.")
        lines = iter(text.splitlines())
    except ValueError:
        if len([line for line in text.splitlines() if _is_object(line)]) > 1:
            return (yield from read_json_lines(source))
        source.warn("The file is not valid JSON; it was read as plain text.")
        lines = iter(text.splitlines())
    yield from in_parts(lines, size // PART)
    return None


def read_json_lines(source: Source) -> Pages:
    """A record a line; an empty line stands between two of them."""
    bad = 0

    def lines() -> Iterator[str]:
        nonlocal bad
        for line in json_text(source).splitlines():
            try:
                yield from value_lines(parse_json(line)) if line.strip() else ()
            except (ValueError, RecursionError):
                bad += 1
                yield line
            yield ""

    yield from in_parts(lines(), source.path.stat().st_size // PART)
    if bad:
        lines_are = "line is not valid JSON and was" if bad == 1 else "lines are not valid JSON and were"
        source.warn(f"{bad} {lines_are} read as text.")


def json_text(source: Source) -> str:
    """The text of a file of JSON.

    Raises:
        UnreadableDocument: it is binary data.
    """
    text = decode(source.path.read_bytes())
    if text is None:
        raise UnreadableDocument(f"{source.name} is named like JSON but is binary data.", "Check the file.")
    return text


def parse_json(text: str) -> Any:
    """The value of a JSON text; numbers stay the characters that they were, however many."""
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str, strict=False)


def value_lines(value: Any) -> Iterator[str]:
    """`way.to[0].the: value` for each value inside; an empty line before each object of a list."""
    waiting: list[tuple[str, Any]] = [("", value)]  # no recursion: JSON nests as deep as it likes
    began = False
    while waiting:
        way, value = waiting.pop()
        if isinstance(value, dict):
            if way.endswith("]") and began:
                yield ""
            waiting += [(f"{way}.{key}" if way else key, inner) for key, inner in reversed(value.items())]
        elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
            waiting += [(f"{way}[{at}]", value[at]) for at in reversed(range(len(value)))]
        else:
            began = True
            shown = ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)
            yield f"{way}: {shown}" if way else shown


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_object(line: str) -> bool:
    try:
        return isinstance(parse_json(line), dict | list)
    except (ValueError, RecursionError):
        return False
