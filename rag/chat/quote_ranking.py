"""Ranks the units of passages by how well each answers a question.

A score is the cosine with the question and the weighted share of the question's words in the unit and above it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.chat.answer_spans import candidates
from rag.chat.asked import BAN, GENERIC, Kind, asks_for_bans, kind_of, respelt, stems, words_of
from rag.chat.claims import analyse
from rag.chat.headings import Heading
from rag.chat.units import Unit
from rag.index.exact import exact_terms
from rag.index.lexical import phrase
from rag.schema import Passage

Similarity = Callable[[str, Sequence[str]], Sequence[float]]
"""(question, sentences) -> cosine of each with the question."""

EMBEDDED = 40
"""Units embedded for a question at most: those that share most words with it."""
CONTEXT, RANK, CUT, BARE, LIGHT, KIND, EXACT = 0.5, 0.05, 0.3, 0.7, 0.3, 0.2, 0.4
"""Weights: a word in the headings instead of the unit; each rank of its passage; a unit that is cut off; one
that says nothing; a word such as “rules”, or a negation; words of the kind that is asked for; the very code, number or
phrase of the question."""
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
    exact: bool = False
    """It has a code, a number such as “station 47” or a quoted phrase of the question."""

    @property
    def is_bare(self) -> bool:
        """It says nothing; a name alone may be what is asked for."""
        return self.unit.bare and (self.unit.whole or not self.of_kind)

    @property
    def score(self) -> float:
        """Higher is better: about 0 to 2.5, comparable between questions."""
        found = self.overlap + self.cosine + (KIND if self.of_kind else 0) + (EXACT if self.exact else 0)
        without = BARE if self.is_bare else 0 if self.unit.whole else CUT
        return found - RANK * (self.unit.number - 1) - without


class Ranking:
    """The units of the passages, best first."""

    def __init__(
        self,
        question: str,
        passages: Sequence[Passage],
        units: Sequence[Unit],
        earlier: Sequence[str],
        similarity: Similarity | None,
    ) -> None:
        headings = [
            _above(unit, before, passages[unit.number - 1]) for before, unit in zip([None, *units], units, strict=False)
        ]
        found = [Ranked(unit, stems(unit.text), stems(above)) for unit, above in zip(units, headings, strict=True)]
        self._counts = Counter(stem for each in found for stem in each.own)
        self._total = len(found)
        self._known = known = frozenset(self._counts).union(*(each.above for each in found))
        words = frozenset().union(
            *(words_of(f"{unit.text} {above}") for unit, above in zip(units, headings, strict=True))
        )
        self.question = question = respelt(question, known, words)
        avoided = self._avoided(question, earlier)
        self.asked = self._weights(question, earlier, avoided)
        """The question's stems, each with its weight."""
        kind, exact = kind_of(question), [form for term in exact_terms(question) for form in term.phrases]
        for each in found:
            each.exact = any(f" {form} " in f" {phrase(each.unit.text)} " for form in exact)
            text, span = passages[each.unit.number - 1].text, (each.unit.start, each.unit.end)
            each.of_kind = kind is not Kind.OPEN and bool(candidates(question, kind, text, span))
            # In its own document the document's name tells no unit from another.
            name = stems(_name(passages[each.unit.number - 1]))
            name = frozenset() if self.asked.keys() <= name else name
            own = each.own - name
            each.overlap = self.share(own) + CONTEXT * self.share(each.above - own)
            each.overlap -= len(avoided & (each.own | each.above)) / max(1, len(avoided))
        self.has_exact = any(each.exact for each in found)
        """Some unit has the very code or number: a whole table or list would bury it."""
        self.best = sorted(found, key=lambda each: -each.score)
        if similarity:
            self._compare(similarity, [question, *([f"{earlier[-1]} {question}"] if earlier else [])])

    def share(self, found: frozenset[str]) -> float:
        """Weighted share of the question's words among some stems, 0 to 1."""
        whole = sum(self.asked.values())
        return sum(weight for stem, weight in self.asked.items() if stem in found) / whole if whole else 0.0

    def is_above_answer(self, header: Ranked) -> bool:
        """Whether a row of the table below a header has a word of the question that the header lacks."""
        rest = self.asked.keys() - header.own - header.above
        rows = (each for each in self.best if each.unit.kind == "row" and each.unit.block == header.unit.block)
        return header.unit.kind == "row" and any(
            not rest.isdisjoint(each.own) for each in rows if each.unit.number == header.unit.number
        )

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
                if stem in GENERIC and is_open:
                    weight *= LIGHT if stem in self._known else 0.0
                elif stem[0] == "¬" and stem != BAN:
                    weight *= LIGHT
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


def _name(passage: Passage) -> str:
    return re.sub(r"[\W_]+", " ", passage.document.rpartition(".")[0])


def _above(unit: Unit, before: Unit | None, passage: Passage) -> str:
    subject = before.text if before and unit.refers_back and before.block == unit.block else ""
    return " . ".join([_name(passage), *(heading.title for heading in unit.headings), unit.lead_text, subject])
