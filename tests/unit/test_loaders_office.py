"""Workbooks, slides and OpenDocument files, with and without a password."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pytest
from msoffcrypto.format.ooxml import OOXMLFile
from msoffcrypto.method.ecma376_agile import ECMA376Agile
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from errors import DocumentTooLarge, PasswordRequired, UnreadableDocument, UnsupportedDocument
from rag.documents import sheets
from rag.documents.input_file import _pad_short_keys
from rag.documents.loaders import LoadedDocument, load
from rag.documents.tables import SHORT, cell_text, table_lines

NOON = dt.datetime(2024, 5, 1, 12)  # noqa: DTZ001 - a spreadsheet knows no time zones


def saved(document: Any, path: Path) -> Path:
    document.save(str(path))
    return path


def edited(path: Path, member: str, before: str, after: str) -> Path:
    """Replace a text in a member of an archive."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert before.encode() in members[member]
    members[member] = members[member].replace(before.encode(), after.encode())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


# --- tables ------------------------------------------------------------------------------------------------------


def test_short_table_drops_empty_rows_and_columns() -> None:
    rows = [["Team", "", "Wins"], ["", "", ""], ["Reds", "", "9\n7"], ["Blues", "", ""]]
    assert list(table_lines(rows)) == ["Team | Wins", "Reds | 9 7", "Blues"]


def test_long_table_names_its_columns_in_each_row() -> None:
    body = [[f"Team {n}", str(n), ""] for n in range(100)]
    lines = list(table_lines([["League 2024"], ["Team", "Wins", "Cups"], *body, ["Team", "Wins", "Cups"]]))
    assert lines[:3] == ["League 2024", "Team | Wins | Cups", "Team: Team 0 | Wins: 0"]
    assert lines[-1] == "Team: Team 99 | Wins: 99"


def test_long_table_of_numbers_has_no_header() -> None:
    lines = list(table_lines([[str(n), str(n + SHORT)] for n in range(100)]))
    assert lines[0] == f"0 | {SHORT}"
    assert len(lines) == 100


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (NOON.replace(hour=0), "", "2024-05-01"),
        (NOON.replace(microsecond=999), "", "2024-05-01 12:00:00"),
        (dt.time(9, 30), "", "09:30:00"),
        (0.1 + 0.2, "", "0.3"),
        (3.0, "0.00", "3"),
        (0.255, "0.0%", "25.5%"),
        (True, "", "TRUE"),
        (None, "", ""),
    ],
)
def test_cell_values(value: object, number_format: str, text: str) -> None:
    assert cell_text(value, number_format) == text


# --- workbooks ---------------------------------------------------------------------------------------------------


def make_workbook(path: Path) -> Path:
    book = openpyxl.Workbook()
    ships = book.active
    assert ships is not None
    ships.title = "Ships"
    ships["B2"], ships["C2"], ships["D2"] = "Port", "Ship", "Built"
    ships["B3"], ships["C3"], ships["D3"] = "Porto", "Juniper", dt.date(2019, 4, 2)
    ships["C4"], ships["D4"] = "Rowan", "=D3+1"
    ships.merge_cells("B3:B4")
    book.create_sheet("Empty")
    hidden = book.create_sheet("Prices")
    hidden["A1"] = 12.5
    hidden.sheet_state = "hidden"
    return saved(book, path)


def test_workbook(tmp_path: Path) -> None:
    path = make_workbook(tmp_path / "a")
    # The stored result of the formula.
    edited(path, "xl/worksheets/sheet1.xml", "<f>D3+1</f><v></v>", "<f>D3+1</f><v>7</v>")
    pages = load(path, "a.xlsx").pages
    assert [(page.number, page.label) for page in pages] == [(1, "Ships"), (2, "Empty"), (3, "Prices (hidden)")]
    assert pages[0].text == "# Ships\n\nPort | Ship | Built\nPorto | Juniper | 2019-04-02\nPorto | Rowan | 7"
    assert [page.text for page in pages[1:]] == ["", "# Prices\n\n12.5"]


@pytest.mark.parametrize("claim", ["A1", "A1:XFD1048576"])
def test_workbook_with_wrong_dimensions(tmp_path: Path, claim: str) -> None:
    path = make_workbook(tmp_path / "a")
    edited(path, "xl/worksheets/sheet1.xml", 'ref="B2:D4"', f'ref="{claim}"')
    assert "Juniper" in load(path, "a.xlsx").pages[0].text


def test_workbook_with_its_only_value_in_the_last_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.cell(200_000, 3, "far away")
    path = saved(book, tmp_path / "a")
    assert load(path, "a.xlsx").pages[0].text == "far away"
    monkeypatch.setattr(sheets, "MAX_CELLS", 100_000)
    with pytest.raises(DocumentTooLarge, match="million cells"):
        load(path, "a.xlsx")


def test_workbook_with_one_broken_sheet(tmp_path: Path) -> None:
    path = edited(make_workbook(tmp_path / "a"), "xl/worksheets/sheet3.xml", "<v>12.5</v>", "<v>x</v>")
    reading = load(path, "a.xlsx")
    assert "Juniper" in reading.pages[0].text
    assert reading.warnings == ("Sheet “Prices” could not be read to its end.",)


def test_workbook_with_entities(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><worksheet'
    path = edited(make_workbook(tmp_path / "a"), "xl/worksheets/sheet1.xml", "<worksheet", bomb)
    with pytest.raises(UnreadableDocument, match="broken"):
        load(path, "a.xlsx")


# --- slides ------------------------------------------------------------------------------------------------------


def make_slides(path: Path) -> Path:
    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "The\nfleet"
    first.placeholders[1].text_frame.text = "Three ferries"
    group = first.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "in a group"
    table = first.shapes.add_table(2, 2, 0, 0, Inches(2), Inches(1)).table
    for cell, text in zip(table.iter_cells(), ["Ship", "Seats", "Juniper", "90"], strict=True):
        cell.text = text
    first.notes_slide.notes_text_frame.text = "Mention the crew."
    second = deck.slides.add_slide(deck.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["2023", "2024"]
    data.add_series("Guests", (100, 120.5))
    second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, Inches(4), Inches(3), data)
    second._element.set("show", "0")
    return saved(deck, path)


def test_slides(tmp_path: Path) -> None:
    pages = load(make_slides(tmp_path / "a"), "a.pptx").pages
    assert [(page.number, page.label) for page in pages] == [(1, "Slide 1"), (2, "Slide 2 (hidden)")]
    assert pages[0].text.split("\n") == [
        *("# The fleet", "", "Three ferries", "in a group", "", "Ship | Seats", "Juniper | 90"),
        *("", "Notes: Mention the crew."),
    ]
    assert pages[1].text == " | Guests\n2023 | 100\n2024 | 120.5"


def test_slides_with_one_broken(tmp_path: Path) -> None:
    path = make_slides(tmp_path / "a")
    with zipfile.ZipFile(path) as archive:
        chart = next(name for name in archive.namelist() if name.startswith("ppt/charts/chart"))
    reading = load(edited(path, chart, "c:plotArea", "c:nothing"), "a.pptx")
    assert "Three ferries" in reading.pages[0].text
    assert reading.warnings == ("Slide 2 could not be read.",)


# --- OpenDocument ------------------------------------------------------------------------------------------------

ODF = "urn:oasis:names:tc:opendocument:xmlns"


def make_open_document(path: Path, body: str, manifest: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("META-INF/manifest.xml", manifest)
        archive.writestr(
            "content.xml",
            f'<o:document-content xmlns:o="{ODF}:office:1.0" xmlns:t="{ODF}:text:1.0" xmlns:b="{ODF}:table:1.0" '
            f'xmlns:d="{ODF}:drawing:1.0"><o:body>{body}</o:body></o:document-content>',
        )
    return path


def test_open_document_text(tmp_path: Path) -> None:
    cells = "<b:table-cell><t:p>a</t:p></b:table-cell><b:table-cell><t:p>b</t:p></b:table-cell>"
    body = (
        '<o:text><t:h t:outline-level="2">Ships</t:h><t:p>one<t:s t:c="2"/>two<t:tab/>three</t:p>'
        f"<t:tracked-changes><t:p>gone</t:p></t:tracked-changes><b:table><b:table-row>{cells}</b:table-row></b:table>"
        "<t:list><t:list-item><t:p>item</t:p></t:list-item></t:list></o:text>"
    )
    (page,) = load(make_open_document(tmp_path / "a", body), "a.odt").pages
    assert page.text == "## Ships\none  two\tthree\n\na | b\n\nitem"


def test_open_document_repeated_cells(tmp_path: Path) -> None:
    far = (
        '<b:table-row b:number-rows-repeated="1048576"><b:table-cell b:number-columns-repeated="16384"/></b:table-row>'
    )
    row = '<b:table-row><b:table-cell o:date-value="2024-05-01"><t:p>1 May</t:p></b:table-cell></b:table-row>'
    body = f'<o:spreadsheet><b:table b:name="Days">{far}{row}{far}</b:table></o:spreadsheet>'
    (page,) = load(make_open_document(tmp_path / "a", body), "a.ods").pages
    assert (page.number, page.label, page.text) == (1, "Days", "2024-05-01")


def test_open_document_slides_and_password(tmp_path: Path) -> None:
    body = "<o:presentation><d:page><t:p>one</t:p></d:page><d:page><t:p>two</t:p></d:page></o:presentation>"
    pages = load(make_open_document(tmp_path / "a", body), "a.odp").pages
    assert [(page.number, page.label, page.text) for page in pages] == [(1, "Slide 1", "one"), (2, "Slide 2", "two")]
    with pytest.raises(UnreadableDocument, match="password"):
        load(make_open_document(tmp_path / "b", body, "<encryption-data/>"), "a.odp")


# --- passwords ---------------------------------------------------------------------------------------------------


def locked(path: Path, password: str) -> Path:
    file = io.BytesIO()
    OOXMLFile(io.BytesIO(path.read_bytes())).encrypt(password, file)
    path.write_bytes(file.getvalue())
    return path


def make_word(path: Path) -> Path:
    document = docx.Document()
    document.add_paragraph("three ferries")
    return saved(document, path)


def test_office_passwords(tmp_path: Path) -> None:
    path = locked(make_word(tmp_path / "a"), "sesame")
    with pytest.raises(PasswordRequired, match="is protected with a password") as error:
        load(path, "a.docx")
    assert "Type its password" in error.value.hint
    with pytest.raises(PasswordRequired, match="wrong"):
        load(path, "a.docx", password="barley")
    assert load(path, "a.docx", password="sesame").pages[0].text == "three ferries"


def test_office_default_password_of_excel(tmp_path: Path) -> None:
    reading: LoadedDocument = load(locked(make_workbook(tmp_path / "a"), "VelvetSweatshop"), "a.xlsx")
    assert "Juniper" in reading.pages[0].text


def test_office_keys_longer_than_their_hash() -> None:
    _pad_short_keys()
    key = ECMA376Agile._derive_encryption_key(b"hash", b"block", "SHA1", 256)
    assert (len(key), key[20:]) == (32, b"\x36" * 12)
    assert len(ECMA376Agile._derive_encryption_key(b"hash", b"block", "SHA512", 256)) == 32


@pytest.mark.parametrize("name", ["a.doc", "a.ppt"])
def test_older_office(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(5000))
    with pytest.raises(UnsupportedDocument, match="older Office") as error:
        load(tmp_path / "a", name)
    assert error.value.hint
