"""Ingest a folder of files and report each outcome: `python -m bench.corpus --data FOLDER`.

Each file is ingested like an upload, with the same limits. Prints a table row per file, then totals and peak memory.
`--texts DIR` saves the extracted texts. Files of NLTK's corpus `udhr` name their encoding, which is checked.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

from errors import AppError
from rag.documents.ingest import needs_password
from rag.documents.library import Submitted
from rag.documents.text import clean
from rag.schema import LOCAL_OWNER, DocumentState
from services import Services
from settings import Settings

# From the README of the data.
PASSWORDS = {
    "libreoffice-writer-password.pdf": "openpassword",
    "password.pdf": "password",
    "print_protection.pdf": "password",
    "bug53475-password-is-pass.docx": "pass",
    "bug53475-password-is-solrcell.docx": "solrcell",
}
UDHR = re.compile(r"udhr\..*-(\w+)\.txt")
# Some names are imprecise; these were checked.
ENCODINGS = {
    "Latin1": "cp1252",
    "Latin2": "cp1250",
    "Cyrillic": "cp1251",
    "Turkish": "cp1254",
    "Baltic": "iso8859-4",
    "EUC": "euc-jp",
    "UTF8": "utf-8",
    "VIQR": "cp1258",
}
FAILURES = {"crash": ("crashed", "inside Gestalt"), "limit": ("too long to read", "more memory")}
"""Phrases in the reason of a failure other than a rejection."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a file."""

    outcome: str
    """read | warning | duplicate | rejected | limit | crash | mojibake"""
    pages: int = 0
    empty: int = 0
    """Pages without text."""
    chunks: int = 0
    message: str = ""


class Corpus:
    """A library into which the files are ingested."""

    def __init__(self, folder: Path) -> None:
        self.services = Services(Settings(data_dir=folder))
        self._collection = self.services.library.collection(LOCAL_OWNER, create=True)

    def read(self, path: Path, texts: Path | None) -> Result:
        services = self.services
        try:
            document, how = services.ingest.submit(LOCAL_OWNER, self._collection.id, path.name, path)
        except AppError as error:
            return Result("rejected", message=str(error))
        if how is Submitted.DUPLICATE:
            return Result("duplicate", message=f"Same content as {document.name}.")
        done = services.ingest.process(LOCAL_OWNER, document.id)
        if done and needs_password(done) and path.name in PASSWORDS:
            services.ingest.retry(LOCAL_OWNER, document.id, PASSWORDS[path.name])
            done = services.ingest.process(LOCAL_OWNER, document.id)
        assert done
        if done.state is not DocumentState.READY:
            return Result(_failure(done.reason), message=done.reason)
        read = [services.library.page(LOCAL_OWNER, document.id, position) for position in range(done.pages)]
        pages = [page.text for page in read if page]
        if texts is not None:
            texts.joinpath(f"{path.parent.name}__{path.name}.txt").write_text("\f".join(pages), encoding="utf-8")
        outcome = "warning" if done.warnings else "read"
        if named := UDHR.fullmatch(path.name):
            expected = clean(path.read_text(ENCODINGS[named[1]], "replace"))
            outcome = outcome if expected.split() == "".join(pages).split() else "mojibake"
        return Result(
            outcome, done.pages, sum(not text.strip() for text in pages), done.chunks, " ".join(done.warnings)
        )


def _failure(reason: str) -> str:
    return next((kind for kind, words in FAILURES.items() if any(word in reason for word in words)), "rejected")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="folder for the extracted texts")
    options = parser.parse_args()
    if options.texts:
        options.texts.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in options.data.rglob("*") if path.is_file())
    counts = Counter[str]()
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(Path(folder))
        print("| file | outcome | pages | empty | chunks | seconds | message |\n" + "|---" * 7 + "|")
        for path in files:
            start = time.perf_counter()
            result = corpus.read(path, options.texts)
            seconds = time.perf_counter() - start
            counts[result.outcome] += 1
            name = path.relative_to(options.data)
            slowest = max(slowest, (seconds, str(name)))
            message = result.message.replace("|", "\\|").replace("\n", " ")
            cells = (name, result.outcome, result.pages, result.empty, result.chunks, f"{seconds:.1f}", message)
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        findings = [finding.text for finding in corpus.services.check()]
        corpus.services.close()
    print(f"\n{len(files)} files: " + ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common()))
    print(f"Slowest: {slowest[1]}, {slowest[0]:.1f} s. The server's own process holds ", end="")
    print(f"{psutil.Process(os.getpid()).memory_info().rss / 1e6:.0f} MB. Drift: {' '.join(findings) or 'none'}")


if __name__ == "__main__":
    main()
