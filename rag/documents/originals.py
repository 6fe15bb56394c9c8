"""The originals: each file once, named by its sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Set
from pathlib import Path

from rag.db import new_id


class Originals:
    """A folder of files named by their sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Return the path of a file, which may not exist."""
        return self.folder / sha256

    def store(self, source: Path | bytes) -> str:
        """Store a file atomically and return its sha256. May raise OSError."""
        sha256 = digest(source)
        target = self.path(sha256)
        if target.exists():
            return sha256
        partial = target.with_suffix(f".{new_id()}")
        try:
            if isinstance(source, bytes):
                partial.write_bytes(source)
            else:
                shutil.copyfile(source, partial)
            with partial.open("rb") as written:
                os.fsync(written.fileno())  # before a row refers to it, in case of a power cut
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return sha256

    def remove(self, sha256: str) -> None:
        """Delete a file. Idempotent."""
        self.path(sha256).unlink(missing_ok=True)

    def remove_unused(self, keep: Set[str]) -> None:
        """Delete partial files, and those not in `keep`."""
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in keep:
                path.unlink()

    def __iter__(self) -> Iterator[str]:
        """Yield the sha256 of every file."""
        return (path.name for path in self.folder.iterdir() if path.is_file() and not path.suffix)


def digest(source: Path | bytes) -> str:
    """Return the sha256 in hexadecimal."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
