"""Ask every question of the samples and count: passages found, right citations, right answers, refusals.

    python bench/answers.py [--facts tests/samples_facts.jsonl] [--model NAME]

Prints a JSON line a question and one with the totals. Uses a data folder of its own; the embedded models by default.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from rag.schema import LOCAL_OWNER, DocumentState, Finished, Message
from services import Ask, Services, sample_files
from settings import ROOT, Settings


def ask(services: Services, question: str, model: str | None) -> Message:
    _, turn = services.ask(LOCAL_OWNER, Ask(question, model=model))
    *_, last = turn.follow()
    assert isinstance(last, Finished)
    return last.message


def judge(fact: dict[str, Any], message: Message) -> dict[str, Any]:
    places = [(c.document, c.page) for c in message.citations]
    wanted = fact.get("document"), fact.get("page")
    return {
        "id": fact["id"],
        "question": fact["question"],
        "wanted": fact.get("answer"),
        "answer": message.text,
        "finish": message.finish.value,
        "refused": message.refused,
        "found": any(
            (p.document, p.page) == wanted and fact.get("answer", "\0") in p.text.replace("\n", " ")
            for p in message.passages
        ),
        "cited": wanted in places,
        "span": any(fact.get("answer", "\0") in " ".join(c.quote.split()) for c in message.citations),
        "right": fact.get("answer", "\0").casefold() in message.text.casefold(),
        "first_token_s": message.timings.first_token_s,
        "tokens_per_s": round(
            message.usage.output_tokens / max(1e-3, message.timings.total_s - (message.timings.first_token_s or 0)), 1
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=Path, default=ROOT / "tests" / "samples_facts.jsonl")
    parser.add_argument("--model")
    options = parser.parse_args()
    facts = [json.loads(line) for line in options.facts.read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        services = Services(Settings(data_dir=Path(os.environ.get("GESTALT_DATA_DIR", folder))))
        services.add_samples(LOCAL_OWNER)
        for owner, document in services.library.in_state(DocumentState.PENDING):
            services.ingest.process(owner, document.id)
        assert services.ready_documents(LOCAL_OWNER, services.library.collection(LOCAL_OWNER).id) >= len(sample_files())
        ask(services, "Warm up: who founded the company?", options.model)
        started = time.perf_counter(), time.process_time()
        rows = [judge(fact, ask(services, fact["question"], options.model)) for fact in facts]
        wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
        services.close()
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    known = [row for row in rows if row["wanted"]]
    foreign = [row for row in rows if not row["wanted"]]
    spoken = [row for row in rows if not row["refused"]]
    firsts = sorted(row["first_token_s"] for row in spoken if row["first_token_s"])
    total = {key: sum(row[key] for row in known) for key in ("found", "cited", "span", "right", "refused")}
    print(
        json.dumps(
            {
                "questions": len(known),
                **total,
                "foreign": len(foreign),
                "foreign_refused": sum(row["refused"] for row in foreign),
                "first_token_s_p50": firsts[len(firsts) // 2],
                "tokens_per_s_p50": sorted(row["tokens_per_s"] for row in spoken)[len(spoken) // 2],
                "wall_s": round(wall, 1),
                "cpu_s": round(cpu, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
