"""Collections and questions about them, for `bench/abstention.py`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from bench.retrieval import read_mtrag, read_squad
from rag.documents.loaders import load
from rag.documents.splitter import split
from rag.index.embeddings import EmbeddingModel
from rag.schema import Page
from services.documents import sample_files
from settings import ROOT, Settings

FACTS = ROOT / "tests" / "samples_facts.jsonl"

Asked = tuple[str, tuple[str, ...]]
"""A question and the previous ones."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Texts and the questions they answer."""

    name: str
    texts: list[str]
    own: list[Asked]
    alone: list[str]
    """The questions that need no history, to ask of other collections."""


def some(items: Sequence[Any], number: int) -> list[Any]:
    return Random(0).sample(items, min(number, len(items)))


def alone(questions: Sequence[str]) -> list[Asked]:
    return [(question, ()) for question in questions]


def collections(data: Path, model: EmbeddingModel) -> Iterator[Collection]:
    """SQuAD, MTRAG-UN, the five corpora of chunking_eval, filings, the samples."""
    paragraphs, answerable, _ = read_squad(data / "squad/squad-v2.0-dev-part.json")
    asked = [question for question, _ in answerable]
    yield Collection("squad", paragraphs, alone(asked), asked)
    passages, conversations = read_mtrag(data / "mtrag_un/reference.part.jsonl")
    last = [(turns[-1], tuple(turns[:-1])) for turns, gold in conversations if gold]
    yield Collection("mtrag_un", list(passages.values()), last, [turns[0] for turns, _ in conversations])
    with (data / "chunking_eval/questions_df.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("chatlogs", "finance", "pubmed", "state_of_the_union", "wikitexts"):
        text = (data / f"chunking_eval/corpora/{name}.md").read_text("utf-8")
        asked = [row["question"] for row in rows if row["corpus_id"] == name]
        yield Collection(name, cut(model, [Page(text)]), alone(asked), asked)
    asked = [json.loads(line)["question"] for line in (data / "sec_10q/qna.jsonl").read_text("utf-8").splitlines()]
    yield Collection("sec_10q", read(model, sorted((data / "sec_10q/docs").glob("*.pdf"))), alone(asked), asked)
    asked = [fact["question"] for fact in facts() if not fact.get("out_of_scope")]
    yield Collection("samples", read(model, sample_files()), alone(asked), asked)


def facts() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FACTS.read_text("utf-8").splitlines()]


def cut(model: EmbeddingModel, pages: Sequence[Page]) -> list[str]:
    settings = Settings()
    return [chunk.text for chunk in split(pages, model.spans, settings.chunk_tokens, settings.chunk_overlap)]


def read(model: EmbeddingModel, files: Sequence[Path]) -> list[str]:
    return [text for path in files for text in cut(model, load(path, path.name).pages)]


def xquad_halves(data: Path, language: str) -> tuple[list[str], list[str], list[str]]:
    """Paragraphs of every second article, the questions about them, and those about the other articles."""
    articles = json.loads((data / f"xquad/xquad.{language}.part.json").read_text("utf-8"))["data"]
    here, there = ([p for article in articles[first::2] for p in article["paragraphs"]] for first in (0, 1))
    questions = [[asked["question"] for p in paragraphs for asked in p["qas"]] for paragraphs in (here, there)]
    return [p["context"] for p in here], questions[0], questions[1]


def squad_conversations(data: Path) -> list[Asked]:
    """The third question about a paragraph after the first two."""
    _, answerable, _ = read_squad(data / "squad/squad-v2.0-dev-part.json")
    by_paragraph: dict[int, list[str]] = {}
    for question, paragraph in answerable:
        by_paragraph.setdefault(paragraph, []).append(question)
    return [(asked[2], tuple(asked[:2])) for asked in by_paragraph.values() if len(asked) > 2]
