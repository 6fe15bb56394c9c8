"""Finds the likeliest answer in a sentence, by the kind of words that is asked for; none where it cannot be told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.chat.asked import Kind, stems
from rag.index.lexical import STOP_WORDS
from rag.schema import Span

_NUMBER = (
    r"(?:[£$€¥]\s?)?(?<![\w.,-])\d+(?:[.,:]\d+)*(?:[–-]\d+(?:[.,]\d+)*)?"
    r"(?:\s?(?:%|per ?cent|percent|°C?|million|billion|thousand|hundred))*"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundreds?|thousands?"
    r"|half|a dozen)\b(?:[ -](?:million|billion|thousand|hundred))?"
)
_QUANTITY = re.compile(rf"(?:{_NUMBER})(?:[ \u00a0-](?P<unit>[^\W\d_]+))?", re.IGNORECASE)
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember)"
)
_DATE = re.compile(
    rf"\b(?:the )?\d{{1,2}}(?:st|nd|rd|th|\.)? (?:of )?{_MONTH}\b\.?(?:,? \d{{4}})?"
    rf"|\b{_MONTH}(?: \d{{1,2}}(?:st|nd|rd|th)?\b)?(?:,? \d{{4}}\b)?"
    r"|\b\d{4}-\d\d-\d\d\b|\b\d{1,2}[:.]\d\d(?: ?[ap]\.?m\.?)?\b|\b\d{1,2} ?[ap]\.?m\b\.?|\b(?:1\d|20)\d\ds?\b"
    r"|\b(?:\d{1,2}(?:st|nd|rd|th)|(?:[a-z]+)(?:th|st|nd|rd)) centur(?:y|ies)\b"
    r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"
)
_DURATION = re.compile(
    rf"(?:{_NUMBER}|\ban?|\bone)[ \u00a0-](?:(?:and a half|working|business|calendar) )?"
    r"(?:second|minute|hour|day|week|month|year|decade|centur|Stunde|Tag|Woche|Monat|Jahr|Minute|Sekunde)\w*"
    r"|\bevery (?:\w+ )?\w+|\b(?:once|twice) an? \w+",
    re.IGNORECASE,
)
_CLAUSE_NUMBER = re.compile(r"\s*(?:\d{1,2}[.)]|\d{1,2}(?:\.\d{1,2})+\.?)\s+(?=[^\W\d_a-zß-ÿ])")
_WORD = re.compile(r"[^\W_]+(?:[.'’&-]+[^\W_]+)*\.?")
_VALUE = re.compile(r"(?P<key>[^|:\n]{1,60}): *(?P<value>[^|\n]+)")
_IN = frozenset("in at on near from to of beside behind under inside outside across".split())
_LINKS = frozenset("of the de la le von van der den di da del al bin and".split())
_COUNTED = re.compile(r"(?:how many|wie viele|cuánt[oa]s|combien de) ((?:\w+ ?){1,2})")
_SHARE = re.compile(r"percent|per cent|%")
_CALENDAR = re.compile(rf"{_MONTH}|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day")
_LONGEST = 60
CLEAR = 2.0
"""How much nearer the question's words the likeliest of several answers must be than the next."""


def likeliest(question: str, kind: Kind, text: str, span: Span, header: Span | None = None) -> tuple[Span, ...]:
    """The likeliest answer in `text[span]` as offsets in the text; empty if it cannot be told."""
    asked = stems(question)
    if cell := _cell(asked, text, span, header):
        return (cell,)
    found = candidates(question, kind, text, span)
    ranked = sorted(((_nearness(place, asked, text, span), place) for place in found), reverse=True)
    # The nearest of several names is right too seldom, and of places any.
    sure = ranked[:1] if len(ranked) == 1 or kind in (Kind.NUMBER, Kind.TIME) else ()
    clear = len(ranked) > 1 and ranked[0][0] >= CLEAR * ranked[1][0] > 0
    return tuple(place for _, place in (ranked[:1] if sure or clear else ()))


def candidates(question: str, kind: Kind, text: str, span: Span) -> list[Span]:
    """The words of `text[span]` of the kind that is asked for, without those of the question."""
    asked = stems(question)
    if number := _CLAUSE_NUMBER.match(text, *span):
        span = (number.end(), span[1])
    return [place for place in _of_kind(question, kind, text, span) if not stems(text[slice(*place)]) <= asked]


def _of_kind(question: str, kind: Kind, text: str, span: Span) -> Iterator[Span]:
    lower = question.lower()
    if kind is Kind.TIME:
        lasting = re.search(r"how (?:long|often|soon|late|early)|wie (?:lange|oft)|combien de temps", lower)
        yield from (match.span() for match in (_DURATION if lasting else _DATE).finditer(text, *span))
    elif kind is Kind.NUMBER:
        yield from _quantities(lower, text, span)
    elif kind is Kind.NAME:
        yield from (place for place in _names(text, span) if _before(text, place) not in _IN)


def _quantities(question: str, text: str, span: Span) -> Iterator[Span]:
    counted = _COUNTED.search(question)
    noun = stems(counted[1]) if counted else frozenset()
    every = [(match.start(), match.end(), match["unit"] or "") for match in _QUANTITY.finditer(text, *span)]
    near = [q for q in every if noun & stems(text[q[0] : min(q[1] + 15, span[1])])]
    if _SHARE.search(question):
        near = every = [q for q in every if _SHARE.search(text[q[0] : q[1] + 10])]
    for start, end, unit in near or every:
        year = re.fullmatch(r"(?:1\d|20)\d\d", text[start : end - len(unit)].strip())
        if not year:
            keeps = unit and unit.lower() not in STOP_WORDS
            yield start, (end if keeps else end - len(unit) - bool(unit))


def _names(text: str, span: Span) -> Iterator[Span]:
    """Runs of capitalised words, also joined by words such as “of”; not the first word of the sentence on its own."""
    run = list[re.Match[str]]()
    for word in _WORD.finditer(text, *span):
        capital = word[0][0].isupper()
        linked = bool(run) and word[0] in _LINKS and text[run[-1].end() : word.start()] == " "
        if (capital and (not run or not text[run[-1].end() : word.start()].strip()) and not _has_ended(run)) or linked:
            run.append(word)
        else:
            yield from _run(run, span)
            run = [word] if capital else []
    yield from _run(run, span)


def _has_ended(run: Sequence[re.Match[str]]) -> bool:
    """Whether the last word of a run ends a sentence."""
    return bool(run) and run[-1][0].endswith(".") and len(run[-1][0]) > 3


def _run(run: list[re.Match[str]], span: Span) -> Iterator[Span]:
    while run and run[-1][0] in _LINKS:
        run.pop()
    if run and run[0].start() == span[0] and (len(run) == 1 or run[0][0].lower() in STOP_WORDS):
        run = run[1:]
    while run and run[0][0].lower() in STOP_WORDS | _LINKS:
        run = run[1:]
    if run and not _CALENDAR.fullmatch(run[0][0].rstrip(".")):
        yield run[0].start(), run[-1].end() - run[-1][0].endswith(".")


def _before(text: str, place: Span) -> str:
    words = text[max(0, place[0] - 20) : place[0]].lower().split()
    while words and words[-1] in ("the", "a", "an"):
        words.pop()
    return words[-1] if words else ""


def _nearness(place: Span, asked: frozenset[str], text: str, span: Span) -> float:
    """Sum over the question's words in the sentence of how near each is."""
    total = 0.0
    for word in _WORD.finditer(text, *span):
        if place[0] <= word.start() < place[1] or asked.isdisjoint(stems(word[0])):
            continue
        between = text[place[1] : word.start()] if word.start() >= place[1] else text[word.end() : place[0]]
        total += 1 / (1 + len(between.split()) + 2 * between.count(","))
    return total


def _cell(asked: frozenset[str], text: str, span: Span, header: Span | None) -> Span | None:
    """The value after a key, or the cell under a column's name, that the question names."""
    line = text[slice(*span)]
    if header and " | " in line:
        names = text[slice(*header)].strip("| ").split(" | ")
        cells = list(re.finditer(r"[^|]+", line))
        hits = [len(asked & stems(name)) for name in names]
        best = max(range(len(hits)), key=hits.__getitem__)
        if hits[best] and hits.count(hits[best]) == 1 and len(cells) == len(names):
            return _trimmed(line, cells[best].span(), span[0])
        return None
    keys = [(len(asked & stems(match["key"])), match) for match in _VALUE.finditer(line) if match["value"].strip()]
    values = frozenset[str]().union(*(stems(match["value"]) for _, match in keys))
    keys = [(hits, match) for hits, match in keys if not stems(match["value"]) <= asked]
    most = max((hits for hits, _ in keys), default=0)
    found = [match for hits, match in keys if hits == most]
    if most and most >= len(asked - values) / 2 and len(found) == 1 and len(found[0]["value"].strip()) <= _LONGEST:
        return _trimmed(line, found[0].span("value"), span[0])
    return None


def _trimmed(line: str, place: Span, offset: int) -> Span:
    start, end = place
    while start < end and line[start].isspace():
        start += 1
    while end > start and (line[end - 1].isspace() or line[end - 1] == "."):
        end -= 1
    return offset + start, offset + end
