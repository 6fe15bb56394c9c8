"""From the sentences of an answer to the spans of the passages that support them, whatever the model cites.

A sentence is supported by the passage sentence that holds most of its words, weighed by how rare they are in the
passages; every number of the answer has to stand there too. Needs no model. What it cannot see is contradiction:
a negation or a swapped relation between words that all stand in the passage.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer

from rag.schema import Citation, Passage

SUPPORT = 0.6
"""Share of a sentence's weighted words that the supporting span holds at least."""
SAID_BY_QUESTION = 0.35
"""Weight of a word that the question already holds: an answer proves itself by what it adds."""

_WORD = re.compile(r"\d[\d.,:/]*\d|\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])|\s*\n\s*|(?<=[。！？])")
_MARKER = re.compile(r"\s*\[(\d+(?:\s*,\s*\d+)*)\]")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nos|Fig|vs|e\.g|i\.e|approx|[A-Z])\.$")
_STOP_WORDS = frozenset(
    """
    a an the and or but of in on at to for from by with as is are was were be been being it its this that these
    those there here he she they them his her their we you i our your my not no do does did has have had can could
    will would should may might must which who whom whose what when where why how than then so if about into over per
    """.split()
)


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
        elif word not in _STOP_WORDS:
            found.add(_stem(word))
    return found


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """The `(start, end)` of each sentence or line of `text`."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text[max(start, match.start() - 8) : match.start()]) and "\n" not in match.group():
            continue
        if text[start : match.start()].strip():
            yield start, match.start()
        start = match.end()
    if text[start:].strip():
        yield start, start + len(text[start:].rstrip())


def without_markers(text: str, highest: int) -> str:
    """`text` without the model's own citation numbers that no passage has (above `highest`)."""

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


def resolve(answer: str, passages: Sequence[Passage], question: str = "") -> tuple[Citation, ...]:
    """The spans of `passages` that support the sentences of `answer`, in the answer's order.

    A sentence that no span supports gets none.
    """
    spans = _spans(passages)
    asked = words(question)
    frequency = Counter(word for span in spans for word in span.words)
    rarity = {word: math.log(1 + len(spans) / count) for word, count in frequency.items()}
    unknown = math.log(2 + len(spans))
    citations: list[Citation] = []
    for start, end in sentences(answer):
        said = words(_MARKER.sub("", answer[start:end]))
        weights = {w: rarity.get(w, unknown) * (SAID_BY_QUESTION if w in asked else 1.0) for w in said}
        best = _best(spans, said, weights, asked)
        if best is None:
            continue
        passage = passages[best.number - 1]
        citation = Citation(
            n=best.number,
            document_id=passage.document_id,
            document=passage.document,
            page=passage.page,
            quote=passage.text[best.start : best.end],
            start=passage.start + best.start,
            end=passage.start + best.end,
            answer_end=end,
        )
        if all(
            (c.document_id, c.page, c.start) != (citation.document_id, citation.page, citation.start) for c in citations
        ):
            citations.append(citation)
    return tuple(citations)


def _best(spans: Sequence[_Span], said: set[str], weights: dict[str, float], asked: set[str]) -> _Span | None:
    numbers = {word for word in said if _is_number(word)}
    total = sum(weights.values())
    best, best_score = None, 0.0
    for span in spans:
        held = said & span.words
        if not held or not numbers <= span.words:
            continue
        near = (said & span.context) - held
        support = (sum(weights[w] for w in held) + 0.5 * sum(weights[w] for w in near)) / total
        # Among spans that hold the sentence equally well, the one that also speaks of what was asked.
        score = (
            support
            + 0.3 * len(asked & span.context) / max(1, len(asked))
            + 0.1 * len(asked & span.words) / max(1, len(asked))
        )
        if support >= SUPPORT and score > best_score:
            best, best_score = span, score
    return best
