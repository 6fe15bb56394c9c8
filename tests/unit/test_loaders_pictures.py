"""Text recognition of images and scans, with and without Tesseract."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from errors import DocumentTooLarge, EmptyDocument, UnreadableDocument
from rag.documents import ocr
from rag.documents.loaders import load

needs_tesseract = pytest.mark.skipif(not ocr.available(), reason="Tesseract is not installed")


@pytest.fixture
def no_tesseract(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def picture(*lines: str) -> Image.Image:
    image = Image.new("RGB", (900, 80 + 70 * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        draw.text((40, 40 + 70 * row), line, fill="black", font=ImageFont.load_default(44))
    return image


def as_file(path: Path, *images: Image.Image, kind: str = "PNG") -> Path:
    several = {"save_all": True, "append_images": images[1:]} if len(images) > 1 else {}
    images[0].save(path, kind, **several)
    return path


def make_scan(path: Path, *pages: Image.Image | str) -> Path:
    canvas = Canvas(str(path))
    for page in pages:
        if isinstance(page, str):
            canvas.drawString(72, 700, page)
        else:
            canvas.drawImage(ImageReader(page), 0, 200, 590, 590 * page.height / page.width)
        canvas.showPage()
    canvas.save()
    return path


@needs_tesseract
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
def test_images(tmp_path: Path, kind: str) -> None:
    (page,) = load(as_file(tmp_path / "a", picture("The harbour opens at seven"), kind=kind), f"a.{kind}").pages
    assert (page.number, page.text) == (None, "The harbour opens at seven")


@needs_tesseract
def test_tiff_pages_and_first_frame_of_a_gif(tmp_path: Path) -> None:
    two = (picture("First page"), picture("Second page"))
    pages = load(as_file(tmp_path / "a", *two, kind="TIFF"), "a.tif").pages
    assert [(page.number, page.text) for page in pages] == [(1, "First page"), (2, "Second page")]
    assert [page.text for page in load(as_file(tmp_path / "b", *two, kind="GIF"), "b.gif").pages] == ["First page"]


@needs_tesseract
def test_pdf_with_scanned_pages(tmp_path: Path) -> None:
    reading = load(make_scan(tmp_path / "a", "Typed words", picture("Scanned words", "and more"), ""), "a.pdf")
    assert [page.text for page in reading.pages] == ["Typed words", "Scanned words\nand more", ""]
    assert reading.warnings == (
        "1 of 3 pages was read by text recognition, which makes mistakes.",
        "1 of 3 pages has no text.",
    )


@needs_tesseract
def test_pictures_without_text(tmp_path: Path) -> None:
    drawing = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(drawing).ellipse((50, 50, 300, 250), fill="grey")
    with pytest.raises(EmptyDocument, match="holds no text"):
        load(as_file(tmp_path / "a", drawing), "a.png")
    with pytest.raises(EmptyDocument, match="no text could be recognised"):
        load(make_scan(tmp_path / "b", drawing), "b.pdf")


@needs_tesseract
def test_image_bombs_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "MAX_PIXELS", 10_000)
    with pytest.raises(DocumentTooLarge, match="million pixels"):
        load(as_file(tmp_path / "a", picture("large")), "a.png")
    with pytest.raises(EmptyDocument, match="scan"):
        load(make_scan(tmp_path / "b", picture("large")), "b.pdf")


@needs_tesseract
def test_damaged_images(tmp_path: Path) -> None:
    whole = as_file(tmp_path / "a", picture("some words")).read_bytes()
    (tmp_path / "a").write_bytes(whole[:100])
    with pytest.raises(UnreadableDocument):
        load(tmp_path / "a", "a.png")


@pytest.mark.usefixtures("no_tesseract")
def test_without_tesseract(tmp_path: Path) -> None:
    words = picture("words")
    with pytest.raises(EmptyDocument, match=r"a\.png is an image") as error:
        load(as_file(tmp_path / "a", words), "a.png")
    assert error.value.hint.startswith("Install Tesseract to read it")
    with pytest.raises(EmptyDocument, match=r"b\.pdf is a scan without a text layer") as error:
        load(make_scan(tmp_path / "b", words), "b.pdf")
    assert error.value.hint.startswith("Install Tesseract to read it")
    (warning,) = load(make_scan(tmp_path / "c", "Typed words", words), "c.pdf").warnings
    assert warning.startswith("1 of 2 pages is a scan without a text layer. Install Tesseract")


def test_words_of_low_confidence_are_dropped() -> None:
    head = "level\tblock_num\tpar_num\tline_num\tconf\ttext\n"
    rows = ["5\t1\t1\t1\t96.1\tsure", "5\t1\t1\t1\t12\tguess", '5\t1\t1\t2\t90\t"quoted', "5\t2\t1\t1\t91\tlast"]
    assert ocr._text_from_tsv(head + "\n".join(rows)) == 'sure\n"quoted\n\nlast'
    assert ocr._text_from_tsv(head + "5\t1\t1\t1\t90\t|") == ""
    assert ocr._text_from_tsv(head + "5\t1\t1\t1\t35\tanother\n5\t1\t1\t1\t20\tscript") == ""


def test_failing_tesseract_gives_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tesseract"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    file = io.BytesIO()
    picture("words").save(file, "PNG")
    (tmp_path / "a").write_bytes(file.getvalue())
    with pytest.raises(EmptyDocument, match="holds no text"):
        load(tmp_path / "a", "a.png")
