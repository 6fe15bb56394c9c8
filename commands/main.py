"""Gestalt from a shell: the same services as the pages. With --json each command prints JSON lines for scripts.

python cli.py ingest report.pdf notes/
python cli.py ask "How long is the pier?"
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.progress import track
from rich.spinner import Spinner

from commands import evaluate, files, library, terminal, upkeep
from commands.terminal import AsJson, emit, err, fields, handle_errors, open_services, out, print_error
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


def _answer(message: Message) -> dict[str, Any]:
    return {
        "answer": message.text,
        "finish": message.finish.value,
        "citations": [fields(each, "n", "document", "page", "quote", "start", "end") for each in message.citations],
        "passages": [fields(each, "document", "page", "text", "score") for each in message.passages],
        "usage": asdict(message.usage),
        "timings": asdict(message.timings),
        **fields(message, "backend", "model", "abstained"),
        "refused": message.abstained,  # the same, for scripts that know this name
        "notes": list(message.notes),
        "error": message.error,
    }


@app.command()
def ask(
    question: str,
    collection: terminal.Collections = None,
    everywhere: terminal.Everywhere = False,
    backend: terminal.BackendName = None,
    model: terminal.ModelName = None,
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
        options = terminal.answer_options(
            services, collection, everywhere, backend=backend, model=model, fallback=fallback
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


def _waiting(services: Services, backend: str, model: str) -> Live:
    """Show on the terminal what the command waits for: a first question may load the model."""
    started, spinner = time.monotonic(), Spinner("dots", style="status.spinner")

    def draw() -> Spinner:
        progress = services.manager.status(backend, model).progress
        idle = "Searching" if time.monotonic() - started < 0.3 else "Thinking"
        spinner.update(text=escape(progress.text) if progress else idle)
        return spinner

    return Live(get_renderable=draw, console=err, refresh_per_second=12.5, transient=True)


def _follow(events: Iterator[Event], quiet: bool, waiting: AbstractContextManager[object]) -> Message:
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
    collection: terminal.Collections = None,
    everywhere: terminal.Everywhere = False,
    as_json: AsJson = False,
) -> None:
    """Show the passages for a question, or for every question of a file, without asking a model."""
    with open_services(as_json) as services:
        items = list(_read_questions(question, questions))
        options = terminal.answer_options(services, collection, everywhere, k=k)
        quiet = as_json or len(items) == 1
        for item in track(items, "Searching", console=err, disable=quiet, transient=True):
            found = services.searching.retrieve(LOCAL_OWNER, item["question"], options, history=item["history"])
            if as_json:
                keys = ("document", "page", "text", "score", "start", "end")
                passages = [fields(passage, *keys) for passage in found.passages]
                what = {"id": item.get("id"), "question": item["question"], "passages": passages}
                emit({**what, "refused": found.abstained, **fields(found, "abstained", "seconds")})
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
    items: list[Any] = [{"id": None, "question": question}]
    if questions is not None:
        try:
            items = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            message = f"{questions} cannot be read as JSON lines: {error}."
            raise ConfigurationError(message, 'One {"id", "question"} a line is expected.') from None
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("question"), str) or not item["question"].strip():
            raise ConfigurationError("A question is empty or missing.", 'Each line needs a "question" with text.')
        yield item | {"history": _earlier_questions(item.get("history"))}


def _earlier_questions(history: Any) -> list[str]:
    """The earlier questions, from a list of questions or of chat messages."""
    asked = []
    for entry in history if isinstance(history, list) else [history] if history else []:
        if not isinstance(entry, dict):
            asked.append(entry)
        elif entry.get("role") in ("user", "human"):
            asked.append(entry.get("content"))
    if not all(isinstance(question, str) for question in asked):
        form = 'It is a list of questions or of {"role", "content"}.'
        raise ConfigurationError("The history of a question cannot be read.", form)
    return asked


@app.command()
def backends(as_json: AsJson = False) -> None:
    """Check all backends, for three seconds at most; the library is not opened."""
    from backends.checks import check_all
    from backends.manager import ModelManager

    with handle_errors(as_json):
        checks = check_all(ModelManager(get_settings()).backends(), timeout=3.0)
    with terminal.listing(as_json, "backend", "state", "models", "what to do") as add:
        for backend, models, error, seconds, _ in checks:
            state, can = "error" if error else "ready", backend.capabilities
            value = {
                **fields(backend, "name", "label"), "place": backend.location, "state": state,
                "models": [model.name for model in models],
                "capabilities": {**asdict(can), "options": sorted(can.options)}, "seconds": round(seconds, 3),
                "error": terminal.as_dict(error) if error else None,
            }  # fmt: skip
            add(value, backend.label, state, ", ".join(model.label for model in models), str(error or ""))


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
