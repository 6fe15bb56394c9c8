"""The command that measures retrieval and answers with questions whose answers are known."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.table import Column, Table

from commands import terminal
from commands.terminal import AsJson, emit, err, open_services, out
from errors import ConfigurationError
from evaluation.figures import MEASURES, figures
from evaluation.files import ReadSet, read
from evaluation.runs import Configuration
from rag.schema import LOCAL_OWNER
from services import Services

app = typer.Typer()


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="Questions: CSV, or JSON lines; see docs/evaluating.md.")],
    collection: terminal.Collections = None,
    everywhere: terminal.Everywhere = False,
    k: Annotated[int | None, typer.Option(min=1, max=50, help="Passages that the model gets.")] = None,
    retrieval: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP=VALUE", help="A step of retrieval: dense=false, neighbours=1; several times."),
    ] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Generate answers, and measure them too.")] = False,
    strict: Annotated[bool | None, typer.Option("--strict/--no-strict", help="Answer from the documents only.")] = None,
    backend: terminal.BackendName = None,
    model: terminal.ModelName = None,
    save: Annotated[str | None, typer.Option(help="Save questions and figures under this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how well documents are found for the questions of a file; exit 1 if that fails."""
    with open_services(as_json) as services:
        brought = _read(file)
        for problem in brought.problems if not as_json else ():
            err.print(str(problem), style="yellow", markup=False)
        steps = services.settings.answer.retrieval.replace(**_steps(retrieval or []))
        chosen = {"k": k, "strict": strict, "backend": backend, "model": model, "retrieval": steps}
        usual = terminal.answer_options(services, collection, everywhere)
        wanted = terminal.answer_options(services, collection, everywhere, **chosen)
        if answers and not wanted.model:
            wanted = wanted.replace(model=services.models.default(LOCAL_OWNER, wanted.backend))
        names = {each.id: each.name for each in services.library.collections(LOCAL_OWNER)}
        configuration = Configuration("", wanted, answers)
        configuration = replace(configuration, name=configuration.described(Configuration("", usual), names))
        _measure(services, brought, configuration, save, as_json)


def _steps(given: list[str]) -> dict[str, str]:
    """The options of `NAME=VALUE`."""
    pairs = [each.partition("=") for each in given]
    if wrong := [name for name, is_, _ in pairs if not is_]:
        raise ConfigurationError(f"The step “{wrong[0]}” has no value.", "Write it as NAME=VALUE, e.g. neighbours=1.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _read(file: Path) -> ReadSet:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from None
    return read(file.name, content)


def _measure(
    services: Services, brought: ReadSet, configuration: Configuration, save: str | None, as_json: bool
) -> None:
    evaluations, asked = services.evaluations, [question for question in brought.questions if question.use]
    with terminal.single_bar("Asking", quiet=as_json) as advance:
        step = 1 / max(1, len(asked))
        results = evaluations.measure(LOCAL_OWNER, asked, configuration, lambda done: advance(done * step))
    run = None
    if save:
        kept = evaluations.sets.put(LOCAL_OWNER, save, brought.questions)
        run = evaluations.runs.add(LOCAL_OWNER, kept.id, configuration, results)
    measured = run.figures if run else figures(results, configuration.options.k)
    if as_json:
        emit({
            "questions": len(results),
            "out_of_scope": sum(result.out_of_scope for result in results),
            "left_out": [asdict(problem) for problem in brought.problems],
            "configuration": TypeAdapter(Configuration).dump_python(configuration, mode="json"),
            "figures": {name: asdict(figure) for name, figure in measured.items()},
            "results": [asdict(result) for result in results],
            "saved": run.id if run else None,
        })  # fmt: skip
        return
    table = Table("figure", "value (95 % interval)", Column("questions", justify="right"), box=None)
    for name, figure in measured.items():
        table.add_row(MEASURES[name].label, MEASURES[name].shown(figure), str(figure.n))
    out.print(table)
    names = {each.id: each.name for each in services.library.collections(LOCAL_OWNER)}
    choices = configuration.choices(names).items()
    out.print(", ".join(f"{name}: {value}" for name, value in choices), style="dim", markup=False)
    if run:
        out.print(f"Kept in “{save}” as “{configuration.name}”: the Evaluate page shows it.", markup=False)
