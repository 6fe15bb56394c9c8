"""The question sets of DIR as libraries: documents ingested through the services, and questions with gold.

    squad/ mtrag_un/ chunking_eval/ sec_10q/ xquad/

Each paragraph or passage is a document, so that gold is a document; for `chunking_eval` it is spans of the corpora.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rag.schema import LOCAL_OWNER
from services import Services
from settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its gold."""

    question: str
    documents: frozenset[str] = frozenset()
    """Names of the documents with the answer; empty if it is unanswerable."""
    history: tuple[str, ...] = ()
    spans: tuple[tuple[str, int, int], ...] = ()
    """`(document, start, end)` of the text with the answer."""
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Documents by name, and questions about them."""

    name: str
    documents: dict[str, str | Path]
    """Text, or a file."""
    questions: tuple[Asked, ...]
    unanswerable: tuple[Asked, ...] = field(default=())
    """Questions about the documents that these do not answer."""


def squad(data: Path, file: str = "squad/squad-v2.0-dev-part.json", name: str = "squad") -> QuestionSet:
    """Each paragraph is a document."""
    documents: dict[str, str | Path] = {}
    questions, unanswerable = [], []
    for article in json.loads((data / file).read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            # Not named after the article: questions that mention it would find it by name.
            document = f"{len(documents):04}.txt"
            documents[document] = paragraph["context"]
            for asked in paragraph["qas"]:
                answers = tuple(answer["text"] for answer in asked["answers"])
                if asked.get("is_impossible"):
                    unanswerable.append(Asked(asked["question"]))
                else:
                    questions.append(Asked(asked["question"], frozenset([document]), answers=answers))
    return QuestionSet(name, documents, tuple(questions), tuple(unanswerable))


def xquad(language: str, data: Path) -> QuestionSet:
    """SQuAD in another language."""
    return squad(data, f"xquad/xquad.{language}.part.json", f"xquad_{language}")


def mtrag(data: Path) -> QuestionSet:
    """The last turn of each conversation, with the user's earlier turns."""
    documents: dict[str, str | Path] = {}
    questions = []
    for line in (data / "mtrag_un/reference.part.jsonl").read_text("utf-8").splitlines():
        task = json.loads(line)
        for context in task["contexts"]:
            documents.setdefault(f"{context['document_id']}.txt", context["text"])
        *before, last = [turn["text"] for turn in task["input"] if turn["speaker"] == "user"]
        gold = frozenset(f"{context['document_id']}.txt" for context in task["contexts"])
        questions.append(Asked(last, gold, tuple(before)))
    # Some texts have several ids; a library stores each text once.
    first: dict[str | Path, str] = {}
    for document, text in documents.items():
        first.setdefault(text, document)
    same = {document: first[text] for document, text in documents.items()}
    kept = {document: text for text, document in first.items()}
    renamed = [Asked(q.question, frozenset(same[d] for d in q.documents), q.history) for q in questions]
    unanswerable = tuple(q for q in renamed if not q.documents)
    return QuestionSet("mtrag_un", kept, tuple(q for q in renamed if q.documents), unanswerable)


def chunking(data: Path) -> QuestionSet:
    """Five corpora, each one long text; gold is spans."""
    corpora = {path.stem: path for path in sorted((data / "chunking_eval/corpora").glob("*.md"))}
    texts = {name: path.read_text("utf-8") for name, path in corpora.items()}
    questions = []
    with (data / "chunking_eval/questions_df.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = f"{row['corpus_id']}.md"
            spans = []
            for reference in json.loads(row["references"]):
                start = texts[row["corpus_id"]].find(reference["content"])
                start = start if start >= 0 else int(reference["start_index"])
                spans.append((name, start, start + len(reference["content"])))
            questions.append(Asked(row["question"], frozenset([name]), spans=tuple(spans)))
    return QuestionSet("chunking_eval", {f"{name}.md": text for name, text in texts.items()}, tuple(questions))


def sec(data: Path) -> QuestionSet:
    """Quarterly filings as PDF; gold is files."""
    documents: dict[str, str | Path] = {path.name: path for path in sorted((data / "sec_10q/docs").glob("*.pdf"))}
    rows = [json.loads(line) for line in (data / "sec_10q/qna.jsonl").read_text("utf-8").splitlines()]
    return QuestionSet("sec_10q", documents, tuple(Asked(r["question"], frozenset(r["source_docs"])) for r in rows))


@contextmanager
def library(found: QuestionSet, folder: Path, **settings: Any) -> Iterator[Services]:
    """Services over the documents of a set, ingested into `folder` unless an earlier run did."""
    texts = folder / "texts"
    texts.mkdir(parents=True, exist_ok=True)
    services = Services(Settings(data_dir=folder / "data", **settings))
    try:
        collection = services.library.collection(LOCAL_OWNER, create=True)
        for name, text in found.documents.items():
            path = text if isinstance(text, Path) else texts / name
            if not isinstance(text, Path) and not path.exists():
                path.write_text(text, "utf-8")
            services.ingest.submit(LOCAL_OWNER, collection.id, name, path)
        while services.ingest.process_next():
            pass
        ready = services.library.ready(LOCAL_OWNER, collection.id)
        assert ready == len(found.documents), f"{ready} of {len(found.documents)} documents could be read"
        services.search.calibrate()
        yield services
    finally:
        services.close()
