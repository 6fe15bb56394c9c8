"""Read EPUB books: a page per chapter, in the order of the spine, labelled as in the table of contents."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from errors import UnreadableDocument
from rag.documents.input_file import InputFile, Pages, attribute, open_zip, tag, xml_parser
from rag.documents.text import html_text
from rag.schema import Page


def read_epub(source: InputFile) -> Pages:
    """Read each document of the spine, or raise UnreadableDocument if they are encrypted (DRM)."""
    with open_zip(source) as archive:
        root = next(e for e in _xml(archive, "META-INF/container.xml").iter("{*}rootfile"))
        package = attribute(root, "full-path")
        book = _xml(archive, package)
        found = list(book.iter("{*}item"))
        items = {attribute(item, "id"): (_resolve(package, attribute(item, "href")), item) for item in found}
        spine = [items[key][0] for entry in book.iter("{*}itemref") if (key := attribute(entry, "idref")) in items]
        if "META-INF/encryption.xml" in archive.namelist():
            references = _xml(archive, "META-INF/encryption.xml").iter("{*}CipherReference")
            if set(spine) & {unquote(attribute(reference, "URI")) for reference in references}:  # not only fonts
                raise UnreadableDocument(
                    f"{source.name} is protected against copying (DRM).", "Upload a copy without this protection."
                )
        titles = _titles(archive, items.values())
        missing = 0
        for path in spine:
            text = html_text(archive.read(path)) if path in archive.namelist() else None
            missing += text is None
            heading = re.search(r"^#+ (.+)", text or "", re.MULTILINE)
            label = titles.get(path) or (heading[1] if heading else "")
            yield Page(text or "", label=label[:200]), len(spine)
    if missing:
        source.warn(f"{missing} of {len(spine)} chapters could not be read.")


def _xml(archive: zipfile.ZipFile, path: str) -> Any:
    from lxml import etree

    return etree.fromstring(archive.read(path), xml_parser())


def _resolve(base: str, link: str) -> str:
    """Return the path in the archive of a link's target."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(link.partition("#")[0])))


def _titles(archive: zipfile.ZipFile, items: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Return titles by path, from the table of contents of EPUB 2 or 3."""
    titles: dict[str, str] = {}
    for path, item in items:
        is_contents = attribute(item, "properties") == "nav" or attribute(item, "media-type").endswith("dtbncx+xml")
        if not is_contents or path not in archive.namelist():
            continue
        for entry in _xml(archive, path).iter("{*}a", "{*}navPoint"):
            if tag(entry) == "a":
                link, text = attribute(entry, "href"), " ".join(entry.itertext())
            else:
                link = next((attribute(content, "src") for content in entry.iterchildren("{*}content")), "")
                text = " ".join(" ".join(label.itertext()) for label in entry.iterchildren("{*}navLabel"))
            titles.setdefault(_resolve(path, link), " ".join(text.split()))
    return titles
