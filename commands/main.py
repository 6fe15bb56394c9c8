"""Gestalt from a shell: the same services as the pages. With --json each command prints JSON lines for scripts.

python cli.py ingest report.pdf notes/
python cli.py ask "How long is the pier?"
"""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from commands import evaluate, files, library, upkeep
from commands.terminal import AsJson, as_dict, emit, err, handle_errors, open_services, out, print_error, searched
from errors import AppError, ConfigurationError
from rag.chat.question import Question
from rag.schema import LOCAL_OWNER, Citation, Delta, Event, Finish, Finished, Message, Passage
from services import Services
from settings import get_settings

log = logging.getLogger(__name__)
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(evaluate.app)
app.add_typer(files.app)
app.add_typer(library.app)
app.add_typer(upkeep.app)

Collections = Annotated[
    list[str] | None, typer.Option("--collection", help="A collection to search; may be given several times.")
]
Everywhere = Annotated[bool, typer.Option("--all", help="Search all collections.")]


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
        "abstained": message.abstained,
        "refused": message.abstained,  # the same, for scripts that know this name
        "notes": list(message.notes),
        "error": message.error,
    }


@app.command()
def ask(
    question: str,
    collection: Collections = None,
    everywhere: Everywhere = False,
    backend: Annotated[str | None, typer.Option(help="The backend.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name or path.")] = None,
    fallback: Annotated[str | None, typer.Option(help="The backend that answers if the first cannot.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question from the documents; exit 1 unless the answer is complete."""
    blank: dict[str, Any] = {
        "answer": "", "finish": "failed", "citations": [], "passages": [],
        "usage": {"input_tokens": 0, "output_tokens": 0},
        "timings": {"retrieve_s": 0.0, "first_token_s": None, "total_s": 0.0},
        "backend": backend, "model": model,
    }  # fmt: skip
    with open_services(as_json, blank) as services:
        chosen = {"backend": backend, "model": model, "fallback": fallback}
        options = services.settings.answer.replace(
            collection_ids=searched(services, collection, everywhere),
            **{name: value for name, value in chosen.items() if value is not None},
        )
        started, turn = services.asking.ask(LOCAL_OWNER, Question(question, options))
        waiting = nullcontext() if as_json else _waiting(services, started.backend, started.model)
        try:
            message = _follow(turn.follow(), as_json, waiting)
        except KeyboardInterrupt:
            services.turns.cancel(LOCAL_OWNER, started.id)
            message = _follow(turn.follow(), True, nullcontext())
        if as_json:
            emit(_answer(message))
        else:
            _print_sources(message)
        raise typer.Exit(0 if message.finish is Finish.COMPLETE else 1)


@contextmanager
def _waiting(services: Services, backend: str, model: str) -> Iterator[None]:
    """Show on the terminal what the command waits for: a first question may load the model."""
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
        print_error(AppError(message.error["message"], message.error["hint"]))
    for citation in message.citations:
        out.print(f"[{citation.n}] {_place(citation)}: “{' '.join(citation.quote.split())}”", style="dim", markup=False)
    for note in message.notes:
        out.print(note, style="yellow", markup=False)


@app.command()
def retrieve(
    question: Annotated[str | None, typer.Argument()] = None,
    questions: Annotated[Path | None, typer.Option(help='JSON lines {"id", "question", "history": []}.')] = None,
    k: Annotated[int | None, typer.Option(min=1, max=50, help="Passages a question.")] = None,
    collection: Collections = None,
    everywhere: Everywhere = False,
    as_json: AsJson = False,
) -> None:
    """Show the passages for a question, or for every question of a file, without asking a model."""
    with open_services(as_json) as services:
        items = list(_read_questions(question, questions))
        ids = searched(services, collection, everywhere)
        options = services.settings.answer.replace(collection_ids=ids)
        options = options.replace(k=k) if k else options
        quiet = as_json or len(items) == 1
        for item in track(items, "Searching", console=err, disable=quiet, transient=True):
            found = services.searching.retrieve(LOCAL_OWNER, item["question"], options, history=item["history"])
            if as_json:
                keys = ("document", "page", "text", "score", "start", "end")
                passages = [{key: getattr(p, key) for key in keys} for p in found.passages]
                emit(
                    {"id": item.get("id"), "question": item["question"], "passages": passages,
                     "abstained": found.abstained, "refused": found.abstained, "seconds": found.seconds}
                )  # fmt: skip
                continue
            out.print(f"{item['question']}", style="bold", markup=False)
            if found.abstained:
                out.print("The documents do not seem to answer this.", style="yellow")
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
    """The earlier questions, from a list of questions or of chat messages."""
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
    """Check all backends, for three seconds at most; the library is not opened."""
    from backends.manager import ModelManager

    with handle_errors(as_json):
        checks = ModelManager(get_settings()).check_all(timeout=3.0)
    table = Table("backend", "state", "models", "what to do", box=None)
    for check in checks:
        state = "error" if check.error else "ready"
        if as_json:
            can = check.backend.capabilities
            emit(
                {"name": check.backend.name, "label": check.backend.label, "place": check.backend.location,
                 "state": state, "models": [model.name for model in check.models],
                 "capabilities": {**asdict(can), "options": sorted(can.options)}, "seconds": round(check.seconds, 3),
                 "error": as_dict(check.error) if check.error else None}
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
        print_error(error)
        raise SystemExit(1) from None
    try:
        app()
    except Exception:
        log.debug("A bug", exc_info=True)
        print_error(AppError("Something went wrong inside Gestalt.", "GESTALT_LOG_LEVEL=DEBUG shows where."))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
