"""What the loaders make of a folder of files: `python -m bench.corpus --data FOLDER`.

Each file is read in a process of its own with limits of time and memory. Prints a table, the counts and a JSON line a
file; `--texts DIR` keeps what was read.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 60
MEMORY = 1500 * 2**20
# From the README of the data: what is read with its password counts as read.
PASSWORDS = {
    "libreoffice-writer-password.pdf": "openpassword",
    "password.pdf": "password",
    "print_protection.pdf": "password",
    "bug53475-password-is-pass.docx": "pass",
    "bug53475-password-is-solrcell.docx": "solrcell",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one file."""

    file: str
    outcome: str
    """read | warning | refused | crashed | timeout"""
    pages: int = 0
    empty: int = 0
    """Pages without text."""
    characters: int = 0
    replaced: int = 0
    """Signs that stand for what could not be decoded."""
    seconds: float = 0.0
    reason: str = ""


def read(path: Path, password: str | None, texts: Path | None, name: str) -> dict[str, object]:
    """Load one file in this process."""
    from errors import DocumentError
    from rag.documents.loaders import load

    try:
        reading = load(path, path.name, password=password)
    except DocumentError as error:
        return {"outcome": "refused", "reason": f"{type(error).__name__}: {error}"}
    text = "\n".join(f"--- {page.number} {page.label}\n{page.text}" for page in reading.pages)
    if texts is not None:
        texts.joinpath(name.replace("/", "__") + ".txt").write_text(text)
    return {
        "outcome": "warning" if reading.warnings else "read",
        "pages": len(reading.pages),
        "empty": sum(not page.text.strip() for page in reading.pages),
        "characters": sum(len(page.text) for page in reading.pages),
        "replaced": sum(page.text.count("\ufffd") for page in reading.pages),
        "reason": " ".join(reading.warnings),
    }


def guarded(path: Path, name: str, texts: Path | None, password: str | None) -> Result:
    """Load one file in a process with limits; what it prints beside its result counts as a crash."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    command = [sys.executable, "-m", "bench.corpus", "--file", str(path), "--name", name]
    command += ["--texts", str(texts)] if texts else []
    command += ["--password", password] if password else []
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            timeout=SECONDS,
            preexec_fn=limit,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return Result(name, "timeout", seconds=SECONDS, reason=f"over {SECONDS} s")
    seconds = round(time.perf_counter() - start, 2)
    printed = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    try:
        assert done.returncode == 0
        return Result(name, seconds=seconds, **json.loads(printed))
    except (AssertionError, ValueError):
        return Result(name, "crashed", seconds=seconds, reason=f"exit {done.returncode}: {printed[-300:]}")


def show(results: Sequence[Result]) -> None:
    """The table, the counts and the JSON lines."""
    for one in results:
        print(
            f"{one.outcome:8} {one.pages:5} {one.empty:4} {one.characters:8} {one.replaced:4} {one.seconds:6.1f}  "
            f"{one.file}  {one.reason}"
        )
    print(dict(Counter(one.outcome for one in results)), f"{len(results)} files")
    for one in results:
        print(json.dumps(asdict(one), ensure_ascii=False))


def main() -> None:
    """Read a folder, or in a process of its own one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--texts", type=Path, help="folder for the texts that were read")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", default="", help=argparse.SUPPRESS)
    parser.add_argument("--password", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    texts = asked.texts.resolve() if asked.texts else None
    if asked.file:
        print(json.dumps(read(asked.file, asked.password, texts, asked.name)))
        return
    if texts:
        texts.mkdir(parents=True, exist_ok=True)
    data = asked.data.resolve()
    files = sorted(path for path in data.rglob("*") if path.is_file())
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(guarded, path, str(path.relative_to(data)), texts, PASSWORDS.get(path.name)) for path in files
        ]
        show([job.result() for job in jobs])


if __name__ == "__main__":
    main()
