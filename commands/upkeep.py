"""The commands that look after the data folder: check, backup and restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import services as root
from commands.terminal import AsJson, emit, handle_errors, open_services, out, progress_bar, progress_bars
from rag.backup import Manifest
from services import Services
from settings import get_settings

app = typer.Typer()


@app.command()
def check(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found.")] = False, as_json: AsJson = False
) -> None:
    """Look whether database, vectors, words and originals agree; exit 1 if something was found and not repaired.

    --repair removes what belongs to nothing, and puts documents that lack something back into the queue: the app reads
    them when it runs, or `python cli.py ingest` does. A document whose original is gone is marked as failed.
    """
    with open_services(as_json) as services:
        found = _check(services, repair, as_json)
    raise typer.Exit(1 if found and not repair else 0)


def _check(services: Services, repair: bool, as_json: bool) -> int:
    findings = list(services.check())
    for finding in findings:
        done = finding.repair() if repair else ""
        if as_json:
            emit(
                {"kind": finding.kind, "count": finding.count, "text": finding.text, "collection": finding.collection,
                 "documents": [document.id for document in finding.documents], "repaired": repair, "done": done}
            )  # fmt: skip
        else:
            out.print(finding.text, style="yellow", markup=False)
            if done:
                out.print(f"  {done}", style="green", markup=False)
    if repair and not as_json and services.library.due():
        out.print("What waits in the queue is read by the app when it runs, or now by: python cli.py ingest")
    if not findings and not as_json:
        out.print("All is well: database, vectors, words and originals agree.", style="green")
    return len(findings)


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="The ZIP file to write.")], as_json: AsJson = False) -> None:
    """Write documents, conversations and indexes into one file, and read it again to be sure.

    Settings and keys (.env) are not in it, and the converted models neither: they are made again where they are needed.
    """
    with (
        open_services(as_json) as services,
        progress_bars(quiet=as_json) as progress,
        progress_bar(progress, "Backing up") as advance,
    ):
        _tell(services.backup(file, advance), f"{file} is written", as_json)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the data folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the data folder from a backup; nothing is touched before all of the file has proved sound.

    The library is checked afterwards; exit 1 if that finds anything.
    """
    with (
        handle_errors(as_json),
        progress_bars(quiet=as_json) as progress,
        progress_bar(progress, "Restoring") as advance,
    ):
        manifest = root.restore(get_settings(), file, advance, force=force)
    with open_services(as_json) as services:
        _tell(manifest, "Restored", as_json)
        same = services.counts() == manifest.counts
        found = _check(services, False, as_json)
        if not same:
            out.print("There is not as much as the backup says.", style="red")
    raise typer.Exit(0 if same and not found else 1)


def _tell(manifest: Manifest, what: str, as_json: bool) -> None:
    counts = manifest.counts
    vectors = sum(counts.vectors.values())
    if as_json:
        emit(
            {"documents": counts.documents, "chunks": counts.chunks, "vectors": vectors, "size": manifest.size,
             "files": len(manifest.members)}
        )  # fmt: skip
    else:
        out.print(
            f"{what}: {counts.documents:,} documents, {counts.chunks:,} chunks, {vectors:,} vectors, "
            f"{manifest.size / 1e6:,.1f} MB unpacked.",
            markup=False,
        )
