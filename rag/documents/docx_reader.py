"""Read Word documents (DOCX) from their XML: python-docx's `text` omits insertions, controls and text boxes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rag.documents.input_file import InputFile, Pages, attribute, open_zip, tag
from rag.documents.tables import Row, table_lines
from rag.schema import Page

_LEFT_OUT = {"pPr", "rPr", "sdtPr", "del", "moveFrom", "Fallback", "instrText", "tblPr", "trPr", "tcPr"}
_SPECIAL = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def read_docx(source: InputFile) -> Pages:
    """Read the document as one page with Markdown headings and tables, then footnotes, endnotes and comments."""
    import docx
    from docx.oxml.parser import parse_xml

    open_zip(source).close()
    document = docx.Document(str(source.path))
    lines = list(_blocks(document.element.body, _heading_levels(document.styles.element)))
    for relation in document.part.rels.values():
        if relation.reltype.endswith(("/footnotes", "/endnotes", "/comments")) and not relation.is_external:
            lines += ["", *_blocks(parse_xml(relation.target_part.blob), {})]
    yield Page(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")), 1


def _heading_levels(styles: Any) -> dict[str, int]:
    """Return heading levels by style id. Ids depend on Word's language, built-in names do not."""
    levels = {}
    for style in styles:
        names = [attribute(child, "val") for child in style if tag(child) == "name"]
        if found := re.fullmatch(r"heading ([1-6])", names[0].lower() if names else ""):
            levels[attribute(style, "styleId")] = int(found[1])
        elif names and names[0].lower() == "title":
            levels[attribute(style, "styleId")] = 1
    return levels


def _blocks(parent: Any, levels: dict[str, int]) -> Iterator[str]:
    """Yield lines of text, with empty lines around tables and before headings."""
    for child in parent:
        kind = tag(child)
        if kind == "p":
            text = "".join(_inline(child)).strip()
            style = child.find("{*}pPr/{*}pStyle")
            level = 0 if style is None else levels.get(attribute(style, "val"), 0)
            yield from ("", f"{'#' * level} {text}") if level and text else (text,)
        elif kind == "tbl":
            yield from ("", *table_lines(_rows(child)), "")
        elif kind not in _LEFT_OUT:
            yield from _blocks(child, levels)


def _rows(table: Any) -> Iterator[Row]:
    above: list[str] = []
    for row in table.iter("{*}tr"):
        cells: list[str] = []
        for cell in row.iterchildren("{*}tc", "{*}sdt"):  # not `iter`, as a cell may contain a table
            text = " ".join("".join(_inline(cell)).split())
            span, merged = cell.find("{*}tcPr/{*}gridSpan"), cell.find("{*}tcPr/{*}vMerge")
            if merged is not None and attribute(merged, "val") != "restart" and len(cells) < len(above):
                text = above[len(cells)]  # merged with the cell above
            width = "" if span is None else attribute(span, "val")
            cells += [text, *[""] * (min(int(width), 64) - 1 if width.isdecimal() else 0)]
        above = cells
        yield cells


def _inline(element: Any) -> Iterator[str]:
    """Yield the visible text below an element, without deleted text and fallback copies of text boxes."""
    for child in element:
        kind = tag(child)
        if kind == "t":
            yield child.text or ""
        elif kind in _SPECIAL:
            yield _SPECIAL[kind]
        elif kind == "p":
            yield "\n"
            yield from _inline(child)
            yield "\n"
        elif kind not in _LEFT_OUT and kind != "tbl":
            yield from _inline(child)
