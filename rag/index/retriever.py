"""A question -> the passages of the documents that are nearest to it: words and vectors, fused.

With the questions before it, words are weighted 1 (this question), 0.5 (the one before), 0.15 (older ones), the vector
is that of this question plus that of both together, and there is no gate: a follow-up is short and names little. A
rewriting of the question, where a model made one, is searched beside it with the same weight. Where the model cannot
read the script of the question, words alone decide. No model is called. `fusion.py` says how the two become one order,
`abstention.py` when nothing that was found is near enough.

The module knows nothing of backends, of conversations or of how chunks were made.
"""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sqlalchemy import select

from errors import EmbeddingMismatch
from options import RetrievalOptions
from rag.db import CollectionRow, Database
from rag.index.abstention import PRIOR, Calibration, Signals, matched
from rag.index.embeddings import EmbeddingModel
from rag.index.filename_boost import filename_boost
from rag.index.fusion import Candidates, best_first, fuse, gate, ranks
from rag.index.lexical import STOP_WORDS, LexicalHits, LexicalIndex
from rag.index.passages import PassageReader
from rag.index.reranker import Reranker
from rag.index.sentence_check import best_sentence
from rag.index.store import VectorStore
from rag.schema import Passage, Retrieval

DENSE = 1000
"""Nearest vectors that are candidates: 3 ms, as long as 500 and the cosines of the best by words that those lack."""
EXACT = 32
"""Best chunks by words whose cosine is fetched where the vector search did not give it."""
BEFORE, OLDER = 0.5, 0.15
OLDER_QUESTIONS = 6
LANGUAGE_WORDS, LANGUAGE_SHARE = 4, 0.2
"""From so many words on, with a smaller share of English stop words, a question is taken not to be English: so are 99
and 95 % of XQuAD's questions in Spanish and German, and 0.2 % of SQuAD's. English words that are no sentence lose
nothing: SQuAD's questions without their stop words have R@1 .872 instead of .874."""
NAMED = 50
"""Best chunks whose documents may be named by the question."""
RERANKED = 20
"""Best passages that a reranker puts in order: it reads each of them with the question."""

LOOKED_AT = 4
"""Before it abstains, it looks at the sentences of so many passages."""


class Stopped(Exception):
    """Nobody waits for the passages any more."""


@dataclass(frozen=True)
class HybridRetriever:
    """Retrieves passages from an owner's collections, all indexed by one embedding model. Threads may share it."""

    owner: str
    collection_ids: tuple[str, ...]
    database: Database
    store: VectorStore
    lexical: LexicalIndex
    embeddings: EmbeddingModel
    options: RetrievalOptions = field(default_factory=RetrievalOptions)
    reranker: Reranker | None = None
    calibration: Callable[[str], Calibration] = lambda _: PRIOR
    """Collection id -> when to abstain."""
    stopped: Callable[[], bool] = lambda: False
    """Looked at between the steps: retrieval then ends with `Stopped`."""

    def retrieve(self, question: str, *, history: Sequence[str] = (), rewritten: str = "", k: int = 4) -> Retrieval:
        """At most `k` passages, best first.

        `Passage.dense` is the cosine of the chunk and of what was searched (with `history`, this question and the
        one before it); `Passage.lexical` is BM25 without the phrases. Copies of the same text are given once.

        Args:
            question: what is asked.
            history: the person's earlier questions, oldest first.
            rewritten: the question as a model put it, so that it stands for itself.
            k: how many passages.

        Raises:
            EmbeddingMismatch: a collection was indexed by another embedding model.
            StoreError: the vector index cannot be read.
            ConfigurationError: the embedding model or the reranker cannot be had.
            Stopped: nobody waits for it any more.
        """
        started = time.perf_counter()
        found = self.candidates(question, history=history, rewritten=rewritten)
        if found is None:
            return Retrieval((), abstained=True, confidence=0.0, seconds=time.perf_counter() - started)
        passages = self.passages(found, rewritten or question, max(k, LOOKED_AT))
        abstained, confidence = self._abstained(found, passages)
        return Retrieval(
            tuple(passages[:k]),
            abstained=abstained or not passages,
            confidence=confidence,
            seconds=time.perf_counter() - started,
        )

    def _abstained(self, found: Candidates, passages: Sequence[Passage]) -> tuple[bool, float]:
        """Whether the question is out of scope to every collection, and how likely one of them is about it."""
        judged = [(self.calibration(id_), signals) for id_, signals in found.signals.items()]
        abstained = all(calibration.abstains(signals) for calibration, signals in judged)
        if abstained and found.readable and found.vector:
            sentence = best_sentence(self.embeddings, found, passages[:LOOKED_AT])
            judged = [(calibration, signals.with_sentence(sentence)) for calibration, signals in judged]
            abstained = all(calibration.abstains(signals) for calibration, signals in judged)
        return abstained, max(calibration.confidence(signals) for calibration, signals in judged)

    def measure(self, questions: Iterable[str]) -> Iterator[Signals]:
        """The signals of each question over the one collection, the sentences looked at: what a calibration is made of.

        Raises:
            EmbeddingMismatch, StoreError, ConfigurationError: as `retrieve` does.
        """
        (collection,) = self.collection_ids
        known: dict[str, list[float]] = {}
        for question in questions:
            if found := self.candidates(question):
                signals = found.signals[collection]
                if found.readable and found.vector:
                    passages = self.passages(found, question, LOOKED_AT)
                    signals = signals.with_sentence(best_sentence(self.embeddings, found, passages, known))
                yield signals

    def _go_on(self) -> None:
        if self.stopped():
            raise Stopped

    def _collections(self) -> list[str]:
        """Those of the collections that the owner has."""
        with self.database.session() as session:
            rows = session.execute(
                select(CollectionRow.id, CollectionRow.name, CollectionRow.fingerprint).where(
                    CollectionRow.owner == self.owner, CollectionRow.id.in_(self.collection_ids)
                )
            ).all()
        for _, name, fingerprint in rows:
            if fingerprint and fingerprint != self.embeddings.fingerprint:
                raise EmbeddingMismatch(
                    f"The collection “{name}” was indexed by another embedding model.",
                    "Set GESTALT_EMBEDDING_MODEL back to that model, or index the collection again.",
                )
        return [id_ for id_, _, _ in rows]

    # --- candidates -----------------------------------------------------------------------------------------------

    def candidates(self, question: str, *, history: Sequence[str] = (), rewritten: str = "") -> Candidates | None:
        """What words and vectors find; None where there is nothing to search or nothing was found.

        Raises:
            EmbeddingMismatch: a collection was indexed by another embedding model.
            StoreError: the vector index cannot be read.
            ConfigurationError: the embedding model cannot be had.
        """
        collections = self._collections()
        if not collections or not question.strip():
            return None
        question, rewritten = _clean(question), _clean(rewritten)
        # The latest first.
        asked = [_clean(text) for text in reversed(history) if text.strip()] if self.options.history else []
        vector = self._vector(question, asked, rewritten) if self.options.dense else []
        words: dict[int, float] = {}
        phrases: dict[int, float] = {}
        cosines: dict[int, float] = {}
        signals: dict[str, Signals] = {}
        covered = 0.0
        readable = not (self.embeddings.latin_only and _is_other_script(question))
        texts = _texts(question, asked, rewritten)
        for id_ in collections:
            self._go_on()
            hits = self.lexical.search(id_, texts) if self.options.lexical else LexicalHits({}, {}, (0.0,))
            near = self._cosines(id_, vector, hits.words) if self.options.dense else {}
            words |= hits.words
            phrases |= hits.phrases
            cosines |= near
            covered = max(covered, hits.coverage[0])
            # Older questions than the one before say little of what this one is about.
            coverage = matched([text for text, _ in texts[:2]], hits.coverage)
            signals[id_] = Signals(max(near.values(), default=0.0), coverage, readable and self.options.dense)
        if not words and not cosines:
            return None
        # Vectors of another language are worth less than they seem: the gate would let them decide.
        gated = self.options.lexical_gate and readable and not asked and not rewritten
        gated = gated and not (self.embeddings.latin_only and _is_other_language(question))
        weight = gate(covered) if gated else 1.0
        return Candidates(
            words, phrases, cosines, weight, readable, vector, signals, tuple(text for text, _ in texts[:2])
        )

    def _vector(self, question: str, asked: Sequence[str], rewritten: str) -> list[float]:
        """The direction that is searched: the sum of cosines is the cosine with the sum of unit vectors."""
        texts = [question]
        if asked:
            texts.append(f"{asked[0]} {question}")
        if rewritten:
            texts.append(rewritten)
        self._go_on()
        vectors = [self.embeddings.embed_query(text) for text in texts]
        return [sum(components) for components in zip(*vectors, strict=True)]

    def _cosines(self, collection_id: str, vector: Sequence[float], words: dict[int, float]) -> dict[int, float]:
        """Cosines of the nearest chunks and of the best by words."""
        fingerprint = self.embeddings.fingerprint
        near = dict(self.store.search(collection_id, fingerprint, vector, DENSE))
        rowids = self._lookup("chunk_id", list(near))
        cosines = {rowids[id_]: cosine for id_, cosine in near.items() if id_ in rowids}
        missing = [row for row in sorted(words, key=words.__getitem__, reverse=True)[:EXACT] if row not in cosines]
        if missing:
            rows = self._lookup("id", missing)
            exact = self.store.cosines(collection_id, fingerprint, vector, list(rows))
            cosines |= {rows[id_]: cosine for id_, cosine in exact.items()}
        return cosines

    def _lookup(self, column: Literal["chunk_id", "id"], values: Sequence[str | int]) -> dict[str, int]:
        """Chunk id -> row id. As one JSON parameter: hundreds of bound ones cost more than the query."""
        with self.database.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                f"SELECT chunk_id, id FROM chunks WHERE {column} IN (SELECT value FROM json_each(?))",  # noqa: S608 - a literal
                (json.dumps(values),),
            )
            return {chunk_id: rowid for chunk_id, rowid in rows}  # noqa: C416 - rows are not pairs to the type checker

    # --- passages -------------------------------------------------------------------------------------------------

    def passages(self, found: Candidates, question: str, k: int) -> list[Passage]:
        """The best `k` of what was found.

        Raises:
            ConfigurationError: the reranker cannot be had.
        """
        self._go_on()
        scores = fuse(found, self.options)
        dense, lexical = ranks(found.cosines), ranks(found.lexical(self.options))
        reader = PassageReader(self.database, self.owner)
        best = best_first(scores)
        if self.options.filename_boost:
            for row, bonus in filename_boost(question, reader.names(best[:NAMED])).items():
                scores[row] += bonus
            best[:NAMED] = sorted(best[:NAMED], key=scores.__getitem__, reverse=True)
        picked = reader.passages(best, max(k, RERANKED) if self.reranker else k, self.options)
        passages = [
            replace(
                passage,
                score=scores[row],
                dense=found.cosines.get(row, 0.0),
                lexical=found.words.get(row, 0.0),
                dense_rank=dense.get(row, 0),
                lexical_rank=lexical.get(row, 0),
            )
            for row, passage in picked
        ]
        return (self.reranker.order(question, passages) if self.reranker else passages)[:k]


def _texts(question: str, asked: Sequence[str], rewritten: str) -> list[tuple[str, float]]:
    """What is searched by words, each with its weight; the question first, the one before it next."""
    texts = [(question, 1.0)]
    if asked:
        texts.append((asked[0], BEFORE))
    if asked[1:]:
        texts.append((" ".join(asked[1 : 1 + OLDER_QUESTIONS]), OLDER))
    if rewritten:
        texts.append((rewritten, 1.0))
    return texts


def _is_other_script(text: str) -> bool:
    """Whether a question has more letters of other scripts than words in Latin ones.

    Names in Latin letters stand in Chinese questions too, and have more letters than those.
    """
    latin = re.sub(r"[^\W\d_]", lambda letter: letter[0] if "LATIN" in unicodedata.name(letter[0], "") else " ", text)
    others = sum(letter.isalpha() for letter in text) - sum(letter.isalpha() for letter in latin)
    return others > len(re.findall(r"[^\W\d_]+", latin))


def _is_other_language(text: str) -> bool:
    """Whether a question in Latin letters is not English: a fifth of English words are stop words, of others few."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return len(words) >= LANGUAGE_WORDS and sum(word in STOP_WORDS for word in words) < LANGUAGE_SHARE * len(words)


def _clean(text: str) -> str:
    # A lone surrogate is no text: neither the tokenizer nor SQLite takes it.
    return text.encode("utf-8", "replace").decode()
