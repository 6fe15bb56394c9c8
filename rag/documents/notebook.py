"""Read Jupyter notebooks, a page per cell, with its text output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from errors import UnreadableDocument
from rag.documents.input_file import InputFile, Pages
from rag.documents.json_reader import json_text
from rag.schema import Page

MAX_OUTPUT = 20_000
"""Characters of one output; training logs are cut off."""
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


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
        yield Page("\n".join(_cell(cell, language)).strip("\n"), label=f"Cell {number}"), len(cells)


def _cell(cell: dict[str, Any], language: str) -> Iterator[str]:
    text = _text(cell.get("source", cell.get("input")))
    kind = cell.get("cell_type")
    if kind == "heading":
        yield f"{'#' * int(cell.get('level', 1))} {text}"
    elif kind == "code" and text:
        yield f"```{language}\n{text}\n```"
    else:
        yield text
    for output in cell.get("outputs", ()):
        if shown := _output(output):
            yield "\n" + (shown if len(shown) <= MAX_OUTPUT else shown[:MAX_OUTPUT] + "\n…")


def _output(output: dict[str, Any]) -> str:
    if "ename" in output:
        return f"{output['ename']}: {output.get('evalue', '')}"
    data = output.get("data", output)
    text = output.get("text") or data.get("text/markdown") or data.get("text/plain")
    return _TERMINAL.sub("", _text(text)).rstrip()


def _text(value: object) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value or "")
