"""Read plain text, source code, Markdown, web pages and RTF: files of one page."""

from __future__ import annotations

import re

from errors import UnreadableDocument
from rag.documents.input_file import InputFile, Pages
from rag.documents.text import declared_encoding, decode, html_text
from rag.schema import Page


def read_text(source: InputFile) -> Pages:
    """Read text in any encoding."""
    data = source.path.read_bytes()
    yield _only_page(decode(data, declared_encoding(data)), source.name)


def read_html(source: InputFile) -> Pages:
    """Read the visible text of a web page."""
    yield _only_page(html_text(source.path.read_bytes()), source.name)


def read_rtf(source: InputFile) -> Pages:
    """Read RTF without its formatting."""
    from striprtf.striprtf import rtf_to_text

    # RTF is ASCII; other characters are escaped.
    text = rtf_to_text(source.path.read_bytes().decode("latin-1"), errors="ignore")
    # striprtf ends each row of a table with the separator of its cells.
    yield Page(re.sub(r"^.*\|$", lambda row: row[0].rstrip("|").replace("|", " | "), text, flags=re.MULTILINE)), 1


def _only_page(text: str | None, name: str) -> tuple[Page, int]:
    if text is None:
        raise UnreadableDocument(
            f"{name} seems to be binary data, or text in an unknown encoding.", "If it is text, save it in UTF-8."
        )
    return Page(text), 1
