"""PDF: text page by page, by two readers that fail on different files.

pypdf keeps the order of right-to-left and composed scripts, PDFium (pypdfium2) is faster and opens more broken files.
A page belongs to the first of them that finds readable text on it. It must not know of the other formats or of what
becomes of the text.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from errors import DocumentTooLarge, EmptyDocument, UnreadableDocument
from rag.schema import Page

logger = logging.getLogger(__name__)

MAX_PAGES = 50_000
PAGE_SECONDS = 3.0
DOCUMENT_SECONDS = 60.0
"""What pypdf may take for one page and for a whole document before PDFium reads the rest."""

_PDFIUM = threading.Lock()  # PDFium is not safe for use by several threads at once

_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_BROKEN_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]+)[-\u2010\xad]\n([^\W\d_]+)")


class _Reader(Protocol):
    total: int

    def text(self, index: int) -> str: ...
    def close(self) -> None: ...


class _Protected(Exception):
    """Only a password opens the file."""


def read_pdf(path: Path, name: str) -> Iterator[tuple[Page, int]]:
    """Each page with its number from 1, and how many there are. A page without text has the text ''.

    Raises:
        UnreadableDocument: it is protected with a password, or neither reader can read it.
        EmptyDocument: no page has text.
        DocumentTooLarge: it has more than `MAX_PAGES` pages.
    """
    readers = _open(path, name)
    try:
        # pypdf counts pages, PDFium believes what the file says.
        total = next((reader.total for reader in readers if reader.total), 0)
        if total > MAX_PAGES:
            raise DocumentTooLarge(f"{name} has {total} pages, more than {MAX_PAGES}.", "Split it into smaller files.")
        words: set[str] = set()
        found = failed = 0
        for index in range(total):
            text = _page_text(readers, index)
            found += bool(text)
            failed += text is None
            yield Page(_rejoin(text or "", words), index + 1), total
        if not found:
            raise _why_empty(readers, name, broken=failed == total)
        if failed:
            logger.info("%d of %d pages of a PDF could not be read", failed, total)
    finally:
        for reader in readers:
            reader.close()


def _open(path: Path, name: str) -> list[_Reader]:
    readers: list[_Reader] = []
    protected = False
    for kind in (_Pypdf, _Pdfium):
        try:
            readers.append(kind(path))
        except _Protected:
            protected = True
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - either reader raises anything at all; the other may do better
            logger.info("%s cannot open a PDF: %r", kind.__name__, error)
    if protected and not readers:
        raise UnreadableDocument(
            f"{name} is protected with a password.", "Open it in a PDF viewer and save a copy without the password."
        )
    return readers


def _page_text(readers: list[_Reader], index: int) -> str | None:
    """The text of a page, '' where it has none, None where no reader could read it. Takes out a reader that is slow."""
    text = None
    for reader in list(readers):
        try:
            text = _tidy(reader.text(index))
        except TimeoutError:
            reader.close()
            readers.remove(reader)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            logger.info("%s cannot read page %d of a PDF: %r", type(reader).__name__, index + 1, error)
        if text:
            return text
    return text


def _why_empty(readers: list[_Reader], name: str, *, broken: bool) -> UnreadableDocument | EmptyDocument:
    if broken:
        return UnreadableDocument(
            f"{name} could not be read: the file seems to be broken.", "Open it in a PDF viewer and save a new copy."
        )
    if any(isinstance(reader, _Pdfium) and reader.has_pictures() for reader in readers):
        return EmptyDocument(
            f"{name} is a scan without a text layer.",
            "Run text recognition (OCR) on it first, for example with ocrmypdf, and upload the result.",
        )
    return EmptyDocument(f"{name} holds no text.", "Upload a document with text in it.")


class _Pypdf:
    def __init__(self, path: Path) -> None:
        import pypdf

        # Each oddity of a file is a warning to it, and Python prints those when nobody has set up logging.
        logging.getLogger("pypdf").setLevel(logging.CRITICAL)
        self._document = pypdf.PdfReader(path)
        if self._document.is_encrypted and not self._document.decrypt(""):
            raise _Protected
        self.total = len(self._document.pages)
        self._left = DOCUMENT_SECONDS

    def text(self, index: int) -> str:
        """Raises TimeoutError when the page or the document takes too long."""
        start = time.monotonic()
        budget = min(self._left, PAGE_SECONDS)

        def check(*_: object) -> None:
            if time.monotonic() - start > budget:
                raise TimeoutError

        check()
        text = self._document.pages[index].extract_text(visitor_operand_before=check)
        spent = time.monotonic() - start
        self._left -= DOCUMENT_SECONDS if spent > budget else spent
        return text

    def close(self) -> None:
        self._document.close()


class _Pdfium:
    def __init__(self, path: Path) -> None:
        import pypdfium2

        with _PDFIUM:
            try:
                self._document: Any = pypdfium2.PdfDocument(path)
            except pypdfium2.PdfiumError as error:
                if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
                    raise _Protected from None
                raise
            self.total = len(self._document)

    def text(self, index: int) -> str:
        with _PDFIUM:
            page = self._document[index]
            try:
                content = page.get_textpage()
                try:
                    text: str = content.get_text_range()
                finally:
                    content.close()
            finally:
                page.close()
        # It joins a word that was hyphenated at a line's end around this sign.
        return re.sub(r"[\ufffe\x02](?:\r?\n)?", "-\n", text)

    def has_pictures(self) -> bool:
        """Whether one of the first pages shows an image."""
        import pypdfium2

        with _PDFIUM:
            for index in range(min(self.total, 5)):
                try:
                    page = self._document[index]
                except pypdfium2.PdfiumError:
                    continue
                try:
                    if next(iter(page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE])), None) is not None:
                        return True
                finally:
                    page.close()
        return False

    def close(self) -> None:
        with _PDFIUM:
            self._document.close()


def _tidy(text: str) -> str:
    """One space between words, no space at a line's ends, letters for ligatures; '' where it is not readable."""
    if _is_garbled(text):
        return ""
    text = re.sub(r"[^\S\n]+", " ", text.replace("\r\n", "\n").translate(_LIGATURES))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()


def _is_garbled(text: str) -> bool:
    """Whether glyph numbers were taken for characters, as happens where a font does not say what its glyphs mean."""
    if text.isascii():
        return False
    visible = [char for char in text if not char.isspace()]
    strange = sum(char == "\ufffd" or unicodedata.category(char) in {"Cc", "Cn", "Co", "Cs", "Mn"} for char in visible)
    return strange > 0.4 * len(visible)


def _rejoin(text: str, words: set[str]) -> str:
    """Puts words together that were hyphenated at a line's end; `words` are those seen in the document so far.

    "exam-/ple" becomes "example", but "well-/known" keeps its hyphen where "well" and "known" are words here and
    "wellknown" is not.
    """
    words.update(re.findall(r"[^\W\d_]+", _BROKEN_WORD.sub(" ", text).lower()))

    def joined(found: re.Match[str]) -> str:
        first, second = found[1], found[2]
        if not second[0].islower():
            return f"{first}-{second}"
        whole = (first + second).lower()
        hyphenated = whole not in words and first.lower() in words and second.lower() in words
        return f"{first}-{second}" if hyphenated else first + second

    return _BROKEN_WORD.sub(joined, text)
