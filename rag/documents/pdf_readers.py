"""The two PDF readers behind one interface; they raise whatever their libraries raise.

pypdf keeps the order of right-to-left scripts; PDFium is faster, opens more broken files and draws pages.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

PAGE_SECONDS = 3.0  # time limits of pypdf; PDFium reads the rest
DOCUMENT_SECONDS = 60.0
_DRAWN_PIXELS = 16_000_000  # A4 at 300 dpi has nine million
_MAX_REPAIRED = 64 * 2**20
_PAGE_OBJECT = re.compile(
    rb"\b(\d{1,7}) (\d{1,5}) obj\b(?:(?!endobj|stream).){0,5000}?/Contents\s*(?:\[|\d+ \d+ R)"
    rb"(?:(?!endobj|stream).){0,5000}",
    re.DOTALL,
)

_PDFIUM = threading.Lock()  # PDFium is not thread-safe


class PasswordProtected(Exception):
    """Only a password opens the file."""


class Pypdf:
    """A PDF opened by pypdf."""

    def __init__(self, path: Path, password: str | None = None) -> None:
        import pypdf

        logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns about every oddity
        self._document = pypdf.PdfReader(path)
        # The empty password opens files that only forbid changes.
        if self._document.is_encrypted and not any(map(self._document.decrypt, ("", password or ""))):
            raise PasswordProtected
        self.total = len(self._document.pages)
        self._left = DOCUMENT_SECONDS
        self._labels: list[str] | None = None

    def text(self, index: int) -> str:
        """Return the text of a page and its filled-in form fields, or raise TimeoutError if it takes too long."""
        start = time.monotonic()
        budget = min(self._left, PAGE_SECONDS)

        def check(*_: object) -> None:
            if time.monotonic() - start > budget:
                raise TimeoutError

        check()
        page = self._document.pages[index]
        text = page.extract_text(visitor_operand_before=check)
        spent = time.monotonic() - start
        self._left -= DOCUMENT_SECONDS if spent > budget else spent
        # Without text, the page is left to the other reader.
        return "\n".join([text.rstrip(), *self._fields(page)]) if text.strip() else ""

    def label(self, index: int) -> str:
        """Return the page number that a viewer shows."""
        if self._labels is None:
            self._labels = self._document.page_labels
        return self._labels[index]

    def attachments(self) -> list[str]:
        """Return the names of the first 20 attached files."""
        return [file.name for file in islice(self._document.attachment_list, 20)]

    def _fields(self, page: Any) -> Iterator[str]:
        for annotation in page.get("/Annots", None) or ():
            field = annotation.get_object()
            value = field.get("/V", field.get("/Parent", {}).get("/V"))
            if field.get("/Subtype") == "/Widget" and isinstance(value, str) and value.strip(" /") not in {"", "Off"}:
                yield f"{field.get('/T', field.get('/Parent', {}).get('/T', ''))}: {value.lstrip('/')}"

    def close(self) -> None:
        """Release the file."""
        self._document.close()


class Pdfium:
    """A PDF opened by PDFium."""

    def __init__(self, file: Path | bytes, password: str | None = None) -> None:
        import pypdfium2

        with _PDFIUM:
            for attempt in (None, password):
                try:
                    self._document: Any = pypdfium2.PdfDocument(file, password=attempt)
                    break
                except pypdfium2.PdfiumError as error:
                    if error.err_code != pypdfium2.raw.FPDF_ERR_PASSWORD:
                        raise
            else:
                raise PasswordProtected
            self.total = 0
            for index in range(min(len(self._document), 10)):
                with suppress(pypdfium2.PdfiumError):
                    self._document[index].close()
                    self.total = len(self._document)  # as the file claims, if one of the first pages can be opened
                    break

    def text(self, index: int) -> str:
        """Return the text of a page, counted from 0."""
        with self._page(index) as page, closing(page.get_textpage()) as content:
            text: str = content.get_text_range()
        # PDFium marks hyphenation at a line's end with these characters.
        return re.sub(r"[\ufffe\x02](?:\r?\n)?", "-\n", text)

    def label(self, index: int) -> str:
        """Return the page number that a viewer shows."""
        with _PDFIUM:
            return str(self._document.get_page_label(index))

    def picture_share(self, index: int) -> float:
        """Return the share of a page that its largest picture covers, 0 to 1."""
        import pypdfium2

        with self._page(index) as page:
            area = math.prod(page.get_size()) or 1.0
            pictures = page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE])
            boxes = [picture.get_bounds() for picture in islice(pictures, 1000)]
        return min(1.0, max((abs((r - le) * (t - b)) / area for le, b, r, t in boxes), default=0.0))

    def draw(self, index: int, max_pixels: int) -> Image | None:
        """Draw the page in grey at 300 dpi; None if it is blank, or has a picture of more than `max_pixels`."""
        import pypdfium2

        with self._page(index) as page:
            objects = list(islice(page.get_objects(), 100_000))
            pictures = [one for one in objects if one.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]
            # PDFium aborts the process when it runs out of memory.
            if not objects or any(math.prod(picture.get_px_size()) > max_pixels for picture in pictures):
                return None
            scale = min(300 / 72, math.sqrt(_DRAWN_PIXELS / max(1.0, math.prod(page.get_size()))))
            drawn: Image = page.render(scale=scale, grayscale=True, may_draw_forms=False).to_pil()
            return drawn.copy()

    def close(self) -> None:
        """Release the file."""
        with _PDFIUM:
            self._document.close()

    @contextmanager
    def _page(self, index: int) -> Iterator[Any]:
        with _PDFIUM, closing(self._document[index]) as page:
            yield page


Reader = Pypdf | Pdfium


def repaired(path: Path) -> bytes | None:
    """Return a broken PDF with a new catalog of the pages found in it, None if there are none."""
    # PDFium can rebuild the table of objects, but not the path from the trailer to the pages.
    data = path.read_bytes() if path.stat().st_size < _MAX_REPAIRED else b""
    kids = [b"%s %s R" % found for found in dict.fromkeys(_PAGE_OBJECT.findall(data))]
    if not kids or b"/Encrypt" in data:
        return None
    # PDFium skips pages whose type is damaged.
    data = _PAGE_OBJECT.sub(lambda page: re.sub(rb"/Type\s*/\w+", b"/Type /Page", page[0], count=1), data)
    last = data.rfind(b"trailer")
    return (data if last < 0 else data[:last]) + (
        b"\n4000000 0 obj\n<< /Type /Pages /Count %d /Kids [%s] >>\nendobj\n"
        b"4000001 0 obj\n<< /Type /Catalog /Pages 4000000 0 R >>\nendobj\n"
        b"trailer\n<< /Root 4000001 0 R /Size 4000002 >>\nstartxref\n0\n%%%%EOF\n" % (len(kids), b" ".join(kids))
    )
