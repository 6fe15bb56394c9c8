"""Retrieves the passages for a question: lexical and dense search, fused.

If there is history, the lexical search weighs the question 1, the one before it 0.5 and older ones 0.15; the dense
search adds the vector of the question together with the one before; and the gate is off, because a follow-up question
is short and vague. A rewritten question is searched too. If the embedding model cannot read it, words alone decide.
A chunk with a code or a quoted phrase of the question comes first, and the question is then never out of scope; nor is
one that names its documents.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sqlalchemy import select

from errors import EmbeddingMismatch
from options import RetrievalOptions
from rag.db import ChunkRow, CollectionRow, Database, clean
from rag.index.abstention import PRIOR, Calibration, Signals, word_match
from rag.index.embeddings import EmbeddingModel
from rag.index.exact import exact_terms
from rag.index.filename_boost import filename_boost
from rag.index.fusion import Candidates, best_first, fuse, gate, ranks
from rag.index.language import is_foreign, is_other_script
from rag.index.lexical import STOP_WORDS, LexicalHits, LexicalIndex, spoken
from rag.index.passages import PassageReader
from rag.index.reranker import Reranker
from rag.index.sentence_check import names_a_section, sentence_cosine
from rag.index.sentence_vectors import SentenceVectors
from rag.index.store import VectorStore
from rag.schema import Passage, Retrieval

DENSE = 1000  # nearest vectors that become candidates: 3 ms, the same as for 500
EXACT = 32  # best lexical hits whose cosine is fetched if the dense search did not return it
PREVIOUS_WEIGHT, OLDER_WEIGHT = 0.5, 0.15
OLDER_QUESTIONS = 6
LANGUAGE_WORDS, LANGUAGE_SHARE = 4, 0.2
"""A question of at least 4 words, fewer than 20 % of them English stop words, is taken as not English: so are 99 % and
95 % of XQuAD's Spanish and German questions, and 0.2 % of SQuAD's. A list of English keywords loses nothing: SQuAD's
questions without their stop words have R@1 .872 instead of .874."""
FILENAME_CANDIDATES = 50  # best chunks to which the filename boost applies
CHECKED_PASSAGES = 4  # best passages whose sentences are checked before abstaining
EXACT_ROWS = 500  # with an exact term of the question
EXACT_BONUS = 0.5  # for a number of the question in a chunk, in standard deviations of the scores
RARE = 5  # chunks that have a number, up to which a question about it is in scope


class Stopped(Exception):
    """The retrieval was cancelled."""


@dataclass(frozen=True)
class HybridRetriever:
    """Searches an owner's collections that share one embedding model. Thread-safe."""

    owner: str
    collection_ids: tuple[str, ...]
    database: Database
    store: VectorStore
    lexical: LexicalIndex
    embeddings: EmbeddingModel
    options: RetrievalOptions = field(default_factory=RetrievalOptions)
    documents: tuple[str, ...] = ()  # ids of the only ones to search; empty for all
    reranker: Reranker | None = None
    calibration: Callable[[str], Calibration] = lambda _: PRIOR  # of a collection, by its id
    sentences: SentenceVectors | None = None  # those that were compared lately; None keeps none
    stopped: Callable[[], bool] = lambda: False  # checked between the steps; if true, they raise `Stopped`

    def retrieve(self, question: str, *, history: Sequence[str] = (), rewritten: str = "", k: int = 4) -> Retrieval:
        """At most `k` passages, best first, without duplicate texts.

        `history` is the user's earlier questions, oldest first; `rewritten` the question as a model rewrote it to stand
        on its own. `Passage.dense` is the cosine of chunk and search vector, `Passage.lexical` BM25 without phrases.
        Raises EmbeddingMismatch, StoreError, Stopped, ConfigurationError if embedding model or reranker is missing, and
        BackendError if the embedded language model is the reranker and cannot be loaded.
        """
        started = time.perf_counter()
        found = self.candidates(question, history=history, rewritten=rewritten)
        if found is None:
            return Retrieval((), abstained=True, confidence=0.0, seconds=time.perf_counter() - started)
        passages = self.passages(found, rewritten or question, max(k, CHECKED_PASSAGES))
        in_scope = found.has_exact or self.documents
        abstained, confidence = (False, 1.0) if in_scope else self._judge(found, passages)
        seconds = time.perf_counter() - started
        return Retrieval(tuple(passages[:k]), abstained or not passages, confidence, seconds, found.absent)

    def _judge(self, found: Candidates, passages: Sequence[Passage]) -> tuple[bool, float]:
        """Whether the question is out of scope for every collection, and the highest confidence."""
        texts = [passage.text for passage in passages[:CHECKED_PASSAGES]]
        foreign = not self.embeddings.latin_only and is_foreign(found.asked[0], texts)
        judged = [(self.calibration(id_), replace(signals, foreign=foreign)) for id_, signals in found.signals.items()]
        abstained = all(calibration.abstains(signals) for calibration, signals in judged)
        if abstained and names_a_section(found.asked[0], passages[:CHECKED_PASSAGES]):
            return False, 0.5
        if abstained:
            cosine = sentence_cosine(self._vectors, found, passages[:CHECKED_PASSAGES])
            judged = [(calibration, signals.with_sentence(cosine)) for calibration, signals in judged]
            abstained = all(calibration.abstains(signals) for calibration, signals in judged)
        return abstained, max(calibration.confidence(signals) for calibration, signals in judged)

    def measure(self, questions: Iterable[str]) -> Iterator[Signals]:
        """The signals of each question to the only collection, after the sentence check. Raises like `retrieve`."""
        (collection,) = self.collection_ids
        vectors = self._vectors
        for question in questions:
            if found := self.candidates(question):
                passages = self.passages(found, question, CHECKED_PASSAGES)
                cosine = sentence_cosine(vectors, found, passages)
                yield found.signals[collection].with_sentence(cosine)

    @property
    def _vectors(self) -> SentenceVectors:
        return self.sentences or SentenceVectors(self.embeddings)

    def _raise_if_stopped(self) -> None:
        if self.stopped():
            raise Stopped

    def _collections(self) -> list[str]:
        """The ids of the collections that exist and belong to the owner."""
        query = select(CollectionRow.id, CollectionRow.name, CollectionRow.fingerprint).filter_by(owner=self.owner)
        with self.database.session() as session:
            rows = session.execute(query.where(CollectionRow.id.in_(self.collection_ids))).all()
        for _, name, fingerprint in rows:
            if fingerprint and fingerprint != self.embeddings.fingerprint:
                raise EmbeddingMismatch(
                    f"The collection “{name}” was indexed by another embedding model.",
                    "Set GESTALT_EMBEDDING_MODEL back to that model, or index the collection again.",
                )
        return [id_ for id_, _, _ in rows]

    def candidates(self, question: str, *, history: Sequence[str] = (), rewritten: str = "") -> Candidates | None:
        """What both searches find; None if nothing. Raises like `retrieve`."""
        collections = self._collections()
        if not collections or not question.strip():
            return None
        question, rewritten = spoken(clean(question)), clean(rewritten)
        # Latest first.
        earlier = [clean(text) for text in reversed(history) if text.strip()] if self.options.history else []
        vector = self._vector(question, earlier, rewritten) if self.options.dense else []
        words: dict[int, float] = {}
        phrases: dict[int, float] = {}
        cosines: dict[int, float] = {}
        signals: dict[str, Signals] = {}
        covered = 0.0
        readable = not (self.embeddings.latin_only and is_other_script(question))
        texts = _texts(question, earlier, rewritten)
        # Older questions than the previous one say little about what this one is about.
        asked = tuple(text for text, _ in texts[:2])
        exact = _Exact(question if self.options.lexical else "")
        only = self._rows_of_documents()
        for id_ in collections:
            self._raise_if_stopped()
            hits = self._hits(id_, texts, only)
            found = exact.find(self.lexical, id_, only)
            near = self._cosines(id_, vector, [*found, *best_first(hits.words)], only) if self.options.dense else {}
            words |= hits.words
            phrases |= hits.phrases
            cosines |= near
            covered = max(covered, hits.coverage[0])
            match = word_match(asked, hits.coverage)
            nearest = max(near.values(), default=0.0)
            lead = nearest - sum(near.values()) / max(1, len(near))
            signals[id_] = Signals(nearest, match, readable and self.options.dense, lead)
        if not words and not cosines:
            return None
        # Cosines of another language are less reliable than they look, and the gate would let them decide.
        gated = self.options.lexical_gate and readable and not earlier and not rewritten
        gated = gated and not (self.embeddings.latin_only and _is_other_language(question))
        weight = gate(covered) if gated else 1.0
        return Candidates(
            words, phrases, cosines, weight, readable, vector, signals, asked,
            exact.codes, exact.numbers, exact.absent, exact.is_found,
        )  # fmt: skip

    def _hits(self, id_: str, texts: Sequence[tuple[str, float]], only: dict[int, str] | None) -> LexicalHits:
        """The lexical hits of a collection, words of the question that it does not have respelt."""
        if not self.options.lexical:
            return LexicalHits({}, {}, (0.0,))
        (question, weight), *others = texts
        texts = [(self.lexical.respelt(id_, question), weight), *others]
        return self.lexical.search(id_, texts, within=None if only is None else list(only))

    def _vector(self, question: str, earlier: Sequence[str], rewritten: str) -> list[float]:
        """The search vector: a sum of unit vectors, which ranks like the sum of their cosines."""
        self._raise_if_stopped()
        texts = [question, f"{earlier[0]} {question}" if earlier else "", rewritten]
        vectors = [self.embeddings.embed_query(text) for text in texts if text]
        return [sum(components) for components in zip(*vectors, strict=True)]

    def _rows_of_documents(self) -> dict[int, str] | None:
        """`ChunkRow.id` -> chunk id of the only documents to search; None for all."""
        if not self.documents:
            return None
        query = select(ChunkRow.id, ChunkRow.chunk_id).filter_by(owner=self.owner)
        with self.database.session() as session:
            rows = session.execute(query.where(ChunkRow.document_id.in_(self.documents)))
            return {rowid: chunk_id for rowid, chunk_id in rows}  # noqa: C416 - rows are not pairs to the type checker

    def _cosines(
        self, collection_id: str, vector: Sequence[float], best: Sequence[int], only: dict[int, str] | None
    ) -> dict[int, float]:
        """The cosines of the nearest chunks and of the `best` other hits, or of all rows in `only`."""
        fingerprint = self.embeddings.fingerprint
        if only is not None:
            every = self.store.cosines(collection_id, fingerprint, vector, list(only.values()))
            return {rowid: every[id_] for rowid, id_ in only.items() if id_ in every}
        near = dict(self.store.search(collection_id, fingerprint, vector, DENSE))
        rowids = self._lookup("chunk_id", list(near))
        cosines = {rowids[id_]: cosine for id_, cosine in near.items() if id_ in rowids}
        if missing := [row for row in best[:EXACT] if row not in cosines]:
            rows = self._lookup("id", missing)
            exact = self.store.cosines(collection_id, fingerprint, vector, list(rows))
            cosines |= {rows[id_]: cosine for id_, cosine in exact.items()}
        return cosines

    def _lookup(self, column: Literal["chunk_id", "id"], values: Sequence[str | int]) -> dict[str, int]:
        """Chunk ids and row ids. One JSON parameter, because hundreds of bound ones cost more than the query."""
        with self.database.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                f"SELECT chunk_id, id FROM chunks WHERE {column} IN (SELECT value FROM json_each(?))",  # noqa: S608 - a literal
                (json.dumps(values),),
            )
            return {chunk_id: rowid for chunk_id, rowid in rows.cursor.fetchall()}  # noqa: C416 - not known to be pairs

    def passages(self, found: Candidates, question: str, k: int) -> list[Passage]:
        """The best `k` passages of the candidates. Raises ConfigurationError if the reranker is not available."""
        self._raise_if_stopped()
        scores = fuse(found, self.options)
        dense, lexical = ranks(found.cosines), ranks(found.lexical(self.options))
        reader = PassageReader(self.database, self.owner)
        best = best_first(scores)
        if self.options.filename_boost:
            for row, bonus in filename_boost(question, reader.names(best[:FILENAME_CANDIDATES])).items():
                scores[row] += bonus
        for row, count in found.numbers.items():
            if row in scores:
                scores[row] += EXACT_BONUS * count
        best.sort(key=lambda row: (found.codes.get(row, 0), scores[row]), reverse=True)
        picked = reader.passages(best, max(k, self.reranker.reads if self.reranker else 0), self.options)
        passages = [
            replace(
                passage,
                score=scores[row],
                codes=found.codes.get(row, 0),
                dense=found.cosines.get(row, 0.0),
                lexical=found.words.get(row, 0.0),
                dense_rank=dense.get(row, 0),
                lexical_rank=lexical.get(row, 0),
            )
            for row, passage in picked
        ]
        return (self.reranker.order(question, passages) if self.reranker else passages)[:k]


class _Exact:
    """The chunks that have exact terms of a question."""

    def __init__(self, question: str) -> None:
        self._terms = exact_terms(question)
        self._absent = {term.text for term in self._terms if term.is_code}
        self.codes = dict[int, int]()
        """How many codes and quoted phrases of the question each row has."""
        self.numbers = dict[int, int]()
        """How many of its numbers."""
        self.is_found = False
        """Whether a code, a quoted phrase or a rare number was found: then the question is in scope."""

    @property
    def absent(self) -> tuple[str, ...]:
        """The codes and quoted phrases that no searched chunk has."""
        return tuple(term.text for term in self._terms if term.text in self._absent)

    def find(self, lexical: LexicalIndex, collection_id: str, only: Container[int] | None) -> list[int]:
        """The rows of a collection that have one of the terms."""
        every = list[int]()
        for term in self._terms:
            rows = lexical.with_phrase(collection_id, term.phrases, EXACT_ROWS)
            rows = {row: text for row, text in rows.items() if only is None or row in only}
            glued = re.compile(term.glued, re.IGNORECASE) if term.glued else None
            is_code = term.is_code or bool(glued and any(glued.search(text) for text in rows.values()))
            counts = self.codes if is_code else self.numbers
            for row in rows:
                counts[row] = counts.get(row, 0) + 1
            if rows:
                self._absent.discard(term.text)
                self.is_found |= is_code or (term.telling and len(rows) <= RARE)
            every += rows
        return every


def _texts(question: str, earlier: Sequence[str], rewritten: str) -> list[tuple[str, float]]:
    """The texts of the lexical search with their weights: the question, then the previous one."""
    previous, older = "".join(earlier[:1]), " ".join(earlier[1 : 1 + OLDER_QUESTIONS])
    texts = [(question, 1.0), (previous, PREVIOUS_WEIGHT), (older, OLDER_WEIGHT), (rewritten, 1.0)]
    return [(text, weight) for text, weight in texts if text]


def _is_other_language(text: str) -> bool:
    """Whether a question in Latin script is not English, judged by its share of English stop words."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return len(words) >= LANGUAGE_WORDS and sum(word in STOP_WORDS for word in words) < LANGUAGE_SHARE * len(words)
