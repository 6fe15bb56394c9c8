"""Find the spans of the passages that support each sentence of an answer, whatever the model cites.

The model's own citation numbers are removed from the text and kept in `Check.cited`, so this works for models that
cannot cite. Numbers and names that occur in no passage are reported, and their sentence is never supported.
`support.py` judges the sentences and lists the limits.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from rag.chat import support
from rag.chat.evidence import Evidence, TextSpan
from rag.chat.statements import StrippedText, clauses, is_non_claim, statements, strip_citations
from rag.schema import Check, Checked, Citation, Passage, Verdict

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[list[str]], Sequence[Sequence[float]]]
"""Texts -> unit vectors of the embedded MiniLM, to whose cosines the weights of `support.py` were fitted."""
Entails = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""`(premise, conclusion)` pairs -> how likely the conclusion follows, 0 to 1."""

_Cosines = Callable[[str], Sequence[float] | None]
ENTAILED = 0.5
"""Probability from which a conclusion counts as supported."""
DOUBTFUL = 0.3
"""If a clause scores less, it decides for the whole sentence."""
RANK_STEP = 0.2
"""Penalty per rank of a passage when choosing the span that best fits the question: the rank also reflects meaning,
the overlap only words."""
STATEMENT = 4
"""Words of a span that is more than a heading."""
LATIN = 0.5
"""Share of Latin letters in the passages below which words alone decide: the embedding model reads Latin script."""


@dataclass(frozen=True, slots=True)
class _Judgement:
    verdict: Verdict = Verdict.NO_CLAIM
    score: float = 0.0
    spans: tuple[TextSpan, ...] = ()
    """The supporting spans: one for each clause if these were judged separately."""
    missing: tuple[str, ...] = ()


class Checker:
    """Check an answer against its passages, also while it is streamed. Thread-safe."""

    def __init__(
        self, passages: Sequence[Passage], question: str, embed: Embed | None = None, entails: Entails | None = None
    ) -> None:
        """Keep the inputs; the work begins in `prepare`.

        Args:
            passages: in the order in which they are numbered.
            question: as asked.
            embed: if None, words alone decide.
            entails: an entailment model, used instead of the weights.
        """
        self._passages, self._question = passages, question
        self._embed, self._entails = embed, entails
        self._evidence: Evidence | None = None
        self._vectors: np.ndarray[Any, np.dtype[np.float32]] | None = None
        self._judged: dict[str, _Judgement] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Analyse and embed the passages, once; otherwise the first check does. Blocks."""
        with self._lock:
            self._prepared()

    def check(self, answer: str, *, ended: bool = True) -> Checked:
        """Check each sentence of an answer; results are cached by sentence. Blocks.

        Args:
            answer: as the model writes it.
            ended: whether the answer is complete; if not, its last sentence is left out.
        """
        stripped = strip_citations(answer)
        text = stripped.text
        places = statements(text)
        if not ended:
            places = places[:-1]
            text = text[: places[-1][1]] if places else ""
        with self._lock:
            evidence = self._prepared()
            judged = self._judge(evidence, [text[start:end] for start, end in places])
        return self._checked(evidence, text, places, judged, stripped)

    def _prepared(self) -> Evidence:
        if self._evidence is None:
            evidence = Evidence(self._passages, self._question)
            if self._embed and evidence.spans and _is_latin(span.text for span in evidence.spans):
                self._vectors = _matrix(self._embed([span.text for span in evidence.spans]))
            self._evidence = evidence
        return self._evidence

    # --- sentences ---

    def _judge(self, evidence: Evidence, sentences: Sequence[str]) -> list[_Judgement]:
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._judged]
        claims: dict[str, list[support.Claim]] = {}
        for sentence in new:
            if is_non_claim(sentence) or not evidence.spans:
                self._judged[sentence] = _Judgement()
                continue
            parts = clauses(sentence)
            whole = [sentence] if parts[1:] else []
            claims[sentence] = [support.parse_claim(evidence, text) for text in whole + parts]
        cosines = self._cosines([claim.text for claim in chain.from_iterable(claims.values())])
        for sentence, (whole_claim, *part_claims) in claims.items():
            score, spans = self._support(evidence, [whole_claim], cosines)
            if part_claims:
                by_clause = self._support(evidence, part_claims, cosines)
                if by_clause[0] > score or by_clause[0] < DOUBTFUL:
                    score, spans = by_clause
            missing = evidence.missing(whole_claim.whole)
            limit = support.THRESHOLD
            if self._entails:
                [score], limit = self._entails([(evidence.context(spans), whole_claim.text)]), ENTAILED
            supported = score >= limit and not missing
            verdict = Verdict.SUPPORTED if supported else Verdict.UNSUPPORTED
            self._judged[sentence] = _Judgement(verdict, 0.0 if missing else round(score, 4), spans, missing)
        return [self._judged[sentence] for sentence in sentences]

    @staticmethod
    def _support(
        evidence: Evidence, claims: Sequence[support.Claim], cosines: _Cosines
    ) -> tuple[float, tuple[TextSpan, ...]]:
        """Return how likely all claims are supported, and the best span of each."""
        judged = [support.judge(evidence, claim, cosines(claim.text)) for claim in claims]
        spans = dict.fromkeys(place for _, place in judged)
        return min(score for score, _ in judged), tuple(evidence.spans[place] for place in spans)

    def _cosines(self, texts: Sequence[str]) -> _Cosines:
        """Embed `texts` in one batch; return a lookup of the cosines of each with all spans."""
        texts = list(dict.fromkeys(texts))
        if self._vectors is None or not self._embed or not texts:
            return lambda text: None
        found = dict(zip(texts, (_matrix(self._embed(texts)) @ self._vectors.T).tolist(), strict=True))
        return found.__getitem__

    # --- citations ---

    def _checked(
        self,
        evidence: Evidence,
        text: str,
        places: Sequence[tuple[int, int]],
        judged: Sequence[_Judgement],
        stripped: StrippedText,
    ) -> Checked:
        cited = _cited(places, stripped.marks)
        citations: dict[tuple[str, int | None, int], int] = {}
        found: list[Citation] = []

        def cite(span: TextSpan, answer_end: int) -> int:
            citation = self._citation(span, answer_end)
            key = citation.document_id, citation.page, citation.start
            if key not in citations:
                citations[key] = len(found)
                found.append(citation)
            return citations[key]

        checks = []
        for (start, end), each, numbers in zip(places, judged, cited, strict=True):
            spans = each.spans if each.verdict is Verdict.SUPPORTED else ()
            first = next(iter([cite(span, end) for span in spans]), None)
            checks.append(Check(start, end, each.verdict, each.score, first, each.missing, numbers))
        unsupported = any(each.verdict is Verdict.UNSUPPORTED for each in judged) or not found
        if places and unsupported and (span := _best_fit(evidence, found)):
            cite(span, 0)
        return Checked(text, tuple(found), tuple(checks))

    def _citation(self, span: TextSpan, answer_end: int) -> Citation:
        passage = self._passages[span.number - 1]
        return Citation(
            n=span.number,
            document_id=passage.document_id,
            document=passage.document,
            page=passage.page,
            quote=passage.text[span.start : span.end],
            start=passage.start + span.start,
            end=passage.start + span.end,
            answer_end=answer_end,
            label=passage.label,
        )


def _cited(places: Sequence[tuple[int, int]], marks: Sequence[tuple[int, tuple[int, ...]]]) -> list[tuple[int, ...]]:
    """For each sentence the citation numbers in it, right after it or, at the start of a line, right before it."""
    found: list[list[int]] = [[] for _ in places]
    starts = [start for start, _ in places]
    for at, numbers in marks:
        if sentence := bisect_right(starts, at):
            found[sentence - 1] += numbers
    return [tuple(dict.fromkeys(numbers)) for numbers in found]


def _best_fit(evidence: Evidence, taken: Sequence[Citation]) -> TextSpan | None:
    """The span not yet cited that best fits the question; lower ranked passages count less."""
    quotes = {(citation.n, citation.quote) for citation in taken}

    def fit(span: TextSpan) -> float:
        return evidence.question_overlap(span) - RANK_STEP * span.number

    passages = evidence.passages
    free = [s for s in evidence.spans if (s.number, passages[s.number - 1].text[s.start : s.end]) not in quotes]
    free = [span for span in free if evidence.question_overlap(span) > 0]
    return max([s for s in free if len(s.words.sequence) >= STATEMENT] or free, key=fit, default=None)


def _is_latin(texts: Iterable[str]) -> bool:
    letters = [character for text in texts for character in text if character.isalpha()]
    return sum(character < "\u0250" for character in letters) >= LATIN * len(letters)


def _matrix(vectors: Sequence[Sequence[float]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    import numpy as np

    return np.asarray(vectors, dtype=np.float32)
