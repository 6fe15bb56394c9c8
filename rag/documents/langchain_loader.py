"""Use any LangChain document loader as the reader of a format."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from errors import UnreadableDocument
from rag.documents.input_file import InputFile, Pages
from rag.schema import Page


def from_langchain(loader: str | Callable[..., Any], **options: Any) -> Callable[[InputFile], Pages]:
    """Return a reader that runs `loader`, a subclass of `BaseLoader` or its "module:Class", on the path of the file.

    Each LangChain `Document` becomes a page; its number is `metadata["page"]`, which counts from 0, plus 1.
    """

    def read(source: InputFile) -> Pages:
        with tempfile.TemporaryDirectory(prefix="gestalt-") as folder:
            # Stored files have no extension, and many loaders go by it.
            path = Path(folder, "document").with_suffix(Path(source.name).suffix)
            shutil.copyfile(source.path, path)
            try:
                documents = (resolve_name(loader) if isinstance(loader, str) else loader)(str(path), **options)
                for count, document in enumerate(documents.lazy_load(), 1):
                    number = document.metadata.get("page")
                    yield Page(document.page_content, number + 1 if isinstance(number, int) else None), count
            except ImportError as error:
                raise UnreadableDocument(
                    f"Reading {source.name} needs a Python package that is missing: {error}.", "Install it."
                ) from error

    return read
