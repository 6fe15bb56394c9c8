"""Summaries in the documents' own sentences: the most central ones of each section, without a model.

A sentence is central if it has the words that most others have (the centroid of tf-idf vectors, as in MEAD, Radev et
al. 2004), and the first of a section counts more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rag.chat.asked import Kind
from rag.chat.extract import BULLET, Extract, Taken, plain, windows
from rag.chat.quotes import turned
from rag.chat.units import Unit, read_units
from rag.index.lexical import question_terms
from rag.schema import Checked, Passage

SENTENCES = 8
"""Shown of one document; of several at once each has its share, but at least `FEWEST`."""
FEWEST = 2
DOCUMENTS = 12
"""Summarised at once."""
OUTLINE = 12
"""Headings named."""
SHORTEST, LONGEST = 5, 60
"""Words of a sentence that can stand in a summary."""
PART = 1500
"""Characters of a passage of a whole text."""
READ = 4000
"""Units of a document that are compared: of a longer one, evenly spread."""
FIRST, OPENING = 1.35, 1.5
"""Weight of the first sentence of a section, and of a document."""
REDUNDANT = 0.6
"""Share of common words from which a sentence says the same as one that is shown."""


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document to be summarised: its name and its pages, which are passages with whole texts."""

    name: str
    pages: Sequence[Passage]

    @property
    def title(self) -> str:
        """Its first heading, if it begins with one."""
        first = self.pages[0].text.lstrip()[:200].split("\n", 1)[0] if self.pages else ""
        return first.lstrip("# ") if first.startswith("# ") else ""


@dataclass(slots=True)
class _Sentence:
    page: Passage
    unit: Unit
    words: frozenset[str]
    end: int = 0
    """Where those end that turn or decide what it says."""
    score: float = 0.0

    @property
    def taken(self) -> Taken:
        """Where it stands, without its bullet."""
        mark = BULLET.match(self.unit.text)
        return Taken(self.page, self.unit.start + (mark.end() if mark else 0), max(self.end, self.unit.end))

    def holds(self, other: _Sentence) -> bool:
        """Whether another sentence is one of those that turn it."""
        return self.page is other.page and self.unit.start <= other.unit.start < self.end

    @property
    def section(self) -> str:
        """The title of the section below the document's own."""
        titles = [heading.title for heading in self.unit.headings]
        return titles[1] if len(titles) > 1 else ""


def parts(documents: Sequence[DocumentText]) -> list[Passage]:
    """The whole text of documents as passages of some paragraphs each."""
    found = []
    for page in (page for document in documents for page in document.pages):
        start = 0
        while start < len(page.text):
            end = len(page.text)
            if end - start > PART:
                breaks = (page.text.rfind(gap, start + PART // 2, start + PART) for gap in ("\n\n", "\n", ". ", " "))
                end = next((at + 1 for at in breaks if at >= 0), start + PART)
            if page.text[start:end].strip():
                id_ = f"{page.chunk_id}:{start}"
                found.append(replace(page, chunk_id=id_, text=page.text[start:end], start=start, end=end))
            start = end
    return found


def extract(documents: Sequence[DocumentText], intro: str = "") -> tuple[list[Passage], Checked]:
    """The passages of the most central sentences, and a summary of them after an introduction."""
    shown = documents[:DOCUMENTS]
    each = max(FEWEST, SENTENCES // max(1, len(shown)))
    chosen = [(document, *_read(document, each)) for document in shown]
    taken = [one.taken for _, _, sentences in chosen for one in sentences]
    passages, quotes = windows(taken)
    text, places = Extract(passages), iter(quotes)
    text.say(intro)
    for document, outline, sentences in chosen:
        if text.text:
            text.say("\n\n")
        title = f": {plain(document.title)}" if document.title else ""
        text.say(f"**{plain(document.name)}**{title}")
        if not sentences:
            text.say("\n\nIt has no sentences to show.")
        elif sentences[0].unit.kind == "row":
            text.say("\n\nA table, which begins:\n")
        if len(outline) > 1:
            more = f" · and {len(outline) - OUTLINE} more" if len(outline) > OUTLINE else ""
            text.say(f"\n\nSections: {plain(' · '.join(outline[:OUTLINE]))}{more}\n")
        for one in sentences:
            place = next(places)
            text.say(f"\n- *{plain(one.section)}:* " if one.section else "\n- ")
            text.quote(place.number, place.start, place.end)
    return passages, text.checked


def _read(document: DocumentText, most: int) -> tuple[list[str], list[_Sentence]]:
    """The headings of a document, and its most central sentences in their order."""
    by_page = [(page, read_units(1, page)) for page in document.pages]
    units = [
        (page, unit, turned(unit, Kind.OPEN, every[at + 1 : at + 4], unit.start))
        for page, every in by_page
        for at, unit in enumerate(every)
    ]
    outline = list(dict.fromkeys(heading.title for _, unit, _ in units for heading in unit.headings[1:2]))
    step = max(1, len(units) // READ)
    if units and all(unit.kind == "row" for _, unit, _ in units):
        return outline, [_Sentence(page, unit, frozenset()) for page, unit, _ in units[: FEWEST + 1]]
    sentences = [
        _Sentence(page, unit, frozenset(question_terms(unit.text)[0]), end)
        for page, unit, end in units[::step]
        if _is_whole(unit)
    ]
    _score(sentences)
    picked: list[_Sentence] = []
    sections = Counter[str]()
    # A section has two sentences only where all others have one.
    for one in sorted(sentences, key=lambda one: -one.score):
        if all(_overlap(one.words, other.words) < REDUNDANT for other in picked):
            picked.append(one)
    order = {id(one): place for place, one in enumerate(sentences)}
    ranked: list[tuple[int, int, _Sentence]] = []
    for place, one in enumerate(picked):
        ranked.append((sections[one.section], place, one))
        sections[one.section] += 1
    best = [one for _, _, one in sorted(ranked, key=lambda each: each[:2])[:most]]
    best = [one for one in best if not any(other.holds(one) for other in best if other is not one)]
    return outline, sorted(best, key=lambda one: order[id(one)])


def _is_whole(unit: Unit) -> bool:
    words = len(unit.text.split())
    unspaced = words < SHORTEST and len(unit.text) >= 3 * SHORTEST and not unit.text.isascii()
    return unit.whole and unit.kind != "row" and (SHORTEST <= words <= LONGEST or unspaced)


def _score(sentences: Sequence[_Sentence]) -> None:
    counts = Counter(word for one in sentences for word in one.words)
    weights = {word: math.log(1 + count) * math.log(1 + len(sentences) / count) for word, count in counts.items()}
    seen = set[str]()
    for place, one in enumerate(sentences):
        one.score = sum(weights[word] for word in one.words) / math.sqrt(len(one.words) or 1)
        if place == 0:
            one.score *= OPENING
        elif one.section not in seen:
            one.score *= FIRST
        seen.add(one.section)
        if one.unit.text[-1] in "?:":
            one.score *= 0.7


def _overlap(one: Iterable[str], other: Iterable[str]) -> float:
    mine, theirs = set(one), set(other)
    return len(mine & theirs) / (min(len(mine), len(theirs)) or 1)
