"""What the commands of the shell share: the consoles, JSON lines, the services, and the errors that end a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from errors import AppError
from rag.documents.library import DEFAULT_COLLECTION
from rag.schema import LOCAL_OWNER
from services import Services
from settings import get_settings

# Words are kept whole on a terminal; in a file or a pipe a sentence is one line.
out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
err = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


def emit(value: dict[str, Any]) -> None:
    """Print a JSON line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def as_dict(error: AppError) -> dict[str, str]:
    """An error as scripts get it."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


def print_error(error: AppError) -> None:
    """An error as people get it."""
    # Not as markup: a name in brackets would vanish.
    err.print(error.message, style="red", markup=False)
    err.print(error.hint, markup=False)


@contextmanager
def handle_errors(as_json: bool, failure: dict[str, Any] | None = None) -> Iterator[None]:
    """An AppError ends the command with exit 1 and one sentence.

    With --json the sentence is the `error` of an object that has the keys of `failure` beside it.
    """
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
    """The services, closed at the end; errors are `handle_errors`."""
    with handle_errors(as_json, failure):
        services = Services(get_settings())
        try:
            yield services
        finally:
            services.close()


def progress_bars(quiet: bool) -> Progress:
    """Progress progress_bars that leave nothing behind."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=err,
        disable=quiet or not err.is_terminal,
        transient=True,
    )


@contextmanager
def progress_bar(progress: Progress, name: str) -> Iterator[Callable[[float], None]]:
    """One progress_bar among them; what it gives takes the progress, 0 to 1."""
    task = progress.add_task(escape(name), total=1.0)
    try:
        yield lambda done: progress.update(task, completed=done)
    finally:
        progress.remove_task(task)


def searched(services: Services, collections: list[str] | None, everywhere: bool) -> tuple[str, ...] | None:
    """Ids of the collections to search; None for all.

    Raises:
        ConfigurationError: there is no collection of that name.
    """
    if everywhere:
        return None
    find = partial(services.library.collection, LOCAL_OWNER)
    return tuple(find(name, create=name == DEFAULT_COLLECTION).id for name in collections or [DEFAULT_COLLECTION])
