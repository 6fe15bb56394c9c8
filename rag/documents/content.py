"""What a file is, by its first bytes and, where those open an archive, by what lies in it.

A kind is a phrase that a person reads, as in "report.doc seems to be a Word 97 document". It must not know of readers.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from rag.documents.text import decode, is_text

TEXT = "text"
BINARY = "binary data"
ZIP = "a damaged ZIP archive"
PDF = "a PDF document"
WORD = "a Word document"
SHEETS = "an Excel workbook"
SLIDES = "a PowerPoint presentation"
BOOK = "an EPUB book"
OPEN_DOCUMENT = "an OpenDocument file"
LOCKED = "an Office document that is protected with a password"
OLD_SHEETS = "an Excel 97 workbook"
OUTLOOK = "an Outlook message"
RTF = "an RTF document"
WEB = "a web page"
IMAGE = "an image"
NOTEBOOK = "a notebook"
MAIL = "an e-mail"

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", IMAGE),
    (b"\xff\xd8\xff", IMAGE),
    (b"GIF8", IMAGE),
    (b"II*\0", IMAGE),
    (b"MM\0*", IMAGE),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an XZ archive"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound or video file"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
    (b"!BDN", "an Outlook data file"),
)
_IN_ZIP = (  # the first name that is there
    ("word/", WORD),
    ("xl/workbook.bin", "a binary Excel workbook"),
    ("xl/", SHEETS),
    ("ppt/", SLIDES),
    ("META-INF/container.xml", BOOK),
    ("content.xml", OPEN_DOCUMENT),
    ("Index/Document.iwa", "a document of Apple's Pages, Numbers or Keynote"),
)
_IN_OLE = (  # a document may hold one of another kind: the first of these at its top level
    ("EncryptedPackage", LOCKED),
    ("__properties_version1.0", OUTLOOK),
    ("WordDocument", "a Word 97 document"),
    ("PowerPoint Document", "a PowerPoint 97 presentation"),
    ("Workbook", OLD_SHEETS),
    ("Book", OLD_SHEETS),
)
_PDF = re.compile(rb"%PDF|\b\d+ \d+ obj\b")
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|table)\b", re.IGNORECASE | re.DOTALL
)
_MAIL = re.compile(  # headers to the first empty line, among them one that no person writes
    r"(?:From \S+ .*\n)?(?=[\w-]+: )(?:.+\n){0,100}?(?:MIME-Version|Message-ID|Received|Return-Path): ", re.IGNORECASE
)
_NOTEBOOK = re.compile(r'\s*\{(?=.*"nbformat")(?=.*"(?:cells|worksheets)")', re.DOTALL)


def content_of(path: Path, name: str) -> str | None:
    """The kind of a file, or None where there is not a byte in it."""
    with path.open("rb") as file:
        head = file.read(8192)
        file.seek(-min(8192, path.stat().st_size), 2)
        tail = file.read()
    if not head:
        return None
    # Readers of PDF accept a little rubbish before the mark; a text about PDF files may show it as well.
    if head.lstrip().startswith(b"%PDF") or (name.lower().endswith(".pdf") and _PDF.search(head[:1024])):
        return PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_content(path)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _ole_content(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return IMAGE
    if not is_text(head):
        return next((content for signature, content in _SIGNATURES if head.startswith(signature)), BINARY)
    if head.startswith(b"{\\rtf"):
        return RTF
    return _text_content(decode(head) or "", decode(tail) or "")


def _text_content(text: str, end: str) -> str:
    if _HTML.match(text):
        return WEB
    # A notebook says at its end which version of the format it has.
    if _NOTEBOOK.match(text + end):
        return NOTEBOOK
    return MAIL if _MAIL.match(text.replace("\r\n", "\n")) else TEXT


def _zip_content(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.replace("\\", "/").lstrip("/") for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return ZIP
    return next((content for start, content in _IN_ZIP if any(n.startswith(start) for n in names)), "a ZIP archive")


def _ole_content(path: Path) -> str:
    import olefile

    try:
        with olefile.OleFileIO(path) as file:
            names = {entry[0] for entry in file.listdir(streams=True, storages=True)}
    except Exception:  # noqa: BLE001 - it raises anything at all on a damaged file
        names = set()
    return next((content for name, content in _IN_OLE if name in names), "a document of an older Office version")
