"""Text recognition by Tesseract, where it is installed: for images, and for the pages of a scan.

Tesseract runs as a program of its own, so that what crashes it does not crash this one. It must not know where a
picture comes from.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import shutil
import subprocess
from functools import lru_cache
from typing import TYPE_CHECKING

from errors import DocumentTooLarge, EmptyDocument, UnreadableDocument
from rag.documents.source import Pages, Source
from rag.schema import Page

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000
"""Of one picture, before it is unpacked: a page of A3 at 600 dots an inch has 70 million."""
MAX_FRAMES = 5_000
PAGE_SECONDS = 60
_MAX_LANGUAGES = 4
"""Each language makes it slower; English and the first three others that are installed."""
_SURE = 30
_SURE_PAGE = 45
"""Of 100, for a word and for a page: below it Tesseract sees letters in the grain of the paper."""
INSTALL = "Install Tesseract to read it (on Debian and Ubuntu: apt-get install tesseract-ocr)."


def available() -> bool:
    """Whether Tesseract is installed here."""
    return shutil.which("tesseract") is not None


def recognise(picture: Image) -> str:
    """The text in a picture, '' where there is none or Tesseract fails on it; lines and paragraphs as they stand."""
    grey = picture.convert("L")
    low, high = grey.getextrema()
    if min(grey.size) < 8 or low == high:
        return ""
    file = io.BytesIO()
    grey.save(file, "PNG", compress_level=1)
    command = ["tesseract", "-", "-", "-l", _languages(), "--psm", "3", "tsv"]
    try:
        # One thread: two pages at once are faster than one page with two threads.
        done = subprocess.run(  # noqa: S603 - a fixed command; the picture comes by standard input
            command,
            input=file.getvalue(),
            capture_output=True,
            timeout=PAGE_SECONDS,
            check=True,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
    except (subprocess.SubprocessError, OSError) as error:
        logger.info("Tesseract could not read a picture: %r", error)
        return ""
    return _assembled(done.stdout.decode("utf-8", "replace"))


def read_image(source: Source) -> Pages:
    """The text in a picture: a page, or as many as a TIFF has; of a moving picture the first frame.

    Raises:
        EmptyDocument: there is no text in it, or no Tesseract here to read it.
        DocumentTooLarge: it has more than `MAX_PIXELS`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not available():
        raise EmptyDocument(f"{source.name} is an image, and reading it takes text recognition.", INSTALL)
    # The limit is ours: Pillow's own warns where it should refuse, and differs from program to program.
    Image.MAX_IMAGE_PIXELS = None
    try:
        picture = Image.open(source.path, formats=["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
    except UnidentifiedImageError as error:
        raise UnreadableDocument(f"{source.name} is a damaged image.", "Save it again as PNG or JPEG.") from error
    with picture:
        frames = min(MAX_FRAMES, getattr(picture, "n_frames", 1)) if picture.format == "TIFF" else 1
        for frame in range(frames):
            picture.seek(frame)
            if picture.width * picture.height > MAX_PIXELS:
                raise DocumentTooLarge(
                    f"{source.name} has {picture.width * picture.height // 10**6} million pixels, "
                    f"more than {MAX_PIXELS // 10**6} million.",
                    "Make the image smaller.",
                )
            text = recognise(ImageOps.exif_transpose(picture))
            yield Page(text, frame + 1 if frames > 1 else None), frames


@lru_cache(maxsize=1)
def _languages() -> str:
    """The languages to look for, as Tesseract wants them."""
    try:
        listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, timeout=10, check=True)  # noqa: S607
        installed = listed.stdout.decode("utf-8", "replace").splitlines()[1:]
    except (subprocess.SubprocessError, OSError):
        installed = []
    chosen = sorted((name for name in installed if name != "osd" and "/" not in name), key=lambda name: name != "eng")
    return "+".join(chosen[:_MAX_LANGUAGES]) or "eng"


def _assembled(table: str) -> str:
    """Text out of Tesseract's table of words, without the words that it only guesses."""
    lines: dict[tuple[str, ...], list[str]] = {}
    sureness: list[float] = []
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        text = (row.get("text") or "").strip()
        if row.get("level") != "5" or not text:
            continue
        sureness.append(float(row.get("conf") or 0))
        if sureness[-1] >= _SURE:
            lines.setdefault((row["block_num"], row["par_num"], row["line_num"]), []).append(text)
    out: list[str] = []
    paragraph: tuple[str, ...] | None = None
    for place, words in lines.items():
        if paragraph is not None and place[:2] != paragraph:
            out.append("")
        out.append(" ".join(words))
        paragraph = place[:2]
    text = "\n".join(out)
    # A picture without writing gives a stray sign or two, one in another script a page of guesses.
    return text if sum(map(str.isalnum, text)) >= 3 and sum(sureness) >= _SURE_PAGE * len(sureness) else ""
