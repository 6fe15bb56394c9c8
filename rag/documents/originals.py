"""The originals: each content once, under its sha256. Knows nothing of who owns what."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Set
from pathlib import Path

from rag.db import new_id


class Originals:
    """A folder of files that are named by their content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where a content lies, if it is there."""
        return self.folder / sha256

    def keep(self, source: Path | bytes) -> str:
        """Store a content, whole or not at all, and give its sha256.

        Raises:
            OSError: it cannot be read or written.
        """
        sha256 = digest(source)
        kept = self.path(sha256)
        if kept.exists():
            return sha256
        partial = kept.with_suffix(f".{new_id()}")
        try:
            if isinstance(source, bytes):
                partial.write_bytes(source)
            else:
                shutil.copyfile(source, partial)
            with partial.open("rb") as written:
                # A row may point to it a moment later, and must not outlive it in a power cut.
                os.fsync(written.fileno())
            partial.replace(kept)
        finally:
            partial.unlink(missing_ok=True)
        return sha256

    def remove(self, sha256: str) -> None:
        """Forget a content. Repeatable."""
        self.path(sha256).unlink(missing_ok=True)

    def sweep(self, keep: Set[str]) -> None:
        """Remove what a kill left behind: contents half written, and those that are not among `keep`."""
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in keep:
                path.unlink()

    def __iter__(self) -> Iterator[str]:
        """The sha256 of every content."""
        return (path.name for path in self.folder.iterdir() if path.is_file() and not path.suffix)


def digest(source: Path | bytes) -> str:
    """The sha256 of a content, in hexadecimal."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
