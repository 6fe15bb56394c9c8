"""Retrieval and abstention over question sets, with baselines in the same run.

    python -m bench.evaluate --data DIR [--only squad,mtrag_un] [--folder build/eval] [--options '{"neighbours": 1}']

Each set becomes a library through the same services as the pages; `bench/evaluation_sets.py` describes DIR. Prints JSON
lines, then a Markdown table. The libraries stay in the folder for later runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import evaluation_sets as sets
from bench.evaluation_sets import Asked, QuestionSet
from evaluation.metrics import column, figure
from options import AnswerOptions, Fusion, RetrievalOptions
from rag.schema import LOCAL_OWNER, Passage, Retrieval
from services import Services

OURS = "Gestalt"
K = 5
PLAIN = RetrievalOptions(phrases=False, filename_boost=False, merge=False)
BASELINES = {
    "BM25": PLAIN.replace(dense=False),
    "dense": PLAIN.replace(lexical=False),
    "RRF": PLAIN.replace(fusion=Fusion.RANKS),
}
STEPS = {
    "without phrases": RetrievalOptions(phrases=False),
    "without the gate": RetrievalOptions(lexical_gate=False),
    "without names": RetrievalOptions(filename_boost=False),
    "without joining": RetrievalOptions(merge=False),
    "without history": RetrievalOptions(history=False),
    "a neighbour": RetrievalOptions(neighbours=1),
}
"""The default without one step, or with one that is off by default."""
OUT_OF_SCOPE = 150
"""Questions of each other set asked as out-of-scope ones."""
WITH_FILINGS = ("sec_10q", "chunking_eval")
"""Sets with companies' filings: their questions about these are not out of scope for each other."""
ENGLISH = ("squad", "mtrag_un", "chunking_eval", "sec_10q")
LANGUAGES = ("es", "de", "ar", "zh")
SETS: dict[str, Callable[[Path], QuestionSet]] = {
    "squad": sets.squad,
    "mtrag_un": sets.mtrag,
    "chunking_eval": sets.chunking,
    "sec_10q": sets.sec,
    **{f"xquad_{language}": partial(sets.xquad, language) for language in LANGUAGES},
}


def emit(**figures: Any) -> dict[str, Any]:
    """Print a JSON line."""
    row = {name: round(v, 4) if isinstance(v, float) else v for name, v in figures.items()}
    print(json.dumps(row, ensure_ascii=False), flush=True)
    return row


def recall(asked: Asked, passages: Sequence[Passage]) -> float:
    """Share of the gold documents among the documents of `passages`."""
    return len(asked.documents & {passage.document for passage in passages}) / len(asked.documents)


def overlap(asked: Asked, passages: Sequence[Passage]) -> tuple[float, float, float]:
    """Recall, precision and intersection over union of the gold characters and those of `passages`.

    As in https://research.trychroma.com/evaluating-chunking: text in two passages is found once and read twice.
    """
    gold = {(document, at) for document, start, end in asked.spans for at in range(start, end)}
    found = {(p.document, at) for p in passages for at in range(p.start, p.end)}
    read = sum(p.end - p.start for p in passages)
    held = len(gold & found)
    return held / len(gold), held / max(1, read), held / max(1, len(gold) + read - held)


def mean(values: Sequence[float]) -> dict[str, float]:
    """The mean with its 95 % interval."""
    found = figure(column(values))
    assert found is not None
    return {"value": found.value, "low": found.low, "high": found.high}


def figures_of(found: Sequence[tuple[Asked, Retrieval]]) -> Iterator[tuple[str, dict[str, float]]]:
    """The figures of a set, by name."""
    if found[0][0].spans:
        shares = np.array([overlap(asked, retrieval.passages[:K]) for asked, retrieval in found])
        for n, name in enumerate(("recall@5", "precision@5", "IoU@5")):
            yield name, mean(shares[:, n].tolist())
        return
    if len(found[0][0].documents) == 1 and all(len(asked.documents) == 1 for asked, _ in found):
        yield "R@1", mean([recall(asked, retrieval.passages[:1]) for asked, retrieval in found])
    yield "R@5", mean([recall(asked, retrieval.passages[:K]) for asked, retrieval in found])
    yield "hit@5", mean([float(recall(asked, retrieval.passages[:K]) > 0) for asked, retrieval in found])


def measure(services: Services, found: QuestionSet, system: str, options: RetrievalOptions) -> list[dict[str, Any]]:
    """Ask all questions of a set; emit and return a row per figure."""
    answer = AnswerOptions(k=K, retrieval=options)
    started = time.process_time()
    retrievals = [
        (asked, services.searching.retrieve(LOCAL_OWNER, asked.question, answer, history=asked.history))
        for asked in found.questions
    ]
    cpu = (time.process_time() - started) / len(retrievals)
    seconds = sorted(retrieval.seconds for _, retrieval in retrievals)
    rows = [
        emit(set=found.name, system=system, figure=name, questions=len(retrievals), **values)
        for name, values in figures_of(retrievals)
    ]
    abstained = mean([float(retrieval.abstained) for _, retrieval in retrievals])
    rows.append(emit(set=found.name, system=system, figure="abstained", questions=len(retrievals), **abstained))
    emit(
        set=found.name,
        system=system,
        cpu_ms=1000 * cpu,
        p50_ms=1000 * seconds[len(seconds) // 2],
        p95_ms=1000 * seconds[int(len(seconds) * 0.95)],
    )
    return rows


def same_field(found: QuestionSet, other: QuestionSet, asked: Asked) -> bool:
    """Whether a question of another set is about filings, like documents of this one."""
    about_filings = other.name == "sec_10q" or "finance.md" in asked.documents
    return about_filings and found.name in WITH_FILINGS


def abstentions(services: Services, found: QuestionSet, others: Sequence[QuestionSet]) -> list[dict[str, Any]]:
    """Abstentions for unanswerable questions of the set itself and for those of other sets."""
    asked = {"unanswerable": found.unanswerable[:: max(1, len(found.unanswerable) // OUT_OF_SCOPE)]}
    for other in others:
        if other.name != found.name:
            questions = other.questions[:: max(1, len(other.questions) // OUT_OF_SCOPE)]
            asked[f"questions of {other.name}"] = tuple(q for q in questions if not same_field(found, other, q))
            asked[f"questions of {other.name}, same field"] = tuple(q for q in questions if same_field(found, other, q))
    rows = []
    for what, questions in asked.items():
        if questions:
            abstained = [
                float(
                    services.searching.retrieve(LOCAL_OWNER, q.question, AnswerOptions(), history=q.history).abstained
                )
                for q in questions
            ]
            figure = f"abstained {what}"
            rows.append(emit(set=found.name, system=OURS, figure=figure, questions=len(abstained), **mean(abstained)))
    collection = services.library.collection(LOCAL_OWNER)
    calibration = services.search.calibrations.load(LOCAL_OWNER, collection.id, collection.fingerprint)
    if rates := calibration.error_rates():
        emit(set=found.name, calibrated_refused=rates.false_abstentions, calibrated_let_through=rates.false_answers)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures of all systems as a Markdown table."""
    systems = list(dict.fromkeys(row["system"] for row in rows))
    lines = [f"| set | figure | {' | '.join(systems)} |", "|---" * (len(systems) + 2) + "|"]
    for key in dict.fromkeys((row["set"], row["figure"]) for row in rows):
        found = {row["system"]: row for row in rows if (row["set"], row["figure"]) == key}
        cells = [f"{found[s]['value']:.3f}" if s in found else "" for s in systems]
        lines.append(f"| {key[0]} | {key[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--folder", type=Path, default=Path("build/eval"))
    parser.add_argument("--options", default="", help="retrieval options as JSON, measured in addition")
    parser.add_argument("--chunk-tokens", type=int)
    parser.add_argument("--chunk-overlap", type=int)
    parser.add_argument("--steps", action="store_true", help="ablate each step instead of measuring the baselines")
    parser.add_argument("--every", type=int, default=1, help="ask each n-th question of a set only")
    arguments = parser.parse_args()
    systems = {OURS: RetrievalOptions()} | (STEPS if arguments.steps else BASELINES)
    if arguments.options:
        systems[arguments.options] = RetrievalOptions().replace(**json.loads(arguments.options))
    cut = {"chunk_tokens": arguments.chunk_tokens, "chunk_overlap": arguments.chunk_overlap}
    settings = {name: value for name, value in cut.items() if value is not None}
    rows = []
    others = [SETS[name](arguments.data) for name in ENGLISH]
    for name in arguments.only.split(","):
        found = SETS[name](arguments.data)
        folder = arguments.folder / "-".join([name, *(str(value) for value in settings.values())])
        with sets.library(found, folder, **settings) as services:
            asked = replace(found, questions=found.questions[:: arguments.every])
            for system, options in systems.items():
                rows += measure(services, asked, system, options)
            if not arguments.steps:
                rows += abstentions(services, found, others)
    print(table(rows))


if __name__ == "__main__":
    main()
