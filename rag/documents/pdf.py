"""Read PDF page by page by the first of two readers that finds readable text, or by text recognition."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from errors import DocumentTooLarge, EmptyDocument, UnreadableDocument
from rag.documents import ocr
from rag.documents.input_file import InputFile, Pages
from rag.documents.pdf_readers import PasswordProtected, Pdfium, Pypdf, Reader, repaired
from rag.schema import Page

logger = logging.getLogger(__name__)

MAX_PAGES = 50_000
READERS: tuple[Callable[[Path, str | None], Reader], ...] = (Pypdf, Pdfium)
_SCAN_SHARE, _SHORT_TEXT = 0.5, 40  # a page that is mostly one picture, with fewer characters, is a stamped scan
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_BROKEN_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]+)[-\u2010\xad]\n([^\W\d_]+)")

T = TypeVar("T")


def read_pdf(source: InputFile) -> Pages:
    """Yield each page, numbered from 1, with the text '' if it has none, and the total. Raises DocumentError."""
    readers = _open(source)
    try:
        # pypdf counts the pages, PDFium trusts the file.
        total = next((reader.total for reader in readers if reader.total), 0)
        if total > MAX_PAGES:
            raise DocumentTooLarge(
                f"{source.name} has {total} pages, more than {MAX_PAGES}.", "Split it into smaller files."
            )
        stats = _PageStats(total)
        words: set[str] = set()
        for index in range(total):
            text = _read_page(readers, index, stats)
            yield Page(rejoin(text, words), index + 1, _label(readers, index)), total
        if stats.empty == total:
            raise _empty_error(source.name, stats)
        pypdf = next((reader for reader in readers if isinstance(reader, Pypdf)), None)
        _warn(source, stats, (pypdf and _attempt(pypdf.attachments)) or [])
    finally:
        for reader in readers:
            reader.close()


def _open(source: InputFile) -> list[Reader]:
    readers: list[Reader] = []
    protected = False
    for kind in READERS:
        try:
            if reader := _attempt(partial(kind, source.path, source.password)):
                readers.append(reader)
        except PasswordProtected:
            protected = True
    if protected and not readers:
        raise source.password_error()
    if any(reader.total for reader in readers):
        return readers
    data = _attempt(lambda: repaired(source.path))
    if data and (last := _attempt(lambda: Pdfium(data))):
        source.warn("The file is damaged; the pages found in it were read, in the order in which they are stored.")
        readers.append(last)
    return readers


def _attempt(call: Callable[[], T]) -> T | None:
    """Return the result of a call into a PDF library, None if it fails: both raise anything on a broken file."""
    try:
        return call()
    except (MemoryError, TimeoutError, PasswordProtected):
        raise
    except Exception as error:  # noqa: BLE001 - as above
        logger.info("a PDF library failed: %r", error)
        return None


@dataclass(slots=True)
class _PageStats:
    total: int
    failed: list[int] = field(default_factory=list)
    empty: int = 0
    recognised: int = 0
    scans: int = 0  # pages that show text which could not be recognised


def _read_page(readers: list[Reader], index: int, stats: _PageStats) -> str:
    """Return the text of a page, by text recognition if it is a scan."""
    found = _page_text(readers, index)
    text = found or ""
    if found is None:
        stats.failed.append(index + 1)
    if len(text) < _SHORT_TEXT:
        share = _ask_pdfium(readers, lambda pdfium: pdfium.picture_share(index)) or 0.0
        is_scan = share > (_SCAN_SHARE if text else 0.0)
        picture = None
        if ocr.available() and (is_scan or not text):
            picture = _ask_pdfium(readers, lambda pdfium: pdfium.draw(index, ocr.MAX_PIXELS))
        seen = ocr.recognise(picture) if picture else ""
        stats.recognised += len(seen) > len(text)
        stats.scans += is_scan and not seen
        text = max(text, seen, key=len)
    stats.empty += not text
    return text


def _page_text(readers: list[Reader], index: int) -> str | None:
    """Return the text of a page, '' if it has none, None if no reader could read it; remove a slow reader."""
    text = None
    for reader in list(readers):
        try:
            found = _attempt(partial(reader.text, index))
        except TimeoutError:
            reader.close()
            readers.remove(reader)
            continue
        text = text if found is None else tidy(found)
        if text:
            break
    return text


def _ask_pdfium(readers: list[Reader], question: Callable[[Pdfium], T]) -> T | None:
    pdfium = next((reader for reader in readers if isinstance(reader, Pdfium)), None)
    return None if pdfium is None else _attempt(lambda: question(pdfium))


def _label(readers: list[Reader], index: int) -> str:
    """Return a viewer's name for the page, '' if that is its number."""
    for reader in reversed(readers):
        if (label := _attempt(partial(reader.label, index))) is not None:
            label = label.strip()[:50]
            return "" if label in ("", str(index + 1)) else f"page {label}"
    return ""


def _warn(source: InputFile, stats: _PageStats, attachments: list[str]) -> None:
    def of_all(count: int, one: str, many: str) -> str:
        return f"{count} of {stats.total} {'page' if stats.total == 1 else 'pages'} {one if count == 1 else many}"

    without_text = stats.empty - len(stats.failed)
    if stats.failed:
        numbers = ", ".join(map(str, stats.failed[:20])) + (", ..." if len(stats.failed) > 20 else "")
        source.warn(f"{of_all(len(stats.failed), 'could', 'could')} not be read: {numbers}.")
    if stats.recognised:
        source.warn(f"{of_all(stats.recognised, 'was', 'were')} read by text recognition, which makes mistakes.")
    if stats.scans and not ocr.available():
        source.warn(f"{of_all(stats.scans, 'is a scan', 'are scans')} without a text layer. {ocr.INSTALL}")
    elif without_text > 0:
        source.warn(f"{of_all(without_text, 'has', 'have')} no text.")
    if attachments:
        source.warn(f"Files attached to the document were not read: {', '.join(attachments)}.")


def _empty_error(name: str, stats: _PageStats) -> UnreadableDocument | EmptyDocument:
    if len(stats.failed) == stats.total:
        return UnreadableDocument(
            f"{name} could not be read: the file seems to be broken.", "Open it in a PDF viewer and save a new copy."
        )
    if stats.scans and not ocr.available():
        return EmptyDocument(f"{name} is a scan without a text layer.", ocr.INSTALL)
    if stats.scans:
        return EmptyDocument(
            f"{name} is a scan on which no text could be recognised.",
            "Install Tesseract's data for its language (such as tesseract-ocr-deu), or scan it again, larger.",
        )
    return EmptyDocument(f"{name} holds no text.", "Upload a document with text in it.")


def tidy(text: str) -> str:
    """Normalise spaces and ligatures; return '' for unreadable text."""
    if not text.isascii():
        visible = [char for char in text if not char.isspace()]
        categories = {"Cc", "Cn", "Co", "Cs", "Mn"}
        strange = sum(char == "\ufffd" or unicodedata.category(char) in categories for char in visible)
        if strange > 0.4 * len(visible):  # glyph numbers, as of a font without a character map
            return ""
    text = re.sub(r"[^\S\n]+", " ", text.replace("\r\n", "\n").translate(_LIGATURES))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()


def rejoin(text: str, words: set[str]) -> str:
    """Join words hyphenated at a line's end, and add the page's words to `words`, those of the document so far."""
    words.update(re.findall(r"[^\W\d_]+", _BROKEN_WORD.sub(" ", text).lower()))

    def joined(found: re.Match[str]) -> str:
        first, second = found[1], found[2]
        if not second[0].islower():
            return f"{first}-{second}"
        # "exam-/ple" becomes "example", but "well-/known" keeps its hyphen.
        whole = (first + second).lower()
        hyphenated = whole not in words and first.lower() in words and second.lower() in words
        return f"{first}-{second}" if hyphenated else first + second

    return _BROKEN_WORD.sub(joined, text)
