"""Read OpenDocument: texts (ODT) as one page, spreadsheets (ODS) and presentations (ODP) by sheet or slide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from errors import UnreadableDocument
from rag.documents.input_file import InputFile, Pages, attribute, open_zip, tag, xml_parser
from rag.documents.sheets import pages_of
from rag.documents.tables import Row, table_lines
from rag.schema import Page

MAX_REPEATED = 1000  # sheets are filled up with "this cell a million times"
_LEFT_OUT = {"tracked-changes", "annotation", "annotation-end", "forms", "table-of-content-source", "event-listeners"}


def read_odf(source: InputFile) -> Pages:
    """Read a document with Markdown headings and speaker notes, or raise UnreadableDocument if it is encrypted."""
    from lxml import etree

    with open_zip(source) as archive:
        manifest = archive.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in archive.namelist() else b""
        if b"encryption-data" in manifest:
            raise UnreadableDocument(
                f"{source.name} is protected with a password.", "Save a copy without the password in LibreOffice."
            )
        body = etree.fromstring(archive.read("content.xml"), xml_parser()).find("{*}body")
    content = next(iter(body))
    if tag(content) == "spreadsheet":
        tables = content.iterchildren("{*}table")
        yield from pages_of(source, [(attribute(table, "name"), False, partial(_rows, table)) for table in tables])
    elif tag(content) == "presentation":
        slides = list(content.iterchildren("{*}page"))
        for number, slide in enumerate(slides, 1):
            yield Page(_text(slide), number, f"Slide {number}"), len(slides)
    else:
        yield Page(_text(content)), 1


def _text(element: Any) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_blocks(element))).strip("\n")


def _blocks(parent: Any) -> Iterator[str]:
    for child in parent:
        kind = tag(child)
        if kind == "h":
            yield from ("", f"{'#' * _count(child, 'outline-level', 6)} {_inline(child).strip()}")
        elif kind == "p":
            yield _inline(child)
        elif kind == "table":
            yield from ("", *table_lines(_rows(child)), "")
        elif kind == "notes":
            yield from ("", f"Notes: {_text(child)}")
        elif kind and kind not in _LEFT_OUT:
            yield from _blocks(child)


def _inline(element: Any) -> str:
    out = [element.text or ""]
    for child in element:
        kind = tag(child)
        if kind == "s":
            out.append(" " * _count(child, "c", 100))
        elif kind in {"tab", "line-break"}:
            out.append("\t" if kind == "tab" else "\n")
        elif kind == "note":
            out.append(f" [{_text(child)}]")
        elif kind in {"frame", "text-box", "custom-shape"}:
            out.append(f"\n{_text(child)}\n")
        elif kind and kind not in _LEFT_OUT:
            out.append(_inline(child))
        out.append(child.tail or "")
    return "".join(out)


def _rows(table: Any) -> Iterator[Row]:
    for row in table.iter("{*}table-row"):
        cells: list[str] = []
        for cell in row.iterchildren("{*}table-cell", "{*}covered-table-cell"):
            # The shown date depends on a locale, the stored one is ISO.
            text = attribute(cell, "date-value") or " ".join(_text(cell).split())
            cells += [text] * _count(cell, "number-columns-repeated", MAX_REPEATED)
        if any(cells):
            yield from [cells] * _count(row, "number-rows-repeated", MAX_REPEATED)


def _count(element: Any, name: str, most: int) -> int:
    value = attribute(element, name)
    return min(most, int(value) if value.isdecimal() else 1)
