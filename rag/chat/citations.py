"""From the sentences of an answer to the spans of the passages that support them, whatever the model cites.

The model's own citation numbers are taken out of the text and kept beside it (`Check.cited`); which span supports a
sentence is found here, for any model, also one that cannot cite. A number or a name that stands in no passage is named,
and its sentence is never supported. How a sentence is judged, and what that cannot see, `support.py` says.

Knows nothing of turns; what embeds texts is handed in.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from rag.chat import support
from rag.chat.evidence import Evidence, Span
from rag.chat.statements import StrippedText, clauses, is_non_claim, statements, strip_citations
from rag.schema import Check, Checked, Citation, Passage, Verdict

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[list[str]], Sequence[Sequence[float]]]
"""Texts -> unit vectors of the embedded MiniLM: the weights of `support.py` know its cosines."""
Entails = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""Pairs of a premise and a conclusion -> how likely the one follows from the other, 0 to 1."""

_Cosines = Callable[[str], Sequence[float] | None]
ENTAILED = 0.5
"""From which a conclusion counts as supported."""
DOUBTFUL = 0.3
"""A sentence with a clause that is less likely supported is not supported as a whole, though most of it may be."""
RANK_STEP = 0.2
"""What a passage loses by each rank in the search for the span that fits the question best: retrieval also knows
meaning, this only words."""
STATEMENT = 4
"""Words of a span that is more than a heading."""
LATIN = 0.5
"""Share of the passages' letters below which words alone decide: the embedding model reads Latin letters."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What became of a sentence."""

    verdict: Verdict = Verdict.NO_CLAIM
    score: float = 0.0
    spans: tuple[Span, ...] = ()
    """What supports it, one for each of its clauses where they were judged apart."""
    missing: tuple[str, ...] = ()


class Checker:
    """Holds the answer to a question against its passages, also while it grows. Threads may share it."""

    def __init__(
        self, passages: Sequence[Passage], question: str, embed: Embed | None = None, entails: Entails | None = None
    ) -> None:
        """Constructing costs nothing.

        Args:
            passages: as they are numbered.
            question: as it was asked.
            embed: texts -> unit vectors; words alone decide where there is none.
            entails: judges in place of the weights, where a person has such a model.
        """
        self._passages, self._question = passages, question
        self._embed, self._entails = embed, entails
        self._evidence: Evidence | None = None
        self._vectors: np.ndarray[Any, np.dtype[np.float32]] | None = None
        self._judged: dict[str, _Judged] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Read and embed the passages, once; the first check does it where nobody did before. Blocks."""
        with self._lock:
            self._prepared()

    def check(self, answer: str, *, ended: bool = True) -> Checked:
        """Hold every sentence of an answer against the passages; those that were checked before cost nothing. Blocks.

        Args:
            answer: as the model writes it.
            ended: no more will come; the last sentence is left out otherwise.
        """
        unmarked = strip_citations(answer)
        text = unmarked.text
        places = statements(text)
        if not ended:
            places = places[:-1]
            text = text[: places[-1][1]] if places else ""
        with self._lock:
            evidence = self._prepared()
            judged = self._judge(evidence, [text[start:end] for start, end in places])
        return self._checked(evidence, text, places, judged, unmarked)

    def _prepared(self) -> Evidence:
        if self._evidence is None:
            evidence = Evidence(self._passages, self._question)
            if self._embed and evidence.spans and _is_latin(span.text for span in evidence.spans):
                self._vectors = _matrix(self._embed([span.text for span in evidence.spans]))
            self._evidence = evidence
        return self._evidence

    # --- sentences ---

    def _judge(self, evidence: Evidence, sentences: Sequence[str]) -> list[_Judged]:
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._judged]
        claims: dict[str, list[support.Claim]] = {}
        for sentence in new:
            if is_non_claim(sentence) or not evidence.spans:
                self._judged[sentence] = _Judged()
                continue
            parts = clauses(sentence)
            whole = [sentence] if parts[1:] else []
            claims[sentence] = [support.read_claim(evidence, said) for said in whole + parts]
        cosines = self._cosines([claim.text for claim in chain.from_iterable(claims.values())])
        for sentence, (whole_claim, *part_claims) in claims.items():
            score, spans = self._support(evidence, [whole_claim], cosines)
            if part_claims:
                apart = self._support(evidence, part_claims, cosines)
                score, spans = apart if apart[0] > score or apart[0] < DOUBTFUL else (score, spans)
            missing = evidence.missing(whole_claim.whole)
            limit = support.THRESHOLD
            if self._entails:
                [score], limit = self._entails([(evidence.context(spans), whole_claim.text)]), ENTAILED
            supported = score >= limit and not missing
            verdict = Verdict.SUPPORTED if supported else Verdict.UNSUPPORTED
            self._judged[sentence] = _Judged(verdict, 0.0 if missing else round(score, 4), spans, missing)
        return [self._judged[sentence] for sentence in sentences]

    @staticmethod
    def _support(
        evidence: Evidence, claims: Sequence[support.Claim], cosines: _Cosines
    ) -> tuple[float, tuple[Span, ...]]:
        """How likely all of the claims are supported, and the spans that do it."""
        judged = [support.judge(evidence, claim, cosines(claim.text)) for claim in claims]
        spans = dict.fromkeys(place for _, place in judged)
        return min(score for score, _ in judged), tuple(evidence.spans[place] for place in spans)

    def _cosines(self, texts: Sequence[str]) -> _Cosines:
        """Gives the cosines of one of `texts` and all spans; all are embedded at once."""
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
        judged: Sequence[_Judged],
        unmarked: StrippedText,
    ) -> Checked:
        cited = _cited(places, unmarked.marks)
        citations: dict[tuple[str, int | None, int], int] = {}
        found: list[Citation] = []

        def cite(span: Span, answer_end: int) -> int:
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
        if places and unsupported and (span := _nearest(evidence, found)):
            cite(span, 0)
        return Checked(text, tuple(found), tuple(checks))

    def _citation(self, span: Span, answer_end: int) -> Citation:
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
    """For each sentence the numbers that stand in it, right behind it or, at the head of a line, right before it."""
    found: list[list[int]] = [[] for _ in places]
    starts = [start for start, _ in places]
    for at, numbers in marks:
        if sentence := bisect_right(starts, at):
            found[sentence - 1] += numbers
    return [tuple(dict.fromkeys(numbers)) for numbers in found]


def _nearest(evidence: Evidence, taken: Sequence[Citation]) -> Span | None:
    """The span that speaks most of what was asked and is not taken; lower ranked passages count less."""
    quotes = {(citation.n, citation.quote) for citation in taken}

    def fit(span: Span) -> float:
        return evidence.answers(span) - RANK_STEP * span.number

    passages = evidence.passages
    free = [s for s in evidence.spans if (s.number, passages[s.number - 1].text[s.start : s.end]) not in quotes]
    free = [span for span in free if evidence.answers(span) > 0]
    return max([s for s in free if len(s.words.sequence) >= STATEMENT] or free, key=fit, default=None)


def _is_latin(texts: Iterable[str]) -> bool:
    letters = [character for text in texts for character in text if character.isalpha()]
    return sum(character < "\u0250" for character in letters) >= LATIN * len(letters)


def _matrix(vectors: Sequence[Sequence[float]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    import numpy as np

    return np.asarray(vectors, dtype=np.float32)
