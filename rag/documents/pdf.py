"""PDF: text page by page, by two readers that fail on different files, and by text recognition where there is none.

A page belongs to the first reader that finds readable text on it. It must not know of the other formats or of what
becomes of the text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from errors import DocumentTooLarge, EmptyDocument, UnreadableDocument
from rag.documents import ocr
from rag.documents.pdf_readers import Pdfium, Protected, Pypdf, Reader, mended
from rag.documents.pdf_text import rejoin, tidy
from rag.documents.source import Pages, Source
from rag.schema import Page

logger = logging.getLogger(__name__)

MAX_PAGES = 50_000
READERS: tuple[type[Pypdf | Pdfium], ...] = (Pypdf, Pdfium)
_SCAN_SHARE = 0.5
_FEW = 40
"""Characters: a page that is mostly one picture and has no more text than this is a scan with a stamp on it."""

T = TypeVar("T")


def read_pdf(source: Source) -> Pages:
    """Each page with its number from 1, and how many there are. A page without text has the text ''.

    Raises:
        PasswordRequired: no password was given, or a wrong one.
        UnreadableDocument: neither reader can read it.
        EmptyDocument: no page has text.
        DocumentTooLarge: it has more than `MAX_PAGES` pages.
    """
    readers = _open(source)
    try:
        # pypdf counts pages, PDFium believes what the file says.
        total = next((reader.total for reader in readers if reader.total), 0)
        if total > MAX_PAGES:
            raise DocumentTooLarge(
                f"{source.name} has {total} pages, more than {MAX_PAGES}.", "Split it into smaller files."
            )
        tally = _Tally(total)
        words: set[str] = set()
        for index in range(total):
            text = _read_page(readers, index, tally)
            yield Page(rejoin(text, words), index + 1, _label(readers, index)), total
        if tally.empty == total:
            raise _why_empty(source.name, tally)
        _warn(source, tally, _attachments(readers))
    finally:
        for reader in readers:
            reader.close()


def _open(source: Source) -> list[Reader]:
    readers: list[Reader] = []
    protected = False
    for kind in READERS:
        try:
            readers.append(kind(source.path, source.password))
        except Protected:
            protected = True
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - either reader raises anything at all; the other may do better
            logger.info("%s cannot open a PDF: %r", kind.__name__, error)
    if protected and not readers:
        raise source.locked()
    return readers if any(reader.total for reader in readers) else [*readers, *_mended(source)]


def _mended(source: Source) -> list[Reader]:
    """A reader of a file that neither could open, once its pages have been looked for."""
    try:
        data = mended(source.path)
        readers: list[Reader] = [] if data is None else [Pdfium(data)]
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        logger.info("A PDF cannot be mended: %r", error)
        return []
    if readers:
        source.warn("The file is damaged; the pages that could be found in it were read, in the order they lie in it.")
    return readers


@dataclass(slots=True)
class _Tally:
    """What became of the pages."""

    total: int
    failed: list[int] = field(default_factory=list)
    empty: int = 0
    recognised: int = 0
    scans: int = 0
    """Pages that show a picture of a text which nothing here could read."""


def _read_page(readers: list[Reader], index: int, tally: _Tally) -> str:
    """The text of a page, seen in its picture where it is a scan."""
    found = _page_text(readers, index)
    text = found or ""
    if found is None:
        tally.failed.append(index + 1)
    if len(text) < _FEW:
        share = _asked(readers, lambda pdfium: pdfium.picture_share(index)) or 0.0
        is_scan = share > (_SCAN_SHARE if text else 0.0)
        seen = _recognised(readers, index) if is_scan or not text else ""
        tally.recognised += len(seen) > len(text)
        tally.scans += is_scan and not seen
        text = max(text, seen, key=len)
    tally.empty += not text
    return text


def _page_text(readers: list[Reader], index: int) -> str | None:
    """The text of a page, '' where it has none, None where no reader could read it. Takes out a reader that is slow."""
    text = None
    for reader in list(readers):
        try:
            text = tidy(reader.text(index))
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


def _asked(readers: list[Reader], question: Callable[[Pdfium], T]) -> T | None:
    """What PDFium answers, None where it cannot."""
    for reader in readers:
        if isinstance(reader, Pdfium):
            try:
                return question(reader)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                logger.info("PDFium cannot draw a page: %r", error)
    return None


def _recognised(readers: list[Reader], index: int) -> str:
    """The text that can be seen on a page."""
    if not ocr.available():
        return ""
    picture = _asked(readers, lambda pdfium: pdfium.draw(index, ocr.MAX_PIXELS))
    return "" if picture is None else ocr.recognise(picture)


def _label(readers: list[Reader], index: int) -> str:
    """What a viewer calls the page, where that is not its number."""
    for reader in reversed(readers):
        try:
            label = reader.label(index).strip()[:50]
        except Exception as error:  # noqa: BLE001 - as above; a page without a label is no worse a page
            logger.info("%s cannot tell the label of a page: %r", type(reader).__name__, error)
        else:
            return "" if label in ("", str(index + 1)) else f"page {label}"
    return ""


def _attachments(readers: list[Reader]) -> list[str]:
    for reader in readers:
        if isinstance(reader, Pypdf):
            try:
                return reader.attachments()
            except Exception as error:  # noqa: BLE001 - as above
                logger.info("the attachments of a PDF could not be listed: %r", error)
    return []


def _warn(source: Source, tally: _Tally, attachments: list[str]) -> None:
    def of_all(count: int, one: str, many: str) -> str:
        return f"{count} of {tally.total} {'page' if tally.total == 1 else 'pages'} {one if count == 1 else many}"

    silent = tally.empty - len(tally.failed)
    if tally.failed:
        numbers = ", ".join(map(str, tally.failed[:20])) + (", ..." if len(tally.failed) > 20 else "")
        source.warn(f"{of_all(len(tally.failed), 'could', 'could')} not be read: {numbers}.")
    if tally.recognised:
        source.warn(f"{of_all(tally.recognised, 'was', 'were')} read by text recognition, which makes mistakes.")
    if tally.scans and not ocr.available():
        source.warn(f"{of_all(tally.scans, 'is a scan', 'are scans')} without a text layer. {ocr.INSTALL}")
    elif silent > 0:
        source.warn(f"{of_all(silent, 'has', 'have')} no text.")
    if attachments:
        source.warn(f"Files attached to the document were not read: {', '.join(attachments)}.")


def _why_empty(name: str, tally: _Tally) -> UnreadableDocument | EmptyDocument:
    if len(tally.failed) == tally.total:
        return UnreadableDocument(
            f"{name} could not be read: the file seems to be broken.", "Open it in a PDF viewer and save a new copy."
        )
    if tally.scans and not ocr.available():
        return EmptyDocument(f"{name} is a scan without a text layer.", ocr.INSTALL)
    if tally.scans:
        return EmptyDocument(
            f"{name} is a scan on which no text could be recognised.",
            "Install Tesseract's data for its language (tesseract-ocr-deu, say), or scan it again, larger.",
        )
    return EmptyDocument(f"{name} holds no text.", "Upload a document with text in it.")
