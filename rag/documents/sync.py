"""Sync a collection with a folder: add new files, replace changed ones (by sha256), delete removed ones.

The path of a synced document starts with the folder's path; other documents are never touched.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePath

from errors import AppError, ConfigurationError, UnsupportedDocument
from rag.db import new_id
from rag.documents.detection import detect_kind
from rag.documents.ingest import Ingest
from rag.documents.loaders import FORMATS, supported_extensions
from rag.documents.originals import digest
from rag.schema import DocumentRecord, DocumentState

log = logging.getLogger(__name__)


class Action(StrEnum):
    """What is or was done with a file."""

    ADDED = "added"
    CHANGED = "changed"
    RENAMED = "renamed"  # its content is known under another path
    REMOVED = "removed"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"  # the collection has this content from elsewhere, or the folder has it twice
    SKIPPED = "skipped"  # it is empty, or of an unsupported type
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """A file of the folder, or a document whose file was removed."""

    action: Action
    path: str  # relative to the folder
    file: Path | None = None
    sha256: str = ""
    document: DocumentRecord | None = None
    reason: str = ""


def walk(folder: Path) -> Iterator[tuple[str, Path | OSError]]:
    """Yield each `(relative path, file)` in order, not hidden ones or links to folders; last, folders not listed.

    What cannot be looked at, such as a broken link, comes with the error. Raises ConfigurationError if nothing can.
    """
    unlisted: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=unlisted.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(root) / name for name in sorted(names) if not name.startswith(".")):
            path = readable(file.relative_to(folder))
            try:
                if stat.S_ISREG(file.stat().st_mode):
                    yield path, file
            except OSError as error:
                yield path, error
    for failed in unlisted:
        inside = Path(failed.filename or folder).relative_to(folder)
        if inside == Path():
            message = f"The folder {readable(folder)} cannot be listed: {failed.strerror}."
            raise ConfigurationError(message, "Check that it exists and can be read.")
        yield readable(inside), failed


def readable(path: PurePath) -> str:
    """A path as text. A name in an old encoding, which is not valid UTF-8, is read as Latin-1."""

    def decoded(part: str) -> str:
        try:
            return os.fsencode(part).decode()
        except UnicodeDecodeError:
            return os.fsencode(part).decode("latin-1")

    return "/".join(map(decoded, path.as_posix().split("/")))


def reason(error: Exception) -> str:
    """Why a file was not read, in a sentence or two; what is unexpected is logged."""
    match error:
        case AppError():
            return str(error)
        case FileNotFoundError():
            return "It cannot be read: it was removed, or it is a link to a file that does not exist."
        case OSError():
            return f"It cannot be read: {error.strerror or error}. Check its permissions."
    reference = new_id()[:8]
    log.error("A file was not read, reference %s", reference, exc_info=error)
    return f"Something went wrong inside Gestalt; the log has it under {reference}."


class Sync:
    """The sync of a collection with a folder."""

    def __init__(self, ingest: Ingest, owner: str, collection_id: str, folder: Path, *, adopt: bool = False) -> None:
        """With `adopt`, all documents of the collection count as the folder's."""
        self._ingest, self._owner, self._collection_id, self._adopt = ingest, owner, collection_id, adopt
        self._folder = folder.resolve()
        self._prefix = f"{readable(self._folder).strip('/')}/"

    def plan(self) -> list[Step]:
        """Return the steps to take, in order, without changing anything. Raises ConfigurationError."""
        documents = self._documents()
        own = {d.sha256: d for d in documents if d.path.startswith(self._prefix)}
        others = {d.sha256 for d in documents} - own.keys()
        files = [_inspect(path, file) for path, file in walk(self._folder)]
        if own and not files:
            raise ConfigurationError(
                f"The folder {self._folder} is empty, but {len(own)} documents came from it.",
                "Is its drive connected? To delete the documents, delete the collection.",
            )
        # Of files with the same content, the one that the library knows counts, else the first.
        main: dict[str, str] = {}
        for file in files:
            known = own.get(file.sha256)
            if file.sha256 not in main or (known and known.path == self._prefix + file.path):
                main[file.sha256] = file.path
        paths = {self._relative(document) for document in own.values()}
        steps = [self._step(file, own.get(file.sha256), main, others, paths) for file in files]
        # An old version stays until the new one is ready.
        replaced = (Action.ADDED, Action.CHANGED, Action.SKIPPED, Action.FAILED)
        kept = {step.path for step in steps if step.action in replaced}
        # What is in a folder that could not be listed was perhaps not removed.
        unlisted = tuple(f"{step.path}/" for step in steps if step.action is Action.FAILED)
        gone = [(self._relative(document), document) for sha256, document in own.items() if sha256 not in main]
        gone = [(path, document) for path, document in gone if path not in kept and not path.startswith(unlisted)]
        steps += [Step(Action.REMOVED, path, document=document) for path, document in gone]
        # Renames first, as another file may have the old name by now.
        return sorted(steps, key=lambda step: step.action is not Action.RENAMED)

    def _step(
        self, file: Step, document: DocumentRecord | None, main: dict[str, str], others: set[str], paths: set[str]
    ) -> Step:
        if not file.sha256:
            return file
        if main[file.sha256] != file.path or file.sha256 in others:
            action = Action.DUPLICATE
        elif document is None:
            action = Action.CHANGED if file.path in paths else Action.ADDED
        elif self._relative(document) != file.path:
            action = Action.RENAMED
        else:
            # Retry what failed or was interrupted.
            action = Action.UNCHANGED if document.state is DocumentState.READY else Action.ADDED
        return replace(file, action=action, document=document)

    def adopt(self) -> None:
        """Store the folder's path with all documents of the collection, if `adopt` was given."""
        for document in self._documents():
            self._ingest.library.update(self._owner, document.id, path=document.path)

    def _documents(self) -> list[DocumentRecord]:
        documents = self._ingest.library.documents(self._owner, self._collection_id)
        if not self._adopt:
            return documents
        return [d if d.path.startswith(self._prefix) else replace(d, path=self._prefix + d.path) for d in documents]

    def apply(self, step: Step, report: Callable[[float], None] | None = None) -> Step:
        """Take a step and return it with its result, whatever goes wrong; `report` takes the progress, 0 to 1."""
        try:
            if step.action is Action.REMOVED and step.document:
                self._ingest.delete(self._owner, step.document.id)
            elif step.action is Action.RENAMED and step.document:
                path, name = self._prefix + step.path, step.path.rpartition("/")[2]
                self._ingest.library.update(self._owner, step.document.id, path=path, name=name, version=1)
            elif step.action in (Action.ADDED, Action.CHANGED) and step.file:
                return self._read(step, step.file, report)
        except Exception as error:  # noqa: BLE001 - the other files do not suffer
            return replace(step, action=Action.FAILED, reason=reason(error))
        return step

    def _read(self, step: Step, file: Path, report: Callable[[float], None] | None) -> Step:
        path = self._prefix + step.path
        found, _ = self._ingest.submit(self._owner, self._collection_id, path, file, replace=True)
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


def _inspect(path: str, file: Path | OSError) -> Step:
    """Return a file with its sha256, or with the reason why it is skipped."""
    if isinstance(file, OSError):
        return Step(Action.FAILED, path, reason=reason(file))
    try:
        kind = detect_kind(file, file.name)
        if kind is None:
            return Step(Action.SKIPPED, path, reason="It is empty.")
        if kind not in {row.kind for row in FORMATS} and file.suffix.lower() not in supported_extensions():
            return Step(Action.SKIPPED, path, reason=f"It seems to be {kind}, which is not supported.")
        return Step(Action.UNCHANGED, path, file, digest(file))
    except Exception as error:  # noqa: BLE001 - the other files do not suffer
        return Step(Action.FAILED, path, reason=reason(error))
