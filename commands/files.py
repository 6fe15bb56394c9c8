"""Commands that add files: ingest and sync."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress

from commands.terminal import AsJson, emit, fields, open_services, out, print_result, progress_bar, progress_bars
from errors import AppError, ConfigurationError
from rag.documents.ingest import needs_password
from rag.documents.library import DEFAULT_COLLECTION, Submitted
from rag.documents.sync import Action, Step, readable, reason, walk
from rag.schema import LOCAL_OWNER, CollectionRecord, DocumentRecord, DocumentState
from services import Services

app = typer.Typer()

Collection = Annotated[str, typer.Option(help="The collection of documents.")]
COLOURS = {
    "ready": "green", "added": "green", "changed": "green", "renamed": "green", "removed": "yellow",
    "duplicate": "yellow", "skipped": "yellow", "unchanged": "dim", "failed": "red",
}  # fmt: skip


def _print_line(status: str, name: str, detail: str, warnings: tuple[str, ...]) -> None:
    out.print(f"[{COLOURS[status]}]{status:>9}[/]  {escape(name)}  [dim]{escape(detail)}[/dim]")
    for warning in warnings:
        out.print(f"{'':11}{warning}", style="yellow", markup=False)


def _size(document: DocumentRecord) -> str:
    pages = f"{document.pages} page{'' if document.pages == 1 else 's'}"
    return f"{pages}, {document.chunks} chunk{'' if document.chunks == 1 else 's'}"


# --- files into a collection ---


@app.command()
def ingest(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files and folders. Default: read the queued documents.")
    ] = None,
    collection: Collection = DEFAULT_COLLECTION,
    replace: Annotated[
        bool, typer.Option(help="Replace the old version of a known path instead of keeping both.")
    ] = False,
    password: Annotated[str | None, typer.Option(help="For protected files.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add files to the library; exit 1 if any of them failed."""
    failed = False
    with open_services(as_json) as services, progress_bars(quiet=as_json) as progress:
        reader = _Reader(services, progress, password, may_ask=not as_json)
        for result in reader.paths(paths, collection, replace) if paths else reader.queued():
            failed |= result.status == "failed"
            if as_json:
                emit(result.as_dict())
            else:
                _print_line(result.status, result.name, result.detail(replace), result.warnings)
        services.search.calibrate()
    raise typer.Exit(1 if failed else 0)


@dataclass(frozen=True, slots=True)
class _Result:
    name: str
    status: str
    document: DocumentRecord | None = None
    outcome: Submitted | None = None
    reason: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.document.warnings if self.document else ()

    def as_dict(self) -> dict[str, Any]:
        counts = {"pages": 0, "chunks": 0, "seconds": 0.0}
        if self.document:
            counts = fields(self.document, *counts)
        known = {"file": self.name, **fields(self, "status", "outcome", "reason")}
        return {**known, **counts, "warnings": list(self.warnings)}

    def detail(self, replaced: bool) -> str:
        if self.reason or self.document is None:
            return self.reason
        version = ", replacing the older version" if replaced else f", version {self.document.version} of this path"
        return _size(self.document) + (version if self.outcome is Submitted.VERSION else "")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads files until they are ready or failed, with a progress bar each."""

    services: Services
    progress: Progress
    password: str | None
    may_ask: bool

    def queued(self) -> Iterator[_Result]:
        """Read the documents left in the queue by a killed process, a repair or a page."""
        self.services.ingest.recover()
        for owner, document in self.services.library.due():
            name = document.path or document.name
            yield _attempt(name, partial(self._read, owner, name, document, None))

    def paths(self, paths: list[Path], collection: str, replace: bool) -> Iterator[_Result]:
        """Read files and folders. Files are named by their path relative to the argument."""
        target = self.services.library.collection(LOCAL_OWNER, collection, create=True)
        for path in paths:
            for name, file in _files(path):
                yield _attempt(name, partial(self._one, target, name, file, replace))

    def _one(self, target: CollectionRecord, name: str, file: Path | Exception, replace: bool) -> _Result:
        if isinstance(file, Exception):
            raise file
        document, outcome = self.services.ingest.submit(
            LOCAL_OWNER, target.id, name, file, replace=replace, password=self.password
        )
        if outcome is Submitted.DUPLICATE and document.state is DocumentState.READY:
            return _Result(name, "duplicate", document, outcome, "This content is already in the collection.")
        # A duplicate that a killed process left in the queue is read as well.
        return self._read(LOCAL_OWNER, name, document, outcome)

    def _read(self, owner: str, name: str, document: DocumentRecord, outcome: Submitted | None) -> _Result:
        ingest = self.services.ingest
        with progress_bar(self.progress, name) as advance:
            done = ingest.process(owner, document.id, advance) or document
            while needs_password(done) and (password := self._ask_password(name)):
                ingest.retry(owner, document.id, password)
                done = ingest.process(owner, document.id, advance) or document
        # One that will be retried counts as failed.
        status = "ready" if done.state is DocumentState.READY else "failed"
        return _Result(name, status, done, outcome, done.reason)

    def _ask_password(self, name: str) -> str:
        if not (self.may_ask and sys.stdin.isatty()):
            return ""
        self.progress.stop()
        password: str = typer.prompt(f"Password of {name}", default="", hide_input=True, show_default=False, err=True)
        self.progress.start()
        return password


def _files(path: Path) -> Iterator[tuple[str, Path | Exception]]:
    """Each `(name, file)` of an argument, or why it cannot be read."""
    try:
        if path.is_dir():
            yield from walk(path)
        elif path.is_file() or path.is_symlink():
            yield readable(PurePath(path.name)), path
        else:
            raise ConfigurationError(f"There is no file {readable(path)}.", "Check the path.")
    except (AppError, OSError) as error:
        yield readable(PurePath(path.name)), error


def _attempt(name: str, read: Callable[[], _Result]) -> _Result:
    """The result for a file, whatever goes wrong: the others do not suffer."""
    try:
        return read()
    except typer.Abort:  # at the question for a password
        raise
    except Exception as error:  # noqa: BLE001
        return _Result(name, "failed", reason=reason(error))


@app.command()
def sync(
    folder: Annotated[Path, typer.Argument(help="The folder to mirror.")],
    collection: Annotated[str | None, typer.Option(help="The collection; default: the folder's name.")] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Treat all documents of the collection as the folder's, even uploaded ones.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mirror a folder in a collection: add new and changed files, delete the documents of removed ones.

    Only documents with the full path of this folder are touched, not uploads or those from elsewhere. After moving the
    folder, --adopt assigns the old documents to it. Ignores hidden files and links to folders. Exit 1 if a file failed.
    """
    counts = dict.fromkeys(Action, 0)
    with open_services(as_json) as services, progress_bars(quiet=as_json) as progress:
        if not folder.is_dir():
            raise ConfigurationError(f"There is no folder {readable(folder)}.", "Check the path.")
        name = collection or readable(PurePath(folder.resolve().name))
        target = next((found.id for found in services.library.collections(LOCAL_OWNER) if found.name == name), "")
        if not dry_run:
            services.ingest.recover()
            target = services.library.collection(LOCAL_OWNER, name, create=True).id
        mirror = services.documents.sync(LOCAL_OWNER, folder, target, adopt=adopt)
        if not dry_run:
            mirror.adopt()
        for step in mirror.plan():
            if not dry_run:
                with progress_bar(progress, step.path) as advance:
                    step = mirror.apply(step, advance)
            counts[step.action] += 1
            _print_step(step, as_json)
        if not dry_run:
            services.search.calibrate()
        summary = {action.value: number for action, number in counts.items()}
        changes = ", ".join(f"{number} {action}" for action, number in summary.items() if number) or "nothing to do"
        sentence = f"“{name}”: {changes}{' (dry run)' if dry_run else ''}."
        print_result({"collection": name, "dry_run": dry_run, **summary}, sentence, as_json)
    raise typer.Exit(1 if counts[Action.FAILED] else 0)


def _print_step(step: Step, as_json: bool) -> None:
    document = step.document
    if as_json:
        warnings = list(document.warnings) if document else []
        emit({"file": step.path, "action": step.action, "reason": step.reason, "warnings": warnings})
    elif step.action not in (Action.UNCHANGED, Action.DUPLICATE):
        read = step.action in (Action.ADDED, Action.CHANGED) and document
        _print_line(step.action, step.path, step.reason or (_size(read) if read else ""), read.warnings if read else ())
