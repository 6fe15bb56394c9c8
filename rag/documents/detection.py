"""Detect what a file is: a phrase for messages, as in "report.doc seems to be a Word 97 document"."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from rag.documents.text import decode, is_text

TEXT = "text"
BINARY = "binary data"
ZIP = "a damaged ZIP archive"
PDF = "a PDF document"
DOCX = "a Word document"
XLSX = "an Excel workbook"
PPTX = "a PowerPoint presentation"
EPUB = "an EPUB book"
ODF = "an OpenDocument file"
ENCRYPTED = "an Office document that is protected with a password"
XLS = "an Excel 97 workbook"
MSG = "an Outlook message"
RTF = "an RTF document"
HTML = "a web page"
IMAGE = "an image"
NOTEBOOK = "a notebook"
EMAIL = "an e-mail"
TEXT_KINDS = (TEXT, HTML, EMAIL, NOTEBOOK)
KINDS = {*TEXT_KINDS, BINARY, ZIP, PDF, DOCX, XLSX, PPTX, EPUB, ODF, ENCRYPTED, XLS, MSG, RTF, IMAGE}

_SIGNATURES = (
    *((start, IMAGE) for start in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")),
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
_IN_ZIP = (  # the first match wins
    ("word/", DOCX),
    ("xl/workbook.bin", "a binary Excel workbook"),
    ("xl/", XLSX),
    ("ppt/", PPTX),
    ("META-INF/container.xml", EPUB),
    ("content.xml", ODF),
    ("Index/Document.iwa", "a document of Apple's Pages, Numbers or Keynote"),
)
_IN_OLE = (  # at the top level, as other documents may be embedded; the first match wins
    ("EncryptedPackage", ENCRYPTED),
    ("__properties_version1.0", MSG),
    ("WordDocument", "a Word 97 document"),
    ("PowerPoint Document", "a PowerPoint 97 presentation"),
    ("Workbook", XLS),
    ("Book", XLS),
)
_PDF = re.compile(rb"%PDF|\b\d+ \d+ obj\b")
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|table)\b", re.IGNORECASE | re.DOTALL
)
_EMAIL = re.compile(  # headers up to the first empty line, one of which only a mail program writes
    r"(?:From \S+ .*\n)?(?=[\w-]+: )(?:.+\n){0,100}?(?:MIME-Version|Message-ID|Received|Return-Path): ", re.IGNORECASE
)
_NOTEBOOK = re.compile(r'\s*\{(?=.*"nbformat")(?=.*"(?:cells|worksheets)")', re.DOTALL)


def detect_kind(path: Path, name: str) -> str | None:
    """Return the kind of a file, None if it is empty."""
    with path.open("rb") as file:
        head = file.read(8192)
        file.seek(-min(8192, path.stat().st_size), 2)
        tail = file.read()
    if not head:
        return None
    # Junk may precede the header, but a text about PDF files may contain one too.
    if head.lstrip().startswith(b"%PDF") or (name.lower().endswith(".pdf") and _PDF.search(head[:1024])):
        return PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(path)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _ole_kind(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return IMAGE
    if not is_text(head):
        return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), BINARY)
    if head.startswith(b"{\\rtf"):
        return RTF
    text = decode(head) or ""
    if _HTML.match(text):
        return HTML
    if _NOTEBOOK.match(text + (decode(tail) or "")):  # "nbformat" comes at its end
        return NOTEBOOK
    return EMAIL if _EMAIL.match(text.replace("\r\n", "\n")) else TEXT


def _zip_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.replace("\\", "/").lstrip("/") for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return ZIP
    return next((kind for start, kind in _IN_ZIP if any(n.startswith(start) for n in names)), "a ZIP archive")


def _ole_kind(path: Path) -> str:
    import olefile

    try:
        with olefile.OleFileIO(path) as file:
            names = {entry[0] for entry in file.listdir(streams=True, storages=True)}
    except Exception:  # noqa: BLE001 - it raises anything on a damaged file
        names = set()
    return next((kind for name, kind in _IN_OLE if name in names), "a document of an older Office version")
