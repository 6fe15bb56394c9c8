"""Sentences, list items and rows that have a phrase, all words of a question, or a number in a range."""

from __future__ import annotations

import re

from rag.chat.lists.bound import Bound
from rag.chat.lists.found import Found, Items, Part, path_stems
from rag.chat.lists.request import Request
from rag.chat.lists.values import ratio, unit_of
from rag.chat.lists.words import forms, is_anyone, is_generic, is_person, root, stems
from rag.chat.statements import statements
from rag.index.lexical import STOP_WORDS
from rag.schema import Passage

REACH = 30
"""Characters between “weighs” and what something weighs."""

_AMOUNT = re.compile(r"(?:[€$£¥] ?)?(?<![\w.,-])\d(?:[\d.,]*\d)?(?: ?(?:[€%]|°?[^\W\d_]{1,9}))?")
_WORD = re.compile(r"[^\W\d_]+")
_SUBJECT = re.compile(rf"(?!(?i:{'|'.join(STOP_WORDS)})\b)[A-ZÀ-Þ][\w'’-]+(?: [A-ZÀ-Þ][\w'’-]+)*")


class Mentions:
    """Finds every sentence, heading or row with a phrase."""

    def __init__(self, phrase: str) -> None:
        self.words = re.findall(r"\w+", phrase.casefold())
        self._stems = list(map(root, self.words))
        self._quick = re.compile(re.escape(self._stems[0][:4] if self._stems else phrase), re.IGNORECASE)
        self.items = Items(f"sentences, headings and rows with “{phrase}”")

    def read(self, passage: Passage) -> None:
        """Read a page."""
        length = len(self._stems)
        for start, end in statements(passage.text):
            text = passage.text[start:end]
            if not self._quick.search(text):
                continue
            own = [root(word) for word in re.findall(r"\w+", text.casefold())]
            if any(own[at : at + length] == self._stems for at in range(len(own) - length + 1)):
                self.items.add_place(Found(passage, start, end, " ".join(text.strip("#* ").split())))


class Amounts:
    """Finds sentences and list items with a number in the range that a question asks for."""

    def __init__(self, request: Request, bound: Bound) -> None:
        self.request, self.bound = request, bound
        self._near = [word for word in bound.near[:2] if not is_generic(word) and word.isalpha()]
        self.items = Items(f"sentences with “{' '.join(self._near[:1])}” and a number that is {bound.text}")

    def read(self, part: Part) -> None:
        """Read a page."""
        for unit in () if self.bound.is_date else part.units:
            # The number of sentences that say so is not the number of what they say it of.
            if unit.kind == "row" or (unit.kind == "sentence" and self.request.counts):
                continue
            path = path_stems(part.path(unit))
            amount = self._amount(unit.text, path)
            about = root(self.request.head) in path | stems(unit.text)
            if (about or (self.bound.unit and ratio(unit_of(amount), self.bound.unit))) and self.bound.has(amount):
                self.items.add_place(part.place(unit, unit.text))

    def _amount(self, text: str, path: frozenset[str]) -> str:
        """The number that follows the word for what is compared; in a list of prices the first; or nothing."""
        amounts = list(_AMOUNT.finditer(text))
        for word in self._near if amounts else ():
            places = [match.end() for match in _WORD.finditer(text) if root(match[0].casefold()) in forms(word)]
            for each in amounts:
                if any(0 <= each.start() - place <= REACH for place in places):
                    return each[0]
            if path & forms(word):
                return amounts[0][0]
        return ""


class AllWords:
    """Finds sentences that have all words of a question."""

    def __init__(self, request: Request) -> None:
        self.people = any(map(is_person, request.words))
        self.asked = {root(word) for word in request.words if not is_anyone(word)}
        self.items = Items(f"sentences with “{' '.join(word for word in request.words if not is_anyone(word))}”")
        self._counts = request.counts

    def read(self, part: Part) -> None:
        """Read a page."""
        if len(self.asked) < 2 or (self._counts and not self.people):
            return
        for unit in part.units:
            if unit.kind != "row" and self.asked <= stems(unit.text):
                if not self.people:
                    self.items.add_place(part.place(unit, unit.text))
                elif subject := _SUBJECT.match(unit.text):
                    self.items.add(part.place(unit, subject[0]))
