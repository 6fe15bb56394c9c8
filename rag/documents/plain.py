"""Files that are one text: plain text, source code, Markdown, web pages and RTF.

It must not know of the other formats.
"""

from __future__ import annotations

import re

from errors import UnreadableDocument
from rag.documents.source import Pages, Source
from rag.documents.text import declared_encoding, decode, html_text
from rag.schema import Page


def read_plain(source: Source) -> Pages:
    """The text as it is, in whatever encoding."""
    data = source.path.read_bytes()
    yield _only_page(decode(data, declared_encoding(data)), source.name)


def read_html(source: Source) -> Pages:
    """A web page as a reader sees it."""
    yield _only_page(html_text(source.path.read_bytes()), source.name)


def read_rtf(source: Source) -> Pages:
    """The text of an RTF document, without its formatting."""
    from striprtf.striprtf import rtf_to_text

    # RTF is ASCII; its own escapes say what the other letters are.
    text = rtf_to_text(source.path.read_bytes().decode("latin-1"), errors="ignore")
    # The rows of tables end with the sign that is between their cells.
    yield Page(re.sub(r"^.*\|$", lambda row: row[0].rstrip("|").replace("|", " | "), text, flags=re.MULTILINE)), 1


def _only_page(text: str | None, name: str) -> tuple[Page, int]:
    if text is None:
        raise UnreadableDocument(
            f"{name} seems to be binary data, or text in an encoding that could not be recognised.",
            "If it is text, save it in UTF-8.",
        )
    return Page(text), 1
