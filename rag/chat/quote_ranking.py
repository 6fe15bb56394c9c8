"""Ranks the units of passages by how well each answers a question.

A score is the cosine with the question, the weighted share of the question's words in the unit and above it, and if
there is a language model the likelihood of the question after it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from errors import BackendError
from rag.chat.answer_spans import candidates
from rag.chat.asked import BAN, GENERIC, Kind, asks_for_bans, kind_of, respelt, stems, words_of
from rag.chat.claims import analyse
from rag.chat.units import Heading, Unit
from rag.schema import Passage

Similarity = Callable[[str, Sequence[str]], Sequence[float]]
"""(question, sentences) -> cosine of each with the question."""
Likelihood = Callable[[str, Sequence[str]], Sequence[float]]
"""(question, sentences) -> mean log-probability of the question after each. May raise BackendError."""

EMBEDDED = 40
"""Units embedded for a question at most: those that share most words with it."""
CANDIDATES = 8
"""Units whose likelihood is computed."""
CONTEXT, RANK, CUT, LIGHT, KIND, LIKELY = 0.5, 0.05, 0.3, 0.3, 0.2, 1.0
"""Weights: a word in the headings instead of the unit; each rank of its passage; a unit that is cut off; a word such
as “rules”, or a negation; words of the kind that is asked for; the mean log-probability of the question."""
EARLIER = (0.5, 0.15)
"""Weight of the words of the last question, and of the one before it."""
_CALLED = re.compile(r"\b(what (?:is|are|was|were) .{2,60}?) (?:called|named)\b", re.IGNORECASE)
"""“What is it called?” is a question for its name."""
_ANOTHER = re.compile(r"\b(?:other|another|else|andere\w*|autre|otr[oa])\b", re.IGNORECASE)


@dataclass(slots=True)
class Ranked:
    """A unit and how well it answers."""

    unit: Unit
    own: frozenset[str]
    """Its stems."""
    above: frozenset[str]
    """Stems of the headings above it, of the line that introduces its list, and of its document's name."""
    overlap: float = 0.0
    """Weighted share of the question's words, 0 to 1; those above it count less."""
    cosine: float = 0.0
    of_kind: bool = False
    """It has words of the kind that is asked for, which the question does not have."""
    likelihood: float | None = None

    @property
    def base(self) -> float:
        """The score without the likelihood: about 0 to 2.5, comparable between questions."""
        found = self.overlap + self.cosine + (KIND if self.of_kind else 0)
        return found - RANK * (self.unit.number - 1) - (0 if self.unit.whole else CUT)

    @property
    def score(self) -> float:
        """Higher is better; comparable for one question."""
        return self.base + LIKELY * (self.likelihood or 0.0)


class Ranking:
    """The units of the passages, best first."""

    def __init__(
        self,
        question: str,
        passages: Sequence[Passage],
        units: Sequence[Unit],
        earlier: Sequence[str],
        similarity: Similarity | None,
        likelihood: Likelihood | None,
    ) -> None:
        headings = [
            _above(unit, before, passages[unit.number - 1]) for before, unit in zip([None, *units], units, strict=False)
        ]
        found = [Ranked(unit, stems(unit.text), stems(above)) for unit, above in zip(units, headings, strict=True)]
        self._counts = Counter(stem for each in found for stem in each.own)
        self._total = len(found)
        known = frozenset(self._counts).union(*(each.above for each in found))
        words = frozenset().union(
            *(words_of(f"{unit.text} {above}") for unit, above in zip(units, headings, strict=True))
        )
        self.question = question = respelt(question, known, words)
        avoided = self._avoided(question, earlier)
        self.asked = self._weights(question, earlier, avoided)
        """The question's stems, each with its weight."""
        kind = kind_of(question)
        for each in found:
            text, span = passages[each.unit.number - 1].text, (each.unit.start, each.unit.end)
            each.of_kind = kind is not Kind.OPEN and bool(candidates(question, kind, text, span))
            each.overlap = self.share(each.own) + CONTEXT * self.share(each.above - each.own)
            each.overlap -= len(avoided & (each.own | each.above)) / max(1, len(avoided))
        self.best = sorted(found, key=lambda each: -each.score)
        if similarity:
            self._compare(similarity, [question, *([f"{earlier[-1]} {question}"] if earlier else [])])
        if likelihood:
            # The model may be busy or gone.
            with suppress(BackendError):
                self._judge(likelihood, f"{earlier[-1]} {question}" if earlier else question)

    def share(self, found: frozenset[str]) -> float:
        """Weighted share of the question's words among some stems, 0 to 1."""
        whole = sum(self.asked.values())
        return sum(weight for stem, weight in self.asked.items() if stem in found) / whole if whole else 0.0

    def only_title(self, heading: Heading) -> bool:
        """Whether no unit below a heading has a word of the question that the heading lacks."""
        rest = self.asked.keys() - stems(heading.title)
        return all(rest.isdisjoint(each.own) for each in self.best if heading in each.unit.headings)

    def share_of_title(self, title: str) -> float:
        """Weighted share of the question's words in a heading, or in the line that introduces a list."""
        return self.share(stems(title))

    def _weights(self, question: str, earlier: Sequence[str], avoided: frozenset[str]) -> dict[str, float]:
        weights, is_open = dict[str, float](), kind_of(question) is Kind.OPEN
        for text, factor in [(question, 1.0), *zip(reversed(earlier), EARLIER, strict=False)]:
            words = stems(_CALLED.sub(r"\1 name", text)) - ({BAN[1:]} if asks_for_bans(text) else {BAN}) - avoided
            for stem in words:
                weight = factor * math.log(1 + self._total / max(1, self._counts[stem]))
                weight *= LIGHT if (stem in GENERIC and is_open) or (stem[0] == "¬" and stem != BAN) else 1.0
                weights[stem] = max(weights.get(stem, 0.0), weight)
        return weights

    @staticmethod
    def _avoided(question: str, earlier: Sequence[str]) -> frozenset[str]:
        """“And the other one?” does not ask about what the last question named."""
        if not earlier or not _ANOTHER.search(question):
            return frozenset()
        return frozenset(stem for entity in analyse(earlier[-1]).entities for stem in entity.stems)

    def _compare(self, similarity: Similarity, questions: Sequence[str]) -> None:
        self.best = self.best[:EMBEDDED]
        texts = [each.unit.text for each in self.best]
        for cosines in [similarity(question, texts) for question in questions]:
            for each, cosine in zip(self.best, cosines, strict=True):
                each.cosine += cosine / len(questions)
        self.best.sort(key=lambda each: -each.score)

    def _judge(self, likelihood: Likelihood, question: str) -> None:
        best = self.best[:CANDIDATES]
        for each, mean in zip(best, likelihood(question, [each.unit.text for each in best]), strict=True):
            each.likelihood = mean
        self.best = sorted(best, key=lambda each: -each.score)


def _above(unit: Unit, before: Unit | None, passage: Passage) -> str:
    name = re.sub(r"[\W_]+", " ", passage.document.rpartition(".")[0])
    subject = before.text if before and unit.refers_back and before.block == unit.block else ""
    return " . ".join([name, *(heading.title for heading in unit.headings), unit.lead_text, subject])
