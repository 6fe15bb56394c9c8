"""What a reader is given, and safe ways to open ZIP archives, XML and encrypted Office documents."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import DocumentTooLarge, PasswordRequired, UnreadableDocument
from rag.schema import Page

if TYPE_CHECKING:
    from lxml.etree import XMLParser

Pages = Iterator[tuple[Page, int]]  # each page, not yet cleaned, and the total
MAX_UNPACKED = 512 * 2**20
MAX_XML = 128 * 2**20  # bytes of all XML in an archive; parsed, it takes about ten times as much memory
MAX_RATIO = 200  # unpacked to packed size; text reaches 20, zip bombs several hundred
MAX_MEMBERS = 50_000
MAX_DEPTH = 3  # of files inside files, such as attachments of attached messages
_EXCELS_OWN = "VelvetSweatshop"  # Excel's password for workbooks that are only protected against changes
PART = 50_000  # characters per part of a long file without pages


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read; its owner calls it `name`, `read` is for files found inside it."""

    path: Path
    name: str
    read: Callable[[InputFile], Pages]
    password: str | None = None
    warnings: list[str] = field(default_factory=list)  # sentences for the owner; readers add theirs
    depth: int = 0

    def warn(self, sentence: str) -> None:
        """Add a warning, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def read_nested(self, data: bytes, name: str = "") -> Pages:
        """Yield the pages of a file inside this one, or of this file decrypted."""
        with tempfile.TemporaryDirectory(prefix="gestalt-") as folder:
            path = Path(folder, "nested")
            path.write_bytes(data)
            yield from self.read(replace(self, path=path, name=name or self.name, depth=self.depth + 1))

    def password_error(self) -> PasswordRequired:
        """Return the error for a missing or wrong password."""
        if self.password is None:
            return PasswordRequired(
                f"{self.name} is protected with a password.",
                "Type its password; on the command line, give --password.",
            )
        return PasswordRequired(
            f"The password for {self.name} is wrong.", "Type it again; upper and lower case letters differ."
        )


def to_parts(lines: Iterable[str], expected: int = 1) -> Pages:
    """Yield the lines as unnumbered pages: a single one, or "Part 1", "Part 2", ..."""
    waiting: list[str] = []
    size = count = 0
    for line in lines:
        if size and size + len(line) > PART:
            count += 1
            yield Page("\n".join(waiting), label=f"Part {count}"), max(count + 1, expected)
            waiting, size = [], 0
        waiting.append(line)
        size += len(line) + 1
    yield Page("\n".join(waiting), label=f"Part {count + 1}" if count else ""), count + 1


def open_zip(source: InputFile) -> zipfile.ZipFile:
    """Open an archive after checking its declared sizes: zipfile unpacks no more. Raises DocumentError."""
    name = source.name
    with zipfile.ZipFile(source.path) as archive:
        members = archive.infolist()
    size = sum(member.file_size for member in members)
    xml = sum(m.file_size for m in members if m.filename.lower().endswith((".xml", ".rels", ".html", ".xhtml")))
    packed = max(1, sum(member.compress_size for member in members))
    if size > MAX_UNPACKED or xml > MAX_XML or (size > 2**20 and size / packed > MAX_RATIO):
        raise DocumentTooLarge(
            f"{name} would unpack to {size // 2**20} MB, which is more than a document may.",
            "Split it into smaller documents, or save its text without pictures.",
        )
    if len(members) > MAX_MEMBERS:
        raise DocumentTooLarge(f"{name} is an archive of {len(members)} files.", "Split it into smaller ones.")
    if any(member.flag_bits & 1 for member in members):
        raise UnreadableDocument(
            f"{name} is protected with a password.", "Open it and save a copy without the password."
        )
    return zipfile.ZipFile(source.path)


def xml_parser() -> XMLParser[Any]:
    """Return a lenient parser that resolves no entities and fetches nothing."""
    from lxml import etree

    return etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, recover=True)


def tag(element: Any) -> str:
    """Return the name of an XML element without its namespace, '' for comments and unresolved entities."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """Return an attribute of an XML element in any namespace, '' if it is missing."""
    return next((str(value) for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def read_encrypted(source: InputFile) -> Pages:
    """Read the decrypted document, or raise PasswordRequired."""
    yield from source.read_nested(decrypt(source))


def decrypt(source: InputFile) -> bytes:
    """Return the document without its encryption, or raise PasswordRequired."""
    import msoffcrypto
    from msoffcrypto.exceptions import DecryptionError, InvalidKeyError

    _pad_short_keys()
    for password in filter(None, (_EXCELS_OWN, source.password)):
        decrypted = io.BytesIO()
        with source.path.open("rb") as file:
            document = msoffcrypto.OfficeFile(file)
            try:
                document.load_key(password=password)
                document.decrypt(decrypted)
            except (InvalidKeyError, DecryptionError):
                continue
        # Old ciphers cannot tell a wrong key: the result is noise.
        if decrypted.getvalue().startswith((b"PK", b"\xd0\xcf\x11\xe0")):
            return decrypted.getvalue()
    raise source.password_error()


@cache
def _pad_short_keys() -> None:
    """Pad hashes shorter than the key with 0x36 (MS-OFFCRYPTO 2.3.4.11), which msoffcrypto 6.1 does not."""
    from msoffcrypto.method.ecma376_agile import ECMA376Agile

    derive = ECMA376Agile._derive_encryption_key

    def padded(h: bytes, block_key: bytes, algorithm: str, bits: int) -> bytes:
        return bytes(derive(h, block_key, algorithm, bits)).ljust(bits // 8, b"\x36")

    ECMA376Agile._derive_encryption_key = staticmethod(padded)
