"""What a short question leaves out: which thing “the other one” is, and what “heavier” is measured by."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.index.exact import ExactTerm, exact_terms
from rag.index.lexical import question_terms

_OTHER = re.compile(
    r"\b(?:the other(?: ones?)?|the second one|(?:der|die|das) andere|l['’]autre|el otro|la otra)\b|另一个",
    re.IGNORECASE,
)
_MEASURED_BY = {
    "weigh weight": "heavy heavier heaviest light lighter lightest",
    "long length": "longer longest shorter shortest",
    "high height tall": "taller tallest higher highest lower lowest",
    "wide width": "wider widest broader narrower",
    "deep depth": "deeper deepest",
    "size holds": "big bigger biggest larger largest smaller smallest",
    "age born built founded date": "older oldest younger youngest newer newest",
    "price cost pays": "expensive cheap cheaper cheapest dearer costlier costliest",
    "speed rpm": "faster fastest quicker slower slowest",
    "temperature degrees": "hotter hottest warmer colder coldest",
    "power draws": "stronger strongest powerful weaker",
    "distance": "farther farthest further nearer nearest closer closest",
    "date": "earlier earliest later latest sooner",
    "noise": "louder loudest quieter quietest",
}
_BY_WORD = {word: measure for measure, words in _MEASURED_BY.items() for word in words.split()}
_VAGUE = frozenset("one ones two three thing things machine model item document them these those".split())


def with_measures(question: str, earlier: Sequence[str]) -> list[str]:
    """The earlier questions, the latest one with the words by which the documents tell what the question compares."""
    found = measures(question)
    return [*earlier[:-1], " ".join([*earlier[-1:], found])] if found else list(earlier)


def measures(question: str) -> str:
    """The words by which documents tell what a question such as “Which one is heavier?” compares; empty for others.

    Only of a question that says nothing else: “the largest city of Peru” has words to be found by.
    """
    words = question_terms(question)[0]
    found = [_BY_WORD[word] for word in words if word in _BY_WORD]
    return " ".join(found) if found and all(word in _BY_WORD or word in _VAGUE for word in words) else ""


def the_other(question: str, earlier: Sequence[str]) -> tuple[str, list[ExactTerm]] | None:
    """What “the other one” is asked: the earlier question without the thing that it named, and this thing."""
    if not (earlier and _OTHER.search(question)):
        return None
    named = [term for term in exact_terms(earlier[-1]) if term.is_code]
    text = earlier[-1]
    for term in named:
        text = text.replace(term.text, " ")
    return (" ".join(text.split()), named) if named else None
