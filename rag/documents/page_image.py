"""A page of a PDF as a picture, with places of its text marked on it.

Only a worker may draw (see `parsers`): a PDF is hostile input. It must not know of the library or of what is marked and
why.

A place is known by its offsets in the text that a loader read, which may come from another reader than PDFium and was
tidied. It is looked for in PDFium's own text of the page by letters and digits alone, in pieces where the two readers
order the text differently.
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
from rag.documents.content import PDF, content_of

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

logger = logging.getLogger(__name__)

WIDTH = 1200
"""Pixels of a picture at most,"""
PIXELS = 4_000_000
"""and of all of it: A4 has two million."""
SHARPEST = 300 / 72
"""Pixels a point at most: a stamp is not blown up."""
CHARACTERS = 200_000
"""Of a page's text that are looked through."""
PIECE = 12
"""Letters and digits: what is shorter may stand anywhere."""
ENOUGH = 0.6
"""The share of a place that must be found for it to be marked."""
FILL, EDGE = (255, 228, 120), (214, 138, 0)
"""A highlighter's yellow, and a line around it, which shows on a dark page as well."""

Span = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class PageImage:
    """A page as a picture."""

    data: bytes
    """A JPEG."""
    is_marked: bool
    """Every place was found and is marked."""


def draw_page(path: Path, name: str, index: int, text: str, spans: Sequence[Span]) -> PageImage:
    """The page at `index` (from 0) of the PDF at `path`; `spans` are offsets into `text`, as a loader read the page.

    Raises:
        UnsupportedDocument: it is no PDF.
        PasswordRequired: only a password opens it.
        UnreadableDocument: the page cannot be drawn.
    """
    import pypdfium2

    broken = UnreadableDocument(f"A page of {name} could not be drawn.", "Open it in a PDF viewer and save a new copy.")
    try:
        _require_pdf(path, name)
        with closing(pypdfium2.PdfDocument(path)) as document:
            document.init_forms()  # what was filled in is drawn as well
            with closing(document[index]) as page:
                return _drawn(page, text, spans)
    except (DocumentError, MemoryError):
        raise
    except pypdfium2.PdfiumError as error:
        logger.info("PDFium cannot draw a page", exc_info=True)
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise PasswordRequired(
                f"{name} is protected with a password.", "Passwords are not kept: open it in a PDF viewer."
            ) from error
        raise broken from error
    except Exception as error:
        logger.info("a page could not be drawn", exc_info=True)
        raise broken from error


def _require_pdf(path: Path, name: str) -> None:
    if content_of(path, name) != PDF:
        raise UnsupportedDocument(f"{name} is no PDF.", "Only pages of PDF files are drawn.")


def _drawn(page: Any, text: str, spans: Sequence[Span]) -> PageImage:
    width, height = page.get_size()
    scale = min(WIDTH / width, SHARPEST, math.sqrt(PIXELS / (width * height)))
    bitmap = page.render(scale=scale)
    picture = bitmap.to_pil().convert("RGB")
    is_marked = bool(spans)
    with closing(page.get_textpage()) as layer:
        characters = _characters(layer)
        on_page = _Letters.of(characters)
        place = bitmap.get_posconv(page).to_bitmap
        for span in spans:
            boxes = []
            for first, last in _find(text, span, on_page):
                for number in _with_signs(characters, first, last):
                    left, bottom, right, top = layer.get_charbox(number, loose=True)
                    if left < right and bottom < top:  # not a sign that PDFium made up
                        boxes.append(_box(place(left, bottom), place(right, top)))
            is_marked &= _mark(picture, _lines(boxes))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88, subsampling=0)
    return PageImage(file.getvalue(), is_marked)


# --- where a place is in PDFium's text ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Letters:
    """A text as its letters and digits alone, each with where it came from."""

    text: str
    origins: list[int]

    @classmethod
    def of(cls, characters: Iterable[str]) -> _Letters:
        letters, origins = [], []
        for origin, character in enumerate(characters):
            # Accents may be characters of their own, and a ligature is two letters.
            for letter in unicodedata.normalize("NFKD", character).casefold():
                if letter.isalnum():
                    letters.append(letter)
                    origins.append(origin)
        return cls("".join(letters), origins)


def _find(text: str, span: Span, page: _Letters) -> list[Span]:
    """The first and the last character of each piece of `text[span]` on the page; none where too little is there."""
    whole = _Letters.of(text)
    start, end = (bisect(whole.origins, offset - 1) for offset in span)
    wanted = whole.text[start:end]
    # Where a phrase stands several times, the one about as far down the page is meant.
    expected = start * len(page.text) // max(1, len(whole.text))
    pieces: list[Span] = []
    at = found = 0
    while at < len(wanted):
        length = _longest(wanted, at, page.text)
        if length < min(PIECE, len(wanted)):
            at, expected = at + 1, expected + 1
            continue
        place = _nearest(page.text, wanted[at : at + length], expected)
        # A sign or two between two pieces that only one of the readers knows belong to them.
        if pieces and 0 <= place - pieces[-1][1] < PIECE:
            pieces[-1] = (pieces[-1][0], place + length)
        else:
            pieces.append((place, place + length))
        at, found, expected = at + length, found + length, place + length
    if not wanted or found < ENOUGH * len(wanted):
        return []
    return [(page.origins[first], page.origins[last - 1]) for first, last in pieces]


def _characters(layer: Any) -> list[str]:
    """The characters of a page as PDFium counts them."""
    import pypdfium2

    count = min(layer.count_chars(), CHARACTERS)
    codes = [pypdfium2.raw.FPDFText_GetUnicode(layer, number) for number in range(count)]
    return [chr(code) if code <= 0x10FFFF else " " for code in codes]


def _longest(wanted: str, at: int, text: str) -> int:
    """The length of the longest piece of `wanted` that begins at `at` and stands in `text`."""
    low, high = 0, len(wanted) - at
    if wanted[at : at + PIECE] not in text:  # most tries of a search that fails end here
        high = min(high, PIECE - 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if wanted[at : at + middle] in text else (low, middle - 1)
    return low


def _nearest(text: str, piece: str, expected: int) -> int:
    """Where `piece` stands in `text`, of several places the one nearest to `expected`."""
    before, after = text.rfind(piece, 0, expected + len(piece)), text.find(piece, expected)
    return min((place for place in (before, after) if place >= 0), key=lambda place: abs(place - expected))


# --- marks -------------------------------------------------------------------------------------------------------


def _with_signs(characters: Sequence[str], first: int, last: int) -> Iterator[int]:
    """The visible characters from `first` to `last`, and the signs that touch them: brackets, a full stop."""
    while first and _is_sign(characters[first - 1]):
        first -= 1
    while last + 1 < len(characters) and _is_sign(characters[last + 1]):
        last += 1
    return (number for number in range(first, last + 1) if not characters[number].isspace())


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _box(one: tuple[int, int], other: tuple[int, int]) -> Box:
    (x1, y1), (x2, y2) = one, other
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _lines(boxes: Sequence[Box]) -> list[Box]:
    """The boxes of characters, those put together that follow each other in one line."""
    steps = [(abs(b[0] - a[0]), abs(b[1] - a[1])) for a, b in pairwise(boxes)]
    if sum(right for right, _ in steps) < sum(down for _, down in steps):  # the text stands on its side
        return [_turned(line) for line in _in_rows([_turned(box) for box in boxes])]
    return _in_rows(boxes)


def _turned(box: Box) -> Box:
    left, top, right, bottom = box
    return top, left, bottom, right


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
    """Mark the boxes as a highlighter does; whether one of them is on the picture."""
    from PIL import Image, ImageChops, ImageDraw

    pencil = ImageDraw.Draw(picture)
    marked = False
    for left, top, right, bottom in boxes:
        box = max(0, left - 3), max(0, top - 1), min(picture.width, right + 3), min(picture.height, bottom + 1)
        if box[0] >= box[2] or box[1] >= box[3]:
            continue  # cut off
        part = picture.crop(box)
        # Multiplied, black letters stay black.
        picture.paste(ImageChops.multiply(part, Image.new("RGB", part.size, FILL)), box[:2])
        pencil.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=EDGE)
        marked = True
    return marked
