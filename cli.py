"""Gestalt from a shell: the same services as the pages. With --json each command prints JSON lines for scripts.

python cli.py ingest report.pdf notes/
python cli.py ask "How long is the pier?"
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table

from errors import AppError, ConfigurationError
from rag.documents.library import DEFAULT_COLLECTION
from rag.schema import LOCAL_OWNER, Citation, Delta, DocumentState, Event, Finish, Finished, Message, Passage
from services import Ask, Services
from settings import get_settings

log = logging.getLogger(__name__)
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]
Collection = Annotated[str, typer.Option(help="The collection of documents.")]


def _emit(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _error(error: AppError) -> dict[str, str]:
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


@contextmanager
def _services(as_json: bool, failure: dict[str, Any] | None = None) -> Iterator[Services]:
    """The services, closed at the end; an AppError ends the command with exit 1 and one sentence.

    With --json the sentence is the `error` of an object that has the keys of `failure` beside it.
    """
    try:
        services = Services(get_settings())
        try:
            yield services
        finally:
            services.close()
    except AppError as error:
        if as_json:
            _emit({**(failure or {}), "error": _error(error)})
        else:
            _say(error)
        raise typer.Exit(1) from None


def _say(error: AppError) -> None:
    # Not as markup: a name in brackets would vanish.
    err.print(error.message, style="red", markup=False)
    err.print(error.hint, markup=False)


def _files(paths: list[Path]) -> Iterator[tuple[str, Path]]:
    """`(path relative to what was named, file)`; folders are walked in order, hidden files left out."""
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                relative = file.relative_to(path)
                if file.is_file() and not any(part.startswith(".") for part in relative.parts):
                    yield relative.as_posix(), file
        else:
            yield path.name, path


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    collection: Collection = DEFAULT_COLLECTION,
    as_json: AsJson = False,
) -> None:
    """Put files into the library; exit 1 if any of them failed."""
    failed = False
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=err,
        disable=as_json,
        transient=True,
    )
    with _services(as_json) as services, bars:
        target = services.library.collection(LOCAL_OWNER, collection, create=True)
        for name, file in _files(paths):
            task = bars.add_task(escape(name), total=1.0)
            result = _ingest_one(services, target.id, name, file, lambda done, t=task: bars.update(t, completed=done))
            bars.remove_task(task)
            failed |= result["status"] == "failed"
            if as_json:
                _emit(result)
            else:
                colour = {"ready": "green", "failed": "red", "duplicate": "yellow"}[result["status"]]
                detail = result["reason"] or f"{result['pages']} pages, {result['chunks']} chunks"
                out.print(f"[{colour}]{result['status']:>9}[/{colour}]  {escape(name)}  [dim]{escape(detail)}[/dim]")
    raise typer.Exit(1 if failed else 0)


def _ingest_one(services: Services, collection_id: str, name: str, file: Path, report: Any) -> dict[str, Any]:
    blank: dict[str, Any] = {"file": name, "status": "failed", "pages": 0, "chunks": 0, "seconds": 0.0, "reason": ""}
    try:
        if not file.is_file():
            raise ConfigurationError(f"There is no file {file}.", "Check the path.")
        document, duplicate = services.ingest.submit(LOCAL_OWNER, collection_id, name, file)
    except AppError as error:
        return blank | {"reason": str(error)}
    except OSError as error:
        return blank | {"reason": f"“{name}” cannot be read: {error.strerror}. Check its permissions."}
    if not duplicate or document.state is not DocumentState.READY:
        # A duplicate that a killed process left in the queue is taken through here.
        document = services.ingest.process(LOCAL_OWNER, document.id, report) or document
    status = "duplicate" if duplicate and document.state is DocumentState.READY else document.state.value
    return {
        "file": name,
        "status": status,
        "pages": document.pages,
        "chunks": document.chunks,
        "seconds": document.seconds,
        "reason": "This content is already in the collection." if status == "duplicate" else document.reason,
    }


def _citation(citation: Citation) -> dict[str, Any]:
    keys = ("n", "document", "page", "quote", "start", "end")
    return {key: getattr(citation, key) for key in keys}


def _answer(message: Message) -> dict[str, Any]:
    return {
        "answer": message.text,
        "finish": message.finish.value,
        "citations": [_citation(citation) for citation in message.citations],
        "passages": [
            {"document": p.document, "page": p.page, "text": p.text, "score": p.score} for p in message.passages
        ],
        "usage": asdict(message.usage),
        "timings": asdict(message.timings),
        "backend": message.backend,
        "model": message.model,
        "refused": message.refused,
        "notes": list(message.notes),
        "error": message.error,
    }


@app.command()
def ask(
    question: str,
    collection: Collection = DEFAULT_COLLECTION,
    backend: Annotated[str | None, typer.Option(help="Who answers.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name or path.")] = None,
    fallback: Annotated[str | None, typer.Option(help="Who answers where the first cannot begin to.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question from the documents; exit 1 unless the answer is complete."""
    blank: dict[str, Any] = {
        "answer": "", "finish": "failed", "citations": [], "passages": [],
        "usage": {"input_tokens": 0, "output_tokens": 0},
        "timings": {"retrieve_s": 0.0, "first_token_s": None, "total_s": 0.0},
        "backend": backend, "model": model,
    }  # fmt: skip
    with _services(as_json, blank) as services:
        request = Ask(question, collection=collection, backend=backend, model=model, fallback=fallback)
        started, turn = services.ask(LOCAL_OWNER, request)
        waiting = nullcontext() if as_json else _waiting(services, started.backend, started.model)
        try:
            message = _follow(turn.follow(), as_json, waiting)
        except KeyboardInterrupt:
            services.turns.cancel(LOCAL_OWNER, started.id)
            message = _follow(turn.follow(), True, nullcontext())
        if as_json:
            _emit(_answer(message))
        else:
            _print_sources(message)
        raise typer.Exit(0 if message.finish is Finish.COMPLETE else 1)


@contextmanager
def _waiting(services: Services, backend: str, model: str) -> Iterator[None]:
    """Say on the terminal what is being waited for: a first question may have to load the model."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.3):
            progress = services.manager.status(backend, model).progress
            shown.update(escape(progress.text) if progress else "Thinking")

    with err.status("Searching") as shown:
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _follow(events: Iterator[Event], quiet: bool, waiting: AbstractContextManager[None]) -> Message:
    with ExitStack() as stack:
        stack.enter_context(waiting)
        for event in events:
            if isinstance(event, Delta | Finished):
                stack.close()
            if isinstance(event, Finished):
                return event.message
            if isinstance(event, Delta) and not quiet:
                out.print(event.text, end="", markup=False)
    raise AssertionError("a turn always ends with Finished")


def _place(item: Passage | Citation) -> str:
    return f"{item.document}, page {item.page}" if item.page else item.document


def _print_sources(message: Message) -> None:
    out.print("\n")
    if message.error:
        _say(AppError(message.error["message"], message.error["hint"]))
    for citation in message.citations:
        out.print(f"[{citation.n}] {_place(citation)}: “{' '.join(citation.quote.split())}”", style="dim", markup=False)
    for note in message.notes:
        out.print(note, style="yellow", markup=False)


@app.command()
def retrieve(
    question: Annotated[str | None, typer.Argument()] = None,
    questions: Annotated[Path | None, typer.Option(help='JSON lines {"id", "question", "history": []}.')] = None,
    k: Annotated[int | None, typer.Option(min=1, max=50, help="Passages a question.")] = None,
    collection: Collection = DEFAULT_COLLECTION,
    as_json: AsJson = False,
) -> None:
    """Show the passages for a question, or for every question of a file, without asking a model."""
    with _services(as_json) as services:
        items = list(_read_questions(question, questions))
        quiet = as_json or len(items) == 1
        for item in track(items, "Searching", console=err, disable=quiet, transient=True):
            asked = item["history"]
            found = services.retrieve(LOCAL_OWNER, item["question"], history=asked, k=k, collection=collection)
            if as_json:
                keys = ("document", "page", "text", "score", "start", "end")
                passages = [{key: getattr(p, key) for key in keys} for p in found.passages]
                _emit(
                    {"id": item.get("id"), "question": item["question"], "passages": passages,
                     "refused": found.refused, "seconds": found.seconds}
                )  # fmt: skip
                continue
            out.print(f"{item['question']}", style="bold", markup=False)
            if found.refused:
                out.print("Nothing close enough: the documents seem not to answer this.", style="yellow")
            for number, passage in enumerate(found.passages, 1):
                out.print(f"[{number}] {_place(passage)}  score {passage.score:.2f}", style="cyan", markup=False)
                out.print(" ".join(passage.text.split()) + "\n", markup=False)


def _read_questions(question: str | None, questions: Path | None) -> Iterator[dict[str, Any]]:
    if (question is None) == (questions is None):
        raise ConfigurationError("Give one question, or a file with --questions.", "See: python cli.py retrieve --help")
    if question is not None:
        items: list[Any] = [{"id": None, "question": question}]
    else:
        assert questions is not None
        try:
            items = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{questions} cannot be read as JSON lines: {error}.", 'One {"id", "question"} a line is expected.'
            ) from None
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("question"), str) or not item["question"].strip():
            raise ConfigurationError("A question is empty or missing.", 'Each line needs a "question" with text.')
        yield item | {"history": _earlier_questions(item.get("history"))}


def _earlier_questions(history: Any) -> list[str]:
    """What the person asked before, from a list of questions or of chat messages."""
    asked = []
    for entry in history if isinstance(history, list) else [history] if history else []:
        if isinstance(entry, dict) and entry.get("role") in ("user", "human"):
            entry = entry.get("content")
        elif isinstance(entry, dict):
            continue
        if not isinstance(entry, str):
            raise ConfigurationError(
                "The history of a question cannot be read.", 'It is a list of questions or of {"role", "content"}.'
            )
        asked.append(entry)
    return asked


@app.command()
def backends(as_json: AsJson = False) -> None:
    """Check all backends side by side, three seconds each at most; the library is not touched."""
    from backends.manager import ModelManager

    try:
        checks = ModelManager(get_settings()).check_all(timeout=3.0)
    except AppError as error:
        if as_json:
            _emit({"error": _error(error)})
        else:
            _say(error)
        raise typer.Exit(1) from None
    table = Table("backend", "state", "models", "what to do", box=None)
    for check in checks:
        state = "error" if check.error else "ready"
        if as_json:
            can = check.backend.capabilities
            _emit(
                {"name": check.backend.name, "label": check.backend.label, "place": check.backend.place, "state": state,
                 "models": [model.name for model in check.models],
                 "capabilities": {**asdict(can), "options": sorted(can.options)}, "seconds": round(check.seconds, 3),
                 "error": _error(check.error) if check.error else None}
            )  # fmt: skip
        else:
            names = ", ".join(model.label for model in check.models)
            table.add_row(check.backend.label, state, escape(names), escape(str(check.error or "")))
    if not as_json:
        out.print(table)


def main() -> None:
    """Run the command line with the libraries' warnings kept off the terminal."""
    warnings.simplefilter("ignore")
    try:
        logging.basicConfig(level=get_settings().log_level, format="%(levelname)s %(name)s: %(message)s")
    except AppError as error:
        _say(error)
        raise SystemExit(1) from None
    try:
        app()
    except Exception:
        log.debug("A bug", exc_info=True)
        _say(AppError("Something went wrong inside Gestalt.", "GESTALT_LOG_LEVEL=DEBUG shows where."))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
