"""When is a question about something else? A threshold for each collection and embedding model, from its own text.

Two signals are looked at: the cosine of what lies nearest to the question, and how much of its words one chunk has.
Both are measured against questions of all fields, which are out of scope to nearly every collection: z is how many spreads
a signal lies above what those have on this collection, and `2 z(nearest) + z(matched)` is the score. So no constant
here is a cosine, and each collection and embedding model has its own scale. The threshold lies three quarters of the
way from the out-of-scope questions up to the lowest of questions that are made of the collection's own sentences, and no
higher than nearly all of the out-of-scope ones need. `bench/abstention.py` measures what comes of it, `docs/evaluation.md` says
what it cannot tell.

The module knows nothing of databases, of the two searches or of models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

from rag.index.lexical import STOP_WORDS, question_terms
from rag.index.sentences import sentences

QUESTIONS = Path(__file__).parent / "out_of_scope_questions.txt"
NEAREST_WEIGHT = 2.0
WORDS_WEIGHT = 6.0
"""Of `matched` where words alone decide."""
OWN_SHARE, OWN_ABSTAINED = 0.75, 0.05
"""The threshold is this share of the score that all but so many of the collection's own questions have."""
OUT_OF_SCOPE_ABSTAINED = 0.94
"""No threshold is higher than what abstains over so many of the out-of-scope questions: the rest of them the documents answer."""
LIMITS = 2.5, 8.0
"""No threshold lies outside, whatever a text is like."""
THRESHOLD = 4.0
"""Of a collection without questions of its own."""
LEAST_SPREAD = 1e-3, 0.08
"""Of the two signals: in another language than that of the out-of-scope questions no word of those is found."""
STEEPNESS = 0.7
"""Of the confidence, per unit of the score: a logistic regression on the scores of `bench/abstention.py`."""

OUT_OF_SCOPE, OWN = 100, 60
"""Questions that a calibration asks; each costs what a person's question does."""
LEAST_QUESTIONS = 30
"""With fewer of its own a collection keeps to THRESHOLD, with fewer out-of-scope ones to PRIOR."""
OWN_WORDS = 3, 7
MIXED_WORDS, MIXED_OWN = (4, 8), 0.6
"""Words of an out-of-scope question in the language of the collection, and the share of them that it has at all."""
ENGLISH = 0.15
"""Share of stop words from which on a text is English; English texts have .27 to .48, others up to .03."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What retrieval knows of one question in one collection."""

    nearest: float
    """Cosine of what was searched and of the chunk, or of the sentence, that is nearest to it."""
    matched: float
    """See `matched`."""
    readable: bool = True
    """The embedding model can read the question; otherwise words alone decide."""

    def with_sentence(self, cosine: float) -> Signals:
        """The same after a look at the sentences: a chunk of several matters is far from a question about one."""
        return replace(self, nearest=max(self.nearest, cosine))


def matched(texts: Sequence[str], coverage: Sequence[float]) -> float:
    """The words of a question that one chunk has, about as many by chance for a short question as for a long one.

    `coverage * sqrt(words)`, the best of the texts that were searched: of n words about sqrt(n) are found by chance,
    so that the coverage alone would abstain over long questions and let short ones through.

    Args:
        texts: the question, and what is searched with it.
        coverage: of each of them, 0 to 1, as `LexicalHits` has it.
    """
    pairs = zip(texts, coverage, strict=False)
    return max((share * math.sqrt(len(question_terms(text)[0])) for text, share in pairs), default=0.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a signal lies for out-of-scope questions, by the quartiles: those that are answered after all count little."""

    middle: float
    spread: float

    @classmethod
    def of(cls, values: Sequence[float], least: float) -> Scale:
        """The median, and the standard deviation of a normal distribution with these quartiles."""
        low, middle, high = quantiles(values, n=4)
        return cls(round(middle, 4), round(math.hypot((high - low) / 1.349, least), 4))

    def above(self, value: float) -> float:
        """How many spreads a value lies above the middle; 0 below it, as no question is more out of scope than out of scope."""
        return max(0.0, (value - self.middle) / self.spread)


@dataclass(frozen=True, slots=True)
class Rates:
    """The two errors, as shares."""

    abstained: float
    """Of the questions that the documents answer."""
    let_through: float
    """Of the out-of-scope ones."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """When Gestalt abstains over a collection."""

    nearest: Scale
    matched: Scale
    threshold: float = THRESHOLD
    threshold_offset: float = 0.0
    """What a person adds to the threshold: +1 abstains more, -1 less."""
    own: tuple[float, ...] = ()
    """Scores of the questions made of the collection's own sentences, in order."""
    out_of_scope: tuple[float, ...] = ()
    """Scores of the out-of-scope questions, in order."""

    def score(self, signals: Signals) -> float:
        """How much speaks for the documents, from 0 on."""
        words = self.matched.above(signals.matched)
        if not signals.readable:
            return WORDS_WEIGHT * words
        return NEAREST_WEIGHT * self.nearest.above(signals.nearest) + words

    def abstains(self, signals: Signals) -> bool:
        """Whether the question is about something else."""
        return self.score(signals) < self.threshold + self.threshold_offset

    def confidence(self, signals: Signals) -> float:
        """How likely the documents are about the question, 0 to 1; a half where it is close to the threshold."""
        above = self.score(signals) - self.threshold - self.threshold_offset
        return 1.0 / (1.0 + math.exp(-STEEPNESS * max(-50.0, min(above, 50.0))))

    def rates(self, threshold_offset: float | None = None) -> Rates | None:
        """The two errors, at another threshold_offset where one is given; None where nothing was measured."""
        if not (self.own and self.out_of_scope):
            return None
        limit = self.threshold + (self.threshold_offset if threshold_offset is None else threshold_offset)
        return Rates(
            abstained=sum(score < limit for score in self.own) / len(self.own),
            let_through=sum(score >= limit for score in self.out_of_scope) / len(self.out_of_scope),
        )

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Calibration:
        """What `to_json` gave.

        Raises:
            TypeError, KeyError: these are no such values, or those of another version.
        """
        scales = {name: Scale(**values[name]) for name in ("nearest", "matched")}
        scores = {name: tuple(values[name]) for name in ("own", "out_of_scope")}
        return cls(**(values | scales | scores))


PRIOR = Calibration(nearest=Scale(0.27, 0.09), matched=Scale(0.24, 0.15))
"""Until a collection has its own, and for a handful of chunks: as the embedded model has it over small collections.
Over the larger ones it lets more through and abstains less."""


# --- calibrating ---------------------------------------------------------------------------------------------------


def calibrate(texts: Sequence[str], measure: Callable[[Sequence[str]], Sequence[Signals]]) -> Calibration:
    """The calibration of a collection.

    Args:
        texts: chunks of it, some hundred at random.
        measure: the signals of questions over it, the sentences looked at.
    """
    out_of_scope = measure(out_of_scope_questions() if is_english(texts) else mixed_questions(texts))
    own = measure(own_questions(texts))
    if len(out_of_scope) < LEAST_QUESTIONS:
        return PRIOR
    least_nearest, least_matched = LEAST_SPREAD
    raw = Calibration(
        nearest=Scale.of([signals.nearest for signals in out_of_scope], least_nearest),
        matched=Scale.of([signals.matched for signals in out_of_scope], least_matched),
    )
    scores = sorted(round(raw.score(signals), 2) for signals in own)
    # Of questions that the model cannot read those made of the text's own words are too easy: they say nothing.
    if len(own) < LEAST_QUESTIONS or not all(signals.readable for signals in own):
        scores = []
    out_of_scope_scores = sorted(round(raw.score(signals), 2) for signals in out_of_scope)
    threshold = threshold_between(scores, out_of_scope_scores)
    return replace(raw, threshold=threshold, own=tuple(scores), out_of_scope=tuple(out_of_scope_scores))


def threshold_between(own: Sequence[float], out_of_scope: Sequence[float], share: float = OWN_SHARE) -> float:
    """The threshold from the scores of a collection's own questions, if it has any, and of out-of-scope ones, in order."""
    if not own:
        return THRESHOLD
    highest = out_of_scope[int(OUT_OF_SCOPE_ABSTAINED * len(out_of_scope))] + 0.01
    low, high = LIMITS
    return round(min(max(min(share * own[int(OWN_ABSTAINED * len(own))], highest), low), high), 2)


@cache
def _general_questions() -> tuple[str, ...]:
    return tuple(QUESTIONS.read_text("utf-8").splitlines())


def out_of_scope_questions(number: int = OUT_OF_SCOPE) -> list[str]:
    """Questions of many fields, evenly from the list that is shipped."""
    every = _general_questions()
    number = min(number, len(every))
    return [every[at * len(every) // number] for at in range(number)]


def own_questions(texts: Sequence[str], number: int = OWN) -> list[str]:
    """Questions that the texts answer: each some words of one sentence, in their order. The same ones each time."""
    random = Random(0)  # noqa: S311 - no secret
    made = []
    for words in _sentences(texts, random):
        if len(words) >= max(OWN_WORDS):
            chosen = sorted(random.sample(range(len(words)), random.randint(*OWN_WORDS)))
            made.append(" ".join(words[at] for at in chosen) + "?")
            if len(made) == number:
                break
    return made


def mixed_questions(texts: Sequence[str], number: int = OUT_OF_SCOPE) -> list[str]:
    """Out-of-scope questions in the language of the texts: words from anywhere in them, and some that they do not have."""
    random = Random(0)  # noqa: S311 - no secret
    own = [word for words in _sentences(texts, random) for word in words] or ["?"]
    other = [word for question in _general_questions() for word in question_terms(question)[0]]
    made = []
    for _ in range(number):
        total = random.randint(*MIXED_WORDS)
        words = random.choices(own, k=round(MIXED_OWN * total)) + random.choices(other, k=total)
        words = words[:total]
        random.shuffle(words)
        made.append(" ".join(words) + "?")
    return made


def is_english(texts: Sequence[str]) -> bool:
    """Whether the texts, taken together, are in the language of the out-of-scope questions."""
    words = [word for text in texts for word in re.findall(r"\w+", text.lower())]
    return sum(word in STOP_WORDS for word in words) >= ENGLISH * len(words)


def _sentences(texts: Sequence[str], random: Random) -> list[list[str]]:
    """The words of each sentence that has any, without stop words and numbers, in no order."""
    found = [
        [word for word in question_terms(text[start:end])[0] if not word.isdigit()]
        for text in texts
        for start, end in sentences(text)
    ]
    random.shuffle(found)
    return [words for words in found if words]
