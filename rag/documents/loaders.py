"""From a file to pages of text: the table of formats, and the border for the errors of the libraries that read them.

What a file is, its content decides; its name only tells one kind of text from another. A new format is one more row of
`FORMATS` and a reader. It must not know of chunks, of the library or of who uploaded what.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from errors import DocumentError, EmptyDocument, UnreadableDocument, UnsupportedDocument
from rag.documents.pdf import read_pdf
from rag.documents.text import clean, decode, html_text, is_text
from rag.documents.word import read_word
from rag.schema import Page

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]
"""Told the pages done and the pages there are."""


def _read_plain(path: Path, name: str) -> Iterator[tuple[Page, int]]:
    yield _only_page(decode(path.read_bytes()), name)


def _read_html(path: Path, name: str) -> Iterator[tuple[Page, int]]:
    yield _only_page(html_text(path.read_bytes()), name)


def _only_page(text: str | None, name: str) -> tuple[Page, int]:
    if text is None:
        raise UnreadableDocument(
            f"{name} seems to be binary data, or text in an encoding that could not be recognised.",
            "If it is text, save it in UTF-8.",
        )
    return Page(text), 1


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table."""

    content: str
    """What a file of it seems to be, as `_content` says it and a person reads it."""
    extensions: tuple[str, ...]
    read: Callable[[Path, str], Iterator[tuple[Page, int]]]
    """Path and name -> each page, not yet cleaned, and how many there are. May raise anything."""


TEXT = "text"
FORMATS = (
    Format("a PDF document", (".pdf",), read_pdf),
    Format("a Word document", (".docx",), read_word),
    Format("a web page", (".html", ".htm", ".xhtml"), _read_html),
    Format(TEXT, (".md", ".markdown"), _read_plain),
    Format(TEXT, (".txt", ".text", ".log", ".rst"), _read_plain),
)


def supported_extensions() -> tuple[str, ...]:
    """The extensions that can be uploaded, each with its dot."""
    return tuple(extension for row in FORMATS for extension in row.extensions)


def load(path: Path, name: str, report: Report | None = None) -> list[Page]:
    """The pages of a file, cleaned (see `text.clean`); `name` is what its owner calls it.

    A page without text is there with the text ''. An exception that `report` raises passes through, and so ends the
    reading.

    Raises:
        UnsupportedDocument: no loader reads this type.
        UnreadableDocument: broken, protected with a password, or not what its name says.
        EmptyDocument: no text inside.
        DocumentTooLarge: it would unpack to more than the limits.
    """
    pages: list[Page] = []
    with closing(_guarded(path, name)) as reading:  # an early end lets go of the file at once
        for page, total in reading:
            pages.append(page)
            if report is not None:
                report(len(pages), total)
    if not any(page.text.strip() for page in pages):
        raise EmptyDocument(f"{name} holds no text.", "Upload a document with text in it.")
    return pages


def _guarded(path: Path, name: str) -> Generator[tuple[Page, int], None, None]:
    """The border: whatever a library raises leaves here as one of our errors."""
    try:
        for page, total in _format(path, name).read(path, name):
            yield Page(clean(page.text), page.number), total
    except (DocumentError, MemoryError):
        raise
    except OSError as error:
        raise UnreadableDocument(f"{name} could not be opened.", "Upload it again.") from error
    except Exception as error:
        logger.info("a document could not be read", exc_info=True)
        raise UnreadableDocument(
            f"{name} could not be read: the file seems to be broken.",
            "Open it in the program it comes from and save a new copy, or export it as PDF.",
        ) from error


# --- what a file is ----------------------------------------------------------------------------------------------

_BINARY = "binary data"
_ZIP = "a damaged ZIP archive"
_LOCKED = "an Office document that is protected with a password"
_SIGNATURES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
)
_IN_ZIP = (  # the first name that begins so
    ("word/", "a Word document"),
    ("xl/", "an Excel workbook"),
    ("ppt/", "a PowerPoint presentation"),
    ("META-INF/container.xml", "an EPUB book"),
    ("content.xml", "an OpenDocument file"),
)
_PDF = re.compile(rb"%PDF|\b\d+ \d+ obj\b")
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)


def _format(path: Path, name: str) -> Format:
    """The row of the table for a file.

    Raises:
        DocumentError: there is none.
    """
    suffix = Path(name).suffix.lower()
    content = _content(path, name)
    named = next((row for row in FORMATS if suffix in row.extensions), None)
    if content == _LOCKED:
        raise UnreadableDocument(
            f"{name} is protected with a password.", "Open it in Office and save a copy without the password."
        )
    if content == TEXT and named is not None and named.content in {TEXT, "a web page"}:
        return named
    by_content = next((row for row in FORMATS if row.content == content != TEXT), None)
    if by_content is not None:
        return by_content
    if named is not None and content in {TEXT, _BINARY, _ZIP}:
        raise UnreadableDocument(
            f"{name} is named like {named.content} but seems to be {content}.", "Check the file, and save it again."
        )
    what = f"{name} is of a type that is not read" if content == TEXT else f"{name} seems to be {content}"
    raise UnsupportedDocument(
        f"{what}.", f"These types can be read: {', '.join(supported_extensions())}. Convert it to one of them."
    )


def _content(path: Path, name: str) -> str:
    """What the file seems to be."""
    with path.open("rb") as file:
        head = file.read(8192)
    if not head:
        raise EmptyDocument(f"{name} is empty.", "Upload a document with text in it.")
    # Readers of PDF accept a little rubbish before the mark; a text about PDF files may show it as well.
    if head.lstrip().startswith(b"%PDF") or (name.lower().endswith(".pdf") and _PDF.search(head[:1024])):
        return "a PDF document"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_content(path)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        locked = "EncryptedPackage".encode("utf-16-le") in path.read_bytes()
        return _LOCKED if locked else "a document of an older Office version"
    if not is_text(head):
        return next((content for signature, content in _SIGNATURES if head.startswith(signature)), _BINARY)
    if head.startswith(b"{\\rtf"):
        return "an RTF document"
    return "a web page" if _HTML.match(decode(head) or "") else TEXT


def _zip_content(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return _ZIP
    return next((content for start, content in _IN_ZIP if any(n.startswith(start) for n in names)), "a ZIP archive")
