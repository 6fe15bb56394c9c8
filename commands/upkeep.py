"""Commands for maintaining the data folder: check, backup and restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import services as root
from commands.terminal import AsJson, emit, handle_errors, open_services, out, print_result, single_bar
from rag.backup import Manifest
from services import Services
from settings import get_settings

app = typer.Typer()


@app.command()
def check(
    repair: Annotated[bool, typer.Option("--repair", help="Repair the problems found.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that database, vectors, words and originals agree; exit 1 if something is wrong and was not repaired.

    --repair removes orphans and queues incomplete documents again, for the running app or `python cli.py ingest`. A
    document whose original is missing is marked as failed.
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
        out.print("The queue is read by the running app, or now by: python cli.py ingest")
    if not findings and not as_json:
        out.print("All is well: database, vectors, words and originals agree.", style="green")
    return len(findings)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The ZIP file to write.")],
    with_keys: Annotated[bool, typer.Option("--with-keys", help="Include what opens the keys of servers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Back up documents, conversations and indexes to one file, and verify it.

    Settings (.env) are not included, nor are converted models, which are converted again when needed. Keys of servers
    that were typed on the page have to be typed again where it is restored, unless it is made with --with-keys.
    """
    with open_services(as_json) as services, single_bar("Backing up", quiet=as_json) as advance:
        _print_manifest(services.backup(file, advance, with_keys=with_keys), f"{file} is written", as_json)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the contents of the data folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Restore the data folder from a backup, after verifying all of the file.

    Checks the library afterwards; exit 1 if something is wrong.
    """
    with handle_errors(as_json), single_bar("Restoring", quiet=as_json) as advance:
        manifest = root.restore(get_settings(), file, advance, force=force)
    with open_services(as_json) as services:
        _print_manifest(manifest, "Restored", as_json)
        complete = services.counts() == manifest.counts
        found = _check(services, False, as_json)
        if not complete:
            out.print("The data folder has less than the backup lists.", style="red")
    raise typer.Exit(0 if complete and not found else 1)


def _print_manifest(manifest: Manifest, what: str, as_json: bool) -> None:
    vectors = sum(manifest.counts.vectors.values())
    counts = {"documents": manifest.counts.documents, "chunks": manifest.counts.chunks, "vectors": vectors}
    listed = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    sentence = f"{what}: {listed}, {manifest.size / 1e6:,.1f} MB unpacked."
    print_result({**counts, "size": manifest.size, "files": len(manifest.members)}, sentence, as_json)
