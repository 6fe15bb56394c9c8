"""Gestalt from a shell: the same services as the pages. With --json each command prints JSON lines for scripts.

python cli.py ingest report.pdf notes/
python cli.py ask "How long is the pier?"
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict

import typer

from commands import ask, evaluate, files, library, terminal, upkeep
from commands.terminal import AsJson, fields, handle_errors, print_error
from errors import AppError
from settings import get_settings

log = logging.getLogger(__name__)
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(ask.app)
app.add_typer(evaluate.app)
app.add_typer(files.app)
app.add_typer(library.app)
app.add_typer(upkeep.app)


@app.command()
def backends(as_json: AsJson = False) -> None:
    """Check the backends of the environment, for three seconds at most; the library is not opened."""
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
