"""Chooses what to quote of the passages for a question: no text is written, only sentences, rows and lists shown.

A unit's score is the cosine with the question, the weighted share of the question's words in it, and if there is a
language model the likelihood of the question after it (query likelihood, https://arxiv.org/abs/2204.07496).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rag.chat.claims import analyse
from rag.chat.units import Unit, read_units
from rag.schema import Passage

Similarity = Callable[[str, Sequence[str]], Sequence[float]]
"""(question, sentences) -> cosine of each with the question."""
Likelihood = Callable[[str, Sequence[str]], Sequence[float]]
"""(question, sentences) -> mean log-probability of the question after each."""

EMBEDDED = 40
"""Units embedded for a question at most: those that share most words with it."""
CANDIDATES = 8
"""Units whose likelihood is computed."""
MOST = 3
"""Quotes shown."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A part of a passage to show: `passage.text[start:end]`."""

    number: int
    """Of the passage, from 1."""
    start: int
    end: int
    bold: tuple[tuple[int, int], ...] = ()
    """The likeliest answer, offsets in the passage's text."""
    score: float = 0.0
    lead: tuple[int, int] | None = None
    """The line that it needs to be understood, elsewhere in the passage: the header of its table, or the line that
    introduces its list."""


@dataclass(frozen=True, slots=True)
class Quotes:
    """What the documents say about a question, best first."""

    quotes: tuple[Quote, ...]
    """Empty only if the passages hold nothing to quote."""
    doubtful: bool = False
    """It may not answer the question."""


def choose(
    question: str,
    passages: Sequence[Passage],
    similarity: Similarity | None = None,
    likelihood: Likelihood | None = None,
    *,
    earlier: Sequence[str] = (),
) -> Quotes:
    """The quotes that answer a question from passages, which are in the order of their ranks.

    `earlier` are the user's earlier questions, the latest last; their words count less.
    """
    units = [unit for number, passage in enumerate(passages, 1) for unit in read_units(number, passage)]
    if not units:
        return Quotes(())
    ranked = _Ranking(question, passages, units, earlier).ranked(similarity, likelihood)
    return Quotes(tuple(_show(ranked, passages)))


@dataclass(slots=True)
class _Scored:
    unit: Unit
    own: frozenset[str]
    context: frozenset[str]
    overlap: float = 0.0
    score: float = 0.0


class _Ranking:
    """The units of the passages, compared with a question."""

    def __init__(
        self, question: str, passages: Sequence[Passage], units: Sequence[Unit], earlier: Sequence[str]
    ) -> None:
        self.question, self.earlier = question, earlier
        self.scored = [_Scored(unit, _stems(unit.text), self._context(unit, passages)) for unit in units]
        counts = Counter(stem for each in self.scored for stem in each.own)
        self._known = frozenset(counts).union(*(each.context for each in self.scored))
        self._counts = counts
        self.asked = self._weights(earlier)
        whole = sum(self.asked.values()) or 1.0
        for each in self.scored:
            own = sum(weight for stem, weight in self.asked.items() if stem in each.own)
            context = sum(weight for stem, weight in self.asked.items() if stem in each.context)
            each.overlap = (own + 0.5 * context) / whole
            each.score = each.overlap - 0.05 * (each.unit.number - 1) - (0 if each.unit.whole else 0.3)

    @staticmethod
    def _context(unit: Unit, passages: Sequence[Passage]) -> frozenset[str]:
        passage = passages[unit.number - 1]
        name = re.sub(r"[\W_]+", " ", passage.document.rpartition(".")[0])
        lead = passage.text[slice(*unit.lead)] if unit.lead else ""
        return _stems(" . ".join([name, *(above.title for above in unit.headings), lead])) - _stems(unit.text)

    def _weights(self, earlier: Sequence[str]) -> dict[str, float]:
        """The stems asked for, each with its weight."""
        weights = dict[str, float]()
        for text, factor in [(self.question, 1.0), *zip(reversed(earlier), (0.5, 0.15), strict=False)]:
            for stem in _stems(text):
                known = stem if stem in self._known else _nearest(stem, self._known)
                weight = math.log(1 + len(self.scored) / max(1, self._counts[known]))
                weights[known] = max(weights.get(known, 0.0), factor * weight)
        return weights

    def ranked(self, similarity: Similarity | None, likelihood: Likelihood | None) -> list[_Scored]:
        best = sorted(self.scored, key=lambda each: -each.score)
        if similarity:
            best = best[:EMBEDDED]
            texts = [each.unit.text for each in best]
            asked = [self.question, *([f"{self.earlier[-1]} {self.question}"] if self.earlier else [])]
            for cosines in [similarity(text, texts) for text in asked]:
                for each, cosine in zip(best, cosines, strict=True):
                    each.score += cosine / len(asked)
            best.sort(key=lambda each: -each.score)
        if likelihood:
            best = best[:CANDIDATES]
            asked_text = f"{self.earlier[-1]} {self.question}" if self.earlier else self.question
            for each, mean in zip(best, likelihood(asked_text, [each.unit.text for each in best]), strict=True):
                each.score += 2 * mean
            best.sort(key=lambda each: -each.score)
        return best


def _show(ranked: Sequence[_Scored], passages: Sequence[Passage]) -> list[Quote]:
    shown = list[_Scored]()
    for each in ranked:
        if len(shown) == MOST or each.score < ranked[0].score - 0.2:
            break
        if all(not _same(each, other) for other in shown):
            shown.append(each)
    return [Quote(each.unit.number, each.unit.start, each.unit.end, (), each.score, each.unit.lead) for each in shown]


def _same(one: _Scored, other: _Scored) -> bool:
    return len(one.own & other.own) >= 0.8 * min(len(one.own), len(other.own))


_LETTER_DIGIT = re.compile(r"(?<=[^\W\d_])(?=\d)")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d{1,2}\b)")
_HYPHENS = re.compile("[\u2010-\u2015\u2212]")


@lru_cache(maxsize=4096)
def _stems(text: str) -> frozenset[str]:
    """The stems of a text, numbers by their value; ERR-4012, ERR4012 and err 4012 have the same."""
    text = _HYPHENS.sub("-", unicodedata.normalize("NFKC", text))
    text = "".join(f" {unicodedata.name(c, '').lower()} " if unicodedata.category(c) == "So" else c for c in text)
    return analyse(_DECIMAL_COMMA.sub(".", _LETTER_DIGIT.sub(" ", text))).content


def _nearest(stem: str, known: Iterable[str]) -> str:
    """The known stem that a misspelt one stands for; the stem itself if there is none."""
    if len(stem) < 5 or not stem.isalpha():
        return stem
    most = 1 if len(stem) < 8 else 2
    near = ((_distance(stem, other, most), other) for other in known if abs(len(stem) - len(other)) <= most)
    distance, found = min(near, default=(most + 1, stem))
    return found if distance <= most else stem


def _distance(one: str, other: str, most: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours between two words; over `most` if there are more."""
    before, row = list[int](), list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
