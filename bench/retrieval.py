"""Measure retrieval: quality, abstentions, latency and CPU seconds, with the real classes. Prints JSON lines.

    python -m bench.retrieval --data DIR [--only squad,mtrag,xquad,latency]

DIR holds `squad/`, `mtrag_un/`, `chunking_eval/`, `xquad/` and `sec_10q/`. Each set is indexed with the embedded model,
FTS5 and Chroma. Paragraphs longer than the model's input keep their full text for the words and the vector of their
beginning, as in the published figures that these are compared with.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag.db import ChunkRow, CollectionRow, Database, DocumentRow
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.index.lexical import LexicalIndex
from rag.index.retriever import HybridRetriever
from rag.index.store import VectorStore
from rag.schema import LOCAL_OWNER, DocumentState, Retrieval

COLLECTION = "bench"


def emit(**figures: Any) -> None:
    print(json.dumps({name: round(v, 4) if isinstance(v, float) else v for name, v in figures.items()}), flush=True)


def cut(model: EmbeddingModel, text: str) -> str:
    spans = model.spans(text)
    return text if len(spans) <= model.max_tokens else text[: spans[model.max_tokens - 1][1]]


@contextmanager
def indexed(model: EmbeddingModel, texts: Sequence[str], name: str) -> Iterator[HybridRetriever]:
    """A retriever over `texts`, each a document named by its number."""
    with tempfile.TemporaryDirectory() as folder:
        database, store = Database(Path(folder) / "db.sqlite"), VectorStore(Path(folder) / "chroma")
        lexical = LexicalIndex(database)
        wall, cpu = time.perf_counter(), time.process_time()
        vectors = model.embed_documents([cut(model, text) for text in texts])
        embedded = time.process_time() - cpu
        with database.session() as session:
            session.add(CollectionRow(owner=LOCAL_OWNER, id=COLLECTION, name=name, fingerprint=model.fingerprint))
            session.flush()
            session.add_all(
                DocumentRow(
                    owner=LOCAL_OWNER,
                    id=f"d{number}",
                    collection_id=COLLECTION,
                    name=f"{number}.txt",
                    sha256=str(number),
                    size=0,
                    state=DocumentState.READY,
                )
                for number in range(len(texts))
            )
            session.flush()
            rows = [
                ChunkRow(
                    owner=LOCAL_OWNER,
                    chunk_id=f"d{number}:0",
                    collection_id=COLLECTION,
                    document_id=f"d{number}",
                    position=0,
                    start=0,
                    end=len(text),
                    text=text,
                )
                for number, text in enumerate(texts)
            ]
            session.add_all(rows)
            session.flush()
            lexical.add(session, COLLECTION, [(row.id, row.text) for row in rows])
        store.add(COLLECTION, model.fingerprint, [f"d{n}:0" for n in range(len(texts))], vectors)
        emit(
            set=name,
            chunks=len(texts),
            index_seconds=time.perf_counter() - wall,
            index_cpu_seconds=time.process_time() - cpu,
            embed_cpu_seconds=embedded,
        )
        yield HybridRetriever(
            owner=LOCAL_OWNER,
            collection_ids=(COLLECTION,),
            database=database,
            store=store,
            lexical=lexical,
            embeddings=model,
        )
        store.close()
        database.close()


def positions(found: Retrieval) -> list[int]:
    return [int(passage.document_id.removeprefix("d")) for passage in found.passages]


class Tally:
    """Recall, abstentions and latency over the questions of a set."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.fifth: list[float] = []
        self.abstained: list[bool] = []
        self.seconds: list[float] = []
        self.cpu = time.process_time()

    def add(self, found: Retrieval, gold: set[str] | set[int], names: Callable[[int], Any] = lambda n: n) -> None:
        got = [names(position) for position in positions(found)]
        self.first.append(float(bool(got) and got[0] in gold))
        self.fifth.append(len(gold & set(got[:5])) / len(gold) if gold else 0.0)
        self.abstained.append(found.abstained)
        self.seconds.append(found.seconds)

    def report(self, **labels: Any) -> None:
        emit(
            **labels,
            questions=len(self.fifth),
            r1=statistics.fmean(self.first),
            r5=statistics.fmean(self.fifth),
            abstained=statistics.fmean(self.abstained),
            **latency(self.seconds),
            cpu_ms=1000 * (time.process_time() - self.cpu) / len(self.fifth),
        )


def latency(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"p50_ms": 1000 * ordered[len(ordered) // 2], "p95_ms": 1000 * ordered[int(len(ordered) * 0.95)]}


def read_squad(path: Path) -> tuple[list[str], list[tuple[str, int]], list[str]]:
    """Return paragraphs, answerable questions with the number of their paragraph, and unanswerable questions."""
    paragraphs: list[str] = []
    answerable: list[tuple[str, int]] = []
    unanswerable: list[str] = []
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                if asked.get("is_impossible"):
                    unanswerable.append(asked["question"])
                else:
                    answerable.append((asked["question"], len(paragraphs)))
            paragraphs.append(paragraph["context"])
    return paragraphs, answerable, unanswerable


def read_mtrag(path: Path) -> tuple[dict[str, str], list[tuple[list[str], set[str]]]]:
    """Return passages by id, and conversations: the user's turns and the ids of the gold passages, if any."""
    passages: dict[str, str] = {}
    conversations = []
    for line in path.read_text("utf-8").splitlines():
        task = json.loads(line)
        for context in task["contexts"]:
            passages.setdefault(context["document_id"], context["text"])
        turns = [turn["text"] for turn in task["input"] if turn["speaker"] == "user"]
        conversations.append((turns, {context["document_id"] for context in task["contexts"]}))
    return passages, conversations


def out_of_scope_questions(data: Path) -> dict[str, list[str]]:
    """Questions about documents other than SQuAD's, by set."""
    sec = [json.loads(line)["question"] for line in (data / "sec_10q/qna.jsonl").read_text("utf-8").splitlines()]
    with (data / "chunking_eval/questions_df.csv").open(encoding="utf-8", newline="") as file:
        chunking = [row["question"] for row in csv.DictReader(file)]
    _, conversations = read_mtrag(data / "mtrag_un/reference.part.jsonl")
    return {"sec_10q": sec, "chunking_eval": chunking, "mtrag_un": [turns[0] for turns, _ in conversations]}


def squad(model: EmbeddingModel, data: Path) -> None:
    paragraphs, answerable, unanswerable = read_squad(data / "squad/squad-v2.0-dev-part.json")
    with indexed(model, paragraphs, "squad_v2") as retriever:
        tally = Tally()
        for question, gold in answerable:
            tally.add(retriever.retrieve(question, k=5), {gold})
        tally.report(set="squad_v2", what="answerable; target .883 / .978")
        for name, questions in {"squad_v2 unanswerable": unanswerable[::7], **out_of_scope_questions(data)}.items():
            abstained = [retriever.retrieve(question, k=5).abstained for question in questions]
            rate = statistics.fmean(abstained)
            emit(set="squad_v2", what=f"abstention for questions of {name}", questions=len(abstained), abstained=rate)


def mtrag(model: EmbeddingModel, data: Path) -> None:
    passages, conversations = read_mtrag(data / "mtrag_un/reference.part.jsonl")
    ids = list(passages)
    _, answerable, _ = read_squad(data / "squad/squad-v2.0-dev-part.json")
    with indexed(model, list(passages.values()), "mtrag_un") as retriever:
        last, history, follow = Tally(), Tally(), Tally()
        for turns, gold in conversations:
            if gold:
                last.add(retriever.retrieve(turns[-1], k=5), gold, ids.__getitem__)
                found = retriever.retrieve(turns[-1], history=turns[:-1], k=5)
                history.add(found, gold, ids.__getitem__)
                if turns[1:]:
                    follow.add(found, gold, ids.__getitem__)
        last.report(set="mtrag_un", what="last turn; target R@5 .826")
        history.report(set="mtrag_un", what="with history; target R@5 .924")
        follow.report(set="mtrag_un", what="with history, follow-ups only")
        abstained = [retriever.retrieve(question, k=5).abstained for question, _ in answerable[::7]]
        rate = statistics.fmean(abstained)
        emit(set="mtrag_un", what="abstention for questions of squad", questions=len(abstained), abstained=rate)


def xquad(model: EmbeddingModel, data: Path) -> None:
    for language in ("en", "es", "de", "ar", "zh"):
        paragraphs, answerable, _ = read_squad(data / f"xquad/xquad.{language}.part.json")
        with indexed(model, paragraphs, f"xquad_{language}") as retriever:
            tally = Tally()
            for question, gold in answerable:
                tally.add(retriever.retrieve(question, k=5), {gold})
            tally.report(set=f"xquad_{language}")


def grow(model: EmbeddingModel, data: Path) -> None:
    """Latency at 1,000 and 10,000 chunks: SQuAD's paragraphs, then shuffled sentences."""
    import random

    paragraphs, answerable, _ = read_squad(data / "squad/squad-v2.0-dev-part.json")
    shuffle = random.Random(0)
    for size in (1000, 10000):
        texts = list(paragraphs)
        sentences = [sentence for paragraph in paragraphs for sentence in paragraph.split(". ")]
        while len(texts) < size:
            # Five random sentences: word frequencies stay the same, texts differ.
            texts.append(". ".join(shuffle.sample(sentences, 5)))
        cheap = Synthetic(model, len(paragraphs))
        with indexed(cheap, texts[:size], f"grown_{size}") as retriever:
            for question, _ in answerable[:50]:
                retriever.retrieve(question, k=4)
            tally, embed = Tally(), []
            for question, gold in answerable[::18]:
                started = time.perf_counter()
                model.embed_query(question)
                embed.append(time.perf_counter() - started)
                tally.add(retriever.retrieve(question, k=4), {gold})
            tally.report(set=f"grown_{size}", what="latency", embed_p50_ms=latency(embed)["p50_ms"])


class Synthetic(EmbeddingModel):
    """The embedded model, but documents after the first `real` get noisy copies of known vectors, for speed."""

    def __init__(self, model: EmbeddingModel, real: int) -> None:
        super().__init__(model.folder)
        self._loaded = model._model()
        self.real = real

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        import numpy as np

        random = np.random.default_rng(0)
        known = np.asarray(super().embed_documents(texts[: self.real]))
        more = known[random.integers(0, len(known), max(0, len(texts) - len(known)))]
        more = more + random.normal(0, 0.03, more.shape)
        more /= np.linalg.norm(more, axis=1, keepdims=True)
        vectors: list[list[float]] = np.vstack([known, more]).tolist()
        return vectors


SETS = {"squad": squad, "mtrag": mtrag, "xquad": xquad, "latency": grow}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SETS))
    arguments = parser.parse_args()
    model = EmbeddingModel(embedded_folder())
    for name in arguments.only.split(","):
        SETS[name](model, arguments.data)


if __name__ == "__main__":
    main()
