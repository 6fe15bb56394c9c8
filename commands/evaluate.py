"""The command that measures: how well the documents are found, and answered, for questions whose answers are known."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from commands.terminal import AsJson, emit, err, open_services, out, progress_bar, progress_bars
from errors import ConfigurationError
from evaluation.figures import MEASURES, figures
from evaluation.files import ReadSet, read
from evaluation.metrics import Figures
from evaluation.runs import Configuration
from rag.documents.library import DEFAULT_COLLECTION
from rag.index.search import read_options
from rag.schema import LOCAL_OWNER, Fusion
from services import Services

app = typer.Typer()

STEPS = "words", "dense", "fusion", "phrases", "gate", "names", "merge", "neighbours", "distinct", "reranker"
"""The options that are steps of retrieval; one that is not given is as the settings have it."""


@app.command()
def evaluate(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Questions: CSV, or JSON lines; see docs/evaluating.md.")],
    collection: Annotated[
        list[str] | None, typer.Option(help="A collection to search; may be given several times.")
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Search all collections.")] = False,
    k: Annotated[int | None, typer.Option(min=1, max=50, help="Passages that the model gets.")] = None,
    words: Annotated[bool | None, typer.Option("--words/--no-words", help="Search by words.")] = None,
    dense: Annotated[bool | None, typer.Option("--dense/--no-dense", help="Search by vectors.")] = None,
    fusion: Annotated[Fusion | None, typer.Option(help="How the two become one order.")] = None,
    phrases: Annotated[bool | None, typer.Option("--phrases/--no-phrases", help="Neighbouring words count.")] = None,
    gate: Annotated[bool | None, typer.Option("--gate/--no-gate", help="Words count as far as they cover.")] = None,
    names: Annotated[bool | None, typer.Option("--names/--no-names", help="Named documents count more.")] = None,
    merge: Annotated[bool | None, typer.Option("--merge/--no-merge", help="Join found chunks side by side.")] = None,
    neighbours: Annotated[int | None, typer.Option(min=0, help="Chunks joined on each side.")] = None,
    distinct: Annotated[bool | None, typer.Option("--distinct/--no-distinct", help="Drop near-copies.")] = None,
    reranker: Annotated[str | None, typer.Option(help="A CrossEncoder, by id or path; “” for none.")] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Generate answers, and measure them too.")] = False,
    strict: Annotated[bool | None, typer.Option("--strict/--no-strict", help="Answer from the documents only.")] = None,
    backend: Annotated[str | None, typer.Option(help="Who answers.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name or path.")] = None,
    save: Annotated[str | None, typer.Option(help="Keep questions and figures under this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how well the documents are found for the questions of a file; exit 1 if it could not be measured."""
    with open_services(as_json) as services:
        brought = _read(file)
        for problem in brought.problems if not as_json else ():
            err.print(str(problem), style="yellow", markup=False)
        given = {step: context.params[step] for step in STEPS if context.params[step] is not None}
        settings, searched = services.settings, () if everywhere else tuple(collection or [DEFAULT_COLLECTION])
        usual = Configuration("", searched, settings.passages, services.searching.options, settings.strict)
        chosen = backend or settings.backend
        wanted = replace(
            usual,
            k=k or usual.k,
            options=read_options(asdict(usual.options) | given),
            strict=usual.strict if strict is None else strict,
            backend=chosen if answers else "",
            model=(model or services.models.default(LOCAL_OWNER, chosen)) if answers else "",
        )
        _measure(services, brought, replace(wanted, name=wanted.described(usual)), save, as_json)


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
    with progress_bars(quiet=as_json) as progress, progress_bar(progress, "Asking") as advance:
        results = evaluations.measure(
            LOCAL_OWNER, asked, configuration, lambda done: advance(done / max(1, len(asked)))
        )
    run = None
    if save:
        kept = evaluations.sets.put(LOCAL_OWNER, save, brought.questions)
        run = evaluations.runs.add(LOCAL_OWNER, kept.id, configuration, results)
    measured = run.figures if run else figures(results, configuration.k)
    if as_json:
        value: dict[str, Any] = {
            "questions": len(results),
            "out_of_scope": sum(result.out_of_scope for result in results),
            "left_out": [asdict(problem) for problem in brought.problems],
            "configuration": configuration.as_dict(),
            "figures": {name: asdict(figure) for name, figure in measured.items()},
            "results": [asdict(result) for result in results],
            "saved": run.id if run else None,
        }
        emit(value)
        return
    out.print(_table(measured))
    out.print(", ".join(f"{name}: {value}" for name, value in configuration.choices.items()), style="dim", markup=False)
    if run:
        out.print(f"Kept in “{save}” as “{configuration.name}”: the Evaluate page shows it.", markup=False)


def _table(measured: Figures) -> Table:
    table = Table("figure", "value (95 % interval)", Column("questions", justify="right"), box=None)
    for name, figure in measured.items():
        table.add_row(MEASURES[name].label, MEASURES[name].shown(figure), str(figure.n))
    return table
