"""Draw a page of a PDF with spans of its text highlighted, in a parser process only: a PDF is hostile input.

A span of a reader's text is searched in PDFium's by letters and digits alone, in pieces if the order differs.
"""

from __future__ import annotations

import io
import logging
import math
import unicodedata
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import DocumentError, PasswordRequired, UnreadableDocument, UnsupportedDocument
from rag.documents.detection import PDF, detect_kind
from rag.schema import Span

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

logger = logging.getLogger(__name__)

MAX_WIDTH = 1200
MAX_PIXELS = 4_000_000  # A4 has two million
MAX_SCALE = 300 / 72  # pixels per point
MAX_CHARACTERS = 200_000  # of a page's text that are searched
MIN_PIECE = 12  # letters and digits; shorter pieces would match anywhere
MIN_FOUND_SHARE = 0.6  # of a span that must be found to highlight it
FILL, EDGE = (255, 228, 120), (214, 138, 0)  # yellow, and an outline that shows on dark pages too

Box = tuple[int, int, int, int]
Letters = tuple[str, list[int]]  # the letters and digits of a text, and their indexes in it


@dataclass(frozen=True, slots=True)
class PageImage:
    """A page as a JPEG, and whether every span was found and highlighted."""

    data: bytes
    is_marked: bool


def draw_page(path: Path, name: str, index: int, text: str, spans: Sequence[Span]) -> PageImage:
    """Draw the page at `index` (from 0) with `spans` of its loaded `text` highlighted. Raises DocumentError."""
    import pypdfium2

    try:
        if detect_kind(path, name) != PDF:
            raise UnsupportedDocument(f"{name} is not a PDF.", "Only pages of PDF files are drawn.")  # noqa: TRY301
        with closing(pypdfium2.PdfDocument(path)) as document:
            document.init_forms()  # draws form fields too
            with closing(document[index]) as page:
                return _draw(page, text, spans)
    except (DocumentError, MemoryError):
        raise
    except Exception as error:
        logger.info("a page could not be drawn", exc_info=True)
        if isinstance(error, pypdfium2.PdfiumError) and error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise PasswordRequired(
                f"{name} is protected with a password.", "Passwords are not kept: open it in a PDF viewer."
            ) from error
        raise UnreadableDocument(
            f"A page of {name} could not be drawn.", "Open it in a PDF viewer and save a new copy."
        ) from error


def _draw(page: Any, text: str, spans: Sequence[Span]) -> PageImage:
    width, height = page.get_size()
    scale = min(MAX_WIDTH / width, MAX_SCALE, math.sqrt(MAX_PIXELS / (width * height)))
    bitmap = page.render(scale=scale)
    picture = bitmap.to_pil().convert("RGB")
    is_marked = bool(spans)
    with closing(page.get_textpage()) as layer:
        characters = _characters(layer)
        on_page = _letters(characters)
        place = bitmap.get_posconv(page).to_bitmap
        for span in spans:
            boxes = []
            for first, last in _find(text, span, on_page):
                for number in _with_punctuation(characters, first, last):
                    left, bottom, right, top = layer.get_charbox(number, loose=True)
                    if left < right and bottom < top:  # PDFium inserts characters without extent
                        (x1, y1), (x2, y2) = place(left, bottom), place(right, top)
                        boxes.append((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
            is_marked &= _mark(picture, _lines(boxes))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88, subsampling=0)
    return PageImage(file.getvalue(), is_marked)


def _letters(characters: Iterable[str]) -> Letters:
    letters, origins = [], []
    for origin, character in enumerate(characters):
        for letter in unicodedata.normalize("NFKD", character).casefold():  # decompose accents and ligatures
            if letter.isalnum():
                letters.append(letter)
                origins.append(origin)
    return "".join(letters), origins


def _find(text: str, span: Span, on_page: Letters) -> list[Span]:
    """Return the first and last character of each piece of `text[span]` on the page, none if too little is found."""
    page, page_origins = on_page
    whole, origins = _letters(text)
    start, end = (bisect(origins, offset - 1) for offset in span)
    wanted = whole[start:end]
    # Of a repeated phrase, the occurrence about as far down the page is meant.
    expected = start * len(page) // max(1, len(whole))
    pieces: list[Span] = []
    at = found = 0
    while at < len(wanted):
        length = _longest(wanted, at, page)
        if length < min(MIN_PIECE, len(wanted)):
            at, expected = at + 1, expected + 1
            continue
        piece = wanted[at : at + length]
        before, after = page.rfind(piece, 0, expected + length), page.find(piece, expected)
        place = after if before < 0 or 0 <= after - expected < expected - before else before  # the nearest
        # Join pieces separated by a few characters that only one reader found.
        if pieces and 0 <= place - pieces[-1][1] < MIN_PIECE:
            pieces[-1] = (pieces[-1][0], place + length)
        else:
            pieces.append((place, place + length))
        at, found, expected = at + length, found + length, place + length
    if not wanted or found < MIN_FOUND_SHARE * len(wanted):
        return []
    return [(page_origins[first], page_origins[last - 1]) for first, last in pieces]


def _characters(layer: Any) -> list[str]:
    """Return the characters of a page by PDFium's index."""
    import pypdfium2

    count = min(layer.count_chars(), MAX_CHARACTERS)
    codes = [pypdfium2.raw.FPDFText_GetUnicode(layer, number) for number in range(count)]
    return [chr(code) if code <= 0x10FFFF else " " for code in codes]


def _longest(wanted: str, at: int, text: str) -> int:
    """Return the length of the longest piece of `wanted` from `at` that occurs in `text`."""
    low, high = 0, len(wanted) - at
    if wanted[at : at + MIN_PIECE] not in text:  # most searches end here
        high = min(high, MIN_PIECE - 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if wanted[at : at + middle] in text else (low, middle - 1)
    return low


def _with_punctuation(characters: Sequence[str], first: int, last: int) -> Iterator[int]:
    """Return the visible characters from `first` to `last` and adjacent punctuation."""
    while first and unicodedata.category(characters[first - 1])[0] in "PS":
        first -= 1
    while last + 1 < len(characters) and unicodedata.category(characters[last + 1])[0] in "PS":
        last += 1
    return (number for number in range(first, last + 1) if not characters[number].isspace())


def _lines(boxes: Sequence[Box]) -> list[Box]:
    """Join the boxes of characters that follow each other in a line."""
    steps = [(abs(b[0] - a[0]), abs(b[1] - a[1])) for a, b in pairwise(boxes)]
    if sum(right for right, _ in steps) < sum(down for _, down in steps):  # rotated text
        turned = [(top, left, bottom, right) for left, top, right, bottom in boxes]
        return [(left, top, right, bottom) for top, left, bottom, right in _in_rows(turned)]
    return _in_rows(boxes)


def _in_rows(boxes: Sequence[Box]) -> list[Box]:
    rows: list[Box] = []
    for left, top, right, bottom in boxes:
        if rows:
            l0, t0, r0, b0 = rows[-1]
            low, high = sorted((b0 - t0, bottom - top))
            if min(b0, bottom) - max(t0, top) > low / 2 and left - r0 < high and l0 - right < high:
                rows[-1] = min(l0, left), min(t0, top), max(r0, right), max(b0, bottom)
                continue
        rows.append((left, top, right, bottom))
    return rows


def _mark(picture: Picture, boxes: Sequence[Box]) -> bool:
    """Highlight the boxes; return whether one of them is on the picture."""
    from PIL import Image, ImageChops, ImageDraw

    canvas = ImageDraw.Draw(picture)
    marked = False
    for left, top, right, bottom in boxes:
        box = max(0, left - 3), max(0, top - 1), min(picture.width, right + 3), min(picture.height, bottom + 1)
        if box[0] >= box[2] or box[1] >= box[3]:
            continue  # outside the picture
        part = picture.crop(box)
        # Multiplying keeps black letters black.
        picture.paste(ImageChops.multiply(part, Image.new("RGB", part.size, FILL)), box[:2])
        canvas.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=EDGE)
        marked = True
    return marked
