"""Word documents (DOCX): paragraphs, headings and tables in the order of the document.

It walks the XML itself, because python-docx's `paragraph.text` leaves out inserted text, content controls and text
boxes. It must not know of the other formats or of what becomes of the text.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errors import DocumentTooLarge
from rag.schema import Page

MAX_UNPACKED = 512 * 2**20
MAX_XML = 128 * 2**20
"""Bytes of all XML in the file; in memory its tree takes about ten times as much."""
MAX_RATIO = 200
"""Unpacked to packed; text reaches 20, and a bomb begins at several hundred."""

_LEFT_OUT = {"pPr", "rPr", "sdtPr", "del", "moveFrom", "Fallback", "instrText", "tblPr", "trPr", "tcPr"}
_SIGNS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def read_word(path: Path, name: str) -> Iterator[tuple[Page, int]]:
    """The document as one page without a number; headings marked `#`, a table's cells joined with ` | `.

    Raises:
        DocumentTooLarge: it would unpack to more than the limits.
        Exception: whatever zipfile, lxml and python-docx raise on a broken file.
    """
    import docx
    from docx.oxml.parser import parse_xml

    _check_unpacked(path, name)
    document = docx.Document(str(path))
    lines = list(_blocks(document.element.body, _heading_levels(document.styles.element)))
    for relation in document.part.rels.values():
        if relation.reltype.endswith(("/footnotes", "/endnotes")) and not relation.is_external:
            lines += ["", *_blocks(parse_xml(relation.target_part.blob), {})]
    yield Page(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")), 1


def _check_unpacked(path: Path, name: str) -> None:
    """Nothing is unpacked before its declared size is known; zipfile reads no further than that."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    size = sum(member.file_size for member in members)
    xml = sum(member.file_size for member in members if member.filename.lower().endswith((".xml", ".rels")))
    packed = max(1, sum(member.compress_size for member in members))
    if size > MAX_UNPACKED or xml > MAX_XML or (size > 2**20 and size / packed > MAX_RATIO):
        raise DocumentTooLarge(
            f"{name} would unpack to {size // 2**20} MB, which is more than a document may.",
            "Split it into smaller documents, or save its text without pictures.",
        )


def _heading_levels(styles: Any) -> dict[str, int]:
    """Style id -> level of heading. Ids are translated with Word's language, these names are not."""
    levels = {}
    for style in styles:
        names = [_attribute(child, "val") for child in style if _tag(child) == "name"]
        if found := re.fullmatch(r"heading ([1-6])", names[0].lower() if names else ""):
            levels[_attribute(style, "styleId")] = int(found[1])
        elif names and names[0].lower() == "title":
            levels[_attribute(style, "styleId")] = 1
    return levels


def _blocks(parent: Any, levels: dict[str, int]) -> Iterator[str]:
    """Lines of text below an element; an empty line before and after a table, before a heading."""
    for child in parent:
        tag = _tag(child)
        if tag == "p":
            text = "".join(_inline(child)).strip()
            level = levels.get(_style(child), 0)
            yield from ("", f"{'#' * level} {text}") if level and text else (text,)
        elif tag == "tbl":
            yield ""
            yield from filter(None, (_row(row) for row in child.iter("{*}tr")))
            yield ""
        elif tag not in _LEFT_OUT:
            yield from _blocks(child, levels)


def _row(row: Any) -> str:
    # A table inside a cell has rows of its own.
    cells = [" ".join("".join(_inline(cell)).split()) for cell in row.iterchildren("{*}tc", "{*}sdt")]
    return " | ".join(cells).rstrip(" |") if any(cells) else ""


def _inline(element: Any) -> Iterator[str]:
    """The visible text below an element. Deleted text is left out, and the second copy of a text box."""
    for child in element:
        tag = _tag(child)
        if tag == "t":
            yield child.text or ""
        elif tag in _SIGNS:
            yield _SIGNS[tag]
        elif tag == "p":
            yield "\n"
            yield from _inline(child)
            yield "\n"
        elif tag not in _LEFT_OUT and tag != "tbl":
            yield from _inline(child)


def _style(paragraph: Any) -> str:
    style = paragraph.find("{*}pPr/{*}pStyle")
    return "" if style is None else _attribute(style, "val")


def _tag(element: Any) -> str:
    # Comments and entities that were not resolved have a function for a tag.
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _attribute(element: Any, name: str) -> str:
    return next((str(value) for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")
