"""How likely a passage supports a sentence of an answer: 16 features and a logistic regression.

It sees what stands where: a number, a name or a word in another's place, a negation, a sentence that no passage holds.
It does not see what words mean together: contradiction in other words, a swapped relation between words that all stand
in one sentence, a conclusion, a paraphrase that shares few words: of what people and large models wrote in free words
about the passages it finds 43 % (`docs/evaluation.md`), so that “not supported” means “not found”. A cross-encoder
trained on such pairs goes further (`entailment.py`).

`bench/support.py` fits the weights and measures them. Knows nothing of answers as a whole or of citations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rag.chat.claims import Name, Words, read
from rag.chat.evidence import Evidence, Span

CANDIDATES = 4
"""Spans that a claim is held against: the first by words and cosine."""
TERMS = 6
"""Numbers and names of a claim that are looked up with their neighbours."""
FRAGMENT = 3
"""Words, stop words aside, of the longest sentence that is read as an answer to its question and not by itself."""
NEAR = 0.7
"""Cosine from which on a whole sentence is not far from a span."""

_ITEM = re.compile(r"\s*(?:[#>*•–—+-]+\s+|\(?\d{1,2}[.)]\s+)+")
_MARKUP = re.compile(r"[*_`]{1,3}(?=\w)|(?<=[\w.,!?])[*_`]{1,3}")
_SOURCE = r"(?:passages?|documents?|texts?|context|sources?|information|reports?)"
_SAYS = r"(?:says?|states?|mentions?|tells?(?: us)?|shows?|explains?|notes?|indicates?|describes?)"
_LEAD = re.compile(
    rf"(?:according to|based on|as (?:stated|mentioned|said) in|from) (?:the|these|this|your) [\w ]{{0,24}}?{_SOURCE}"
    rf"(?: provided| given| above)?,? (?:that )?"
    rf"|(?:the|this|your) (?:\w+ )?{_SOURCE} (?:also )?{_SAYS} (?:that |also )?"
    rf"|the passage is about [^.]{{3,60}}?,? and (?:it )?(?:also )?{_SAYS} that "
    rf"|(?:the|my) (?:short |final |correct )?answer(?: to (?:the|your) question)? (?:is|would be)(?: that)?:? "
    rf"|(?:answer:|in short,|in summary,|to sum up,|in other words,|yes,|it {_SAYS} that) ?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer, or a clause of it, as it is judged."""

    text: str
    """Without what only leads in; a fragment has its question before it."""
    words: Words
    whole: Words
    """With what leads in."""
    asked: frozenset[str]
    """Stems of the question."""
    fragment: bool

    @property
    def scope(self) -> frozenset[str]:
        """Stems that its support speaks of."""
        return self.words.content | self.asked if self.fragment else self.words.content


def read_claim(evidence: Evidence, sentence: str) -> Claim:
    """What a sentence of an answer to the question of `evidence` says."""
    bare = _MARKUP.sub("", _drop(_ITEM, sentence))
    said = _drop(_LEAD, bare) or bare
    whole, words = (read(text, evidence.name_stems, evidence.common_stems) for text in (bare, said))
    fragment = sum(map(bool, words.sequence)) <= FRAGMENT
    return Claim(f"{evidence.question} {said}" if fragment else said, words, whole, evidence.asked.content, fragment)


def _drop(beginning: re.Pattern[str], text: str) -> str:
    return text[match.end() :] if (match := beginning.match(text)) else text


def candidates(evidence: Evidence, claim: Claim, cosines: Sequence[float]) -> list[int]:
    """Positions of the spans that are most like a claim; `cosines` are those of the claim and of each span."""

    def likeness(place: int) -> float:
        span = evidence.spans[place]
        own = evidence.share(span.words.content, claim.words.content)
        asked = evidence.share(span.words.content, claim.asked)
        return own + 0.5 * evidence.share(span.around, claim.scope) + 0.3 * asked + cosines[place]

    return sorted(range(len(evidence.spans)), key=likeness, reverse=True)[:CANDIDATES]


def features(evidence: Evidence, claim: Claim, span: Span, cosine: float, found: ClaimContext) -> dict[str, float]:
    """What speaks for the support of a claim by a span, and what against it; most are shares, 0 to 1.

    Args:
        evidence: the passages.
        claim: what is said.
        span: what may support it.
        cosine: of the two texts.
        found: the survey of the claim.
    """
    said, own, around = claim.words.content, span.own, span.around
    new = said - claim.asked
    mine = [stem for stem in claim.words.sequence if stem]
    theirs = [stem for stem in span.words.sequence if stem]
    pairs, shared = list(pairwise(mine)), set(pairwise(theirs))
    gaps = [
        evidence.closeness(span.number, evidence.places(span, name.stems), anchors) - rival
        for name, anchors, rival in found.terms
    ]
    return {
        # The words that the question did not give.
        "covered": float(new <= own),
        "new": evidence.share(own, new),
        "new_in_passage": evidence.share(evidence.of_passage[span.number], new),
        "echo": float(not new),
        # The words of the question.
        "asked": evidence.share(own, claim.asked),
        "given": evidence.share(around, said & claim.asked),
        # The numbers and names: whether they are there, beside the right words, and no others in their place.
        "numbers": evidence.share(around, claim.words.numbers),
        "named": float({stem for name in claim.words.names for stem in name.stems} <= around),
        "rival": min(gaps, default=0.0),
        "replaced": float(any(_replaced(claim, span, name) for name in claim.words.names)),
        # Whether another span speaks more of the rest.
        "place": evidence.share(around, found.rest) - found.most,
        # Words in another word's place, weighed by how nearly the rest is the same.
        "swapped": min(2, _swapped(mine, theirs, own)) * sum(pair in shared for pair in pairs) / (len(pairs) or 1),
        "denies": float(bool(claim.words.heads) and claim.words.denied.isdisjoint(span.words.denied)),
        "denied": float(any(head in said and head not in claim.words.denied for head in span.words.heads)),
        "far": 0.0 if claim.fragment else max(0.0, NEAR - cosine),
        "cosine": cosine if claim.fragment else 0.5,
        "fragment": float(claim.fragment),
    }


@dataclass(frozen=True, slots=True)
class ClaimContext:
    """What of a claim does not depend on the span."""

    rest: frozenset[str]
    """What it speaks of beside the numbers and names that the question did not give."""
    most: float
    """The most that any span speaks of the rest."""
    terms: tuple[tuple[Name, frozenset[str], float], ...]
    """Each of those numbers and names, the words that belong to it, and how near to these another one stands."""


def survey(evidence: Evidence, claim: Claim) -> ClaimContext:
    """Look for a claim in all passages."""
    named = [name for name in claim.words.names if name.number or not claim.asked.issuperset(name.stems)][:TERMS]
    rest = claim.scope.difference(*(name.stems for name in named))
    terms = []
    for name in named:
        anchors = claim.scope.difference(name.stems)
        others = evidence.others(claim.scope, number=name.number)
        rivals = (evidence.closeness(number, places, anchors) for number, places in others.items())
        terms.append((name, anchors, max(rivals, default=0.0)))
    return ClaimContext(
        rest, max((evidence.share(span.around, rest) for span in evidence.spans), default=0.0), tuple(terms)
    )


def _replaced(claim: Claim, span: Span, name: Name) -> bool:
    """Whether the span has another number or name in the place of one that it does not hold."""
    if not span.own.isdisjoint(name.stems):
        return False
    before, after = _beside(claim.words, name)
    others = (
        _beside(span.words, other)
        for other in span.words.names
        if other.number == name.number and claim.words.content.isdisjoint(other.stems)
    )
    return any(before & left or after & right for left, right in others)


def _beside(words: Words, name: Name) -> tuple[set[str], set[str]]:
    """The stems up to three words before and after a number or name."""
    end = name.at + len(name.stems)
    before, after = words.sequence[max(0, name.at - 3) : name.at], words.sequence[end : end + 3]
    return set(before) - {""}, set(after) - {""}


def _swapped(mine: Sequence[str], theirs: Sequence[str], own: frozenset[str]) -> int:
    """How many words of a claim stand between two words that in the span have another one between them."""
    gaps = set(zip(theirs, theirs[2:], strict=False))
    runs = zip(mine, mine[1:], mine[2:], strict=False)
    return sum(word not in own and (before, after) in gaps for before, word, after in runs)


INTERCEPT = -11.612
WEIGHTS = {
    "covered": 1.849,
    "new": 1.005,
    "new_in_passage": 1.98,
    "echo": -1.332,
    "asked": 1.751,
    "given": 0.946,
    "numbers": 2.507,
    "named": 1.65,
    "rival": 1.184,
    "replaced": -1.982,
    "place": 3.878,
    "swapped": -2.285,
    "denies": -5.959,
    "denied": -2.227,
    "far": -5.39,
    "cosine": 5.145,
    "fragment": -1.563,
}
WORDS_INTERCEPT = -10.069
WORDS_WEIGHTS = {
    "covered": 2.44,
    "new_in_passage": 2.305,
    "echo": -1.139,
    "asked": 2.378,
    "given": 1.198,
    "numbers": 2.979,
    "named": 1.484,
    "rival": 1.674,
    "replaced": -1.594,
    "place": 4.972,
    "swapped": -1.942,
    "denies": -6.02,
    "denied": -3.042,
    "fragment": -0.626,
}
"""For where there is no cosine."""
THRESHOLD = 0.47
"""From which a claim counts as supported: precision .94 on the articles that were fitted."""
VERBATIM, WORD_FOR_WORD = 3, 0.99
"""Words of the shortest sentence that is supported because it stands in a passage word for word, and its score."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How often the check is right when it calls a sentence supported, and how many of the supported ones it finds."""

    sentences: int
    precision: float
    recall: float


MEASURED = Measured(sentences=237, precision=0.928, recall=0.819)
"""Sentences that the embedded model, of 135 million parameters, wrote about the samples: labelled by hand, none of them
fitted, 79 of them written after the features had been chosen (`bench/support_written.jsonl`)."""
MEASURED_BUILT = Measured(sentences=1757, precision=0.944, recall=0.868)
"""Sentences made of SQuAD's questions and answers, half of them spoiled, of other articles than those fitted."""


def judge(evidence: Evidence, claim: Claim, cosines: Sequence[float] | None) -> tuple[float, int]:
    """How likely the passages support a claim, 0 to 1, and the position of the span that does so best.

    Args:
        evidence: the passages, with one span at least.
        claim: what is said.
        cosines: of the claim and of each span; words alone decide where there are none.
    """
    intercept, weights = (INTERCEPT, WEIGHTS) if cosines is not None else (WORDS_INTERCEPT, WORDS_WEIGHTS)
    cosines = [0.0] * len(evidence.spans) if cosines is None else cosines
    if (place := _word_for_word(evidence, claim)) is not None:
        return WORD_FOR_WORD, place
    found = survey(evidence, claim)
    logits = []
    for place in candidates(evidence, claim, cosines):
        values = features(evidence, claim, evidence.spans[place], cosines[place], found)
        logits.append((intercept + sum(weight * values[name] for name, weight in weights.items()), place))
    logit, place = max(logits)
    return 1 / (1 + math.exp(-logit)), place


def _word_for_word(evidence: Evidence, claim: Claim) -> int | None:
    said = claim.words.forms
    if len(said) < VERBATIM:
        return None
    spans = enumerate(evidence.spans)
    return next((place for place, span in spans if span.words.forms == said and span.text[-1] in ".!?"), None)
