"""How likely the passages support a claim: a logistic regression; `bench/support.py` fits and measures its weights.

It detects swapped numbers, names and words, negations, and claims that no passage makes. It misses contradiction in
other words, swapped relations, conclusions and free paraphrase (`docs/support.md`): “not supported” means “not found”.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rag.chat.claims import Entity, Words, analyse
from rag.chat.evidence import Evidence, TextSpan

CANDIDATES = 4
"""Spans that a claim is compared with: those with the most similar words."""
TERMS = 6
"""Numbers and names of a claim that are compared with their neighbours."""
FRAGMENT = 3
"""Longest sentence, in words without stop words, that is read together with its question."""

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

_CHOICE = re.compile(
    r"\bor\b|(?:^|[,.:;] )(?:is|are|was|were|am|do|does|did|can|could|may|might|must|shall|should|will|would|has|have"
    r"|had)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of an answer, or one of its clauses."""

    text: str
    """Without its lead-in; a fragment is preceded by its question."""
    words: Words
    whole: Words
    """With its lead-in."""
    asked: frozenset[str]
    """Stems of the question."""
    fragment: bool

    @property
    def scope(self) -> frozenset[str]:
        """Stems that a supporting span should have."""
        return self.words.content | self.asked if self.fragment else self.words.content


def parse_claim(evidence: Evidence, sentence: str) -> Claim:
    """Parse a sentence of an answer to the question of `evidence`."""
    bare = _MARKUP.sub("", _drop_prefix(_ITEM, sentence))
    text = _drop_prefix(_LEAD, bare) or bare
    whole, words = (analyse(each, evidence.name_stems, evidence.common_stems) for each in (bare, text))
    fragment = sum(map(bool, words.sequence)) <= FRAGMENT
    return Claim(f"{evidence.question} {text}" if fragment else text, words, whole, evidence.asked.content, fragment)


def _drop_prefix(prefix: re.Pattern[str], text: str) -> str:
    return text[match.end() :] if (match := prefix.match(text)) else text


def says_nothing(evidence: Evidence, claim: Claim) -> bool:
    """Whether a fragment only has words of its question, as in “The pier.” about the length of the pier.

    Such words can be the answer if the question can be answered by yes or no, or names the choices.
    """
    own = claim.words.content
    return claim.fragment and bool(own) and own <= claim.asked and not _CHOICE.search(evidence.question)


def candidates(evidence: Evidence, claim: Claim) -> list[int]:
    """Positions of the spans most similar to a claim."""
    spans = evidence.spans
    contents = [span.words.content for span in spans]
    own = evidence.coverages(contents, claim.words.content)
    near = evidence.coverages([span.context for span in spans], claim.scope)
    asked = evidence.coverages(contents, claim.asked)
    similar = [a + 0.5 * b + 0.3 * c for a, b, c in zip(own, near, asked, strict=True)]
    return sorted(range(len(spans)), key=similar.__getitem__, reverse=True)[:CANDIDATES]


def features(evidence: Evidence, claim: Claim, span: TextSpan, found: ClaimContext) -> dict[str, float]:
    """The features for and against the support of a claim by a span; most are shares, 0 to 1."""
    content, own, context = claim.words.content, span.stems, span.context
    new = content - claim.asked
    mine = [stem for stem in claim.words.sequence if stem]
    theirs = [stem for stem in span.words.sequence if stem]
    pairs, shared = list(pairwise(mine)), set(pairwise(theirs))
    leads = [
        evidence.proximity(span.number, evidence.positions(span, entity.stems), anchors) - rival
        for entity, anchors, rival in found.entities
    ]
    return {
        # Words that are not in the question.
        "covered": float(new <= own),
        "new_in_passage": evidence.coverage(evidence.of_passage[span.number], new),
        "echo": float(not new),
        # Words of the question.
        "asked": evidence.coverage(own, claim.asked),
        "given": evidence.coverage(context, content & claim.asked),
        # Numbers and names: present, near the right words, and not replaced by others.
        "numbers": evidence.coverage(context, claim.words.numbers),
        "named": float({stem for entity in claim.words.entities for stem in entity.stems} <= context),
        "rival": min(leads, default=0.0),
        "replaced": float(any(_replaced(claim, span, entity) for entity in claim.words.entities)),
        # Whether another span covers more of the rest.
        "place": evidence.coverage(context, found.rest) - found.best,
        # Replaced words, weighted by how similar the rest is.
        "swapped": min(2, _swapped(mine, theirs, own)) * sum(pair in shared for pair in pairs) / (len(pairs) or 1),
        # Negations on one side only.
        "denies": float(bool(claim.words.negation_heads) and claim.words.negated.isdisjoint(span.words.negated)),
        "denied": float(any(head in content - claim.words.negated for head in span.words.negation_heads)),
        "fragment": float(claim.fragment),
    }


@dataclass(frozen=True, slots=True)
class ClaimContext:
    """What the passages have about a claim, whatever the span."""

    rest: frozenset[str]
    """Stems of the claim without its new entities: the numbers and names that are not in the question."""
    best: float
    """Highest coverage of `rest` by a span."""
    entities: tuple[tuple[Entity, frozenset[str], float], ...]
    """Each new entity, the stems that belong to it, and the proximity of the nearest other entity to these."""


def claim_context(evidence: Evidence, claim: Claim) -> ClaimContext:
    """Look up a claim in all passages."""
    asked = claim.asked
    new = [entity for entity in claim.words.entities if entity.is_number or not asked.issuperset(entity.stems)][:TERMS]
    rest = claim.scope.difference(*(entity.stems for entity in new))
    entities = []
    for entity in new:
        anchors = claim.scope.difference(entity.stems)
        others = evidence.unmentioned(claim.scope, numbers=entity.is_number)
        rivals = (evidence.proximity(number, positions, anchors) for number, positions in others.items())
        entities.append((entity, anchors, max(rivals, default=0.0)))
    best = max(evidence.coverages([span.context for span in evidence.spans], rest), default=0.0)
    return ClaimContext(rest, best, tuple(entities))


def _replaced(claim: Claim, span: TextSpan, entity: Entity) -> bool:
    """Whether the span lacks a number or name and has another one next to the same words."""
    if not span.stems.isdisjoint(entity.stems):
        return False
    before, after = _neighbours(claim.words, entity)
    others = (
        _neighbours(span.words, other)
        for other in span.words.entities
        if other.is_number == entity.is_number and claim.words.content.isdisjoint(other.stems)
    )
    return any(before & left or after & right for left, right in others)


def _neighbours(words: Words, entity: Entity) -> tuple[set[str], set[str]]:
    """The stems up to three words before and after a number or name."""
    end = entity.at + len(entity.stems)
    before, after = words.sequence[max(0, entity.at - 3) : entity.at], words.sequence[end : end + 3]
    return set(before) - {""}, set(after) - {""}


def _swapped(mine: Sequence[str], theirs: Sequence[str], own: frozenset[str]) -> int:
    """How many words of a claim are between two words that in the span have another word between them."""
    gaps = set(zip(theirs, theirs[2:], strict=False))
    runs = zip(mine, mine[1:], mine[2:], strict=False)
    return sum(word not in own and (before, after) in gaps for before, word, after in runs)


INTERCEPT = -10.069
WEIGHTS = {
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
THRESHOLD = 0.55
"""Score from which a claim counts as supported: precision .95 on sentences built from articles that were not fitted."""
VERBATIM, VERBATIM_SCORE = 3, 0.99
"""Words of the shortest claim that is supported because a sentence has it verbatim, articles aside, and its score."""
NEARLY = 0.85
"""Share of the pairs of adjacent words that a claim must share with a sentence that has all its words."""
_ARTICLES = frozenset(("a", "an", "the"))


@dataclass(frozen=True, slots=True)
class Measured:
    """Precision and recall of the verdict “supported”."""

    sentences: int
    precision: float
    recall: float


MEASURED = Measured(sentences=237, precision=0.927, recall=0.809)
"""On sentences that the embedded model, of 135 million parameters, wrote about the samples: labelled by hand, none of
them fitted, 79 written after the features had been chosen (`bench/support_written.jsonl`)."""


def judge(evidence: Evidence, claim: Claim) -> tuple[float, int]:
    """Return how likely the passages support a claim, 0 to 1, and the position of the best span; needs at least one."""
    if (place := _verbatim(evidence, claim)) is not None:
        return VERBATIM_SCORE, place
    found = claim_context(evidence, claim)
    logits = []
    for place in candidates(evidence, claim):
        values = features(evidence, claim, evidence.spans[place], found)
        logits.append((INTERCEPT + sum(weight * values[name] for name, weight in WEIGHTS.items()), place))
    logit, place = max(logits)
    return 1 / (1 + math.exp(-logit)), place


def _verbatim(evidence: Evidence, claim: Claim) -> int | None:
    """The position of a span that has the claim verbatim, or nearly: all its words, in the same order."""
    forms = plain_forms(claim.words)
    if len(forms) < VERBATIM:
        return None
    text, pairs = f" {' '.join(forms)} ", _pairs(claim.words)
    for place, span in enumerate(evidence.spans):
        content, negations = claim.words.content, [head for head in span.words.negation_heads if head in claim.scope]
        if not content <= span.words.content or list(claim.words.negation_heads) != negations:
            continue
        there = f" {' '.join(plain_forms(span.words))} "
        # A fragment may be the answer to another question.
        if text == there and span.text[-1] in ".!?":
            return place
        if not claim.fragment and (text in there or len(pairs & _pairs(span.words)) >= NEARLY * len(pairs)):
            return place
    return None


def _pairs(words: Words) -> set[tuple[str, str]]:
    return set(pairwise(stem for stem in words.sequence if stem))


def plain_forms(words: Words) -> tuple[str, ...]:
    """All words in lower case, without articles."""
    return tuple(form for form in words.forms if form not in _ARTICLES)
