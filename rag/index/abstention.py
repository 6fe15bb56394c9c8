"""When Gestalt abstains: a threshold for each collection and embedding model, calibrated on the collection's own text.

`score = 2 z(cosine of the nearest chunk) + z(how many of the question's words one chunk has)`, standardised against the
collection's values for out-of-scope questions: general ones that hardly any collection answers. So no constant here is
a cosine. `bench/abstention.py` measures it; `docs/evaluation.md` states its limits.

A question in another language than the passages shares no words with them, and its cosines are all lower. There, what
counts is whether the nearest chunk stands out from the others more than it does for half of the out-of-scope questions,
and only words that do match, such as names, add to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import quantiles

from rag.index.lexical import STOP_WORDS, question_terms
from rag.index.sentences import sentences

QUESTIONS = Path(__file__).parent / "out_of_scope_questions.txt"
COSINE_WEIGHT = 2.0
WORDS_ONLY_WEIGHT = 6.0  # of the word match, if the model cannot read the question
IN_SCOPE_SHARE, FALSE_ABSTENTIONS = 0.75, 0.05
"""The threshold is this share of the score that all but 5 % of the in-scope questions reach."""
OUT_OF_SCOPE_ABSTAINED, MIXED_ABSTAINED = 0.94, 0.85
"""Shares of the out-of-scope questions to abstain on; the threshold is no higher than that takes. Mixed questions are
nearer to the collection than real ones: .94 refuses 4 % of XQuAD's questions in German and 7 % in Arabic."""
MIN_THRESHOLD, MAX_THRESHOLD = 2.5, 8.0
DEFAULT_THRESHOLD = 4.0  # of a collection without in-scope questions
MIN_COSINE_SPREAD, MIN_WORD_SPREAD = 1e-3, 0.08
"""The word spread would be 0 in a language that shares no word with the out-of-scope questions."""
STEEPNESS = 0.7  # of the confidence: a logistic regression on the scores of `bench/abstention.py`

OUT_OF_SCOPE_QUESTIONS, IN_SCOPE_QUESTIONS = 100, 60  # each costs as much as a user's question
MIN_QUESTIONS = 30  # with fewer in scope a collection gets DEFAULT_THRESHOLD, with fewer out of scope PRIOR
IN_SCOPE_WORDS = 3, 7
MIXED_WORDS, MIXED_SHARE = (4, 8), 0.6
"""Words of an out-of-scope question in the collection's own language, and the share that occur in the collection."""
ENGLISH_SHARE = 0.15  # of stop words makes a text English: English texts have .27 to .48, others up to .03


@dataclass(frozen=True, slots=True)
class Signals:
    """What retrieval measured for one question in one collection."""

    cosine: float  # of the search vector and the nearest chunk or sentence
    word_match: float
    readable: bool = True  # the embedding model can read the question; if not, only the word match counts
    lead: float = 0.0  # of the nearest chunk's cosine over the mean of all candidates
    foreign: bool = False  # the question is in another language than the passages

    def with_sentence(self, cosine: float) -> Signals:
        """The signals after the sentence check: a chunk about several subjects is far from a question about one."""
        return replace(self, cosine=max(self.cosine, cosine))


def word_match(texts: Sequence[str], coverage: Sequence[float]) -> float:
    """How many words of a question one chunk has: the best `coverage * sqrt(words)` of the searched texts.

    Of n words about sqrt(n) match by chance: coverage alone would abstain on long questions and pass short ones.
    """
    pairs = zip(texts, coverage, strict=False)
    return max((share * math.sqrt(len(question_terms(text)[0])) for text, share in pairs), default=0.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """A signal's distribution over out-of-scope questions. By quartiles: some of them may be answered after all."""

    middle: float
    spread: float

    @classmethod
    def of(cls, values: Sequence[float], min_spread: float) -> Scale:
        """The median, and the standard deviation of a normal distribution with these quartiles."""
        low, middle, high = quantiles(values, n=4)
        return cls(round(middle, 4), round(math.hypot((high - low) / 1.349, min_spread), 4))

    def above(self, value: float) -> float:
        """How many spreads a value lies above the median; 0 below it."""
        return max(0.0, (value - self.middle) / self.spread)


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """The two errors of a threshold, as shares."""

    false_abstentions: float  # of the in-scope questions
    false_answers: float  # of the out-of-scope questions


@dataclass(frozen=True, slots=True)
class Calibration:
    """When Gestalt abstains on a question to a collection. Stored as JSON."""

    cosine: Scale
    word_match: Scale
    threshold: float = DEFAULT_THRESHOLD
    threshold_offset: float = 0.0  # what the user adds to the threshold: +1 abstains more, -1 less
    lead: Scale = Scale(0.06, 0.016)  # over out-of-scope questions in English
    in_scope: tuple[float, ...] = ()  # sorted scores of questions made from the collection's sentences
    out_of_scope: tuple[float, ...] = ()  # sorted scores of the out-of-scope questions

    def score(self, signals: Signals) -> float:
        """How well the collection matches a question, from 0."""
        words = self.word_match.above(signals.word_match)
        if not signals.readable:
            return WORDS_ONLY_WEIGHT * words
        return COSINE_WEIGHT * self.cosine.above(signals.cosine) + words

    def margin(self, signals: Signals) -> float:
        """How far a question is above the threshold; negative if it is out of scope."""
        above = self.score(signals) - self.threshold
        if signals.foreign and signals.readable:
            lead = (signals.lead - self.lead.middle) / self.lead.spread
            words = self.word_match.above(signals.word_match)
            above = max(above, COSINE_WEIGHT * lead + words)
        return above - self.threshold_offset

    def abstains(self, signals: Signals) -> bool:
        """Whether the question is out of scope."""
        return self.margin(signals) < 0.0

    def confidence(self, signals: Signals) -> float:
        """How likely the question is in scope, 0 to 1; 0.5 at the threshold."""
        return 1.0 / (1.0 + math.exp(-STEEPNESS * max(-50.0, min(self.margin(signals), 50.0))))

    def error_rates(self, threshold_offset: float | None = None) -> ErrorRates | None:
        """The two errors, by default at the current offset; None if nothing was measured."""
        if not (self.in_scope and self.out_of_scope):
            return None
        limit = self.threshold + (self.threshold_offset if threshold_offset is None else threshold_offset)
        return ErrorRates(
            false_abstentions=sum(score < limit for score in self.in_scope) / len(self.in_scope),
            false_answers=sum(score >= limit for score in self.out_of_scope) / len(self.out_of_scope),
        )


PRIOR = Calibration(Scale(0.27, 0.09), Scale(0.24, 0.15), threshold=2.9)
"""For a collection without a calibration: typical of all-MiniLM-L6-v2 over small collections, where one of two rare
words is hardly ever there by chance. Over larger ones it abstains less, wrongly and rightly."""
MULTILINGUAL_PRIOR = Calibration(Scale(0.785, 0.018), Scale(0.24, 0.15), lead=Scale(0.028, 0.01), threshold=2.9)
"""The same of multilingual-e5-small, all of whose cosines are high."""


def calibrate(texts: Sequence[str], measure: Callable[[Sequence[str]], Sequence[Signals]]) -> Calibration:
    """The calibration of a collection, from some hundred random chunks; `measure` returns the signals of questions."""
    general = measure(out_of_scope_questions())
    out_of_scope = general if is_english(texts) else measure(mixed_questions(texts))
    in_scope = measure(in_scope_questions(texts))
    if len(out_of_scope) < MIN_QUESTIONS:
        return PRIOR
    raw = Calibration(
        cosine=Scale.of([signals.cosine for signals in out_of_scope], MIN_COSINE_SPREAD),
        word_match=Scale.of([signals.word_match for signals in out_of_scope], MIN_WORD_SPREAD),
        lead=Scale.of([signals.lead for signals in general], MIN_COSINE_SPREAD),
    )
    # If the model cannot read them, questions made from the text's own words are too easy to measure with.
    usable = len(in_scope) >= MIN_QUESTIONS and all(signals.readable for signals in in_scope)
    own = tuple(sorted(round(raw.score(signals), 2) for signals in in_scope)) if usable else ()
    others = tuple(sorted(round(raw.score(signals), 2) for signals in out_of_scope))
    abstained = OUT_OF_SCOPE_ABSTAINED if out_of_scope is general else MIXED_ABSTAINED
    threshold = threshold_between(own, others, abstained=abstained)
    return replace(raw, threshold=threshold, in_scope=own, out_of_scope=others)


def threshold_between(
    in_scope: Sequence[float],
    out_of_scope: Sequence[float],
    share: float = IN_SCOPE_SHARE,
    abstained: float = OUT_OF_SCOPE_ABSTAINED,
) -> float:
    """The threshold, from the sorted scores of in-scope questions (may be empty) and out-of-scope questions."""
    if not in_scope:
        return DEFAULT_THRESHOLD
    highest = out_of_scope[int(abstained * len(out_of_scope))] + 0.01
    threshold = min(share * in_scope[int(FALSE_ABSTENTIONS * len(in_scope))], highest)
    return round(min(max(threshold, MIN_THRESHOLD), MAX_THRESHOLD), 2)


def out_of_scope_questions(number: int = OUT_OF_SCOPE_QUESTIONS) -> list[str]:
    """Questions from many fields, spread evenly over the list that comes with Gestalt."""
    every = QUESTIONS.read_text("utf-8").splitlines()
    number = min(number, len(every))
    return [every[at * len(every) // number] for at in range(number)]


def in_scope_questions(texts: Sequence[str], number: int = IN_SCOPE_QUESTIONS) -> list[str]:
    """Questions that the texts answer: some words of one sentence each, in order. Deterministic."""
    random = Random(0)  # noqa: S311 - no secret
    made = []
    for words in [words for words in _sentences(texts, random) if len(words) >= max(IN_SCOPE_WORDS)][:number]:
        chosen = sorted(random.sample(range(len(words)), random.randint(*IN_SCOPE_WORDS)))
        made.append(" ".join(words[at] for at in chosen) + "?")
    return made


def mixed_questions(texts: Sequence[str], number: int = OUT_OF_SCOPE_QUESTIONS) -> list[str]:
    """Out-of-scope questions in the language of the texts: random words of theirs mixed with words they lack."""
    random = Random(0)  # noqa: S311 - no secret
    known = [word for words in _sentences(texts, random) for word in words] or ["?"]
    lines = QUESTIONS.read_text("utf-8").splitlines()
    other = [word for question in lines for word in question_terms(question)[0]]
    made = []
    for _ in range(number):
        total = random.randint(*MIXED_WORDS)
        words = random.choices(known, k=round(MIXED_SHARE * total)) + random.choices(other, k=total)
        del words[total:]
        random.shuffle(words)
        made.append(" ".join(words) + "?")
    return made


def is_english(texts: Sequence[str]) -> bool:
    """Whether the texts as a whole are in English, like the out-of-scope questions."""
    words = [word for text in texts for word in re.findall(r"\w+", text.lower())]
    return sum(word in STOP_WORDS for word in words) >= ENGLISH_SHARE * len(words)


def _sentences(texts: Sequence[str], random: Random) -> list[list[str]]:
    """The words of each sentence, shuffled, without stop words and numbers."""
    found = [
        [word for word in question_terms(text[start:end])[0] if not word.isdigit()]
        for text in texts
        for start, end in sentences(text)
    ]
    random.shuffle(found)
    return [words for words in found if words]
