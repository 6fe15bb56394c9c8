"""Ingestion, compared with a plain LangChain + Chroma pipeline (`bench/baseline.py`), as JSON lines and a table.

    python -m bench.ingest [--data DIR] [--rounds 2]     500 PDF pages in 10 files, and 500 small texts
    python -m bench.ingest --long 100000 --real 10000    one library that grows: cost by stage, latency of retrieval

Each run is a fresh process, and the two alternate, so that other load affects both. Measures the CPU seconds of all
threads and child processes, with and without the start (imports, weights, one small file). DIR holds SQuAD's
development part (`squad/squad-v2.0-dev-part.json`): its paragraphs are the texts, and its questions measure retrieval
quality. Without it both are generated from the embedding model's vocabulary.

OpenMP's threads spin while they wait, which costs CPU time on a busy machine; Gestalt turns that off. For the strictest
comparison, set GOMP_SPINCOUNT=1000 to turn it off for the baseline too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from sqlalchemy import select

from accelerator import thread_count
from bench.baseline import Baseline, Place
from options import AnswerOptions
from rag.db import ChunkRow, DocumentRow
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.schema import LOCAL_OWNER, DocumentState
from services import Services
from settings import ROOT, Settings

PAGES, FILES, TEXTS, QUESTIONS = 500, 10, 500, 600
WORKLOADS = {"pdf": f"{PAGES} PDF pages in {FILES} files", "texts": f"{TEXTS} small texts"}
MARKS = (10_000, 50_000, 100_000)


# --- documents and questions ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its answer, and the number of the paragraph with the answer."""

    question: str
    answer: str
    paragraph: int


def read_squad(path: Path) -> tuple[list[str], list[Asked]]:
    """Return paragraphs and the questions that they answer."""
    paragraphs: list[str] = []
    asked: list[Asked] = []
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            asked += (
                Asked(question["question"], question["answers"][0]["text"], len(paragraphs))
                for question in paragraph["qas"]
                if question["answers"]
            )
            paragraphs.append(paragraph["context"])
    return paragraphs, asked


def invent(paragraphs: int) -> tuple[list[str], list[Asked]]:
    """Return paragraphs of random known words, each with a fact and a question about it."""
    vocabulary = (embedded_folder() / "vocab.txt").read_text("utf-8").split()
    words = [word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 2]
    chance = random.Random(0)
    texts, asked = [], []
    for number in range(paragraphs):
        place, keeper = (" ".join(chance.sample(words, 2)).title() for _ in range(2))
        needle = f"The keeper of {place} is called {keeper}."
        others = [" ".join(chance.sample(words, chance.randint(8, 18))).capitalize() + "." for _ in range(8)]
        others.insert(chance.randint(0, 8), needle)
        texts.append(" ".join(others))
        asked.append(Asked(f"Who is the keeper of {place}?", keeper, number))
    return texts, asked


def material(data: Path | None) -> tuple[list[str], list[Asked]]:
    return read_squad(data / "squad/squad-v2.0-dev-part.json") if data else invent(720)


def write_pdf(path: Path, pages: Sequence[Sequence[str]]) -> None:
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=A4)
    for paragraphs in pages:
        text = canvas.beginText(50, A4[1] - 50)
        text.setFont("Helvetica", 10)
        for paragraph in paragraphs:
            text.textLines([*textwrap.wrap(paragraph, 100), ""])
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()


def write_workload(folder: Path, name: str, data: Path | None) -> None:
    """Write the files, and `questions.json` with rows of question, answer and place."""
    paragraphs, asked = material(data)
    files = folder / "files"
    files.mkdir(parents=True)
    places: list[Place] = []
    if name == "pdf":
        pages: list[list[str]] = [[] for _ in range(PAGES)]
        for number, paragraph in enumerate(paragraphs):
            page = number * PAGES // len(paragraphs)
            pages[page].append(paragraph)
            places.append((f"{page * FILES // PAGES:02}.pdf", page % (PAGES // FILES) + 1))
        for number in range(FILES):
            write_pdf(files / f"{number:02}.pdf", pages[number * PAGES // FILES : (number + 1) * PAGES // FILES])
    else:
        for number, paragraph in enumerate(paragraphs[:TEXTS]):
            places.append((f"{number:03}.txt", None))
            (files / places[-1][0]).write_text(paragraph, encoding="utf-8")
    known = [(each.question, each.answer, places[each.paragraph]) for each in asked if each.paragraph < len(places)]
    (folder / "questions.json").write_text(json.dumps(known[:: max(1, len(known) // QUESTIONS)]))


# --- the two pipelines ----------------------------------------------------------------------------------------------


class Pipeline(Protocol):
    """The interface of both pipelines."""

    def ingest(self, files: Sequence[Path]) -> int: ...
    def search(self, question: str, k: int) -> list[tuple[Place, str]]: ...
    def close(self) -> None: ...


class Gestalt:
    """The real services, driven like the application's worker."""

    def __init__(self, folder: Path, embeddings: EmbeddingModel | None = None) -> None:
        self.services = Services(
            Settings(data_dir=folder, device="cpu"), open_embeddings=(lambda _: embeddings) if embeddings else None
        )
        self.collection = self.services.library.collection(LOCAL_OWNER, create=True)

    def ingest(self, files: Sequence[Path]) -> int:
        ingest, library = self.services.ingest, self.services.library
        waiting = [ingest.submit(LOCAL_OWNER, self.collection.id, file.name, file)[0].id for file in files]
        while ingest.process_next():
            pass
        done = {d.id: d for d in library.documents(LOCAL_OWNER, self.collection.id)}
        if lost := [done[id_] for id_ in waiting if done[id_].state is not DocumentState.READY]:
            raise SystemExit(f"not indexed: {lost}")
        return sum(done[id_].chunks for id_ in waiting)

    def search(self, question: str, k: int) -> list[tuple[Place, str]]:
        found = self.services.searching.retrieve(LOCAL_OWNER, question, AnswerOptions(k=k))
        return [((passage.document, passage.page), passage.text) for passage in found.passages]

    def search_vectors(self, question: str, k: int) -> list[tuple[Place, str]]:
        """Search by vectors only, like the baseline."""
        model = self.services.embeddings.get()
        near = self.services.store.search(self.collection.id, model.fingerprint, model.embed_query(question), k)
        ids = [id_ for id_, _ in near]
        query = select(ChunkRow, DocumentRow.name).join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
        with self.services.database.session() as session:
            rows = {row.chunk_id: (row, name) for row, name in session.execute(query.where(ChunkRow.chunk_id.in_(ids)))}
        return [((name, row.page), row.text) for row, name in map(rows.__getitem__, ids)]

    def close(self) -> None:
        self.services.close()


# --- measuring ------------------------------------------------------------------------------------------------------


def children_cpu() -> float:
    """Return the CPU seconds of child processes, running or ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return float(ended.ru_utime + ended.ru_stime + sum(times.user + times.system for times in living))


class Stages:
    """CPU seconds by stage, of functions wrapped by `watch`; nested stages are not counted twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = 0.0

    def watch(self, owner: Any, name: str, stage: str) -> None:
        inside = getattr(owner, name)

        @wraps(inside)
        def timed(*arguments: Any, **named: Any) -> Any:
            before, outer, self._inner = time.process_time(), self._inner, 0.0
            try:
                return inside(*arguments, **named)
            finally:
                spent = time.process_time() - before
                self.seconds[stage] += spent - self._inner
                self._inner = outer + spent

        setattr(owner, name, timed)

    def watch_ingest(self) -> None:
        from rag.documents import indexing
        from rag.documents.ingest import Ingest
        from rag.documents.library import Library
        from rag.documents.parsers import Parsers
        from rag.index.collection import CollectionIndex
        from rag.index.store import VectorStore

        self.watch(Ingest, "submit", "submit")
        self.watch(Ingest, "process_next", "the books")
        self.watch(Library, "set_pages", "page rows")
        self.watch(Parsers, "read", "wait for the reader")
        self.watch(indexing, "split", "split")
        self.watch(EmbeddingModel, "spans", "tokenize to split")
        self.watch(EmbeddingModel, "embed_documents", "embed")
        self.watch(VectorStore, "add", "Chroma")
        self.watch(CollectionIndex, "add", "chunk rows and FTS5")


def quality(
    search: Callable[[str, int], list[tuple[Place, str]]], questions: Sequence[tuple[str, str, Place]]
) -> dict[str, float]:
    """R@1 and R@5: a passage of the right page, or file; hit@4: a passage with the answer."""
    first, fifth, hit = [], [], []
    for question, answer, place in questions:
        found = search(question, 5)
        right = [where == tuple(place) for where, _ in found]
        holds = [" ".join(answer.split()).casefold() in " ".join(text.split()).casefold() for _, text in found]
        first.append(right[:1] == [True])
        fifth.append(any(right))
        hit.append(any(a and b for a, b in zip(right[:4], holds, strict=False)))
    return {name: statistics.fmean(values) for name, values in (("hit4", hit), ("r1", first), ("r5", fifth))}


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        key: round(v, 3) if isinstance(v, float) else rounded(v) if isinstance(v, dict) else v
        for key, v in figures.items()
    }


def emit(figures: dict[str, Any]) -> None:
    print(json.dumps(rounded(figures)), flush=True)


def measure(who: str, work: Path, library: Path) -> dict[str, Any]:
    """One run, in this process."""
    stages = Stages()
    if who == "gestalt":
        stages.watch_ingest()
    warm_up = library / "warm up.txt"
    warm_up.write_text("A first small file, so that what is loaded once is loaded.", encoding="utf-8")
    pipeline: Pipeline = (Gestalt if who == "gestalt" else Baseline)(library)
    pipeline.ingest([warm_up])
    start, children, wall = time.process_time(), children_cpu(), time.perf_counter()
    stages.seconds.clear()
    chunks = pipeline.ingest(sorted((work / "files").iterdir()))
    cpu, read, wall = time.process_time() - start, children_cpu() - children, time.perf_counter() - wall
    figures: dict[str, Any] = {
        "chunks": chunks,
        "cpu_s": cpu + read,
        "start_cpu_s": start + children,
        "wall_s": wall,
        "stages": {**stages.seconds, "read, in a process": read},
    }
    questions = json.loads((work / "questions.json").read_text())
    figures["questions"] = len(questions)
    figures |= quality(pipeline.search, questions)
    if isinstance(pipeline, Gestalt):
        figures["by_vectors"] = quality(pipeline.search_vectors, questions)
    pipeline.close()
    return figures


def in_a_process(who: str, work: Path) -> dict[str, Any]:
    """Run `measure` in a fresh process, and record the peak memory of it and its children."""
    with tempfile.TemporaryDirectory() as library, tempfile.TemporaryFile() as output:
        command = [sys.executable, "-m", "bench.ingest", "--measure", who, str(work), library]
        environment = {"OMP_NUM_THREADS": str(thread_count()), **os.environ, "PYTHONWARNINGS": "ignore"}
        child = psutil.Popen(command, cwd=ROOT, env=environment, stdout=output)
        peak = 0
        while child.poll() is None:
            peak = max(peak, resident(child))
            time.sleep(0.25)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} failed with {child.returncode}")
        output.seek(0)
        figures: dict[str, Any] = json.loads(output.read().splitlines()[-1])
    return {**figures, "peak_mb": peak / 1e6}


def resident(process: psutil.Process) -> int:
    try:
        return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def compare(data: Path | None, names: Sequence[str], rounds: int) -> None:
    runs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            work = Path(folder) / name
            write_workload(work, name, data)
            for _ in range(rounds):
                for who in ("gestalt", "baseline"):
                    figures = in_a_process(who, work)
                    runs[name, who].append(figures)
                    emit({"workload": name, "who": who, **figures})
    print_table(runs, names)


COLUMNS = ("chunks", "cpu_s", "start_cpu_s", "wall_s", "peak_mb", "hit4", "r1", "r5")


def print_table(runs: dict[tuple[str, str], list[dict[str, Any]]], names: Sequence[str]) -> None:
    """Print means over the rounds, and median ratios of neighbouring runs."""
    print("\n| workload | | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 2) + "|")
    for name in names:
        for who in ("gestalt", "baseline"):
            means = [statistics.fmean(run[column] for run in runs[name, who]) for column in COLUMNS]
            print(f"| {WORKLOADS[name]} | {who} | " + " | ".join(f"{mean:.4g}" for mean in means) + " |")
        pairs = list(zip(runs[name, "gestalt"], runs[name, "baseline"], strict=True))
        work = statistics.median(ours["cpu_s"] / theirs["cpu_s"] for ours, theirs in pairs)
        whole = statistics.median(
            (ours["cpu_s"] + ours["start_cpu_s"]) / (theirs["cpu_s"] + theirs["start_cpu_s"]) for ours, theirs in pairs
        )
        print(f"CPU seconds, ours / baseline: {work:.2f}; with the start: {whole:.2f}")


# --- a growing library ----------------------------------------------------------------------------------------------


class Jittered(EmbeddingModel):
    """The embedded model for the first `real` chunks; others get a perturbed vector of one of them."""

    def __init__(self, real: int) -> None:
        super().__init__(embedded_folder(), device="cpu")
        self.real = real
        self.known = np.empty((0, self.dimension))
        self._chance = np.random.default_rng(0)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if len(self.known) < self.real:
            vectors = super().embed_documents(texts)
            self.known = np.vstack([self.known, vectors])
            return vectors
        near = self.known[self._chance.integers(0, len(self.known), len(texts))]
        near += self._chance.normal(0, 0.03, near.shape)
        drawn: list[list[float]] = (near / np.linalg.norm(near, axis=1, keepdims=True)).tolist()
        return drawn


def documents(paragraphs: Sequence[str]) -> Iterator[str]:
    """Yield endless texts of 200 paragraphs: those given, then their sentences shuffled."""
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph.split(". ")]
    chance = random.Random(0)
    for number in count():
        fresh = list(paragraphs[200 * number : 200 * (number + 1)])
        # Five random sentences keep the frequencies of words.
        fresh += [". ".join(chance.sample(sentences, 5)) + "." for _ in range(200 - len(fresh))]
        yield "\n\n".join(fresh)


def grow(data: Path | None, chunks: int, real: int) -> None:
    """Ingest up to `chunks`; at each mark, report the cost since the last one and the latency of retrieval."""
    paragraphs, asked = material(data)
    questions = [each.question for each in asked[:: max(1, len(asked) // 200)]]
    stages = Stages()
    stages.watch_ingest()
    with tempfile.TemporaryDirectory() as folder:
        library, source = Path(folder) / "library", Path(folder) / "text.txt"
        library.mkdir()
        model = Jittered(real)
        gestalt = Gestalt(library, model)
        model.embed_query("Load the weights before the clock starts.")
        texts, there, before = documents(paragraphs), 0, 0
        cpu, wall = time.process_time() + children_cpu(), time.perf_counter()
        for mark in [*(mark for mark in MARKS if mark < chunks), chunks]:
            while there < mark:
                source.write_text(next(texts), encoding="utf-8")
                there += gestalt.ingest([source])
            spent, clock = time.process_time() + children_cpu() - cpu, time.perf_counter() - wall
            new = (there - before) / 1000
            emit(
                {
                    "chunks": there,
                    "really_embedded": len(model.known),
                    "cpu_s_per_1000_since": spent / new,
                    "wall_s_per_1000_since": clock / new,
                    "stages_per_1000_since": {stage: seconds / new for stage, seconds in stages.seconds.items()},
                    "disk_mb": sum(file.stat().st_size for file in library.rglob("*") if file.is_file()) / 1e6,
                    "resident_mb": psutil.Process().memory_info().rss / 1e6,
                    **latency(gestalt, questions),
                }
            )
            stages.seconds.clear()
            before, cpu, wall = there, time.process_time() + children_cpu(), time.perf_counter()
        gestalt.close()


def latency(gestalt: Gestalt, questions: Sequence[str]) -> dict[str, float]:
    """Milliseconds of `Services.retrieve` for four passages, the question's vector included.

    By the clock, and in CPU time: where the machine is busy with other things, the clock measures those.
    """
    for question in islice(questions, 20):
        gestalt.search(question, 4)
    wall, cpu = [], []
    for question in questions:
        started = time.perf_counter(), time.process_time()
        gestalt.search(question, 4)
        wall.append(1000 * (time.perf_counter() - started[0]))
        cpu.append(1000 * (time.process_time() - started[1]))
    return {
        f"retrieve_{what}_p{part}_ms": sorted(values)[len(values) * part // 100]
        for what, values in (("wall", wall), ("cpu", cpu))
        for part in (50, 95)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=WORKLOADS)
    parser.add_argument("--long", type=int, metavar="CHUNKS")
    parser.add_argument("--real", type=int, default=10_000, help="with --long: chunks that are really embedded")
    parser.add_argument("--measure", nargs=3, metavar=("WHO", "WORK", "LIBRARY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        who, work, library = options.measure
        emit(measure(who, Path(work), Path(library)))
    elif options.long:
        grow(options.data, options.long, options.real)
    else:
        compare(options.data, [options.only] if options.only else list(WORKLOADS), options.rounds)


if __name__ == "__main__":
    main()
