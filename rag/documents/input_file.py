"""What a reader is given, and safe ways to open ZIP archives and XML."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import DocumentTooLarge, PasswordRequired, UnreadableDocument
from rag.schema import Page

if TYPE_CHECKING:
    from lxml.etree import XMLParser

Pages = Iterator[tuple[Page, int]]
"""Each page, not yet cleaned, and the total."""

MAX_UNPACKED = 512 * 2**20
MAX_XML = 128 * 2**20
"""Bytes of all XML in an archive; parsed, it takes about ten times as much memory."""
MAX_RATIO = 200
"""Unpacked to packed size; text reaches 20, zip bombs several hundred."""
MAX_MEMBERS = 50_000
MAX_DEPTH = 3
"""Of files inside files, such as attachments of attached messages."""
PART = 50_000
"""Characters per part of a long file without pages."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read."""

    path: Path
    name: str
    """As its owner calls it."""
    read: Callable[[InputFile], Pages]
    """Reads a file of any format; for files found inside this one."""
    password: str | None = None
    warnings: list[str] = field(default_factory=list)
    """Sentences for the owner about a file that was read; readers add theirs."""
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
                "Type its password on the Documents page, or give --password.",
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
    """Open an archive after checking its declared sizes; zipfile unpacks no more than declared.

    Raises:
        DocumentTooLarge: a limit is exceeded.
        UnreadableDocument: its members are encrypted.
    """
    archive = zipfile.ZipFile(source.path)
    try:
        _check_zip(source.name, archive.infolist())
    except BaseException:
        archive.close()
        raise
    return archive


def _check_zip(name: str, members: list[zipfile.ZipInfo]) -> None:
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
