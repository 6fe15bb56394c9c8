"""The formats, and `load`; the content decides what a file is, its name only tells one kind of text from another."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from errors import DocumentError, DocumentTooLarge, EmptyDocument, UnreadableDocument, UnsupportedDocument
from rag.documents import detection
from rag.documents.docx_reader import read_docx
from rag.documents.epub import read_epub
from rag.documents.input_file import InputFile, Pages, read_encrypted
from rag.documents.json_reader import read_json, read_json_lines, read_notebook
from rag.documents.mail import read_eml, read_msg
from rag.documents.ocr import read_image
from rag.documents.opendocument import read_odf
from rag.documents.pdf import read_pdf
from rag.documents.pptx_reader import read_pptx
from rag.documents.sheets import read_xls, read_xlsx
from rag.documents.tables import read_csv
from rag.documents.text import clean
from rag.documents.text_files import read_html, read_rtf, read_text
from rag.schema import Page

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]  # takes the number of pages read and the total
MAX_CHARACTERS = 50_000_000  # of text in one document: sixteen times War and Peace


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """The pages of a file, and sentences on what was left out or may be wrong."""

    pages: list[Page]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table; if `detect_kind` never returns its `kind`, the extension alone decides."""

    kind: str
    extensions: Collection[str]
    read: Callable[[InputFile], Pages]  # may raise anything


_SOURCE_CODE = (
    ".py .pyi .js .mjs .ts .tsx .jsx .vue .java .kt .scala .groovy .c .h .cc .cpp .hpp .cs .go .rs .swift .m .rb .php "
    ".pl .r .jl .lua .dart .ex .erl .hs .clj .lisp .sh .bash .ps1 .bat .sql .css .scss .xml .xsd .svg .yaml .yml "
    ".toml .ini .cfg .conf .properties .tex .bib .proto .tf .diff .patch .srt .vtt"
).split()
FORMATS: tuple[Format, ...] = (
    Format(detection.PDF, (".pdf",), read_pdf),
    Format(detection.DOCX, (".docx", ".docm", ".dotx"), read_docx),
    Format(detection.PPTX, (".pptx", ".pptm", ".ppsx"), read_pptx),
    Format(detection.XLSX, (".xlsx", ".xlsm", ".xltx"), read_xlsx),
    Format(detection.XLS, (".xls",), read_xls),
    Format(detection.ODF, (".odt", ".ods", ".odp"), read_odf),
    Format(detection.ENCRYPTED, (), read_encrypted),
    Format(detection.EPUB, (".epub",), read_epub),
    Format(detection.MSG, (".msg",), read_msg),
    Format(detection.RTF, (".rtf",), read_rtf),
    Format(detection.IMAGE, (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif"), read_image),
    # Text formats go by their names; these four by their content if the name does not help.
    Format(detection.HTML, (".html", ".htm", ".xhtml"), read_html),
    Format(detection.EMAIL, (".eml",), read_eml),
    Format(detection.NOTEBOOK, (".ipynb",), read_notebook),
    Format(detection.TEXT, (".txt", ".text", ".log", ".md", ".markdown", ".rst", ".org", ".adoc"), read_text),
    Format(detection.TEXT, (".csv", ".tsv", ".tab"), read_csv),
    Format(detection.TEXT, (".json", ".geojson"), read_json),
    Format(detection.TEXT, (".jsonl", ".ndjson"), read_json_lines),
    Format(detection.TEXT, tuple(_SOURCE_CODE), read_text),
)
_CONVERT = {
    "a Word 97 document": "Open it in Word or LibreOffice and save it as DOCX.",
    "a PowerPoint 97 presentation": "Open it in PowerPoint or LibreOffice and save it as PPTX.",
    "a binary Excel workbook": "Open it in Excel and save it as XLSX.",
    "a document of Apple's Pages, Numbers or Keynote": "Export it there as PDF.",
    "a ZIP archive": "Unpack it and upload what is inside.",
    "a gzip archive": "Unpack it and upload what is inside.",
}


def supported_extensions() -> tuple[str, ...]:
    """Return the extensions that can be uploaded, each with its dot."""
    return tuple(dict.fromkeys(extension for row in FORMATS for extension in row.extensions))


def load(path: Path, name: str, report: Report | None = None, *, password: str | None = None) -> LoadedDocument:
    """Read a file that its owner calls `name`; pages are cleaned (see `text.clean`), empty ones kept.

    No two pages share both number and label. Raises DocumentError, and whatever `report` raises to end the reading.
    """
    source = InputFile(path, name, _read, password)
    pages: list[Page] = []
    seen: dict[tuple[int | None, str], int] = {}
    size = 0
    with warnings.catch_warnings(), closing(_guarded(source)) as reading:  # closed early, it releases the file
        warnings.simplefilter("ignore")
        for page, total in reading:
            text, label = clean(page.text), " ".join(clean(page.label).split())
            times = seen[page.number, label] = seen.get((page.number, label), 0) + 1
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
    return LoadedDocument(pages, tuple(clean(warning) for warning in source.warnings))


def _guarded(source: InputFile) -> Generator[tuple[Page, int], None, None]:
    """Convert whatever a library raises to one of our errors."""
    try:
        yield from _read(source)
    except (DocumentError, MemoryError):
        raise
    except Exception as error:
        logger.info("a document could not be read", exc_info=True)
        # Libraries raise OSError for broken files too.
        if isinstance(error, OSError) and not source.path.is_file():
            raise UnreadableDocument(f"{source.name} could not be opened.", "Upload it again.") from error
        raise UnreadableDocument(
            f"{source.name} could not be read: the file seems to be broken.",
            "Open it in the program it comes from and save a new copy, or export it as PDF.",
        ) from error


def _read(source: InputFile) -> Pages:
    yield from _format(source.path, source.name).read(source)


def _format(path: Path, name: str) -> Format:
    """Return the row for a file, or raise DocumentError."""
    kind = detection.detect_kind(path, name)
    if kind is None:
        raise EmptyDocument(f"{name} is empty.", "Upload a document with text in it.")
    suffix = Path(name).suffix.lower()
    named = _by_name(suffix)
    if kind in detection.TEXT_KINDS and (named is None or named.kind in {*detection.TEXT_KINDS, detection.XLS}):
        return _text_format(kind, suffix) or named or _by_kind(detection.TEXT)
    if kind not in detection.TEXT_KINDS and any(row.kind == kind for row in FORMATS):
        return _by_kind(kind)
    if named is not None:
        # E-mail with raw 8-bit characters is invalid but common.
        if named.kind not in detection.KINDS or (named.kind == detection.EMAIL and kind == detection.BINARY):
            return named
        if kind in {*detection.TEXT_KINDS, detection.BINARY, detection.ZIP}:
            raise UnreadableDocument(
                f"{name} is named like {named.kind} but seems to be {kind}.", "Check the file, and save it again."
            )
    raise UnsupportedDocument(
        f"{name} seems to be {kind}, which is not supported.",
        _CONVERT.get(kind, "Convert it to PDF, DOCX, HTML or text."),
    )


def _text_format(kind: str, suffix: str) -> Format | None:
    """Return the format of a text file with a wrong or missing extension, None if its name is right."""
    if suffix == ".xls":  # many programs export HTML or TSV under this name
        return _by_name(".tsv") if kind == detection.TEXT else _by_kind(kind)
    if suffix in {".txt", ".text"} and kind in {detection.HTML, detection.NOTEBOOK}:
        return _by_kind(kind)
    return _by_kind(kind) if _by_name(suffix) is None else None


def _by_name(suffix: str) -> Format | None:
    return next((row for row in FORMATS if suffix in row.extensions), None)


def _by_kind(kind: str) -> Format:
    return next(row for row in FORMATS if row.kind == kind)
