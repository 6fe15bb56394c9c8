"""From a file to pages of text: the table of formats, and the border for the errors of the libraries that read them.

What a file is, its content decides; its name only tells one kind of text from another. A new format is one more row of
`FORMATS` and a reader. It must not know of chunks, of the library or of who uploaded what.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from errors import DocumentError, DocumentTooLarge, EmptyDocument, UnreadableDocument, UnsupportedDocument
from rag.documents import content as kinds
from rag.documents.book import read_book
from rag.documents.delimited import read_delimited
from rag.documents.locked import read_locked
from rag.documents.mail import read_mail, read_outlook
from rag.documents.notebook import read_notebook
from rag.documents.ocr import read_image
from rag.documents.opendocument import read_open_document
from rag.documents.pdf import read_pdf
from rag.documents.plain import read_html, read_plain, read_rtf
from rag.documents.records import read_json, read_json_lines
from rag.documents.sheets import read_old_sheets, read_sheets
from rag.documents.slides import read_slides
from rag.documents.source import Pages, Source
from rag.documents.text import clean
from rag.documents.word import read_word
from rag.schema import Page

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]
"""Told the pages done and the pages there are."""

MAX_CHARACTERS = 50_000_000
"""Of all the text in one document: a reader of sixteen times War and Peace."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of a file."""

    pages: list[Page]
    warnings: tuple[str, ...] = ()
    """Sentences on what was left out or may be wrong."""


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table."""

    content: str
    """What a file of it seems to be, as `content_of` says it and a person reads it."""
    extensions: tuple[str, ...]
    read: Callable[[Source], Pages]
    """Gives each page, not yet cleaned, and how many there are. May raise anything."""


_SOURCE_CODE = (
    ".py .pyi .js .mjs .ts .tsx .jsx .vue .java .kt .scala .groovy .c .h .cc .cpp .hpp .cs .go .rs .swift .m .rb .php "
    ".pl .r .jl .lua .dart .ex .erl .hs .clj .lisp .sh .bash .ps1 .bat .sql .css .scss .xml .xsd .svg .yaml .yml "
    ".toml .ini .cfg .conf .properties .tex .bib .proto .tf .diff .patch .srt .vtt"
).split()
FORMATS = (
    Format(kinds.PDF, (".pdf",), read_pdf),
    Format(kinds.WORD, (".docx", ".docm", ".dotx"), read_word),
    Format(kinds.SLIDES, (".pptx", ".pptm", ".ppsx"), read_slides),
    Format(kinds.SHEETS, (".xlsx", ".xlsm", ".xltx"), read_sheets),
    Format(kinds.OLD_SHEETS, (".xls",), read_old_sheets),
    Format(kinds.OPEN_DOCUMENT, (".odt", ".ods", ".odp"), read_open_document),
    Format(kinds.LOCKED, (), read_locked),
    Format(kinds.BOOK, (".epub",), read_book),
    Format(kinds.OUTLOOK, (".msg",), read_outlook),
    Format(kinds.RTF, (".rtf",), read_rtf),
    Format(kinds.IMAGE, (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif"), read_image),
    # Texts, told apart by their names; these four by their content where the name says nothing else.
    Format(kinds.WEB, (".html", ".htm", ".xhtml"), read_html),
    Format(kinds.MAIL, (".eml",), read_mail),
    Format(kinds.NOTEBOOK, (".ipynb",), read_notebook),
    Format(kinds.TEXT, (".txt", ".text", ".log", ".md", ".markdown", ".rst", ".org", ".adoc"), read_plain),
    Format(kinds.TEXT, (".csv", ".tsv", ".tab"), read_delimited),
    Format(kinds.TEXT, (".json", ".geojson"), read_json),
    Format(kinds.TEXT, (".jsonl", ".ndjson"), read_json_lines),
    Format(kinds.TEXT, tuple(_SOURCE_CODE), read_plain),
)
_TEXTS = (kinds.TEXT, kinds.WEB, kinds.MAIL, kinds.NOTEBOOK)
_CONVERT = {
    "a Word 97 document": "Open it in Word or LibreOffice and save it as DOCX.",
    "a PowerPoint 97 presentation": "Open it in PowerPoint or LibreOffice and save it as PPTX.",
    "a binary Excel workbook": "Open it in Excel and save it as XLSX.",
    "a document of Apple's Pages, Numbers or Keynote": "Export it there as PDF.",
    "a ZIP archive": "Unpack it and upload what is inside.",
    "a gzip archive": "Unpack it and upload what is inside.",
}


def supported_extensions() -> tuple[str, ...]:
    """The extensions that can be uploaded, each with its dot."""
    return tuple(extension for row in FORMATS for extension in row.extensions)


def load(path: Path, name: str, report: Report | None = None, *, password: str | None = None) -> Reading:
    """The pages of a file, cleaned (see `text.clean`); `name` is what its owner calls it.

    A page without text is there with the text ''. No two pages have both the same number and the same label. An
    exception that `report` raises passes through, and so ends the reading.

    Raises:
        UnsupportedDocument: no loader reads this type.
        UnreadableDocument: broken, or not what its name says.
        PasswordRequired: only a password opens it, and `password` is none or wrong.
        EmptyDocument: no text inside, or a scan where there is no Tesseract.
        DocumentTooLarge: it would unpack to more than the limits.
    """
    source = Source(path, name, _read, password)
    pages: list[Page] = []
    places: dict[tuple[int | None, str], int] = {}
    size = 0
    with warnings.catch_warnings(), closing(_guarded(source)) as reading:  # an early end lets go of the file at once
        warnings.simplefilter("ignore")  # libraries wonder aloud about what they find in files
        for page, total in reading:
            text, label = clean(page.text), " ".join(clean(page.label).split())
            times = places[page.number, label] = places.get((page.number, label), 0) + 1
            pages.append(Page(text, page.number, f"{label} ({times})".strip() if times > 1 else label))
            size += len(text)
            if size > MAX_CHARACTERS:
                raise DocumentTooLarge(
                    f"{name} holds more than {MAX_CHARACTERS // 10**6} million characters of text.",
                    "Split it into smaller documents.",
                )
            if report is not None:
                report(len(pages), total)
    if not any(page.text.strip() for page in pages):
        raise EmptyDocument(f"{name} holds no text.", "Upload a document with text in it.")
    return Reading(pages, tuple(clean(warning) for warning in source.warnings))


def _guarded(source: Source) -> Generator[tuple[Page, int], None, None]:
    """The border: whatever a library raises leaves here as one of our errors."""
    try:
        yield from _read(source)
    except (DocumentError, MemoryError):
        raise
    except OSError as error:
        # A library that reads past the end of a broken file raises it as well.
        logger.info("a document could not be read", exc_info=True)
        if source.path.is_file():
            raise _broken(source.name) from error
        raise UnreadableDocument(f"{source.name} could not be opened.", "Upload it again.") from error
    except Exception as error:
        logger.info("a document could not be read", exc_info=True)
        raise _broken(source.name) from error


def _broken(name: str) -> UnreadableDocument:
    return UnreadableDocument(
        f"{name} could not be read: the file seems to be broken.",
        "Open it in the program it comes from and save a new copy, or export it as PDF.",
    )


def _read(source: Source) -> Pages:
    yield from _format(source.path, source.name).read(source)


def _format(path: Path, name: str) -> Format:
    """The row of the table for a file.

    Raises:
        DocumentError: there is none.
    """
    suffix = Path(name).suffix.lower()
    content = kinds.content_of(path, name)
    if content is None:
        raise EmptyDocument(f"{name} is empty.", "Upload a document with text in it.")
    named = _by_name(suffix)
    if content in _TEXTS and (named is None or named.content in {*_TEXTS, kinds.OLD_SHEETS}):
        return _text_format(content, suffix) or named or _by_content(kinds.TEXT)
    if content not in _TEXTS and any(row.content == content for row in FORMATS):
        return _by_content(content)
    if named is not None and named.content == kinds.MAIL and content == kinds.BINARY:
        return named  # letters of eight bits, as nobody should send them and many do
    if named is not None and content in {*_TEXTS, kinds.BINARY, kinds.ZIP}:
        raise UnreadableDocument(
            f"{name} is named like {named.content} but seems to be {content}.", "Check the file, and save it again."
        )
    raise UnsupportedDocument(
        f"{name} seems to be {content}, which is not read.",
        _CONVERT.get(content, "Convert it to PDF, DOCX, HTML or text."),
    )


def _text_format(content: str, suffix: str) -> Format | None:
    """The format of a text whose name is wrong or missing; None where its name is to be believed."""
    if suffix == ".xls":  # what many programs call an export to Excel
        return _by_name(".tsv") if content == kinds.TEXT else _by_content(content)
    if suffix in {".txt", ".text"} and content in {kinds.WEB, kinds.NOTEBOOK}:
        return _by_content(content)
    return _by_content(content) if _by_name(suffix) is None else None


def _by_name(suffix: str) -> Format | None:
    return next((row for row in FORMATS if suffix in row.extensions), None)


def _by_content(content: str) -> Format:
    return next(row for row in FORMATS if row.content == content)
