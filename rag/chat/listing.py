"""Answer a question for all of something by reading every document that can have it, without a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.chat.lists.found import LIMIT, Found, Items, Part, pages_of
from rag.chat.lists.measures import Measures
from rag.chat.lists.patterns import DOCUMENTS, Patterns, kind_of
from rag.chat.lists.request import Request, wanted
from rag.chat.lists.rows import Rows
from rag.chat.lists.sections import Sections
from rag.chat.lists.sentences import AllWords, Amounts, Mentions
from rag.chat.lists.words import forms, is_anyone, is_generic, stems, synonyms
from rag.index.contents import Contents, ListedDocument

SHOWN = 3
"""Kinds of places that `what` names."""

__all__ = ["Found", "Listing", "Request", "find", "wanted"]


@dataclass(frozen=True, slots=True)
class Listing:
    """All of what a question asks for."""

    items: tuple[Found, ...]
    """In the order of the documents, at most `LIMIT`."""
    count: int
    what: str
    """For users, what was looked for: “headings under “Fault codes””; “row …” where there is one."""
    scanned: int
    """Documents looked through; the index rules out those without the words."""
    result: str = ""
    """The total, average or extreme that was asked for, in words."""


def find(request: Request, contents: Contents) -> Listing | None:
    """All of what a request wants, or None if reading alone cannot tell."""
    ready = [document for document in contents.documents() if document.is_ready]
    if request.mention:
        return _mentions(request.mention, ready, contents)
    if request.measure:
        return _measured(request, ready, contents)
    if found := _find(request, ready, contents):
        return found
    halves = [_find(each, ready, contents) for each in request.either]
    listed = [half for half in halves if half]
    return _joined(listed, ready) if listed and len(listed) == len(halves) else None


def _find(request: Request, ready: Sequence[ListedDocument], contents: Contents) -> Listing | None:
    readings, kind = list[_Reading](), kind_of(request.subject)
    for document in _candidates(request, ready, contents):
        reading = _Reading(request)
        pages = contents.pages([document.id])
        if kind and not request.bound and kind.words.issuperset(request.words):
            pages = (page for page in pages if kind.may_be_in(page.text))
        for part in pages_of(pages, document.stem):
            reading.read(part)
        if reading.rows.is_fact:
            return None
        readings.append(reading)
    if named := [reading for reading in readings if reading.is_named]:
        readings = named
    none: Listing | None = None
    for way in (_Reading.strong, _Reading.weak, _Reading.weakest):
        if found := [items for reading in readings for items in way(reading)]:
            listing = _listing(found, len(ready))
            if listing.count:
                return listing
            none = none or listing  # no row is in the range: true unless a sentence has one
    return none


class _Reading:
    """All that one document has of what is asked for."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.rows = Rows(request)
        self._sections, self._patterns = Sections(request), Patterns(request)
        self._amounts = Amounts(request, request.bound) if request.bound else None
        self._words = AllWords(request)

    @property
    def is_named(self) -> bool:
        """Whether the question names the document, as “the letter from Ms Finch”."""
        return self._patterns.is_named

    def read(self, part: Part) -> None:
        """Read a page."""
        self.rows.read(part)
        for each in (self._amounts,) if self._amounts else (self._sections, self._patterns, self._words):
            each.read(part)

    def strong(self) -> list[Items]:
        """What was surely asked for."""
        if self.request.bound:
            return self.rows.bounded()
        return self.rows.strong() or self._sections.strong()

    def weak(self) -> list[Items]:
        """What has the words somewhere."""
        if self._amounts:
            return [self._amounts.items] if self._amounts.items else []
        return self.rows.weak() or self._patterns.weak()

    def weakest(self) -> list[Items]:
        """Sentences; a single one is no list."""
        items = self._words.items
        return [items] if len(items) > 1 and not self.request.bound else []


def _measured(request: Request, ready: Sequence[ListedDocument], contents: Contents) -> Listing | None:
    measures = Measures(request)
    documents = _candidates(Request(tuple(measures.asked)), ready, contents)
    for document in documents:
        for part in pages_of(contents.pages([document.id]), document.stem):
            measures.read(part)
    if not (told := measures.result()):
        return None
    result, items = told
    return replace(_listing([items], len(ready)), result=result)


def _mentions(phrase: str, ready: Sequence[ListedDocument], contents: Contents) -> Listing | None:
    mentions = Mentions(phrase)
    if not mentions.words:
        return None
    having = contents.with_words([phrase])
    for passage in contents.pages([document.id for document in ready if document.id in having]):
        mentions.read(passage)
    return _listing([mentions.items], len(ready))


def _candidates(request: Request, ready: Sequence[ListedDocument], contents: Contents) -> list[ListedDocument]:
    """The documents whose texts or names have the words that are needed."""
    kind = kind_of(request.subject)
    if request.bound:
        needed = [request.bound.near]
    else:
        optional = kind.words | DOCUMENTS if kind else frozenset[str]()
        telling = [word for word in request.words if not is_generic(word) and word not in optional]
        needed = [(word,) for word in telling if not is_anyone(word)] or [(word,) for word in telling]
    if not needed and not kind:
        return []
    found = list(ready)
    for words in needed:
        having = contents.with_words(sorted({other for word in words for other in synonyms(word)}))
        alike = {form for word in words for form in forms(word)}
        found = [each for each in found if each.id in having or not alike.isdisjoint(stems(each.name))]
    return found


def _listing(found: Sequence[Items], scanned: int) -> Listing:
    """One list of all that was found, each item once."""
    merged: dict[str, Found | None] = {}
    for items in found:
        for key, item in items.found.items():
            merged.setdefault(key, item)
    kept = tuple(item for item in merged.values() if item)[:LIMIT]
    texts = list(dict.fromkeys(items.what for items in found))
    what = ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")
    return Listing(kept, len(merged), _one(what) if len(merged) == 1 else what, scanned)


def _one(what: str) -> str:
    """What was looked for, of which there is one: “sentence with “cases””."""
    kinds = re.match(r"(?:(?!“| (?:whose|with|under|of) ).)*", what)
    end = kinds.end() if kinds else 0
    named = what[:end].replace(" and ", " or ").replace("addresses", "address")
    return re.sub(r"(?<!s)s\b", "", named) + what[end:]


def _joined(listed: Sequence[Listing], ready: Sequence[ListedDocument]) -> Listing:
    """One list of several."""
    items = dict.fromkeys(item for each in listed for item in each.items)
    order = {document.id: at for at, document in enumerate(ready)}
    kept = sorted(items, key=lambda item: (order[item.passage.document_id], item.passage.page or 0, item.start))
    what = " and ".join(dict.fromkeys(each.what for each in listed))
    twice = sum(len(each.items) for each in listed) - len(items)
    count = sum(each.count for each in listed) - twice
    return Listing(tuple(kept[:LIMIT]), count, what, listed[0].scanned)
