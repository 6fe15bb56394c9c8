"""Syncing a collection with a folder on disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from errors import ConfigurationError, StoreError
from rag.documents import sync as sync_module
from rag.documents.sync import Action, Step, walk
from rag.schema import LOCAL_OWNER, DocumentState, Passage
from tests.conftest import PIER, FakeServices

MOON = b"The moon is 3474 kilometres wide."
Follow = Callable[..., dict[str, int]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    (folder / "sub").mkdir(parents=True)
    (folder / "pier.md").write_bytes(PIER)
    (folder / "sub" / "moon.txt").write_bytes(MOON)
    return folder


@pytest.fixture
def collection(services: FakeServices) -> str:
    return services.library.collection(LOCAL_OWNER, "papers", create=True).id


@pytest.fixture
def follow(services: FakeServices, collection: str, folder: Path) -> Follow:
    """Sync the collection with the folder; returns the number of files for each action."""

    def go(folder: Path = folder, *, adopt: bool = False) -> dict[str, int]:
        sync = services.documents.sync(LOCAL_OWNER, folder, collection, adopt=adopt)
        sync.adopt()
        done = [sync.apply(step) for step in sync.plan()]
        assert list(services.check()) == []
        return dict(Counter(step.action.value for step in done))

    return go


def library(services: FakeServices, collection: str) -> dict[str, DocumentState]:
    return {
        d.path.partition("/papers/")[2] or d.path: d.state for d in services.library.documents(LOCAL_OWNER, collection)
    }


def found(services: FakeServices, collection: str) -> tuple[Passage, ...]:
    options = services.settings.answer.replace(collection_ids=(collection,))
    return services.searching.retrieve(LOCAL_OWNER, "How long is the pier?", options).passages


def test_added_changed_removed_unchanged(services: FakeServices, collection: str, folder: Path, follow: Follow) -> None:
    assert follow() == {"added": 2}
    assert library(services, collection) == {"pier.md": DocumentState.READY, "sub/moon.txt": DocumentState.READY}
    os.utime(folder / "pier.md", (0, 0))  # another time alone is no change
    assert follow() == {"unchanged": 2}
    (folder / "pier.md").write_bytes(PIER.replace(b"62", b"63"))
    (folder / "sub" / "moon.txt").unlink()
    (folder / "sun.txt").write_text("The sun is wider.")
    assert follow() == {"changed": 1, "added": 1, "removed": 1}
    assert set(library(services, collection)) == {"pier.md", "sun.txt"}
    passages = found(services, collection)
    assert "63 metres" in passages[0].text
    assert not [p for p in passages if "62 metres" in p.text]
    assert follow() == {"unchanged": 2}


def test_planning_changes_nothing(services: FakeServices, collection: str, folder: Path) -> None:
    plan = services.documents.sync(LOCAL_OWNER, folder, collection).plan()
    assert [(step.action, step.path) for step in plan] == [
        (Action.ADDED, "pier.md"),
        (Action.ADDED, "sub/moon.txt"),
    ]
    assert library(services, collection) == {}
    assert services.documents.sync(LOCAL_OWNER, folder, "").plan() == plan


def test_a_renamed_file_is_not_read_again(
    services: FakeServices, collection: str, folder: Path, follow: Follow
) -> None:
    follow()
    ids = {d.id for d in services.library.documents(LOCAL_OWNER, collection)}
    (folder / "pier.md").rename(folder / "old-moon.md")
    (folder / "sub" / "moon.txt").rename(folder / "pier.md")
    (folder / "old-moon.md").rename(folder / "sub" / "moon.txt")
    assert follow() == {"renamed": 2}
    assert {d.id for d in services.library.documents(LOCAL_OWNER, collection)} == ids
    assert {d.name for d in services.library.documents(LOCAL_OWNER, collection)} == {"moon.txt", "pier.md"}
    (folder / "pier.md").rename(folder / "sub" / "moon.txt")  # over the other one
    assert follow() == {"renamed": 1, "removed": 1}
    assert follow() == {"unchanged": 1}


def test_equal_files_are_one_document_until_the_last_is_gone(
    services: FakeServices, collection: str, folder: Path, follow: Follow
) -> None:
    (folder / "a-copy.md").write_bytes(PIER)
    assert follow() == {"added": 2, "duplicate": 1}
    assert follow() == {"unchanged": 2, "duplicate": 1}
    (folder / "a-copy.md").unlink()
    assert follow() == {"renamed": 1, "unchanged": 1}
    (folder / "pier.md").write_bytes(MOON)
    assert follow() == {"duplicate": 1, "unchanged": 1, "removed": 1}
    assert set(library(services, collection)) == {"sub/moon.txt"}


def test_uploaded_documents_are_kept(services: FakeServices, collection: str, folder: Path, follow: Follow) -> None:
    for name, content in (("mine.txt", b"Mine."), ("pier.md", PIER)):
        document, _ = services.ingest.submit(LOCAL_OWNER, collection, name, content)
        services.ingest.process(LOCAL_OWNER, document.id)
    assert follow() == {"added": 1, "duplicate": 1}
    (folder / "pier.md").unlink()
    assert follow() == {"unchanged": 1}
    assert set(library(services, collection)) == {"mine.txt", "pier.md", "sub/moon.txt"}


def test_adopting_makes_uploaded_documents_follow_the_folder(
    services: FakeServices, collection: str, folder: Path, follow: Follow
) -> None:
    for name, content in (("mine.txt", b"Mine."), ("pier.md", PIER), ("sub/moon.txt", b"The moon is small.")):
        document, _ = services.ingest.submit(LOCAL_OWNER, collection, name, content)
        services.ingest.process(LOCAL_OWNER, document.id)
    planned = services.documents.sync(LOCAL_OWNER, folder, collection, adopt=True).plan()
    assert "mine.txt" in library(services, collection)
    assert Counter(step.action.value for step in planned) == {"unchanged": 1, "changed": 1, "removed": 1}
    assert follow(adopt=True) == {"unchanged": 1, "changed": 1, "removed": 1}
    assert set(library(services, collection)) == {"pier.md", "sub/moon.txt"}


def test_a_moved_folder_is_new_until_it_is_adopted(
    services: FakeServices, collection: str, folder: Path, tmp_path: Path, follow: Follow
) -> None:
    follow()
    moved = tmp_path / "elsewhere" / "papers"
    moved.parent.mkdir()
    folder.rename(moved)
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        follow()
    assert follow(moved) == {"duplicate": 2}
    assert follow(moved, adopt=True) == {"renamed": 2}
    assert follow(moved) == {"unchanged": 2}


def test_two_folders_of_one_name_are_kept_apart(
    services: FakeServices, collection: str, tmp_path: Path, follow: Follow
) -> None:
    follow()
    other = tmp_path / "other" / "papers"
    other.mkdir(parents=True)
    (other / "pier.md").write_text("Another pier.")
    assert follow(other) == {"added": 1}
    assert follow() == {"unchanged": 2}


def test_empty_folder_deletes_nothing(services: FakeServices, collection: str, folder: Path, follow: Follow) -> None:
    (folder / "pier.md").unlink()
    (folder / "sub" / "moon.txt").unlink()
    assert follow() == {}
    (folder / "pier.md").write_bytes(PIER)
    follow()
    (folder / "pier.md").unlink()
    with pytest.raises(ConfigurationError, match="is empty, but 1 documents came from it"):
        follow()
    assert set(library(services, collection)) == {"pier.md"}


def test_hidden_files_and_folder_links_are_skipped_and_broken_links_come_with_the_error(
    folder: Path, tmp_path: Path
) -> None:
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.txt").write_text("a")
    (folder / ".b.txt").write_text("b")
    (folder / "round").symlink_to(folder)
    (folder / "sub" / "up").symlink_to("..")
    (folder / "broken.txt").symlink_to("nowhere")
    (folder / "self.txt").symlink_to("self.txt")
    (tmp_path / "real.txt").write_text("real")
    (folder / "link.txt").symlink_to(tmp_path / "real.txt")
    os.mkfifo(folder / "pipe.txt")
    walked = dict(walk(folder))
    assert list(walked) == ["broken.txt", "link.txt", "pier.md", "self.txt", "sub/moon.txt"]
    assert [path for path, file in walked.items() if isinstance(file, OSError)] == ["broken.txt", "self.txt"]


def test_a_name_in_an_old_encoding_is_read_as_latin_1(services: FakeServices, collection: str, folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("The cafe opens at nine.")
    sync = services.documents.sync(LOCAL_OWNER, folder, collection)
    assert [sync.apply(step).path for step in sync.plan()] == ["café.txt", "pier.md", "sub/moon.txt"]
    assert set(library(services, collection)) == {"café.txt", "pier.md", "sub/moon.txt"}
    assert {step.action for step in sync.plan()} == {Action.UNCHANGED}


def test_what_an_unlisted_folder_holds_is_kept(
    services: FakeServices, collection: str, folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow()
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("/sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    steps = services.documents.sync(LOCAL_OWNER, folder, collection).plan()
    assert [(step.action, step.path) for step in steps] == [(Action.UNCHANGED, "pier.md"), (Action.FAILED, "sub")]
    assert "Permission denied" in steps[1].reason


def test_unsupported_and_empty_files_are_skipped(
    services: FakeServices, collection: str, folder: Path, follow: Follow
) -> None:
    (folder / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 20)
    (folder / "empty.txt").touch()
    (folder / "program.pdf").write_bytes(b"\x7fELF" + bytes(range(256)) * 20)
    assert follow() == {"added": 2, "skipped": 3}
    assert set(library(services, collection)) == {"pier.md", "sub/moon.txt"}
    assert len(list(services.folder.uploads.iterdir())) == 2


def test_a_failed_file_keeps_its_older_content(
    services: FakeServices, collection: str, folder: Path, follow: Follow
) -> None:
    follow()
    (folder / "pier.md").rename(folder / "pier.docx")
    (folder / "pier.docx").write_bytes(b"PK\x03\x04 broken")
    (folder / "pier.md").write_bytes(b" \n")
    assert follow() == {"failed": 2, "unchanged": 1}
    passages = found(services, collection)
    assert "62 metres" in passages[0].text
    assert follow() == {"failed": 2, "unchanged": 1}
    (folder / "pier.md").write_bytes(PIER.replace(b"62", b"64"))
    (folder / "pier.docx").unlink()
    assert follow() == {"changed": 1, "unchanged": 1, "removed": 1}
    assert library(services, collection) == {"pier.md": DocumentState.READY, "sub/moon.txt": DocumentState.READY}
    passages = found(services, collection)
    assert "64 metres" in passages[0].text


def test_an_unreadable_file_is_not_deleted(
    services: FakeServices, collection: str, folder: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow()
    opened = Path.open

    def refuse(self: Path, *arguments: object, **options: object) -> object:
        if self.name == "pier.md":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    sync = services.documents.sync(LOCAL_OWNER, folder, collection)
    [failed, unchanged] = sync.plan()
    assert (failed.action, unchanged.action) == (Action.FAILED, Action.UNCHANGED)
    assert "Permission denied" in failed.reason
    assert sync.apply(failed) == failed


def test_a_file_that_disappears_fails(services: FakeServices, collection: str, folder: Path) -> None:
    sync = services.documents.sync(LOCAL_OWNER, folder, collection)
    steps = sync.plan()
    (folder / "pier.md").unlink()
    done = [sync.apply(step) for step in steps]
    assert [step.action for step in done] == [Action.FAILED, Action.ADDED]


def test_a_file_that_is_too_large_fails(tmp_path: Path, folder: Path) -> None:
    services = FakeServices(tmp_path / "data", settings={"max_upload_mb": 1})
    (folder / "large.txt").write_bytes(b"x" * 1_000_001)
    sync = services.documents.sync(LOCAL_OWNER, folder, services.library.collection(LOCAL_OWNER, create=True).id)
    assert sync.apply(Step(Action.ADDED, "large.txt", folder / "large.txt")).action is Action.FAILED
    services.close()


def test_documents_left_in_the_queue_by_a_kill_are_read(
    services: FakeServices, collection: str, folder: Path, follow: Follow
) -> None:
    path = f"{folder.as_posix().strip('/')}/pier.md"
    services.ingest.submit(LOCAL_OWNER, collection, path, PIER)
    assert follow() == {"added": 2}
    assert set(library(services, collection).values()) == {DocumentState.READY}


@pytest.mark.parametrize("step", ["detect_kind", "delete", "submit", "process"])
def test_an_unexpected_error_fails_one_file(
    services: FakeServices,
    collection: str,
    folder: Path,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    follow()
    (folder / "pier.md").unlink()
    (folder / "sun.txt").write_text("The sun is wider.")
    failing = Counter[str]()

    def once(whole: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            failing[step] += 1
            if failing[step] == 1:
                raise RuntimeError("a bug")
            return whole(*arguments, **options)

        return call

    owner: object = sync_module if step == "detect_kind" else services.ingest
    monkeypatch.setattr(owner, step, once(getattr(owner, step)))
    sync = services.documents.sync(LOCAL_OWNER, folder, collection)
    done = [sync.apply(each) for each in sync.plan()]
    [failed] = [each for each in done if each.action is Action.FAILED]
    assert failed.reason.startswith("Something went wrong inside Gestalt; the log has it under ")
    assert len(done) == 3


def test_a_full_disk_fails_each_file(
    services: FakeServices, collection: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise StoreError("The disk is full.")

    sync = services.documents.sync(LOCAL_OWNER, folder, collection)
    monkeypatch.setattr(services.indexing, "parse", fail)
    done = [sync.apply(step) for step in sync.plan()]
    assert [(step.action, step.reason) for step in done] == [(Action.FAILED, "The disk is full.")] * 2
