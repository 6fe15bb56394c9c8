"""A collection kept like a folder on disk: what is new there comes in, what changed is replaced, what is gone goes.

Documents of a folder carry its whole path before their own, and by that it knows them: what was uploaded, or came from
another folder, is never touched. Contents are compared by their sha256. Knows nothing of how a file is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from errors import AppError, ConfigurationError, UnsupportedDocument
from rag.documents.content import content_of
from rag.documents.ingest import Ingest
from rag.documents.loaders import FORMATS, supported_extensions
from rag.documents.originals import digest
from rag.schema import DocumentRecord, DocumentState


class Action(StrEnum):
    """What is done about a file, or was."""

    ADDED = "added"
    CHANGED = "changed"
    RENAMED = "renamed"
    """Its content is known under another path."""
    REMOVED = "removed"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"
    """The collection has this content from elsewhere, or the folder has it twice."""
    SKIPPED = "skipped"
    """It is empty, or of a type that is not read."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One file of the folder, or one document that has none there any more."""

    action: Action
    path: str
    """Relative to the folder."""
    file: Path | None = None
    sha256: str = ""
    document: DocumentRecord | None = None
    reason: str = ""


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """`(path relative to the folder, file)` in order; hidden files and links to folders are left out.

    Raises:
        ConfigurationError: a folder in it cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise ConfigurationError(
            f"The folder {error.filename} cannot be listed: {error.strerror}.",
            "Check that it is there and may be read.",
        )

    # Links to folders are not followed, so that none leads round in a circle.
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(root) / name for name in sorted(names) if not name.startswith(".")):
            if file.is_file():
                yield file.relative_to(folder).as_posix(), file


class Sync:
    """One folder and one collection."""

    def __init__(self, ingest: Ingest, owner: str, collection_id: str, folder: Path, *, adopt: bool = False) -> None:
        """`adopt`: all documents of the collection are taken for the folder's, wherever they came from."""
        self._ingest, self._owner, self._collection_id, self._adopt = ingest, owner, collection_id, adopt
        self._folder = folder.resolve()
        self._prefix = f"{self._folder.as_posix().strip('/')}/"

    def plan(self) -> list[Step]:
        """What is to do, in this order; nothing is changed.

        Raises:
            ConfigurationError: the folder cannot be listed, or is empty although documents came from it.
        """
        documents = self._documents()
        mine = {d.sha256: d for d in documents if d.path.startswith(self._prefix)}
        theirs = {d.sha256 for d in documents} - mine.keys()
        files = [_look(path, file) for path, file in walk(self._folder)]
        if mine and not files:
            raise ConfigurationError(
                f"The folder {self._folder} is empty, but {len(mine)} documents came from it.",
                "Is its drive there? Delete the collection if they shall go.",
            )
        homes: dict[str, str] = {}
        for file in files:
            # Where a content lies twice, the path that the library knows it by is its home, else the first.
            known = mine.get(file.sha256)
            if file.sha256 not in homes or (known and known.path == self._prefix + file.path):
                homes[file.sha256] = file.path
        paths = {self._relative(document) for document in mine.values()}
        steps = [self._step(file, mine.get(file.sha256), homes, theirs, paths) for file in files]
        # An older content stays until the newer one under its path is ready.
        waits = (Action.ADDED, Action.CHANGED, Action.SKIPPED, Action.FAILED)
        kept = {step.path for step in steps if step.action in waits}
        gone = [document for sha256, document in mine.items() if sha256 not in homes]
        steps += [Step(Action.REMOVED, path, document=d) for d in gone if (path := self._relative(d)) not in kept]
        # First what has another name: its old one may be another file's by now.
        return sorted(steps, key=lambda step: step.action is not Action.RENAMED)

    def _step(
        self, file: Step, document: DocumentRecord | None, homes: dict[str, str], theirs: set[str], paths: set[str]
    ) -> Step:
        if not file.sha256:
            return file
        if homes[file.sha256] != file.path or file.sha256 in theirs:
            action = Action.DUPLICATE
        elif document is None:
            action = Action.CHANGED if file.path in paths else Action.ADDED
        elif self._relative(document) != file.path:
            action = Action.RENAMED
        else:
            # What failed, or was interrupted, is tried again.
            action = Action.UNCHANGED if document.state is DocumentState.READY else Action.ADDED
        return replace(file, action=action, document=document)

    def adopt(self) -> None:
        """Take all documents of the collection for the folder's, for good, where that was asked for."""
        for document in self._documents():
            self._ingest.library.update(self._owner, document.id, path=document.path)

    def _documents(self) -> list[DocumentRecord]:
        documents = self._ingest.library.documents(self._owner, self._collection_id)
        if not self._adopt:
            return documents
        return [d if d.path.startswith(self._prefix) else replace(d, path=self._prefix + d.path) for d in documents]

    def apply(self, step: Step, report: Callable[[float], None] | None = None) -> Step:
        """Do a step, and say what came of it: FAILED has a reason. `report` hears the progress, 0 to 1."""
        if step.action is Action.REMOVED and step.document:
            self._ingest.delete(self._owner, step.document.id)
        elif step.action is Action.RENAMED and step.document:
            name = step.path.rpartition("/")[2]
            path = self._prefix + step.path
            self._ingest.library.update(self._owner, step.document.id, path=path, name=name, version=1)
        elif step.action in (Action.ADDED, Action.CHANGED) and step.file:
            return self._read(step, step.file, report)
        return step

    def _read(self, step: Step, file: Path, report: Callable[[float], None] | None) -> Step:
        path = self._prefix + step.path
        try:
            found, _ = self._ingest.submit(self._owner, self._collection_id, path, file, replace=True)
        except AppError as error:
            return replace(step, action=Action.FAILED, reason=str(error))
        except OSError as error:
            return replace(step, action=Action.FAILED, reason=_cannot(error))
        document = self._ingest.process(self._owner, found.id, report) or found
        if document.state is DocumentState.READY:
            for older in self._ingest.library.same_path(self._owner, self._collection_id, path):
                if older.id != document.id:
                    self._ingest.delete(self._owner, older.id)
            return replace(step, document=document)
        if document.reason_type == UnsupportedDocument.__name__:
            self._ingest.delete(self._owner, document.id)
            return replace(step, action=Action.SKIPPED, reason=document.reason)
        return replace(step, action=Action.FAILED, document=document, reason=document.reason)

    def _relative(self, document: DocumentRecord) -> str:
        return document.path.removeprefix(self._prefix)


def _look(path: str, file: Path) -> Step:
    """A file with its sha256, or with the reason why it is left out."""
    try:
        content = content_of(file, file.name)
        if content is None:
            return Step(Action.SKIPPED, path, reason="It is empty.")
        if content not in _READ and file.suffix.lower() not in supported_extensions():
            return Step(Action.SKIPPED, path, reason=f"It seems to be {content}, which is not read.")
        return Step(Action.UNCHANGED, path, file, digest(file))
    except OSError as error:
        return Step(Action.FAILED, path, reason=_cannot(error))


def _cannot(error: OSError) -> str:
    return f"It cannot be read: {error.strerror or error}. Check its permissions."


_READ = {row.content for row in FORMATS}
