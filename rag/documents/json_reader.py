"""Read JSON and JSON Lines, a line per value with its path, and Jupyter notebooks, a page per cell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from errors import DocumentTooLarge, UnreadableDocument
from rag.documents.input_file import PART, InputFile, Pages, to_parts
from rag.documents.text import decode
from rag.schema import Page

MAX_JSON = 64 * 2**20  # bytes of one value; parsed, it takes about ten times as much memory
MAX_OUTPUT = 20_000  # characters of a cell's output; training logs are cut off
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def read_json(source: InputFile) -> Pages:
    """Read one JSON value; invalid JSON is read as plain text."""
    size = source.path.stat().st_size
    if size > MAX_JSON:
        raise DocumentTooLarge(
            f"{source.name} is {size // 2**20} MB of JSON, more than {MAX_JSON // 2**20} MB.",
            "Split it, or save it as JSON Lines (.jsonl), which has no limit.",
        )
    text = json_text(source)
    try:
        lines = value_lines(parse_json(text))
    except RecursionError:
        source.warn("The JSON is nested too deeply; it was read as plain text.")
        lines = iter(text.splitlines())
    except ValueError:
        if len([line for line in text.splitlines() if _is_object(line)]) > 1:
            return (yield from read_json_lines(source))
        source.warn("The file is not valid JSON; it was read as plain text.")
        lines = iter(text.splitlines())
    yield from to_parts(lines, size // PART)
    return None


def read_json_lines(source: InputFile) -> Pages:
    """Read one record per line, separated by empty lines."""
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

    yield from to_parts(lines(), source.path.stat().st_size // PART)
    if bad:
        were = "line is not valid JSON and was" if bad == 1 else "lines are not valid JSON and were"
        source.warn(f"{bad} {were} read as text.")


def json_text(source: InputFile) -> str:
    """Return the text of a JSON file, or raise UnreadableDocument for binary data."""
    text = decode(source.path.read_bytes())
    if text is None:
        raise UnreadableDocument(f"{source.name} is named like JSON but is binary data.", "Check the file.")
    return text


def parse_json(text: str) -> Any:
    """Parse JSON, keeping numbers as strings."""
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str, strict=False)


def value_lines(value: Any) -> Iterator[str]:
    """Yield `path.to[0].the: value` for each value, with an empty line before each object of a list."""
    waiting: list[tuple[str, Any]] = [("", value)]  # no recursion, as JSON may be nested deeply
    started = False
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            if path.endswith("]") and started:
                yield ""
            waiting += [(f"{path}.{key}" if path else key, inner) for key, inner in reversed(value.items())]
        elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
            waiting += [(f"{path}[{at}]", value[at]) for at in reversed(range(len(value)))]
        else:
            started = True
            shown = ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)
            yield f"{path}: {shown}" if path else shown


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_object(line: str) -> bool:
    try:
        return isinstance(parse_json(line), dict | list)
    except (ValueError, RecursionError):
        return False


def read_notebook(source: InputFile) -> Pages:
    """Read each cell as "Cell 1", "Cell 2", ...: Markdown as it is, code in fences, then outputs."""
    try:
        notebook = json.loads(json_text(source), strict=False)
        language = str(notebook.get("metadata", {}).get("language_info", {}).get("name") or "python")
        # Before version 4 cells were inside worksheets.
        cells = notebook.get("cells") or [c for sheet in notebook.get("worksheets", ()) for c in sheet["cells"]]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise UnreadableDocument(
            f"{source.name} is not a notebook that can be read.", "Open it in Jupyter and save it again."
        ) from error
    for number, cell in enumerate(cells, 1):
        yield Page("\n".join(_cell_lines(cell, language)).strip("\n"), label=f"Cell {number}"), len(cells)


def _cell_lines(cell: dict[str, Any], language: str) -> Iterator[str]:
    text = _text(cell.get("source", cell.get("input")))
    kind = cell.get("cell_type")
    if kind == "heading":
        yield f"{'#' * int(cell.get('level', 1))} {text}"
    elif kind == "code" and text:
        yield f"```{language}\n{text}\n```"
    else:
        yield text
    for output in cell.get("outputs", ()):
        if shown := _cell_output(output):
            yield "\n" + (shown if len(shown) <= MAX_OUTPUT else shown[:MAX_OUTPUT] + "\n…")


def _cell_output(output: dict[str, Any]) -> str:
    if "ename" in output:
        return f"{output['ename']}: {output.get('evalue', '')}"
    data = output.get("data", output)
    text = output.get("text") or data.get("text/markdown") or data.get("text/plain")
    return _TERMINAL.sub("", _text(text)).rstrip()


def _text(value: object) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value or "")
