"""Ask questions with known answers; count passages found, right answers, right sources and abstentions, and time them.

    python -m bench.answers [--facts tests/samples_facts.jsonl]     40 facts of the samples, 8 out-of-scope questions
    python -m bench.answers --data DIR [--questions 100]            SQuAD: DIR/squad/squad-v2.0-dev-part.json

Questions go through the whole application, with a temporary data folder (or GESTALT_DATA_DIR) and the embedded models
unless `--backend` and `--model` name others. SQuAD's paragraphs are ingested as one text file each, its questions
evenly sampled from the answerable ones. Prints a JSON line per question and one with the totals.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import string
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errors import AppError
from options import AnswerOptions
from rag.chat.question import Question
from rag.documents.library import DEFAULT_COLLECTION
from rag.schema import LOCAL_OWNER, Check, DocumentState, Finished, Message, Verdict
from services import Services
from services.documents import sample_files
from settings import ROOT, Settings


@dataclass(frozen=True, slots=True)
class Fact:
    """A question and the place of its answer; out of scope without `golds`."""

    id: str
    question: str
    golds: tuple[str, ...] = ()
    """Accepted answers."""
    document: str | None = None
    page: int | None = None


def read_facts(file: Path) -> list[Fact]:
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [
        Fact(f["id"], f["question"], (f["answer"],) if f.get("answer") else (), f.get("document"), f.get("page"))
        for f in lines
    ]


def file_name(title: str, paragraph: int) -> str:
    """The file that has a paragraph of an article of SQuAD."""
    return re.sub(r"\W+", "_", title) + f"-{paragraph:02}.txt"


def read_squad(file: Path, questions: int, skip: int = 0) -> tuple[dict[str, str], list[Fact]]:
    """Paragraphs by file name, and `questions` of the answerable questions, evenly spaced from number `skip` on."""
    texts: dict[str, str] = {}
    facts: list[Fact] = []
    for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
        for number, paragraph in enumerate(article["paragraphs"], 1):
            name = file_name(article["title"], number)
            texts[name] = paragraph["context"]
            answers = (
                (qa, tuple(dict.fromkeys(answer["text"] for answer in qa["answers"]))) for qa in paragraph["qas"]
            )
            facts += [Fact(qa["id"], qa["question"], golds, name) for qa, golds in answers if golds]
    step = len(facts) / questions
    return texts, [facts[int(n * step) + skip] for n in range(questions)]


_PLAIN = str.maketrans(dict.fromkeys(string.punctuation + "“”‘’", "") | dict.fromkeys("-–—", " "))


def normal(text: str) -> str:
    """Normalise as SQuAD's evaluation does: no case, punctuation or articles; a space at both ends."""
    return f" {' '.join(word for word in text.casefold().translate(_PLAIN).split() if word not in ('a', 'an', 'the'))} "


def holds(text: str, golds: Sequence[str]) -> bool:
    return any(normal(gold) in normal(text) for gold in golds)


def judge(fact: Fact, message: Message) -> dict[str, Any]:
    def is_source(source: Any, text: str) -> bool:
        return (source.document, source.page) == (fact.document, fact.page) and holds(text, fact.golds)

    passages, generating = message.passages, message.timings.total_s - (message.timings.first_token_s or 0)
    cited = any(is_source(c, passages[c.n - 1].text) for c in message.citations)
    checked = [check for check in message.checks if check.verdict is not Verdict.NO_CLAIM]
    return {
        "id": fact.id,
        "question": fact.question,
        "wanted": fact.golds,
        "answer": message.text,
        "passages": [asdict(passage) for passage in passages],
        "finish": message.finish.value,
        "abstained": message.abstained,
        "found": any(is_source(p, p.text) for p in passages),
        "right": holds(message.text, fact.golds),
        "cited": cited,
        "sourced": cited or any(is_source(p, p.text) for p in passages[:1]),
        "span": any(holds(c.quote, fact.golds) for c in message.citations),
        "sentences": len(checked),
        "flagged": [_sentence(message, check) for check in checked if check.verdict is Verdict.UNSUPPORTED],
        "input_tokens": message.usage.input_tokens,
        "first_token_s": message.timings.first_token_s,
        "tokens_per_s": round(message.usage.output_tokens / max(1e-3, generating), 1),
    }


def _sentence(message: Message, check: Check) -> str:
    return message.text[check.start : check.end]


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    known = [row for row in rows if row["wanted"]]
    out_of_scope = [row for row in rows if not row["wanted"]]
    right = [row for row in known if row["right"]]
    wrong = [row for row in known if not row["right"] and not row["abstained"]]
    generated = [row for row in rows if not row["abstained"] and row["first_token_s"]]
    return {
        "questions": len(known),
        **{key: sum(row[key] for row in known) for key in ("found", "right", "cited", "sourced", "span", "abstained")},
        "right_and_cited": sum(row["cited"] for row in right),
        "right_and_sourced": sum(row["sourced"] for row in right),
        "sentences": sum(row["sentences"] for row in rows),
        "flagged": sum(len(row["flagged"]) for row in rows),
        "right_with_a_flag": sum(bool(row["flagged"]) for row in right),
        "wrong_with_a_flag": sum(bool(row["flagged"]) for row in wrong),
        "wrong": len(wrong),
        "out_of_scope": len(out_of_scope),
        "out_of_scope_abstained": sum(row["abstained"] for row in out_of_scope),
        "input_tokens_p50": statistics.median(row["input_tokens"] for row in generated) if generated else None,
        "first_token_s_p50": statistics.median(row["first_token_s"] for row in generated) if generated else None,
        "tokens_per_s_p50": statistics.median(row["tokens_per_s"] for row in generated) if generated else None,
    }


def ask(services: Services, question: Question) -> Message:
    """Ask, and return the finished answer."""
    _, turn = services.asking.ask(LOCAL_OWNER, question)
    *_, last = turn.follow()
    assert isinstance(last, Finished)
    return last.message


def ingest(
    services: Services, texts: Mapping[str, str | bytes], collection: str = DEFAULT_COLLECTION
) -> list[tuple[str, str]]:
    """Ingest texts by file name; return the outcome of each: “ready”, or the type of the error."""
    target = services.library.collection(LOCAL_OWNER, collection, create=True)
    rejected = []
    for name, text in texts.items():
        try:
            services.ingest.submit(LOCAL_OWNER, target.id, name, text if isinstance(text, bytes) else text.encode())
        except AppError as error:
            rejected.append((name, type(error).__name__))
    services.ingest.wake()
    while services.library.in_states(DocumentState.PENDING) or services.library.in_states(DocumentState.INDEXING):
        time.sleep(0.1)
    read = services.library.documents(LOCAL_OWNER, target.id)
    return rejected + [(document.name, document.reason_type or document.state) for document in read]


def chosen(services: Services, arguments: argparse.Namespace) -> AnswerOptions:
    """The default options, with the backend and model of the command line."""
    given = {"backend": arguments.backend, "model": arguments.model}
    return services.settings.answer.replace(**{name: value for name, value in given.items() if value})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=Path, default=ROOT / "tests" / "samples_facts.jsonl")
    parser.add_argument("--data", type=Path, help="ask SQuAD's questions instead")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--skip", type=int, default=0, help="start at a later question")
    parser.add_argument("--backend")
    parser.add_argument("--model")
    options = parser.parse_args()
    texts: dict[str, Any] = {path.name: path.read_bytes() for path in sample_files()}
    facts = read_facts(options.facts)
    if options.data:
        squad = options.data / "squad" / "squad-v2.0-dev-part.json"
        texts, facts = read_squad(squad, options.questions, options.skip)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        services = Services(Settings(data_dir=Path(os.environ.get("GESTALT_DATA_DIR", folder))))
        services.ingest.start()
        ingest(services, texts)
        asks = [Question(fact.question, chosen(services, options)) for fact in facts]
        ask(services, asks[0])  # loads the models
        started = time.perf_counter(), time.process_time()
        for fact, question in zip(facts, asks, strict=True):
            rows.append(judge(fact, ask(services, question)))
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
        wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
        services.close()
    print(json.dumps({"total": True, **totals(rows), "wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}))


if __name__ == "__main__":
    main()
