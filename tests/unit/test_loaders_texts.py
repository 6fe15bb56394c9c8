"""Tables and records in text, notebooks, mail, books and RTF."""

from __future__ import annotations

import email.policy
import json
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest

from errors import DocumentTooLarge, UnreadableDocument
from rag.documents import input_file, json_reader, loaders, tables
from rag.documents.loaders import LoadedDocument, load
from rag.schema import Page


def read(tmp_path: Path, content: bytes | str, name: str) -> LoadedDocument:
    path = tmp_path / "upload"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(path, name)


def text_of(tmp_path: Path, content: bytes | str, name: str) -> str:
    (page,) = read(tmp_path, content, name).pages
    assert (page.number, page.label) == (None, "")
    return page.text


# --- CSV ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_csv_of_any_delimiter_and_encoding(tmp_path: Path, delimiter: str, encoding: str) -> None:
    rows = [["Schiff", "Länge, außen"], ["Größe", "62,5"], ["Übung", "a;b"]]
    quoted = "\r\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    assert text_of(tmp_path, quoted.encode(encoding), "a.csv") == "\n".join(" | ".join(row) for row in rows)


def test_csv_with_a_sep_line(tmp_path: Path) -> None:
    assert text_of(tmp_path, "sep=:\na:1,5\nb:2,5\n", "a.csv") == "a | 1,5\nb | 2,5"
    assert text_of(tmp_path, "1,5;2,5\n3,5;4,5\n", "a.csv") == "1,5 | 2,5\n3,5 | 4,5"


def test_csv_of_one_column(tmp_path: Path) -> None:
    assert text_of(tmp_path, "name\nJuniper\nRowan, the second\n", "a.csv").startswith("name\nJuniper\nRowan")


def test_long_csv_in_parts_names_its_columns(tmp_path: Path) -> None:
    table = "id;city;note\n" + "".join(f"{n};Porto;{'x' * 80}\n" for n in range(2000)) + "9999;Orléans;end\n"
    pages = read(tmp_path, table.encode("latin-1"), "a.csv").pages
    assert [page.label for page in pages] == [f"Part {n}" for n in range(1, len(pages) + 1)]
    assert all(len(page.text) <= input_file.PART for page in pages)
    assert pages[1].text.startswith("id: ")
    assert pages[-1].text.endswith("id: 9999 | city: Orléans | note: end")


def test_csv_with_an_unclosed_quotation_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_FIELD", 1000)
    table = 'a,b\n"1,2\n' + "".join(f"{n},{n}\n" for n in range(2000))
    assert read(tmp_path, table, "a.csv").pages[-1].text.endswith("1999")


def test_binary_csv_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="binary data"):
        read(tmp_path, bytes(range(256)) * 20, "a.csv")


# --- JSON --------------------------------------------------------------------------------------------------------


def test_json_paths(tmp_path: Path) -> None:
    value = {"fleet": [{"name": "Juniper", "built": 2019}, {"name": "Rowan", "tags": ["old", "slow"]}], "open": None}
    assert text_of(tmp_path, json.dumps(value), "a.json").split("\n") == [
        *("fleet[0].name: Juniper", "fleet[0].built: 2019", "", "fleet[1].name: Rowan", "fleet[1].tags: old, slow"),
        "open: null",
    ]


def test_json_numbers_are_kept(tmp_path: Path) -> None:
    number = "9" * 5000
    assert text_of(tmp_path, f'{{"price": 1.10, "big": {number}}}', "a.json") == f"price: 1.10\nbig: {number}"


@pytest.mark.parametrize("content", ["[" * 100_000 + "1", "{not json", "// a comment\n{}"])
def test_invalid_json_is_text(tmp_path: Path, content: str) -> None:
    reading = read(tmp_path, content, "a.json")
    assert "".join(page.text for page in reading.pages) == content
    assert ("nested too deeply" if "[[" in content else "not valid JSON") in reading.warnings[0]


def test_json_lines(tmp_path: Path) -> None:
    reading = read(tmp_path, '{"a": "x\\ny"}\n\n{broken\n{"a": 2}\n', "a.jsonl")
    assert reading.pages == [Page("a: x\ny\n\n\n{broken\n\na: 2\n")]
    assert reading.warnings == ("1 line is not valid JSON and was read as text.",)
    assert text_of(tmp_path, '{"a": 1}\n{"a": 2}\n', "a.json") == "a: 1\n\na: 2\n"


def test_json_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_reader, "MAX_JSON", 10)
    with pytest.raises(DocumentTooLarge, match="JSON"):
        read(tmp_path, json.dumps(list(range(100))), "a.json")


# --- notebooks ---------------------------------------------------------------------------------------------------

CELLS = [
    {"cell_type": "markdown", "source": ["# Title\n", "words"]},
    {
        "cell_type": "code",
        "source": "print(1)",
        "outputs": [
            {"output_type": "stream", "text": ["\x1b[31m1\x1b[0m\n"]},
            {"output_type": "execute_result", "data": {"text/plain": "2", "image/png": "AAAA"}},
            {"output_type": "error", "ename": "KeyError", "evalue": "'a'", "traceback": ["…"]},
        ],
    },
]


@pytest.mark.parametrize("name", ["a.ipynb", "a.txt", "a"])
def test_notebook(tmp_path: Path, name: str) -> None:
    reading = read(tmp_path, json.dumps({"cells": CELLS, "metadata": {}, "nbformat": 4}), name)
    assert reading.pages == [
        Page("# Title\nwords", label="Cell 1"),
        Page("```python\nprint(1)\n```\n\n1\n\n2\n\nKeyError: 'a'", label="Cell 2"),
    ]


def test_notebook_version_3_and_broken(tmp_path: Path) -> None:
    cells = [{"cell_type": "heading", "level": 2, "source": "Old"}, {"cell_type": "code", "input": "1", "outputs": []}]
    reading = read(tmp_path, json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3}), "a.ipynb")
    assert [page.text for page in reading.pages] == ["## Old", "```python\n1\n```"]
    with pytest.raises(UnreadableDocument, match="not a notebook"):
        read(tmp_path, "[1, 2]", "a.ipynb")


# --- mail --------------------------------------------------------------------------------------------------------


def make_mail(body: str = "Hello Juniper.", subtype: str = "plain", charset: str = "utf-8") -> EmailMessage:
    message = EmailMessage(policy=email.policy.default)
    message["Subject"], message["From"], message["To"] = "Größe", "Ada <ada@example.org>", "bo@example.org"
    message.set_content(body, subtype=subtype, charset=charset)
    return message


def test_mail_with_attachments(tmp_path: Path) -> None:
    message = make_mail()
    message.add_alternative("<p>Hello <b>Juniper</b>.</p>", subtype="html")
    message.add_attachment("a;b\n1;2\n", filename="table.csv")
    message.add_attachment(b"\0\1\2\3" * 300, "application", "octet-stream", filename="tool.bin")
    message.add_attachment(b"logo" + bytes(300), "image", "png", filename="logo.png")
    message.add_attachment(make_mail("Inner words."))
    reading = read(tmp_path, message.as_bytes(), "a.eml")
    assert [page.label for page in reading.pages] == ["", "table.csv", "attached message.eml"]
    assert reading.pages[0].text.split("\n") == [
        *("# Größe", "From: Ada <ada@example.org>", "To: bo@example.org", "", "Hello Juniper.")
    ]
    assert reading.pages[1].text == "a | b\n1 | 2"
    assert "Inner words." in reading.pages[2].text
    assert reading.warnings == ("1 attachment was not read: tool.bin.",)


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-2", "koi8-r", "iso-2022-jp", "shift-jis"])
def test_mail_charset(tmp_path: Path, charset: str) -> None:
    words = {"iso-8859-2": "Zażółć gęślą jaźń", "koi8-r": "Съешь ещё"}.get(charset, "日本語")
    assert words in text_of(tmp_path, make_mail(words, charset=charset).as_bytes(), "a.eml")
    assert words in text_of(tmp_path, make_mail(f"<p>{words}</p>", "html", charset).as_bytes(), "mail")


def test_mail_with_malformed_headers(tmp_path: Path) -> None:
    mail = b"Subject: =?no-such?Q?caf=E9?=\r\nFrom: <<@,;\r\nDate: yesterday\r\nX-A: \xe9\r\n\r\nBody stays."
    assert "Body stays." in text_of(tmp_path, mail, "a.eml")
    assert "Body stays." in text_of(tmp_path, mail.decode("latin-1").encode("utf-16"), "a.eml")


def test_mail_encrypted_or_invalid(tmp_path: Path) -> None:
    mail = b'Subject: x\nContent-Type: multipart/encrypted; boundary="b"\n\n--b\n\nsecret\n--b--\n'
    with pytest.raises(UnreadableDocument, match="encrypted message"):
        read(tmp_path, mail, "a.eml")
    with pytest.raises(UnreadableDocument, match="not an e-mail"):
        read(tmp_path, "just words", "a.eml")


def test_mail_deep_nesting(tmp_path: Path) -> None:
    message = make_mail("bottom")
    for _ in range(6):
        outer = make_mail("above")
        outer.add_attachment(message)
        message = outer
    reading = read(tmp_path, message.as_bytes(), "a.eml")
    assert sum("above" in page.text for page in reading.pages) == input_file.MAX_DEPTH + 1
    assert reading.warnings == ("1 attachment was not read: attached message.eml.",)
    deep = "Subject: x\n" + "".join(f'Content-Type: multipart/mixed; boundary="{n}"\n\n--{n}\n' for n in range(1500))
    with pytest.raises(UnreadableDocument):
        read(tmp_path, deep, "a.eml")


# --- books -------------------------------------------------------------------------------------------------------


def make_book(path: Path, **more: str) -> Path:
    members = {
        "META-INF/container.xml": '<container><rootfile full-path="OEBPS/book.opf"/></container>',
        "OEBPS/book.opf": (
            '<package><manifest><item id="two" href="two.xhtml"/><item id="one" href="text/one%20.xhtml"/>'
            '<item id="nav" href="nav.xhtml" properties="nav"/><item id="gone" href="gone.xhtml"/></manifest>'
            '<spine><itemref idref="one"/><itemref idref="two"/><itemref idref="gone"/></spine></package>'
        ),
        "OEBPS/nav.xhtml": '<html><a href="text/one%20.xhtml#top">The <i>first</i></a></html>',
        "OEBPS/text/one .xhtml": "<html><body><h1>I.</h1><p>It was night.</p></body></html>",
        "OEBPS/two.xhtml": "<html><body><h2>Second</h2><p>It was day.</p></body></html>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, **more}.items():
            archive.writestr(name, content)
    return path


def test_epub(tmp_path: Path) -> None:
    reading = load(make_book(tmp_path / "a"), "a.epub")
    assert reading.pages == [
        Page("# I.\n\nIt was night.", label="The first"),
        Page("## Second\n\nIt was day.", label="Second"),
        Page(""),
    ]
    assert reading.warnings == ("1 of 3 chapters could not be read.",)


def test_epub_with_drm_entities_or_a_bomb(tmp_path: Path) -> None:
    encryption = '<encryption><CipherReference URI="OEBPS/two.xhtml"/></encryption>'
    with pytest.raises(UnreadableDocument, match="DRM"):
        load(make_book(tmp_path / "a", **{"META-INF/encryption.xml": encryption}), "a.epub")
    secret = tmp_path / "secret"
    secret.write_text("do not read this")
    nav = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><html><a href="two.xhtml">&e;</a></html>'
    pages = load(make_book(tmp_path / "b", **{"OEBPS/nav.xhtml": nav}), "a.epub").pages
    assert not any("do not" in page.label + page.text for page in pages)
    with pytest.raises(DocumentTooLarge, match="unpack"):
        load(make_book(tmp_path / "c", **{"OEBPS/two.xhtml": "0" * 30_000_000}), "a.epub")


# --- RTF, and all ------------------------------------------------------------------------------------------------


def test_rtf(tmp_path: Path) -> None:
    rtf = r"{\rtf1\ansi\ansicpg1252 Gr\'fc\'dfe \u8364? 5\par {\pict 00ff}\trowd a\cell b\cell\row end}"
    assert text_of(tmp_path, rtf, "a.rtf").split() == ["Grüße", "€", "5", "a", "|", "b", "end"]


def test_text_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "MAX_CHARACTERS", 5)
    with pytest.raises(DocumentTooLarge, match="characters"):
        read(tmp_path, "longer", "a.txt")
