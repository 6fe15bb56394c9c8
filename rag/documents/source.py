"""What a reader is handed, and what every reader of a packed or marked-up file needs: safe ZIP archives and safe XML.

It must not know of the formats.
"""

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
"""Each page, not yet cleaned, and how many there are."""

MAX_UNPACKED = 512 * 2**20
MAX_XML = 128 * 2**20
"""Bytes of all XML in the file; in memory its tree takes about ten times as much."""
MAX_RATIO = 200
"""Unpacked to packed; text reaches 20, and a bomb begins at several hundred."""
MAX_MEMBERS = 50_000
MAX_DEPTH = 3
"""Of files inside files: the attachment of a message that is attached to a message."""


PART = 50_000
"""Characters of one part, where a long file has no pages of its own."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file on its way to its reader."""

    path: Path
    name: str
    """What its owner calls it."""
    read: Callable[[Source], Pages]
    """Reads any file, by the table of formats: for what is found inside this one."""
    password: str | None = None
    warnings: list[str] = field(default_factory=list)
    """Sentences that a person should read although the file was taken in; readers add theirs."""
    depth: int = 0

    def warn(self, sentence: str) -> None:
        """Tell the owner something; each sentence once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def read_inside(self, data: bytes, name: str = "") -> Pages:
        """The pages of a file that was found inside this one, under `name`, or the file itself unlocked."""
        with tempfile.TemporaryDirectory(prefix="gestalt-") as folder:
            path = Path(folder, "inside")
            path.write_bytes(data)
            inner = replace(self, path=path, name=name or self.name, depth=self.depth + 1)
            yield from self.read(inner)

    def locked(self) -> PasswordRequired:
        """The refusal of a file that no password opened so far."""
        if self.password is None:
            return PasswordRequired(
                f"{self.name} is protected with a password.",
                "Type its password on the Documents page, or give --password.",
            )
        return PasswordRequired(
            f"The password for {self.name} is wrong.", "Type it again; capital and small letters differ."
        )


def in_parts(lines: Iterable[str], expected: int = 1) -> Pages:
    """The lines as pages without a number: one, or "Part 1", "Part 2", ... where they are many."""
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


def open_zip(source: Source) -> zipfile.ZipFile:
    """The archive, once its declared sizes are known to be sane; zipfile unpacks no more than was declared.

    Raises:
        DocumentTooLarge: it would unpack to more than the limits.
        UnreadableDocument: its members are encrypted.
    """
    archive = zipfile.ZipFile(source.path)
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    xml = sum(m.file_size for m in members if m.filename.lower().endswith((".xml", ".rels", ".html", ".xhtml")))
    packed = max(1, sum(member.compress_size for member in members))
    if size > MAX_UNPACKED or xml > MAX_XML or (size > 2**20 and size / packed > MAX_RATIO):
        archive.close()
        raise DocumentTooLarge(
            f"{source.name} would unpack to {size // 2**20} MB, which is more than a document may.",
            "Split it into smaller documents, or save its text without pictures.",
        )
    if len(members) > MAX_MEMBERS:
        archive.close()
        raise DocumentTooLarge(f"{source.name} is an archive of {len(members)} files.", "Split it into smaller ones.")
    if any(member.flag_bits & 1 for member in members):
        archive.close()
        raise UnreadableDocument(
            f"{source.name} is protected with a password.", "Open it and save a copy without the password."
        )
    return archive


def xml_parser() -> XMLParser[Any]:
    """A parser that resolves no entity, fetches nothing and forgives what it can."""
    from lxml import etree

    return etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, recover=True)


def tag(element: Any) -> str:
    """The name of an XML element without its namespace; '' for comments, and entities that were not resolved."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """An attribute of an XML element, whatever namespace it is in; '' where it is missing."""
    return next((str(value) for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")
