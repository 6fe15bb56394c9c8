"""Backups, restoring them, and files that are damaged, malicious or no backup at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import services as root
from errors import ConfigurationError, LibraryLocked, StoreError
from rag import backup
from rag.folder import DataFolder
from rag.schema import LOCAL_OWNER, Passage
from settings import Settings
from tests.conftest import PIER, FakeServices

QUESTION = "How long is the pier at Gannet Holm?"


def quiet(done: float) -> None:
    assert 0 <= done <= 1


def found(services: FakeServices) -> tuple[Passage, ...]:
    return services.searching.retrieve(LOCAL_OWNER, QUESTION, services.settings.answer).passages


@pytest.fixture
def full(services: FakeServices) -> FakeServices:
    services.put_pier()
    services.put("moon.txt", b"The moon is 3474 kilometres wide.")
    return services


@pytest.fixture
def file(full: FakeServices, tmp_path: Path) -> Path:
    file = tmp_path / "backup.zip"
    full.backup(file, quiet)
    return file


def restore(data: Path, file: Path, *, force: bool = False) -> backup.Manifest:
    return root.restore(Settings(data_dir=data), file, quiet, force=force)


def rewrite(file: Path, change: Callable[[dict[str, bytes]], None], *, seal: bool = False) -> None:
    """Change the members of an archive; `seal` updates its manifest."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if seal:
        manifest = json.loads(members["manifest.json"])
        manifest["members"] = {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in members.items()
            if name != "manifest.json"
        }
        members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_restored_library_finds_the_same(full: FakeServices, tmp_path: Path) -> None:
    (full.folder.path / "models").mkdir()
    (full.folder.path / "models" / "weights").write_bytes(b"x")
    (full.folder.uploads / "abc.half").write_bytes(b"half an upload")
    before = found(full)
    reported: list[float] = []
    written = full.backup(tmp_path / "backup.zip", reported.append)
    assert reported == sorted(reported)
    assert reported[-1] == 1.0
    assert written.counts.model_dump() == {
        "documents": 2,
        "chunks": 2,
        "vectors": {f"{full.library.collection(LOCAL_OWNER).id}/words": 2},
    }
    names = set(written.members)
    assert "gestalt.db" in names
    assert "chroma/chroma.sqlite3" in names
    assert sum(name.startswith("uploads/") for name in names) == 2
    assert not [name for name in names if "models" in name or "half" in name]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert found(full) == before  # it goes on

    restored = restore(tmp_path / "second", tmp_path / "backup.zip")
    assert restored == written
    again = FakeServices(tmp_path / "second")
    assert again.counts() == written.counts
    assert found(again) == before
    assert list(again.check()) == []
    assert {path.name for path in again.folder.path.iterdir()} <= {
        "gestalt.db", "gestalt.db-wal", "gestalt.db-shm", "gestalt.lock", "chroma", "uploads",
    }  # fmt: skip
    again.close()


def test_a_backup_includes_the_databases_write_ahead_log(full: FakeServices, tmp_path: Path) -> None:
    with full.database.session():
        full.library.collection(LOCAL_OWNER, "just now", create=True)
        full.backup(tmp_path / "backup.zip", quiet)
    restore(tmp_path / "second", tmp_path / "backup.zip")
    again = FakeServices(tmp_path / "second")
    assert "just now" in [collection.name for collection in again.library.collections(LOCAL_OWNER)]
    again.close()


def test_backup_and_restore_of_an_empty_library(services: FakeServices, tmp_path: Path) -> None:
    services.backup(tmp_path / "empty.zip", quiet)
    restore(tmp_path / "second", tmp_path / "empty.zip")
    again = FakeServices(tmp_path / "second")
    assert again.counts() == services.counts()
    again.close()


def test_an_existing_file_is_not_overwritten(file: Path, full: FakeServices) -> None:
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match="already"):
        full.backup(file, quiet)
    assert file.read_bytes() == before


def test_failed_backup_leaves_no_file(full: FakeServices, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="could not be written"):
        full.backup(tmp_path / "missing" / "backup.zip", quiet)
    with pytest.raises(ZeroDivisionError):
        full.backup(tmp_path / "backup.zip", lambda done: 1 / 0)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_library_is_replaced_only_with_force(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "second"
    second = FakeServices(data)
    second.put("sun.txt", b"The sun is wider than the moon.")
    with pytest.raises(LibraryLocked):
        restore(data, file, force=True)
    second.close()
    (data / "models").mkdir()
    with pytest.raises(ConfigurationError, match="not empty"):
        restore(data, file)
    restore(data, file, force=True)
    second = FakeServices(data)
    assert {d.name for d in second.library.documents(LOCAL_OWNER, second.library.collection(LOCAL_OWNER).id)} == {
        "pier.md",
        "moon.txt",
    }
    assert list(second.check()) == []
    assert len(list(second.folder.uploads.iterdir())) == 2
    assert (data / "models").is_dir()
    second.close()


def cut(members: dict[str, bytes]) -> None:
    members["gestalt.db"] = members["gestalt.db"][:-1]


def flip(members: dict[str, bytes]) -> None:
    content = bytearray(members["gestalt.db"])
    content[500] ^= 1
    members["gestalt.db"] = bytes(content)


def lose_the_database(members: dict[str, bytes]) -> None:
    del members["gestalt.db"]


def lose_the_manifest(members: dict[str, bytes]) -> None:
    del members["manifest.json"]


def smuggle(members: dict[str, bytes]) -> None:
    members["uploads/extra"] = b"not in the manifest"


def break_the_manifest(members: dict[str, bytes]) -> None:
    members["manifest.json"] = b'{"format": 1, "members": []}'


@pytest.mark.parametrize("harm", [cut, flip, lose_the_database, lose_the_manifest, smuggle, break_the_manifest])
def test_a_damaged_backup_changes_nothing(file: Path, tmp_path: Path, harm: Callable[[dict[str, bytes]], None]) -> None:
    rewrite(file, harm)
    rejected(tmp_path, file)


def rejected(tmp_path: Path, file: Path, match: str = "is damaged, or not a backup of Gestalt") -> None:
    data = tmp_path / "second"
    second = FakeServices(data)
    second.put_pier()
    second.close()
    before = {path.relative_to(data) for path in data.rglob("*")}
    with pytest.raises(StoreError, match=match):
        restore(data, file, force=True)
    assert {path.relative_to(data) for path in data.rglob("*")} == before
    second = FakeServices(data)
    assert found(second)
    second.close()


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt", "/etc/evil.txt", "uploads/../../evil.txt", "chroma/../evil.txt", "C:\\evil.txt", "chroma\\evil",
        "uploads/evil.txt", "gestalt.lock", "models/weights", "chroma/", "chroma//evil", "chroma/.evil", "restored",
    ],
)  # fmt: skip
def test_path_traversal_is_rejected(file: Path, tmp_path: Path, name: str) -> None:
    rewrite(file, lambda members: members.update({name: b"evil"}), seal=True)
    rejected(tmp_path, file)
    assert not list(tmp_path.rglob("evil*"))


def test_a_file_that_is_no_archive_or_missing(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    contents = (b"PK\x03\x04 nonsense", b"", b"%PDF-1.4", whole[: len(whole) // 2])
    for name, content in zip(("a.zip", "b.zip", "c.pdf", "d.zip"), contents, strict=True):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match="not a backup"):
            restore(tmp_path / "second", tmp_path / name)
    with pytest.raises(ConfigurationError, match="There is no file"):
        restore(tmp_path / "second", tmp_path / "missing.zip")
    with pytest.raises(StoreError, match="could not be restored"):
        restore(tmp_path / "second", tmp_path)


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.95, 0.999])
def test_a_flipped_byte_is_detected(file: Path, tmp_path: Path, place: float) -> None:
    content = bytearray(file.read_bytes())
    position = int(len(content) * place)
    content[position] ^= 0xFF
    file.write_bytes(content)
    try:
        restore(tmp_path / "second", file)
    except StoreError:
        assert not (tmp_path / "second" / "gestalt.db").exists()
    else:
        # A byte without meaning, such as a time in a header.
        again = FakeServices(tmp_path / "second")
        assert list(again.check()) == []
        again.close()


def test_a_zip_bomb_is_rejected(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    rejected(tmp_path, file, match="more than the disk has left")

    def lie(members: dict[str, bytes]) -> None:
        manifest: dict[str, Any] = json.loads(members["manifest.json"])
        for member in manifest["members"].values():
            member["size"] = 1
        members["manifest.json"] = json.dumps(manifest).encode()

    rewrite(file, lie)
    shutil.rmtree(tmp_path / "second")
    rejected(tmp_path, file)


def test_a_huge_manifest_is_not_read(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "MAX_MANIFEST", 100)
    rejected(tmp_path, file)


def test_a_backup_of_a_newer_gestalt_is_rejected(file: Path, tmp_path: Path, services: FakeServices) -> None:
    newer = tmp_path / "newer.db"
    with zipfile.ZipFile(file) as archive:
        newer.write_bytes(archive.read("gestalt.db"))
    connection = sqlite3.connect(newer)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    rewrite(file, lambda members: members.update({"gestalt.db": newer.read_bytes()}), seal=True)
    rejected(tmp_path, file, match="newer Gestalt")
    rewrite(file, lambda members: members.update({"manifest.json": members["manifest.json"].replace(b"1,", b"2,", 1)}))
    shutil.rmtree(tmp_path / "second")
    rejected(tmp_path, file, match="format 2")


def test_an_interrupted_restore_is_finished_at_the_next_start(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    moved = Path.replace
    moves = 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal moves
        if self.parent.name == "restored":
            moves += 1
            if moves == killed_at:
                raise Killed
        return moved(self, target)

    for killed_at in (1, 2, 3):
        data = tmp_path / f"data-{killed_at}"
        old = FakeServices(data)
        old.put("sun.txt", PIER + b" And the sun.")
        old.close()
        moves = 0
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            with pytest.raises(Killed):
                restore(data, file, force=True)
        again = FakeServices(data)
        assert again.counts().documents == 2
        assert list(again.check()) == []
        assert found(again)[0].document == "pier.md"
        assert not (data / "restored").exists()
        again.close()


def test_a_restore_after_an_interrupted_one(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "second"
    (data / "restored" / "uploads").mkdir(parents=True)
    (data / "restored" / "uploads" / ("0" * 64)).write_bytes(b"its own")
    (data / ".restore-abc").mkdir()
    (data / ".restore-abc" / "gestalt.db").write_bytes(b"half unpacked")
    with pytest.raises(ConfigurationError, match="not empty"):
        restore(data, file)
    restore(data, file, force=True)
    assert not list(data.glob(".restore*"))
    again = FakeServices(data)
    assert list(again.check()) == []
    again.close()


def test_finish_restore_without_a_restore_does_nothing(full: FakeServices) -> None:
    backup.finish_restore(DataFolder(full.folder.path, full.folder.lock))
    assert full.counts().documents == 2
