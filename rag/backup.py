"""Back up a data folder to one file, and restore it; names and sizes in a file are not trusted.

The caller holds the data folder's lock, and nothing else in the process uses it meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from alembic.util import CommandError
from pydantic import BaseModel, NonNegativeInt, ValidationError
from sqlalchemy import func, select

from errors import ConfigurationError, StoreError
from rag.db import ChunkRow, Database, DocumentRow, IndexRow, new_id
from rag.folder import DataFolder
from rag.index.store import VectorStore

FORMAT = 1
MANIFEST = "manifest.json"
RESTORED = "restored"  # a complete unpacked backup, about to be moved into place
MAX_MANIFEST = 256_000_000  # bytes, for a million originals
BLOCK = 1 << 20
_NAME = re.compile(r"gestalt\.db|secret\.key|uploads/[0-9a-f]{64}|chroma(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")

Report = Callable[[float], None]  # takes the progress, 0 to 1


class Counts(BaseModel):
    """Totals, to compare with those of the restored folder; vectors by "collection id/fingerprint"."""

    documents: int
    chunks: int
    vectors: dict[str, int]


class Member(BaseModel):
    """A file of a backup."""

    size: NonNegativeInt
    sha256: str


class Manifest(BaseModel):
    """The description of a backup inside it."""

    format: int
    counts: Counts
    members: dict[str, Member]

    @property
    def size(self) -> int:
        """Bytes of all unpacked members."""
        return sum(member.size for member in self.members.values())


def count(database: Database, store: VectorStore) -> Counts:
    """Count the contents of a data folder. May raise StoreError."""
    with database.session() as session:
        documents = session.scalar(select(func.count()).select_from(DocumentRow)) or 0
        chunks = session.scalar(select(func.count()).select_from(ChunkRow)) or 0
        indexes = session.execute(select(IndexRow.collection_id, IndexRow.fingerprint)).all()
    vectors = {f"{id_}/{fingerprint}": store.count(id_, fingerprint) for id_, fingerprint in indexes}
    return Counts(documents=documents, chunks=chunks, vectors=vectors)


def write(
    folder: DataFolder, database: Database, store: VectorStore, file: Path, report: Report, *, with_keys: bool = False
) -> Manifest:
    """Write a backup atomically and verify it; `with_keys`, the keys of servers can be read where it is restored.

    Raises ConfigurationError if the file exists already, StoreError.
    """
    if file.exists():
        raise ConfigurationError(f"The file {file} exists already.", "Choose another name, or remove it.")
    counts = count(database, store)
    store.close()  # open, Chroma may write at any time; it is reopened on demand
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".backup-") as temporary:
            copy, partial = Path(temporary) / "gestalt.db", Path(temporary) / "backup.zip"
            # The file alone would lack what is still in the write-ahead log.
            with closing(sqlite3.connect(folder.database)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            files = {"gestalt.db": copy}
            if with_keys and folder.secret.exists():
                files[folder.secret.name] = folder.secret
            for path in sorted([*folder.chroma.rglob("*"), *folder.uploads.rglob("*")]):
                # Other names are partial uploads.
                if _NAME.fullmatch(name := path.relative_to(folder.path).as_posix()) and path.is_file():
                    files[name] = path
            manifest = _pack(partial, files, counts, lambda done: report(done * 0.7))
            with _open_archive(partial) as archive:
                _unpack(archive, manifest, None, lambda done: report(0.7 + done * 0.3))
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(file)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"The backup {file} could not be written: {error}.", "Check the disk.") from None
    return manifest


def _pack(target: Path, files: dict[str, Path], counts: Counts, report: Report) -> Manifest:
    total, done = sum(path.stat().st_size for path in files.values()), 0
    manifest = Manifest(format=FORMAT, counts=counts, members={})
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path in files.items():
            with path.open("rb") as source, archive.open(name, "w", force_zip64=True) as sink:
                manifest.members[name] = _copy(source, sink, done, total, report)
            done += manifest.members[name].size
        archive.writestr(MANIFEST, manifest.model_dump_json(indent=1))
    return manifest


def _copy(source: IO[bytes], sink: IO[bytes], done: int, total: int, report: Report) -> Member:
    """Copy a file, after `done` of `total` bytes, and return its size and sha256."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(BLOCK):
        digest.update(block)
        sink.write(block)
        size += len(block)
        report(min(1.0, (done + size) / max(1, total)))
    return Member(size=size, sha256=digest.hexdigest())


def restore(folder: DataFolder, file: Path, report: Report, *, force: bool = False) -> Manifest:
    """Restore a backup after verifying it; `force` replaces a library. Raises ConfigurationError, StoreError."""
    finish_restore(folder)
    used = folder.database.exists() or folder.chroma.exists() or any(folder.uploads.iterdir())
    if used and not force:
        raise ConfigurationError(
            f"The data folder {folder.path} is not empty.",
            "Set another one in GESTALT_DATA_DIR, or replace its contents with --force.",
        )
    for leftover in folder.path.glob(".restore-*"):  # of a killed process
        shutil.rmtree(leftover)
    staging = folder.path / f".restore-{new_id()}"
    try:
        with _open_archive(file) as archive:
            manifest = _manifest(archive, file)
            if manifest.size > shutil.disk_usage(folder.path).free:
                raise StoreError(
                    f"The backup needs {manifest.size / 1e9:,.1f} GB, more than the disk has left.", "Free some space."
                )
            _unpack(archive, manifest, staging, report)
        Database(staging / "gestalt.db").close()  # checks that it opens, and migrates it
        staging.rename(folder.path / RESTORED)  # from here on, whoever opens the folder next finishes the restore
        finish_restore(folder)
    except CommandError:
        raise StoreError("The backup was made by a newer Gestalt.", "Update Gestalt first.") from None
    except OSError as error:
        raise StoreError(f"{file} could not be restored: {error}.", "Check the file and the disk.") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def finish_restore(folder: DataFolder) -> None:
    """Move an unpacked backup into place, even after a kill; do nothing if there is none."""
    restored = folder.path / RESTORED
    if not restored.exists():
        return
    if (restored / "gestalt.db").exists():
        # The write-ahead log of the old database would be applied to the new one.
        for log in ("gestalt.db-wal", "gestalt.db-shm"):
            (folder.path / log).unlink(missing_ok=True)
    if (restored / folder.secret.name).exists():
        (restored / folder.secret.name).chmod(0o600)
    for target in (folder.database, folder.secret, folder.chroma, folder.uploads):
        new = restored / target.name
        if new.is_dir() and target.exists():
            shutil.rmtree(target)
        if new.exists():
            new.replace(target)
    shutil.rmtree(restored)


@contextmanager
def _open_archive(file: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive, and convert any error from reading it."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file {file}.", "Check the path.") from None
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError):
        raise _damaged(file) from None


def _damaged(file: Path) -> StoreError:
    return StoreError(f"{file} is damaged, or not a backup of Gestalt.", "Use another backup.")


def _manifest(archive: zipfile.ZipFile, file: Path) -> Manifest:
    """Return the manifest, or raise StoreError if it does not match the archive."""
    names = archive.namelist()
    if MANIFEST not in names or archive.getinfo(MANIFEST).file_size > MAX_MANIFEST:
        raise _damaged(file)
    try:
        manifest = Manifest.model_validate_json(archive.read(MANIFEST))
    except ValidationError:
        raise _damaged(file) from None
    if manifest.format != FORMAT:
        raise StoreError(f"{file} has the unknown format {manifest.format}.", "Update Gestalt first.")
    same = sorted([MANIFEST, *manifest.members]) == sorted(names) and "gestalt.db" in manifest.members
    if not same or not all(
        _NAME.fullmatch(name) and archive.getinfo(name).file_size == member.size
        for name, member in manifest.members.items()
    ):
        raise _damaged(file)
    return manifest


def _unpack(archive: zipfile.ZipFile, manifest: Manifest, target: Path | None, report: Report) -> None:
    """Read all members and verify their checksums; write them to `target` if given."""
    done, total = 0, manifest.size
    if target:
        for name in ("chroma", "uploads"):
            (target / name).mkdir(parents=True)
    for name, member in manifest.members.items():
        path = target / name if target else Path(os.devnull)
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(name) as source, path.open("wb") as sink:
            # zipfile reads no more than the declared size, which equals that in the manifest.
            if _copy(source, sink, done, total, report).sha256 != member.sha256:
                raise zipfile.BadZipFile(name)
        done += member.size
