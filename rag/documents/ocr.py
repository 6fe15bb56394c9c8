"""Text recognition of images by Tesseract, if it is installed, in a separate process that may crash."""

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
from rag.documents.input_file import InputFile, Pages
from rag.schema import Page

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000  # of one image; A3 at 600 dpi has 70 million
MAX_FRAMES = 5_000
PAGE_SECONDS = 60
_MAX_LANGUAGES = 4  # English and the first others that are installed; each makes it slower
_MIN_WORD_CONFIDENCE, _MIN_PAGE_CONFIDENCE = 30, 45  # of 100; below, the words are noise
INSTALL = "Install Tesseract to read it (on Debian and Ubuntu: apt-get install tesseract-ocr)."


def available() -> bool:
    """Whether Tesseract is installed."""
    return shutil.which("tesseract") is not None


def recognise(picture: Image) -> str:
    """Return the text in a picture with its lines and paragraphs, '' if there is none or Tesseract fails."""
    grey = picture.convert("L")
    low, high = grey.getextrema()
    if min(grey.size) < 8 or low == high:
        return ""
    file = io.BytesIO()
    grey.save(file, "PNG", compress_level=1)
    command = ["tesseract", "-", "-", "-l", _languages(), "--psm", "3", "tsv"]
    # Single-threaded, because pages of other documents are read in parallel.
    env, data = {**os.environ, "OMP_THREAD_LIMIT": "1"}, file.getvalue()
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=PAGE_SECONDS, check=True, env=env)  # noqa: S603
    except (subprocess.SubprocessError, OSError) as error:
        logger.info("Tesseract could not read a picture: %r", error)
        return ""
    return _text_from_tsv(done.stdout.decode("utf-8", "replace"))


def read_image(source: InputFile) -> Pages:
    """Read an image: each frame of a TIFF, the first of an animation. Raises DocumentError."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not available():
        raise EmptyDocument(f"{source.name} is an image, and reading it takes text recognition.", INSTALL)
    Image.MAX_IMAGE_PIXELS = None  # this limit of Pillow only warns; ours is checked below
    try:
        picture = Image.open(source.path, formats=["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
    except UnidentifiedImageError as error:
        raise UnreadableDocument(f"{source.name} is a damaged image.", "Save it again as PNG or JPEG.") from error
    with picture:
        frames = min(MAX_FRAMES, getattr(picture, "n_frames", 1)) if picture.format == "TIFF" else 1
        for frame in range(frames):
            picture.seek(frame)
            pixels, most = picture.width * picture.height, MAX_PIXELS // 10**6
            if pixels > MAX_PIXELS:
                raise DocumentTooLarge(
                    f"{source.name} has {pixels // 10**6} million pixels, more than {most} million.",
                    "Make the image smaller.",
                )
            text = recognise(ImageOps.exif_transpose(picture))
            yield Page(text, frame + 1 if frames > 1 else None), frames


@lru_cache(maxsize=1)
def _languages() -> str:
    """Return the languages to recognise, in Tesseract's syntax."""
    try:
        listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, timeout=10, check=True)  # noqa: S607
        installed = listed.stdout.decode("utf-8", "replace").splitlines()[1:]
    except (subprocess.SubprocessError, OSError):
        installed = []
    chosen = sorted((name for name in installed if name != "osd" and "/" not in name), key=lambda name: name != "eng")
    return "+".join(chosen[:_MAX_LANGUAGES]) or "eng"


def _text_from_tsv(table: str) -> str:
    """Return the text in Tesseract's table of words, without those of low confidence."""
    lines: dict[tuple[str, ...], list[str]] = {}
    confidence: list[float] = []
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        text = (row.get("text") or "").strip()
        if row.get("level") != "5" or not text:
            continue
        confidence.append(float(row.get("conf") or 0))
        if confidence[-1] >= _MIN_WORD_CONFIDENCE:
            lines.setdefault((row["block_num"], row["par_num"], row["line_num"]), []).append(text)
    paragraphs: dict[tuple[str, ...], list[str]] = {}
    for place, words in lines.items():
        paragraphs.setdefault(place[:2], []).append(" ".join(words))
    text = "\n\n".join(map("\n".join, paragraphs.values()))
    # Pictures without text give a few characters, those in another script a page of guesses.
    is_text = sum(map(str.isalnum, text)) >= 3 and sum(confidence) >= _MIN_PAGE_CONFIDENCE * len(confidence)
    return text if is_text else ""
