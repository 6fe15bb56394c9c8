"""Find the spans of the passages that support each sentence of an answer, also for models that cannot cite.

The model's own citation numbers are kept in `Check.cited` only. Numbers and names that occur in no passage are
reported, and their sentence is never supported. `support.py` judges the sentences and lists the limits.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rag.chat import support
from rag.chat.evidence import Evidence, TextSpan
from rag.chat.statements import clauses, is_non_claim, statements, strip_citations
from rag.schema import Check, Checked, Citation, Passage, Verdict

Entails = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""`(premise, conclusion)` pairs -> how likely the conclusion follows, 0 to 1."""

ENTAILED = 0.5
"""Probability from which a conclusion counts as supported."""
DOUBTFUL = 0.3
"""If a clause scores less, it decides for the whole sentence."""
RANK_STEP = 0.2
"""Penalty per rank of a passage when choosing the span that best fits the question: the rank also reflects meaning,
the overlap only words."""
STATEMENT = 4
"""Words of a span that is more than a heading."""


@dataclass(frozen=True, slots=True)
class _Judgement:
    verdict: Verdict = Verdict.NO_CLAIM
    score: float = 0.0
    spans: tuple[TextSpan, ...] = ()
    """The supporting spans: one for each clause if these were judged separately."""
    missing: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    """Its words, by which a repetition is recognised."""


class Checker:
    """Check an answer against its passages, also while it is streamed. Thread-safe."""

    def __init__(self, passages: Sequence[Passage], question: str, entails: Entails | None = None) -> None:
        """Keep the inputs, which the first check analyses; `entails` is used instead of the weights."""
        self._passages, self._question, self._entails = passages, question, entails
        self._evidence: Evidence | None = None
        self._judged: dict[str, _Judgement] = {}
        self._lock = threading.Lock()

    def check(self, answer: str, *, ended: bool = True) -> Checked:
        """Check each sentence, without the last one until the answer has `ended`; cached by sentence. Blocks."""
        stripped = strip_citations(answer)
        text = stripped.text
        places = statements(text)
        if not ended:
            places = places[:-1]
            text = text[: places[-1][1]] if places else ""
        with self._lock:
            evidence = self._evidence = self._evidence or Evidence(self._passages, self._question)
            judged = self._judge_all(evidence, [text[start:end] for start, end in places])
        return self._checked(evidence, text, places, judged, _cited(places, stripped.marks))

    def _judge_all(self, evidence: Evidence, sentences: Sequence[str]) -> list[_Judgement]:
        """Judge each sentence; one that repeats a supported one claims nothing."""
        first: dict[tuple[str, ...], str] = {}
        judged = []
        for sentence in sentences:
            if sentence not in self._judged:
                self._judged[sentence] = self._judge(evidence, sentence)
            found = self._judged[sentence]
            again = bool(found.said) and first.setdefault(found.said, sentence) is not sentence
            # A repetition adds no support, and is no truer than what it repeats.
            repeats = again and found.verdict is not Verdict.UNSUPPORTED
            judged.append(_Judgement(spans=found.spans) if repeats else found)
        return judged

    def _judge(self, evidence: Evidence, sentence: str) -> _Judgement:
        if is_non_claim(sentence) or not evidence.spans:
            return _Judgement()
        claim = support.parse_claim(evidence, sentence)
        if support.says_nothing(evidence, claim):
            return _Judgement(Verdict.UNSUPPORTED)
        score, spans = self._support(evidence, [claim])
        if score < support.VERBATIM_SCORE and len(parts := clauses(sentence)) > 1:
            by_clause = self._support(evidence, [support.parse_claim(evidence, part) for part in parts])
            if by_clause[0] > score or by_clause[0] < DOUBTFUL:
                score, spans = by_clause
        missing = evidence.missing(claim.whole)
        limit = support.THRESHOLD
        if self._entails:
            [score], limit = self._entails([(evidence.context(spans), claim.text)]), ENTAILED
        verdict = Verdict.SUPPORTED if score >= limit and not missing else Verdict.UNSUPPORTED
        said = support.plain_forms(claim.words)
        if verdict is Verdict.UNSUPPORTED:
            spans = ()
        return _Judgement(verdict, 0.0 if missing else round(score, 4), spans, missing, said)

    @staticmethod
    def _support(evidence: Evidence, claims: Sequence[support.Claim]) -> tuple[float, tuple[TextSpan, ...]]:
        """Return how likely all claims are supported, and the best span of each."""
        judged = [support.judge(evidence, claim) for claim in claims]
        spans = dict.fromkeys(place for _, place in judged)
        return min(score for score, _ in judged), tuple(evidence.spans[place] for place in spans)

    def _checked(
        self,
        evidence: Evidence,
        text: str,
        places: Sequence[tuple[int, int]],
        judged: Sequence[_Judgement],
        cited: Sequence[tuple[int, ...]],
    ) -> Checked:
        found: dict[tuple[str, int | None, int], Citation] = {}

        def cite(span: TextSpan, answer_end: int) -> int:
            citation = self._citation(span, answer_end)
            key = citation.document_id, citation.page, citation.start
            found.setdefault(key, citation)
            return list(found).index(key)

        checks = []
        for (start, end), each, numbers in zip(places, judged, cited, strict=True):
            first = next(iter([cite(span, end) for span in each.spans]), None)
            checks.append(Check(start, end, each.verdict, each.score, first, each.missing, numbers))
        unsupported = any(each.verdict is Verdict.UNSUPPORTED for each in judged) or not found
        if places and unsupported and (span := _best_fit(evidence, found.values())):
            cite(span, 0)
        return Checked(text, tuple(found.values()), tuple(checks))

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


def _best_fit(evidence: Evidence, taken: Iterable[Citation]) -> TextSpan | None:
    """The span not yet cited that best fits the question; lower ranked passages count less."""
    quotes = {(citation.n, citation.quote) for citation in taken}

    spans, overlaps = evidence.spans, evidence.question_overlaps
    free = [
        n
        for n, span in enumerate(spans)
        if overlaps[n] > 0
        and (span.number, evidence.passages[span.number - 1].text[span.start : span.end]) not in quotes
    ]
    free = [n for n in free if len(spans[n].words.sequence) >= STATEMENT] or free
    best = max(free, key=lambda n: overlaps[n] - RANK_STEP * spans[n].number, default=None)
    return None if best is None else spans[best]
