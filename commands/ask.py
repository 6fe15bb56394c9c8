"""Commands that search and ask: ask and retrieve, for one question or for a file of them."""

from __future__ import annotations

import json
import logging
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import track
from rich.spinner import Spinner
from rich.text import Text

from commands import terminal
from commands.terminal import AsJson, as_dict, emit, err, fields, open_services, out, print_error
from errors import AppError, ConfigurationError
from options import AnswerOptions, Answers
from rag.chat import export
from rag.chat.question import Question
from rag.chat.turns import Turn
from rag.db import now
from rag.index.passages import matches
from rag.schema import LOCAL_OWNER, Finish, Finished, Message, Role
from services import Services

log = logging.getLogger(__name__)
app = typer.Typer()

Asked = Annotated[str | None, typer.Argument(metavar="QUESTION")]
Questions = Annotated[Path | None, typer.Option(help='JSON lines {"id", "question", "history": []}.')]
_NOT_STARTED: dict[str, Any] = {
    "answer": "", "thoughts": "", "mode": None, "count": None, "finish": "failed",
    "checks": [], "citations": [], "passages": [],
    "usage": {"input_tokens": 0, "output_tokens": 0},
    "timings": {"retrieve_s": 0.0, "first_token_s": None, "total_s": 0.0},
}  # fmt: skip


@app.command()
def ask(
    question: Asked = None,
    questions: Questions = None,
    collection: terminal.Collections = None,
    everywhere: terminal.Everywhere = False,
    backend: terminal.BackendName = None,
    model: terminal.ModelName = None,
    fallback: Annotated[str | None, typer.Option(help="The backend that answers if the first cannot.")] = None,
    quoted: Annotated[bool, typer.Option("--quoted", help="Answer with sentences of the documents.")] = False,
    written: Annotated[bool, typer.Option("--written", help="Let the model write the answer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer a question from the documents, or every question of a file; exit 1 unless each answer is complete.

    A question is kept as a chat; those of a file are not.
    """
    blank = _NOT_STARTED | {"backend": backend, "model": model}
    with open_services(as_json, blank) as services:
        if quoted and written:
            raise ConfigurationError("An answer is either quoted or written.", "Give --quoted or --written.")
        answers = Answers.QUOTED if quoted else Answers.WRITTEN if written else None
        chosen = {"backend": backend, "model": model, "fallback": fallback, "answers": answers}
        asked = _read_questions(question, questions)
        options = terminal.answer_options(services, collection, everywhere, **chosen)
        if questions is None:
            complete = [_ask(services, Question(asked[0].text, options), as_json)]
        else:
            bar = track(asked, "Asking", console=err, disable=as_json, transient=True)
            complete = [_ask_of_file(services, each, options, blank, as_json) for each in bar]
    raise typer.Exit(0 if all(complete) else 1)


def _ask(services: Services, question: Question, as_json: bool) -> bool:
    """Ask in a new chat, showing on a terminal what is written; return whether the answer is complete."""
    started, turn = services.asking.ask(LOCAL_OWNER, question)
    with nullcontext() if as_json else _live(services, started, turn):
        try:
            message = _ended(turn)
        except KeyboardInterrupt:
            services.turns.cancel(LOCAL_OWNER, started.id)
            message = _ended(turn)
    if as_json:
        emit(_as_dict(message))
    else:
        _print_answer(message)
    return message.finish is Finish.COMPLETE


def _ended(turn: Turn) -> Message:
    *_, last = turn.follow()
    assert isinstance(last, Finished), "a turn always ends with Finished"
    return last.message


def _ask_of_file(
    services: Services, asked: _Asked, options: AnswerOptions, blank: dict[str, Any], as_json: bool
) -> bool:
    """Ask outside of any chat, whatever goes wrong; return whether the answer is complete."""
    if not as_json:
        out.print(asked.text, style="bold", markup=False)
    try:
        running = services.asking.answer(LOCAL_OWNER, Question(asked.text, options), asked.history)
        try:
            message = running.result()
        except KeyboardInterrupt:
            running.cancel()
            raise
    except Exception as error:
        if not isinstance(error, AppError):
            log.debug("A bug", exc_info=True)
            error = AppError("Something went wrong inside Gestalt.", "GESTALT_LOG_LEVEL=DEBUG shows where.")
        if as_json:
            emit(asked.names | blank | {"error": as_dict(error)})
        else:
            print_error(error)
        return False
    if as_json:
        emit(asked.names | _as_dict(message))
    else:
        _print_answer(message)
        out.print()
    return message.finish is Finish.COMPLETE


def _as_dict(message: Message) -> dict[str, Any]:
    return {
        "answer": message.text,
        "thoughts": message.thoughts,
        "mode": message.mode.value,
        "count": message.route.count if message.route else None,
        "finish": message.finish.value,
        "checks": export.checks(message),
        "citations": [fields(each, "n", "document", "page", "quote", "start", "end") for each in message.citations],
        "passages": [fields(each, "document", "page", "text", "score") for each in message.passages],
        "usage": asdict(message.usage),
        "timings": asdict(message.timings),
        **fields(message, "backend", "model", "abstained"),
        "refused": message.abstained,  # the same, for scripts that know this name
        "notes": list(message.notes),
        "error": message.error,
    }


def _print_answer(message: Message) -> None:
    out.print(export.plain(export.answer(replace(message, error=None))), markup=False)
    if message.error:
        print_error(AppError(message.error["message"], message.error["hint"]))


def _live(services: Services, message: Message, turn: Turn) -> Live:
    """Show on the terminal what is written, or waited for: a first question may load the model."""
    started, spinner = time.monotonic(), Spinner("dots", style="status.spinner")

    def draw() -> RenderableType:
        if written := turn.text:
            lines = Text(written).wrap(err, err.width)
            return Text("\n").join(lines[-max(1, err.height - 1) :])
        progress = services.manager.status(message.backend, message.model).progress
        idle = "Searching" if time.monotonic() - started < 0.3 else "Thinking"
        spinner.update(text=escape(progress.text) if progress else idle)
        return spinner

    return Live(get_renderable=draw, console=err, refresh_per_second=12.5, transient=True)


@app.command()
def retrieve(
    question: Asked = None,
    questions: Questions = None,
    k: Annotated[int | None, typer.Option(min=1, max=50, help="Passages a question.")] = None,
    collection: terminal.Collections = None,
    everywhere: terminal.Everywhere = False,
    as_json: AsJson = False,
) -> None:
    """Show the passages for a question, or for every question of a file, without asking a model."""
    with open_services(as_json) as services:
        asked = _read_questions(question, questions)
        options = terminal.answer_options(services, collection, everywhere, k=k)
        quiet = as_json or len(asked) == 1
        for each in track(asked, "Searching", console=err, disable=quiet, transient=True):
            earlier = [message.text for message in each.history if message.role is Role.USER]
            found = services.searching.retrieve(LOCAL_OWNER, each.text, options, history=earlier)
            if as_json:
                keys = ("document", "page", "text", "score", "start", "end")
                passages = [fields(passage, *keys) for passage in found.passages]
                refused = {"refused": found.abstained, **fields(found, "abstained", "seconds")}
                emit({**each.names, "passages": passages, **refused})
                continue
            out.print(each.text, style="bold", markup=False)
            if found.abstained:
                out.print("The documents do not seem to answer this.", style="yellow")
            for number, (passage, share) in enumerate(zip(found.passages, matches(found.passages), strict=True), 1):
                match = "" if found.abstained else "  best match" if share == 1 else f"  {share:.0%} of the best match"
                out.print(f"[{number}] {passage.place}{match}", style="cyan", markup=False)
                out.print(" ".join(passage.text.split()) + "\n", markup=False)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, and what was said before it."""

    text: str
    id: Any = None
    history: tuple[Message, ...] = ()

    @property
    def names(self) -> dict[str, Any]:
        """Which question a JSON line answers."""
        return {"id": self.id, "question": self.text}


def _read_questions(question: str | None, questions: Path | None) -> list[_Asked]:
    """The questions of a command. Raises ConfigurationError if one of them cannot be read."""
    if (question is None) == (questions is None):
        raise ConfigurationError("Give one question, or a file with --questions.", "See --help.")
    items: list[Any] = [{"question": question}]
    if questions is not None:
        try:
            items = [
                json.loads(line) for line in questions.read_text(encoding="utf-8-sig").splitlines() if line.strip()
            ]
        except (OSError, ValueError) as error:
            message = f"{questions} cannot be read as JSON lines: {error}."
            raise ConfigurationError(message, 'One {"id", "question"} a line is expected.') from None
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("question"), str) or not item["question"].strip():
            raise ConfigurationError("A question is empty or missing.", 'Each line needs a "question" with text.')
    return [_Asked(item["question"], item.get("id"), _history(item.get("history"))) for item in items]


def _history(given: Any) -> tuple[Message, ...]:
    """What was said before, from a list of questions or of chat messages."""
    roles = {"user": Role.USER, "human": Role.USER, "assistant": Role.ASSISTANT, "ai": Role.ASSISTANT}
    said: list[tuple[Role | None, Any]] = [
        (roles.get(str(entry.get("role"))), entry.get("content")) if isinstance(entry, dict) else (Role.USER, entry)
        for entry in (given if isinstance(given, list) else [given] if given else [])
    ]
    if not all(isinstance(text, str) for role, text in said if role):
        form = 'It is a list of questions or of {"role", "content"}.'
        raise ConfigurationError("The history of a question cannot be read.", form)
    return tuple(Message("", "", role, text, now()) for role, text in said if role)
