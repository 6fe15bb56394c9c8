"""Measure quoted answers: how often what is shown holds the answer, and what choosing it costs. Prints JSON lines.

    python -m bench.quotes --data DIR [--questions 200] [--skip 0] [--half 0|1]
                                                 SQuAD, DIR/squad/squad-v2.0-dev-part.json: so many answerable and as
                                                 many unanswerable questions; weights were set on half 0
    python -m bench.quotes [--facts tests/samples_facts.jsonl]          40 facts of the samples

Retrieval is the application's own (top 4 passages), with a temporary data folder and the embedded models. Each question
is asked by words alone and with cosines, and cut to one, two and three quotes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.answers import Fact, file_name, holds, ingest, read_facts, read_squad
from options import RetrievalOptions
from rag.chat.quotes import Quotes, Similarity, choose
from rag.documents.library import DEFAULT_COLLECTION
from rag.index.passages import Hits
from rag.index.sentence_vectors import SentenceVectors
from rag.schema import LOCAL_OWNER, Passage
from services import Services
from services.documents import sample_files
from settings import ROOT, Settings

PASSAGES = 4


def read_all(file: Path, half: int | None) -> tuple[list[Fact], list[Fact]]:
    """SQuAD's answerable and unanswerable questions; of every second article if `half` is 0 or 1."""
    answerable, unanswerable = list[Fact](), list[Fact]()
    for at, article in enumerate(json.loads(file.read_text("utf-8"))["data"]):
        if half is not None and at % 2 != half:
            continue
        for number, paragraph in enumerate(article["paragraphs"], 1):
            name = file_name(article["title"], number)
            for qa in paragraph["qas"]:
                golds = tuple(dict.fromkeys(answer["text"] for answer in qa["answers"]))
                if qa.get("is_impossible"):
                    unanswerable.append(Fact(qa["id"], qa["question"], (), name))
                elif golds:
                    answerable.append(Fact(qa["id"], qa["question"], golds, name))
    return answerable, unanswerable


def spaced(facts: Sequence[Fact], questions: int, skip: int) -> list[Fact]:
    step = len(facts) / questions
    return [facts[int(n * step) + skip] for n in range(questions)]


def retrieved(services: Services, facts: Sequence[Fact]) -> Iterator[tuple[Fact, tuple[Passage, ...]]]:
    collection = services.library.collection(LOCAL_OWNER, DEFAULT_COLLECTION)
    retriever = services.search.retriever(LOCAL_OWNER, [collection.id], RetrievalOptions(), k=PASSAGES)
    for fact in facts:
        hits = retriever.invoke(fact.question)
        assert isinstance(hits, Hits)
        yield fact, hits.retrieval.passages


def row(fact: Fact, passages: Sequence[Passage], found: Quotes, wall: float, cpu: float) -> dict[str, Any]:
    def is_gold(passage: Passage) -> bool:
        return (passage.document, passage.page) == (fact.document, fact.page)

    texts = [passages[quote.number - 1].text[quote.start : quote.end] for quote in found.quotes]
    right = [holds(text, fact.golds) for text in texts]
    sourced = any(r and is_gold(passages[q.number - 1]) for r, q in zip(right, found.quotes, strict=True))
    bold = [(passages[q.number - 1].text[start:end]) for q in found.quotes for start, end in q.bold]
    return {
        "id": fact.id,
        "question": fact.question,
        "wanted": fact.golds,
        "found": any(is_gold(p) and holds(p.text, fact.golds) for p in passages),
        "r1": bool(passages) and is_gold(passages[0]),
        "shown": texts,
        "characters": sum(map(len, texts)),
        "right": right,
        "first_is_gold": bool(found.quotes) and is_gold(passages[found.quotes[0].number - 1]),
        "sourced": sourced,
        "bold": bold,
        "bold_right": any(holds(b, fact.golds) or any(holds(gold, [b]) for gold in fact.golds) for b in bold),
        "doubtful": found.doubtful,
        "score": found.quotes[0].score if found.quotes else None,
        "wall": wall,
        "cpu": cpu,
    }


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    known = [r for r in rows if r["wanted"]]
    unknown = [r for r in rows if not r["wanted"]]
    right = [r for r in known if any(r["right"])]
    bold = [r for r in known if r["bold"]]

    def share(flags: Sequence[bool]) -> float | None:
        return round(statistics.fmean(flags), 3) if flags else None

    return {
        "questions": len(known),
        "found": share([r["found"] for r in known]),
        "r1": share([r["r1"] for r in known]),
        **{f"right_{n}": share([any(r["right"][:n]) for r in known]) for n in (1, 2, 3)},
        "quotes": round(statistics.fmean(len(r["shown"]) for r in rows), 2),
        "characters": round(statistics.fmean(r["characters"] for r in rows)),
        "first_is_gold": share([r["first_is_gold"] for r in known]),
        "sourced_of_right": share([r["sourced"] for r in right]),
        "bold": share([bool(r["bold"]) for r in known]),
        "bold_precision": share([r["bold_right"] for r in bold]),
        "doubtful": share([r["doubtful"] for r in known]),
        "doubtful_unanswerable": share([r["doubtful"] for r in unknown]),
        "wall_ms_p50": round(1000 * statistics.median(r["wall"] for r in rows)),
        "wall_ms_max": round(1000 * max(r["wall"] for r in rows)),
        "cpu_ms": round(1000 * statistics.fmean(r["cpu"] for r in rows)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=Path, default=ROOT / "tests" / "samples_facts.jsonl")
    parser.add_argument("--data", type=Path, help="ask SQuAD's questions instead")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--skip", type=int, default=0, help="start at a later question")
    parser.add_argument("--half", type=int, choices=(0, 1), help="ask about every second article only")
    parser.add_argument("--rows", action="store_true", help="print a line for each question too")
    options = parser.parse_args()
    texts: dict[str, Any] = {path.name: path.read_bytes() for path in sample_files()}
    facts = [fact for fact in read_facts(options.facts) if fact.golds]
    if options.data:
        squad = options.data / "squad" / "squad-v2.0-dev-part.json"
        texts, _ = read_squad(squad, 1)
        facts = [f for kind in read_all(squad, options.half) for f in spaced(kind, options.questions, options.skip)]
    with tempfile.TemporaryDirectory() as folder:
        services = Services(Settings(data_dir=Path(folder)))
        services.ingest.start()
        ingest(services, texts)
        kinds: dict[str, Similarity | None]
        kinds = {"words": None, "cosine": SentenceVectors(services.embeddings.get())}
        rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
        for fact, passages in retrieved(services, facts):
            for kind, similarity in kinds.items():
                wall, cpu = time.perf_counter(), time.process_time()
                found = choose(fact.question, passages, similarity)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                rows[kind].append(row(fact, passages, found, wall, cpu))
                if options.rows:
                    print(json.dumps({"by": kind, **rows[kind][-1]}, ensure_ascii=False), flush=True)
        services.close()
    for kind, asked in rows.items():
        print(json.dumps({"by": kind, **totals(asked)}))


if __name__ == "__main__":
    main()
