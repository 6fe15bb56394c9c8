"""Drawn pages; highlights are measured in pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pypdf
import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from errors import PasswordRequired, UnreadableDocument, UnsupportedDocument
from rag.documents.loaders import load
from rag.documents.page_image import MAX_PIXELS, MAX_WIDTH, PageImage, draw_page
from rag.documents.parsers import Parsers

SIZE = (600, 800)
FONT = ("Helvetica", 12)
LINES = (
    "The pier at Gannet Holm is 62 metres long.",
    "The last boat back leaves at a quarter to six.",
    "The lamp is lit at dusk by whoever is nearest.",
)
Box = tuple[float, float, float, float]


def write(
    path: Path, draw: Callable[[Canvas], None], *, password: str | None = None, size: tuple[int, int] = SIZE
) -> Path:
    canvas = Canvas(str(path), pagesize=size, encrypt=password)
    canvas.setFont(*FONT)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return path


def lines(canvas: Canvas) -> None:
    for number, line in enumerate(LINES):
        canvas.drawString(100, 700 - 40 * number, line)


def mark(path: Path, wanted: str, *, nth: int = 0, index: int = 0) -> PageImage:
    """Draw the page with the `nth` occurrence of `wanted` in the loaded text highlighted."""
    text = load(path, "a.pdf").pages[index].text
    start = -1
    for _ in range(nth + 1):
        start = text.index(wanted, start + 1)
    return draw_page(path, "a.pdf", index, text, [(start, start + len(wanted))])


def picture(image: PageImage) -> Image.Image:
    return Image.open(io.BytesIO(image.data))


def marked(image: PageImage) -> Box | None:
    """Return left, top, right and bottom of the yellow area, as shares of width and height."""
    red, _, blue = picture(image).split()
    yellow = Image.merge("RGB", (red, red, blue)).convert("L", (1, 0, 0, 0))
    mask = Image.eval(blue, lambda value: 255 * (value < 170)).convert("1")
    bright = Image.eval(yellow, lambda value: 255 * (value > 190)).convert("1")
    both = Image.new("1", mask.size)
    both.paste(mask, mask=bright)
    box = both.getbbox()
    width, height = both.size
    return box and (box[0] / width, box[1] / height, box[2] / width, box[3] / height)


def is_near(box: Box | None, expected: Box) -> bool:
    return box is not None and all(abs(a - b) < 0.012 for a, b in zip(box, expected, strict=True))


def share(left: float, top: float, right: float, bottom: float, width: float = 600, height: float = 800) -> Box:
    return left / width, top / height, right / width, bottom / height


def width_of(text: str) -> float:
    return float(Canvas(io.BytesIO()).stringWidth(text, *FONT))


# --- where the marks lie -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2])
def test_only_the_line_is_highlighted(number: int, tmp_path: Path) -> None:
    image = mark(write(tmp_path / "a", lines), LINES[number])
    base = 100 + 40 * number
    assert image.is_marked
    assert is_near(marked(image), share(100, base - 9, 100 + width_of(LINES[number]), base + 3))


def test_part_of_a_line_and_two_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a", lines)
    left = 100 + width_of("The pier at ")
    assert is_near(marked(mark(path, "Gannet Holm")), share(left, 91, left + width_of("Gannet Holm"), 103))
    both = marked(mark(path, "\n".join(LINES[1:])))
    assert is_near(both, share(100, 131, 100 + max(map(width_of, LINES[1:])), 183))


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        # The line runs from (100, 700) to (340, 700) of a page of 600 by 800, counted from the lower left corner.
        (90, lambda w: share(697, 100, 709, 100 + w, 800, 600)),
        (180, lambda w: share(500 - w, 697, 500, 709)),
        (270, lambda w: share(91, 500 - w, 103, 500, 800, 600)),
    ],
)
def test_rotated_page(rotation: int, expected: Callable[[float], Box], tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=write(tmp_path / "a", lines))
    writer.pages[0].rotate(rotation)
    writer.write(tmp_path / "b")
    image = mark(tmp_path / "b", LINES[0])
    assert image.is_marked
    wide, high = picture(image).size
    assert (wide > high) == (rotation in {90, 270})
    assert is_near(marked(image), expected(width_of(LINES[0])))


def test_cropped_page(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=write(tmp_path / "a", lines))
    writer.pages[0].cropbox = pypdf.generic.RectangleObject((50, 300, 450, 750))
    writer.write(tmp_path / "b")
    image = mark(tmp_path / "b", LINES[0])
    assert is_near(marked(image), share(50, 41, 50 + width_of(LINES[0]), 53, 400, 450))


def test_cropped_text_is_not_highlighted(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=write(tmp_path / "a", lines))
    writer.pages[0].cropbox = pypdf.generic.RectangleObject((50, 650, 450, 690))
    writer.write(tmp_path / "b")
    image = mark(tmp_path / "b", LINES[0])
    assert not image.is_marked
    assert marked(image) is None


def test_rotated_text(tmp_path: Path) -> None:
    def sideways(canvas: Canvas) -> None:
        canvas.translate(750, 100)
        canvas.rotate(90)
        lines(canvas)

    # The text at (x, y) moves to (750 - y, 100 + x) and runs upwards.
    image = mark(write(tmp_path / "a", sideways), LINES[1])
    assert image.is_marked
    assert is_near(marked(image), share(81, 600 - width_of(LINES[1]), 93, 600))


# --- what the two readers see differently ------------------------------------------------------------------------


def test_right_occurrence_of_a_repeated_phrase(tmp_path: Path) -> None:
    def same(canvas: Canvas) -> None:
        for number in range(20):
            canvas.drawString(100, 750 - 30 * number, "All rights are reserved.")

    path = write(tmp_path / "a", same)
    for nth in (0, 7, 19):
        base = 50 + 30 * nth
        box = share(100, base - 9, 100 + width_of("All rights are reserved."), base + 3)
        assert is_near(marked(mark(path, "All rights are reserved.", nth=nth)), box)


def test_hyphenation_and_ligatures(tmp_path: Path) -> None:
    def broken(canvas: Canvas) -> None:
        canvas.drawString(100, 700, "It was an uncommonly diffi-")
        canvas.drawString(100, 680, "cult crossing for everyone.")

    path = write(tmp_path / "a", broken)
    assert "difficult" in load(path, "a.pdf").pages[0].text
    image = mark(path, "an uncommonly difficult crossing")
    assert image.is_marked
    left, right = 100, 100 + width_of("It was an uncommonly diffi-")
    assert is_near(marked(image), share(left, 91, right, 123))


def test_columns_in_another_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a", lines)
    shuffled = " ".join(reversed(LINES))
    image = draw_page(path, "a.pdf", 0, shuffled, [(0, len(shuffled))])
    assert image.is_marked
    assert is_near(marked(image), share(100, 91, 100 + max(map(width_of, LINES)), 183))


def test_missing_text_is_not_highlighted(tmp_path: Path) -> None:
    path = write(tmp_path / "a", lines)
    out_of_scope = "Nothing of this sentence can be seen there. The pier"
    for span in [(0, len(out_of_scope)), (0, 0), (40, 40)]:
        image = draw_page(path, "a.pdf", 0, out_of_scope, [span])
        assert not image.is_marked
        assert marked(image) is None
    assert not draw_page(path, "a.pdf", 0, "", []).is_marked


def test_scan_is_drawn_without_highlight(tmp_path: Path) -> None:
    scan = Image.new("L", (400, 300), 200)
    path = write(tmp_path / "a", lambda canvas: canvas.drawImage(ImageReader(scan), 0, 0, 600, 800))
    image = draw_page(path, "a.pdf", 0, LINES[0], [(0, 20)])
    assert not image.is_marked
    assert picture(image).getpixel((300, 400)) == pytest.approx((200, 200, 200), abs=3)


# --- what cannot be drawn ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(14_400, 200), (200, 14_400), (3, 3)])
def test_size_limit(size: tuple[int, int], tmp_path: Path) -> None:
    path = write(tmp_path / "a", lambda canvas: canvas.rect(0, 0, 1, 1), size=size)
    width, height = picture(draw_page(path, "a.pdf", 0, "", [])).size
    assert width <= MAX_WIDTH + 1
    assert width * height <= 1.01 * MAX_PIXELS


def test_encrypted_pdf(tmp_path: Path) -> None:
    path = write(tmp_path / "a", lines, password="open sesame")
    with pytest.raises(PasswordRequired, match=r"a\.pdf is protected"):
        draw_page(path, "a.pdf", 0, "", [])


def test_other_format_missing_page_and_broken_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("The pier is 62 metres long.")
    with pytest.raises(UnsupportedDocument):
        draw_page(tmp_path / "text", "a.txt", 0, "", [])
    with pytest.raises(UnreadableDocument):
        draw_page(write(tmp_path / "a", lines), "a.pdf", 1, "", [])
    (tmp_path / "broken").write_bytes(b"%PDF-1.4\nnothing")
    with pytest.raises(UnreadableDocument):
        draw_page(tmp_path / "broken", "a.pdf", 0, "", [])


# --- in a worker -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workers() -> Iterator[Parsers]:
    workers = Parsers(memory_mb=600)
    yield workers
    workers.close()


def test_worker_draws_the_same(workers: Parsers, tmp_path: Path) -> None:
    path = write(tmp_path / "a", lines)
    arguments = (path, "a.pdf", 0, "\n".join(LINES), [(0, len(LINES[0]))])
    assert workers.draw(*arguments) == draw_page(*arguments)
    with pytest.raises(PasswordRequired):
        workers.draw(write(tmp_path / "b", lines, password="secret"), "b.pdf", 0, "", [])
    # The same worker can read.
    assert LINES[0] in workers.read(path, "a.pdf").pages[0].text


def test_time_limit_of_a_page(workers: Parsers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(canvas: Canvas) -> None:
        canvas.setStrokeAlpha(0.5)
        canvas.beginForm("f0")
        for _ in range(1000):
            canvas.circle(300, 400, 300)
        canvas.endForm()
        for depth in range(1, 8):
            canvas.beginForm(f"f{depth}")
            for _ in range(10):
                canvas.doForm(f"f{depth - 1}")
            canvas.endForm()
        canvas.doForm("f7")

    path = write(tmp_path / "a", endless)
    workers.draw(write(tmp_path / "b", lines), "b.pdf", 0, "", [])  # the worker is warm
    monkeypatch.setattr(workers, "seconds", 0.5)
    with pytest.raises(UnreadableDocument, match="too long"):
        workers.draw(path, "a.pdf", 0, "", [])
    monkeypatch.undo()
    assert workers.draw(tmp_path / "b", "b.pdf", 0, "", []).data
