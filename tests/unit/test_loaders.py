"""Loaders: formats, encodings, limits and damaged files."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import docx
import openpyxl
import pypdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pptx import Presentation
from pypdf.constants import PageLabelStyle
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from errors import (
    DocumentError,
    DocumentTooLarge,
    EmptyDocument,
    PasswordRequired,
    UnreadableDocument,
    UnsupportedDocument,
)
from rag.documents import input_file, pdf, pdf_readers
from rag.documents.loaders import FORMATS, load, supported_extensions
from rag.documents.text import clean, decode
from rag.schema import Page

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(content: bytes | str) -> Path:
        path = tmp_path / "upload"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def text_of(path: Path, name: str) -> str:
    (page,) = load(path, name).pages
    assert page.number is None
    return page.text


def make_pdf(*pages: str, password: str | None = None, picture: bool = False) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file, encrypt=password, pageCompression=0)
    for page in pages:
        if picture:
            canvas.drawImage(ImageReader(io.BytesIO(PIXEL)), 50, 50, 200, 200)
        for row, line in enumerate(page.splitlines()):
            canvas.drawString(72, 750 - 20 * row, line)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


PIXEL = b"P6 1 1 255\n\xff\x00\x00"


# --- the table ---------------------------------------------------------------------------------------------------


def test_extensions_are_unique_and_have_a_dot() -> None:
    extensions = supported_extensions()
    assert len(set(extensions)) == len(extensions)
    assert {".pdf", ".docx", ".html", ".md", ".txt"} <= set(extensions)
    assert all(extension.startswith(".") for extension in extensions)
    assert len(FORMATS) >= 5


def test_content_decides_before_the_name(make: Make) -> None:
    assert load(make(make_pdf("Hello")), "notes.txt").pages == [Page("Hello", 1)]
    assert text_of(make("<!DOCTYPE html><p>a</p><p>b</p>"), "page.txt") == "a\n\nb"


@pytest.mark.parametrize("name", ["a.txt", "a.pdf", "a.docx", "a.html", "a.md", "a.xyz", "a"])
def test_random_bytes_are_rejected(make: Make, name: str) -> None:
    with pytest.raises((UnsupportedDocument, UnreadableDocument), match="binary data") as error:
        load(make(os.urandom(5000)), name)
    assert name in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("content", "seems"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(range(256)), "a 7-Zip archive"),
        (b"\x1f\x8b" + bytes(range(256)), "a gzip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "older Office"),
    ],
)
def test_other_types_are_named(make: Make, content: bytes, seems: str) -> None:
    with pytest.raises(UnsupportedDocument, match=seems) as error:
        load(make(content), "a.txt")
    assert error.value.hint


@pytest.mark.parametrize(
    ("member", "seems"),
    [("xl/workbook.bin", "binary Excel"), ("Index/Document.iwa", "Apple"), ("a.csv", "ZIP archive")],
)
def test_other_archives_are_named(tmp_path: Path, member: str, seems: str) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(member, "x")
    with pytest.raises(UnsupportedDocument, match=seems):
        load(tmp_path / "a", "a.docx")


@pytest.mark.parametrize("name", ["a.docx", "a.pdf", "a.png"])
def test_text_with_another_formats_extension_is_rejected(make: Make, name: str) -> None:
    with pytest.raises(UnreadableDocument, match=f"{name} is named like"):
        load(make("a;b"), name)


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        ("def f(): pass", "program.py", "def f(): pass"),
        ("all: build", "Makefile", "all: build"),
        ("<table><tr><td>a<td>b</table>", "export.xls", "a | b"),
        ("a\tb\n1\t2\n", "export.xls", "a | b\n1 | 2"),
        ("<html><p>Hello", "noname", "Hello"),
        ("<p>not a page</p>", "a.md", "<p>not a page</p>"),
    ],
)
def test_texts_by_name_and_by_content(make: Make, content: str, name: str, text: str) -> None:
    assert text_of(make(content), name) == text


@pytest.mark.parametrize("content", ["", " \n\n ", "\ufeff"])
def test_empty_files_are_rejected(make: Make, content: str) -> None:
    with pytest.raises(EmptyDocument, match=r"a\.txt"):
        load(make(content), "a.txt")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="opened"):
        load(tmp_path / "gone", "a.txt")


def test_report_counts_pages_and_can_stop_reading(make: Make) -> None:
    path = make(make_pdf("a", "b", "c"))
    calls: list[tuple[int, int]] = []
    load(path, "a.pdf", lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        load(path, "a.pdf", stop)


def test_libraries_are_imported_lazily() -> None:
    heavy = "{'pypdf', 'pypdfium2', 'docx', 'pptx', 'openpyxl', 'PIL', 'bs4', 'lxml', 'charset_normalizer'}"
    code = f"import sys, rag.documents.loaders, rag.documents.splitter; print({heavy} & set(sys.modules))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True).stdout == b"set()\n"


# --- text --------------------------------------------------------------------------------------------------------

FRENCH = "Où est passée la leçon d'été? Ça ne va pas à côté. "


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "naïve 中文 🙂"),
        ("utf-8-sig", "naïve"),
        ("utf-16", "naïve 中文"),
        ("utf-16-le", "A plain text without a mark, déjà vu"),
        ("utf-16-be", "A plain text without a mark, déjà vu"),
        ("utf-32", "naïve 🙂"),
        ("utf-32-le", "A plain text without a mark, déjà vu"),
        ("latin-1", FRENCH),
        ("cp1252", "El niño comió “piñas” en España – 5 €, ¿verdad? Sí señor."),
        ("cp1252", "Ärger über große Straßen"),
        ("cp1250", "Zażółć gęślą jaźń"),
        ("cp1251", "Съешь ещё этих мягких французских булок, да выпей чаю"),
        ("koi8-r", "Съешь ещё этих мягких французских булок, да выпей чаю"),
        ("euc-jp", "世界人権宣言は人類の権利です。これはテストです。"),
        ("shift-jis", "世界人権宣言は人類の権利です。これはテストです。"),
        ("gb18030", "世界人权宣言，人人生而自由，在尊严和权利上一律平等。"),
        ("euc-kr", "모든 인간은 태어날 때부터 자유로우며"),
    ],
)
def test_encodings(make: Make, encoding: str, text: str) -> None:
    assert text_of(make(text.encode(encoding)), "a.txt") == text


def test_truncated_utf8_is_still_utf8() -> None:
    assert decode("人人生而自由，在尊严".encode()[:-1]) == "人人生而自由，在尊\ufffd"


def test_encoding_with_the_only_accent_at_the_end() -> None:
    assert decode(b"Meet me at the caf\xe9") == "Meet me at the café"


def test_clean_removes_only_invisible_characters(make: Make) -> None:
    assert text_of(make("# A\r\n\r\n\tb  c\rd e\u0301\u00ad\x07\u2028f"), "a.md") == "# A\n\n\tb  c\nd \u00e9\nf"


def test_latin1_control_characters_are_decoded_as_cp1252() -> None:
    assert clean(b"It\x92s \x93reik\x9amingas\x94\x85\x81".decode("iso8859-4")) == "It’s “reikšmingas”\n"


@given(st.text(st.characters(codec=None)))
def test_clean_is_idempotent(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    cleaned.encode()  # no lone surrogates
    assert not set(cleaned) & set("\0\r\ufeff")


# --- web pages ---------------------------------------------------------------------------------------------------


def test_html_visible_text(make: Make) -> None:
    page = """<html><head><title>The pier</title><style>p {}</style><script>alert(1)</script></head><body>
    <nav>Home About</nav><template>later</template><!-- secret --><p hidden>hidden</p>
    <h2>Length</h2><div>It is <b>62</b>
    metres<br>long.</div><ul><li>one<li>two</ul>
    <table><tr><th>Ship</th><th>Built</th></tr><tr><td><p>Juniper</p></td><td>2019</td></tr></table>
    <pre>a   b
      c</pre></body></html>"""
    assert text_of(make(page), "a.html").split("\n") == [
        *("The pier", "", "## Length", "It is 62 metres", "long.", "", "one", "two", ""),
        *("Ship | Built", "Juniper | 2019", "", "a   b", "      c"),
    ]


def test_html_layout_tables_and_fragments(make: Make) -> None:
    assert text_of(make("<table><tr><td><h1>A</h1><p>b</p></td></tr></table>"), "a.html") == "# A\n\nb"
    assert text_of(make("just words"), "a.htm") == "just words"


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ('<meta charset="windows-1251">', "cp1251"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS">', "shift-jis"),
        ('<?xml version="1.0" encoding="utf-8"?>', "utf-8"),
        ('<meta charset="utf-8">', "utf-16"),  # the mark is right, the page is wrong
        ('<meta charset="no-such-thing">', "cp1251"),
    ],
)
def test_html_encodings(make: Make, head: str, encoding: str) -> None:
    text = "Съешь ещё этих мягких французских булок"
    assert text_of(make(f"{head}<html><body><p>{text}</p></body></html>".encode(encoding)), "a.html") == text


def test_html_deep_nesting(make: Make) -> None:
    assert text_of(make("<div>" * 20_000 + "bottom"), "a.html") == "bottom"


# --- Word --------------------------------------------------------------------------------------------------------


def make_docx(path: Path, change: Callable[[str], str] = str) -> Path:
    """Write a document after `change` has edited it."""
    document = docx.Document()
    document.add_heading("Ships", 1)
    document.add_paragraph("Before the table.")
    table = document.add_table(2, 2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), ["a", "b\nb", "", "d"], strict=True):
        cell.text = text
    document.add_paragraph("After.")
    document.save(str(path))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["word/document.xml"] = change(members["word/document.xml"].decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_docx_document_order(tmp_path: Path) -> None:
    path = make_docx(tmp_path / "a")
    assert text_of(path, "a.docx") == "# Ships\nBefore the table.\n\na | b b\n | d\n\nAfter."


def test_docx_tracked_changes(tmp_path: Path) -> None:
    runs = "<w:ins><w:r><w:t>New. </w:t></w:r></w:ins><w:del><w:r><w:delText>Old. </w:delText></w:r></w:del>"
    path = make_docx(tmp_path / "a", lambda xml: xml.replace("<w:r><w:t>After.", runs + "<w:r><w:t>After."))
    assert text_of(path, "a.docx").endswith("\nNew. After.")


def test_docx_entities_are_not_resolved(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not read this")
    entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><w:document'
    path = make_docx(
        tmp_path / "a", lambda xml: xml.replace("<w:document", entity, 1).replace("After.", "After&e;wards.")
    )
    assert "do not read" not in text_of(path, "a.docx")


def test_docx_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_docx(tmp_path / "a", lambda xml: xml.replace("After.", "0" * 30_000_000))
    with pytest.raises(DocumentTooLarge, match="unpack"):
        load(path, "a.docx")
    monkeypatch.setattr(input_file, "MAX_XML", 1000)
    with pytest.raises(DocumentTooLarge, match="unpack"):
        load(make_docx(tmp_path / "b"), "b.docx")


def test_docx_broken(tmp_path: Path) -> None:
    whole = make_docx(tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableDocument, match="damaged ZIP"):
        load(tmp_path / "a", "a.docx")
    path = make_docx(tmp_path / "b", lambda xml: xml[:-200])
    with pytest.raises(UnreadableDocument, match="broken"):
        load(path, "a.docx")


# --- PDF ---------------------------------------------------------------------------------------------------------


def test_pdf_page_numbers(make: Make) -> None:
    reading = load(make(make_pdf("First page", "", "Third  page")), "a.pdf")
    assert reading.pages == [Page("First page", 1), Page("", 2), Page("Third page", 3)]
    assert reading.warnings == ("1 of 3 pages has no text.",)


def test_pdf_hyphenation(make: Make) -> None:
    page = "well known exam-\nple of a well-\nknown Anglo-\nSaxon"
    assert load(make(make_pdf(page)), "a.pdf").pages[0].text == "well known example of a well-known Anglo-Saxon"


def test_pdf_password(make: Make) -> None:
    path = make(make_pdf("secret", password="open sesame"))
    with pytest.raises(PasswordRequired, match=r"a\.pdf is protected with a password") as error:
        load(path, "a.pdf")
    assert "--password" in error.value.hint
    with pytest.raises(PasswordRequired, match="wrong"):
        load(path, "a.pdf", password="open barley")
    assert load(path, "a.pdf", password="open sesame").pages == [Page("secret", 1)]
    assert load(make(make_pdf("Hello", password="")), "a.pdf", password="needless").pages == [Page("Hello", 1)]


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_pdf_ciphers_and_owner_password(make: Make, algorithm: str) -> None:
    writer = pypdf.PdfWriter(io.BytesIO(make_pdf("secret")))
    writer.encrypt("user", "owner", algorithm=algorithm)
    file = io.BytesIO()
    writer.write(file)
    path = make(file.getvalue())
    for password in ("user", "owner"):
        assert load(path, "a.pdf", password=password).pages == [Page("secret", 1)]


def test_pdf_page_labels(make: Make) -> None:
    writer = pypdf.PdfWriter(io.BytesIO(make_pdf("preface", "one", "two")))
    writer.set_page_label(0, 0, PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(1, 2, PageLabelStyle.DECIMAL)
    file = io.BytesIO()
    writer.write(file)
    assert [(page.number, page.label) for page in load(make(file.getvalue()), "a.pdf").pages] == [
        *((1, "page i"), (2, "page 1"), (3, "page 2"))
    ]


def test_pdf_attachments_are_named_and_forms_are_read(make: Make) -> None:
    file = io.BytesIO()
    canvas = Canvas(file)
    canvas.drawString(72, 750, "Form")
    canvas.acroForm.textfield(name="city", value="Porto", x=72, y=600)
    canvas.showPage()
    canvas.save()
    writer = pypdf.PdfWriter(file)
    writer.add_attachment("data.bin", b"x")
    out = io.BytesIO()
    writer.write(out)
    reading = load(make(out.getvalue()), "a.pdf")
    assert reading.pages[0].text == "Form\ncity: Porto"
    assert reading.warnings == ("Files attached to the document were not read: data.bin.",)


def test_pdf_empty(make: Make) -> None:
    with pytest.raises(EmptyDocument, match="holds no text"):
        load(make(make_pdf("")), "a.pdf")


@pytest.mark.parametrize(
    "damage",
    [(b"trailer", b"tr"), (b"/Type /Catalog", b"/Type /C"), (b"/Kids", b"/Kinds"), (b"/Type /Page\n", b"/Type /P\n")],
)
def test_pdf_with_a_lost_page_tree_is_repaired(make: Make, damage: tuple[bytes, bytes]) -> None:
    whole = make_pdf("Still here", "and here")
    reading = load(make(whole[: whole.rindex(b"startxref")].replace(*damage)), "a.pdf")
    assert [page.text for page in reading.pages] == ["Still here", "and here"]


@pytest.mark.parametrize("content", [b"%PDF-1.4\n%%EOF\n", b"%PDF-1.4\n" + bytes(range(256)) * 20])
def test_pdf_broken(make: Make, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnreadableDocument, match="broken"):
        load(make(content), "a.pdf")
    assert capfd.readouterr() == ("", "")


def test_pdf_without_a_trailer(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    whole = make_pdf("Still here")
    assert load(make(whole[: whole.rindex(b"startxref")]), "a.pdf").pages == [Page("Still here", 1)]
    assert capfd.readouterr() == ("", "")


class Scripted:
    """A scripted PDF reader, for pages that are hard to make."""

    def __init__(self, *pages: str | Exception) -> None:
        self.pages, self.total, self.closed, self.asked = pages, len(pages), False, 0

    def __call__(self, path: Path, password: str | None) -> Scripted:
        return self

    def label(self, index: int) -> str:
        return str(index + 1)

    def text(self, index: int) -> str:
        self.asked += 1
        page = self.pages[index]
        if isinstance(page, Exception):
            raise page
        return page

    def close(self) -> None:
        self.closed = True


def read_by(monkeypatch: pytest.MonkeyPatch, make: Make, first: Scripted, second: Scripted) -> list[str]:
    monkeypatch.setattr(pdf, "READERS", (first, second))
    try:
        return [page.text for page in load(make(b"%PDF-"), "a.pdf").pages]
    finally:
        assert first.closed
        assert second.closed


def test_second_pdf_reader_is_used_page_by_page(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    first = Scripted("one", "", RecursionError(), "\ufffd\ufffd\ufffd x", "five", "")
    second = Scripted("ONE", "two", "three", "four", "FIVE", "")
    assert read_by(monkeypatch, make, first, second) == ["one", "two", "three", "four", "five", ""]


def test_slow_pdf_reader_is_dropped(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    first = Scripted("one", TimeoutError(), "never")
    assert read_by(monkeypatch, make, first, Scripted("ONE", "two", "three")) == ["one", "two", "three"]
    assert first.asked == 2


def test_pdf_with_too_many_pages(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 2)
    with pytest.raises(DocumentTooLarge, match="3 pages"):
        read_by(monkeypatch, make, Scripted("", "", ""), Scripted())


def test_pypdf_has_a_time_budget(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    path = make(make_pdf("one", "two"))
    monkeypatch.setattr(pdf_readers, "PAGE_SECONDS", -1.0)
    with pytest.raises(TimeoutError):
        pdf_readers.Pypdf(path).text(0)
    assert [page.text for page in load(path, "a.pdf").pages] == ["one", "two"]


# --- anything at all ---------------------------------------------------------------------------------------------


def make_workbook() -> bytes:
    book, file = openpyxl.Workbook(), io.BytesIO()
    for row in (["Ship", "Seats"], ["Juniper", 90], ["Rowan", 0.5]):
        book.worksheets[0].append(row)
    book.save(file)
    return file.getvalue()


def make_slides() -> bytes:
    deck, file = Presentation(), io.BytesIO()
    deck.slides.add_slide(deck.slide_layouts[1]).shapes.title.text = "Ships"
    deck.save(file)
    return file.getvalue()


@cache
def whole(name: str) -> bytes:
    """An intact file of each kind."""
    boundary = b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\ntext\n--b\n'
    picture = b'Content-Disposition: attachment; filename="a.csv"\n\na,b\n--b--\n'
    mail = b"Subject: x\nMIME-Version: 1.0\n" + boundary + picture
    simple = {
        "a.html": b"<html><body><table><tr><td>Some words \xe9</table>",
        "a.txt": b"Some words \xe9",
        "a.csv": b'a;b\n"1";2\n' * 50,
        "a.json": b'{"a": [1, {"b": "c"}], "d": null}',
        "a.ipynb": b'{"cells": [{"cell_type": "code", "source": ["1"], "outputs": []}], "nbformat": 4}',
        "a.rtf": rb"{\rtf1\ansi Gr\'fc\'dfe {\fonttbl x} \u8364? end}",
        "a.eml": mail,
        "a.msg": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000),
        "a.png": b"\x89PNG\r\n\x1a\n" + bytes(range(200)),
    }
    made = {"a.pdf": lambda: make_pdf("Some words", "and more"), "a.xlsx": make_workbook, "a.pptx": make_slides}
    return simple[name] if name in simple else made[name]()


KINDS = ["a.pdf", "a.docx", "a.xlsx", "a.pptx", "a.html", "a.txt", "a.csv", "a.json", "a.ipynb", "a.rtf", "a.eml"]
KINDS += ["a.msg", "a.png"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_raise_only_our_errors(data: st.DataObject, tmp_path: Path) -> None:
    name = data.draw(st.sampled_from(KINDS))
    sound = make_docx(tmp_path / "whole").read_bytes() if name == "a.docx" else whole(name)
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 20))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    refused = None
    try:
        load(path, name)
    except DocumentError as error:
        refused = error
    assert refused is None or (name in refused.message and refused.hint)
