"""Chooses what to quote of the passages for a question: nothing is written, only what the documents say is shown.

The unit that answers best decides how much is shown: a sentence or row for a fact, a list if the question is about the
line that introduces it, a section if it is about the heading.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.chat.answer_spans import likeliest
from rag.chat.asked import Kind, kind_of
from rag.chat.quote_ranking import Ranked, Ranking, Similarity
from rag.chat.units import Unit, read_units
from rag.schema import Passage

__all__ = ["Quote", "Quotes", "Similarity", "choose"]

MOST = 3
"""Quotes shown."""
LONGEST = 900
"""Characters of a list or section that is shown whole."""
NEAR = 0.25
"""How far the score of another quote may be below the first."""
ABOUT = 0.65
"""Share of the question's words in a heading or the line above a list from which the question is about all of it."""
DOUBT, DOUBT_BY_WORDS = 0.93, 0.39
"""Scores below which 10 % of SQuAD's answerable questions stay, with cosines and without."""
TOGETHER = 350
"""Characters of sentences that are shown together, as one is not understood without another."""
_TURN = (
    r"\b(?:but|however|except|unless|only|instead|no longer|aber|jedoch|außer|nur|sondern|statt\w*|mais|sauf|seulement"
    r"|cependant|pero|salvo|excepto|sino)\b"
)
_DECIDED = (
    r"\b(?:not|rejected|refused|withdrawn|cancelled|postponed|allowed|permitted|forbidden|prohibited|banned|abgelehnt"
    r"|erlaubt|gestattet|verboten|untersagt|nicht|kein\w*|pas|interdit\w*|permis\w*|prohibid\w*)\b|n['’]t\b"
)
_RESUMED = (
    r"(?:after|then|this|that|these|those|the (?:proposal|motion|request|offer|plan|idea)|danach|dies\w*"
    r"|der (?:antrag|vorschlag))\b"
)
_TURNS = re.compile(f".*(?:{_TURN})", re.IGNORECASE)
_GOES_ON = re.compile(f"{_RESUMED}|.*(?:{_TURN}|{_DECIDED})", re.IGNORECASE)
"""A sentence that turns what the one before it says, and one that resumes or decides it."""


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
    *,
    earlier: Sequence[str] = (),
) -> Quotes:
    """The quotes that answer a question from passages, which are in the order of their ranks.

    `earlier` are the user's earlier questions, the latest last; their words count less. Raises what `similarity` does.
    """
    units = [unit for number, passage in enumerate(passages, 1) for unit in read_units(number, passage)]
    if not units:
        return Quotes(())
    ranking = Ranking(question, passages, units, earlier, similarity)
    kind = kind_of(question)
    quotes, shown = list[Quote](), list[Ranked]()
    for each in ranking.best:
        if len(quotes) == MOST or each.score < ranking.best[0].score - NEAR:
            break
        if each.is_bare and shown and not shown[0].is_bare:
            continue
        if any(_repeats(each, other) for other in shown) or any(_holds(quote, each.unit) for quote in quotes):
            continue
        if each.unit.introduces and (quotes or ranking.is_above_answer(each)):  # the whole list or table would follow
            continue
        shown.append(each)
        quotes.append(_quote(each, ranking, kind, units, ranking.question, passages))
    best = shown[0].unit
    is_about = bool(best.headings) and ranking.share_of_title(best.headings[-1].title) > ABOUT
    low = shown[0].score < (DOUBT if similarity else DOUBT_BY_WORDS)
    doubtful = shown[0].is_bare or (low and not is_about)
    return Quotes(tuple(_joined(quotes, passages)), doubtful)


def _repeats(one: Ranked, other: Ranked) -> bool:
    """Whether two units say the same, as where passages overlap."""
    return len(one.own & other.own) >= 0.9 * min(len(one.own), len(other.own))


def _holds(quote: Quote, unit: Unit) -> bool:
    return quote.number == unit.number and quote.start <= unit.start and unit.end <= quote.end


def _quote(
    each: Ranked, ranking: Ranking, kind: Kind, units: Sequence[Unit], question: str, passages: Sequence[Passage]
) -> Quote:
    unit = each.unit
    text = passages[unit.number - 1].text
    if wider := _wider(each, ranking, kind, units):
        return Quote(unit.number, *wider, (), each.score)
    start = unit.start
    if unit.refers_back:
        before = [other for other in units if other.number == unit.number and other.end <= unit.start]
        if before and before[-1].block == unit.block and unit.end - before[-1].start <= TOGETHER:
            start = before[-1].start
    end = turned(unit, kind, units, start)
    sure = not unit.bare and each.score >= ranking.best[0].score - NEAR / 2
    bold = likeliest(question, kind, text, (unit.start, unit.end), unit.lead) if sure else ()
    return Quote(unit.number, start, end, bold, each.score, unit.lead)


def turned(unit: Unit, kind: Kind, units: Sequence[Unit], start: int) -> int:
    """Where a sentence ends together with those after it in its paragraph that turn what it says, or decide it."""
    end, goes_on = unit.end, _GOES_ON if kind is Kind.OPEN else _TURNS
    if unit.kind == "sentence":
        for after in units:
            if after.number != unit.number or after.block != unit.block or after.start < end:
                continue
            if after.end - start > TOGETHER or not after.whole or not goes_on.match(after.text):
                break
            end = after.end
    return end


def _wider(each: Ranked, ranking: Ranking, kind: Kind, units: Sequence[Unit]) -> tuple[int, int] | None:
    """The list or section to show instead of a unit."""
    unit = each.unit
    if unit.introduces and not ranking.has_exact:
        return _first(unit.block, units, unit)
    if kind is not Kind.OPEN:
        return None
    own = ranking.share(each.own)
    for heading in reversed(unit.headings):
        covered = ranking.share_of_title(heading.title)
        # What the heading leaves open, one of its sentences may answer.
        if covered > ABOUT and covered >= own and ranking.only_title(heading):
            return _first((heading.start, heading.end), units, unit)
    if unit.lead and unit.kind == "item" and ranking.share_of_title(unit.lead_text) > max(own, ABOUT):
        return _first(unit.block, units, unit)
    return None


def _first(span: tuple[int, int], units: Sequence[Unit], unit: Unit) -> tuple[int, int] | None:
    """As many whole units of a span as are short enough to show."""
    inside = [u for u in units if u.number == unit.number and span[0] <= u.start and u.end <= span[1]]
    while len(inside) > 1 and inside[-1].kind == "sentence" and inside[-1].text[-1].isalnum():
        inside.pop()  # the page's footer
    ends = [u.end for u in inside if u.end - span[0] <= LONGEST]
    return (span[0], ends[-1]) if ends and ends[-1] >= unit.end else None


def _joined(quotes: Sequence[Quote], passages: Sequence[Passage]) -> list[Quote]:
    """The quotes, with those that follow each other in a passage, or stand in the same short list, as one."""
    joined = list[Quote]()
    for quote in quotes:
        text = passages[quote.number - 1].text
        for at, other in enumerate(joined):
            first, second = sorted((other, quote), key=lambda each: each.start)
            if other.number != quote.number:
                continue
            if not (first.lead or second.lead) and _near(text, first, second):
                joined[at] = replace(
                    first, end=max(first.end, second.end), bold=first.bold + second.bold, score=other.score
                )
                break
            end, heads = max(other.end, quote.end), (other.start, other.lead and other.lead[0])
            if quote.lead and quote.lead[0] in heads and end - quote.lead[0] <= LONGEST:
                # Bold in two items would be two answers.
                bold = () if other.bold and quote.bold else other.bold
                joined[at] = replace(other, start=quote.lead[0], end=end, lead=None, bold=bold)
                break
        else:
            joined.append(quote)
    return joined


def _near(text: str, first: Quote, second: Quote) -> bool:
    gap = text[first.end : second.start]
    return second.start <= first.end or (not gap.strip() and gap.count("\n") <= 1)
