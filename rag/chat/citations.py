"""From the sentences of an answer to the spans of the passages that support them, whatever the model cites.

A sentence is supported by the passage sentence that holds most of its words, weighed by how rare they are in the
passages; every number of the answer has to stand there too. Needs no model. What it cannot see is contradiction:
a negation or a swapped relation between words that all stand in the passage.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer

from rag.index.lexical import STOP_WORDS
from rag.index.sentences import sentences
from rag.schema import Citation, Passage

SUPPORT = 0.6
"""Share of a sentence's weighted words that the supporting span holds at least."""
RANK_STEP = 0.2
"""What a passage loses by each rank in the search for the span that fits the question best: retrieval also knows
meaning, this only words."""
SAID_BY_QUESTION = 0.35
"""Weight of a word that the question already holds: an answer proves itself by what it adds."""

_WORD = re.compile(r"\d[\d.,:/]*\d|\w+")
_MARKER = re.compile(r"(?:\s+|(?<!\w))\[(\d+(?:\s*,\s*\d+)*)\]")


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    return str(snowballstemmer.stemmer("english").stemWord(word))


def _is_number(word: str) -> bool:
    return word[0].isdigit()


def words(text: str) -> set[str]:
    """The stemmed content words of `text`; numbers without their thousands separators."""
    found = set()
    for match in _WORD.finditer(text.casefold()):
        word = match.group()
        if _is_number(word):
            found.add(word.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", word) else word)
        elif word not in STOP_WORDS:
            found.add(_stem(word))
    return found


def without_markers(text: str, highest: int) -> str:
    """`text` without the model's own citation numbers that no passage has (above `highest`).

    Brackets that are glued to a word are an index, as in code.
    """

    def keep(match: re.Match[str]) -> str:
        numbers = [int(number) for number in match.group(1).split(",")]
        return match.group() if all(1 <= number <= highest for number in numbers) else ""

    return _MARKER.sub(keep, text)


@dataclass(frozen=True, slots=True)
class _Span:
    number: int
    start: int
    end: int
    words: frozenset[str]
    context: frozenset[str]
    """Words of the sentences before and after as well: a pronoun's name often stands there."""


def _spans(passages: Sequence[Passage]) -> list[_Span]:
    spans = []
    for number, passage in enumerate(passages, 1):
        places = list(sentences(passage.text))
        found = [frozenset(words(passage.text[start:end])) for start, end in places]
        for i, (start, end) in enumerate(places):
            context = frozenset().union(*found[max(0, i - 1) : i + 2])
            spans.append(_Span(number, start, end, found[i], context))
    return spans


class _Sources:
    """The spans of an answer's passages, and how much each of their words says."""

    def __init__(self, passages: Sequence[Passage], question: str) -> None:
        self.passages = passages
        self.asked = words(question)
        self.spans = _spans(passages)
        frequency = Counter(word for span in self.spans for word in span.words)
        self._rarity = {word: math.log(1 + len(self.spans) / count) for word, count in frequency.items()}
        self._unknown = math.log(2 + len(self.spans))

    def weight(self, found: Iterable[str]) -> float:
        """How much `found` words say together: rare ones more, those that no passage has most."""
        return sum(self._rarity.get(word, self._unknown) for word in found)

    def answers(self, span: _Span) -> float:
        """0 to 1: how much of the question the span speaks of, its neighbours counting half."""
        near = self.asked & span.context
        held = self.weight(near & span.words) + 0.5 * self.weight(near - span.words)
        return held / (self.weight(self.asked) or 1.0)

    def support(self, span: _Span, said: set[str]) -> float:
        """0 to 1: how much of what a sentence says the span holds.

        0 where a number is missing, and for a sentence that only says the question again.
        """
        held = said & span.words
        if not held or said <= self.asked or not {word for word in said if _is_number(word)} <= span.words:
            return 0.0

        def worth(found: set[str]) -> float:
            return self.weight(found - self.asked) + SAID_BY_QUESTION * self.weight(found & self.asked)

        return (worth(held) + 0.5 * worth((said & span.context) - held)) / worth(said)

    def nearest(self, taken: Iterable[Citation]) -> _Span | None:
        """The span that speaks most of what was asked and is not taken; lower ranked passages count less."""
        places = {(citation.n, citation.quote) for citation in taken}

        def fit(span: _Span) -> float:
            return self.answers(span) - RANK_STEP * span.number

        free = [span for span in self.spans if (span.number, self.quote(span)) not in places]
        return max((span for span in free if self.answers(span) > 0), key=fit, default=None)

    def quote(self, span: _Span) -> str:
        return self.passages[span.number - 1].text[span.start : span.end]

    def cite(self, citations: dict[tuple[str, int | None, int], Citation], span: _Span, answer_end: int) -> None:
        """Add the citation of `span`, unless the same place is cited already."""
        passage = self.passages[span.number - 1]
        start = passage.start + span.start
        citation = Citation(
            n=span.number,
            document_id=passage.document_id,
            document=passage.document,
            page=passage.page,
            quote=self.quote(span),
            start=start,
            end=passage.start + span.end,
            answer_end=answer_end,
            label=passage.label,
        )
        citations.setdefault((passage.document_id, passage.page, start), citation)


def resolve(answer: str, passages: Sequence[Passage], question: str = "") -> tuple[Citation, ...]:
    """The spans of `passages` that support the sentences of `answer`, in the answer's order.

    Where a sentence has no support, the span that fits the question best comes last, so that a person finds the place
    where the documents speak of it; it belongs to no sentence (`answer_end` is 0).
    """
    sources = _Sources(passages, question)
    citations: dict[tuple[str, int | None, int], Citation] = {}
    unsupported = False
    for start, end in sentences(answer):
        said = words(_MARKER.sub("", answer[start:end]))
        shares = [(sources.support(span, said), span) for span in sources.spans]
        # Among spans that hold the sentence equally well, the one that also speaks of what was asked.
        scored = [(share + sources.answers(span), span) for share, span in shares if share >= SUPPORT]
        unsupported |= not scored
        if scored:
            sources.cite(citations, max(scored, key=lambda item: item[0])[1], end)
    if unsupported and (nearest := sources.nearest(citations.values())):
        sources.cite(citations, nearest, 0)
    return tuple(citations.values())
