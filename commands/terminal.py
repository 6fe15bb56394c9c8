"""Shared by all commands: consoles, JSON lines, services, errors and progress bars."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TimeRemainingColumn
from rich.table import Column, Table

from errors import AppError
from options import AnswerOptions
from rag.documents.library import DEFAULT_COLLECTION
from rag.schema import LOCAL_OWNER
from services import Services
from settings import get_settings

# Wrap at words on a terminal, but not in a file or a pipe.
out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
err = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]
BackendName = Annotated[str | None, typer.Option(help="The backend.")]
Collections = Annotated[
    list[str] | None, typer.Option("--collection", help="A collection to search; may be given several times.")
]
Everywhere = Annotated[bool, typer.Option("--all", help="Search all collections.")]
ModelName = Annotated[str | None, typer.Option(help="Model name or path.")]


def emit(value: dict[str, Any]) -> None:
    """Print a JSON line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_result(value: dict[str, Any], sentence: str, as_json: bool) -> None:
    """Print a JSON line, or a sentence for people."""
    if as_json:
        emit(value)
    else:
        out.print(sentence, markup=False)


@contextmanager
def listing(as_json: bool, *columns: Column | str) -> Iterator[Callable[..., None]]:
    """Yield a function that prints a JSON line, or adds a row, with notes below it, to a table printed at the end."""
    table = Table(*columns, box=None)

    def add(value: dict[str, Any], *cells: str, notes: Iterable[str] = ()) -> None:
        if as_json:
            emit(value)
            return
        table.add_row(*(escape(cell) for cell in cells))
        for note in notes:
            table.add_row(f"[yellow]  {escape(note)}[/]")

    yield add
    if not as_json:
        out.print(table)


def fields(record: object, *names: str) -> dict[str, Any]:
    """Return the fields of a record for JSON output."""
    return {name: getattr(record, name) for name in names}


def as_dict(error: AppError) -> dict[str, str]:
    """Return an error for JSON output."""
    return {"type": type(error).__name__, **fields(error, "message", "hint")}


def print_error(error: AppError) -> None:
    """Print an error for people."""
    # Without markup, so that names in brackets are not lost.
    err.print(error.message, style="red", markup=False)
    err.print(error.hint, markup=False)


@contextmanager
def handle_errors(as_json: bool, failure: dict[str, Any] | None = None) -> Iterator[None]:
    """Print an AppError and exit with 1; with --json as `error` in an object with the keys of `failure`."""
    try:
        yield
    except AppError as error:
        if as_json:
            emit({**(failure or {}), "error": as_dict(error)})
        else:
            print_error(error)
        raise typer.Exit(1) from None


@contextmanager
def open_services(as_json: bool, failure: dict[str, Any] | None = None) -> Iterator[Services]:
    """Open the services and close them at the end; errors as in `handle_errors`."""
    with handle_errors(as_json, failure):
        services = Services(get_settings())
        try:
            yield services
        finally:
            services.close()


def progress_bars(quiet: bool) -> Progress:
    """Return progress bars that disappear at the end."""
    columns = "{task.description}", BarColumn(), "{task.percentage:>3.0f} %", TimeRemainingColumn()
    return Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True)


@contextmanager
def progress_bar(progress: Progress, name: str) -> Iterator[Callable[[float], None]]:
    """Add a bar to `progress`; yield a function that sets it, 0 to 1."""
    task = progress.add_task(escape(name), total=1.0)
    try:
        yield lambda done: progress.update(task, completed=done)
    finally:
        progress.remove_task(task)


@contextmanager
def single_bar(name: str, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Like `progress_bar`, for a command with only one."""
    with progress_bars(quiet) as progress, progress_bar(progress, name) as advance:
        yield advance


def answer_options(services: Services, collections: list[str] | None, everywhere: bool, **given: Any) -> AnswerOptions:
    """Return the settings' options with these collections, else raise ConfigurationError, and what else is not None."""
    find = partial(services.library.collection, LOCAL_OWNER)
    names = collections or [_usual_collection(services)]
    ids = None if everywhere else tuple(find(name, create=name == DEFAULT_COLLECTION).id for name in names)
    chosen = {name: value for name, value in given.items() if value is not None}
    return services.settings.answer.replace(collection_ids=ids, **chosen)


def _usual_collection(services: Services) -> str:
    """The default collection, or the only one: somebody may have renamed the default."""
    known = [collection.name for collection in services.library.collections(LOCAL_OWNER)]
    return known[0] if len(known) == 1 else DEFAULT_COLLECTION
