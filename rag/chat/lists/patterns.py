"""What can be told by its form: codes, addresses, telephone numbers, dates, amounts."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from rag.chat.lists.found import Found, Items, Part, path_stems
from rag.chat.lists.request import Request
from rag.chat.lists.values import MONTH
from rag.chat.lists.words import is_generic, root, stems, uncovered
from rag.chat.statements import statements

BEFORE, AFTER = 2, 1
"""Words between which a code stands next to the word that says what it is a code of."""

_MONTH = (
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|märz|mai|okt|dez|févr|avril|juin|juil|août|déc"
    r"|enero|abril|mayo|agosto|dic)[^\W\d_]*\.?"
)
_DAY = r"\d{1,2}(?:\.|st|nd|rd|th)?"
_AMOUNT = r"\d(?:[\d.,'’]*\d)?(?: ?(?:million|thousand))?"
_CURRENCY = r"(?:euros?|dollars?|pounds?|crowns?|francs?|kron(?:or|er)|yen|eur|usd|gbp|chf|sek|nok|dkk)"
_ADDRESS = "address addresses adressen adresses direcciones"
_NUMBER = "number numbers nummern numéros números"


BEGINNING = 300
"""Characters of a document that have its title, its sender and who it is to."""
DOCUMENTS = frozenset(
    """letter letters mail email message document file report contract agreement minutes manual invoice brief bericht
    vertrag rechnung protokoll lettre contrat facture carta contrato factura""".split()
)
"""Words for a document that it need not have itself."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Something with a form of its own."""

    name: str
    telling: frozenset[str]
    """The words of a question that stand for it, in lower case."""
    others: frozenset[str]
    """Words that may stand next to those."""
    pattern: re.Pattern[str]

    @property
    def words(self) -> frozenset[str]:
        """All words for it."""
        return self.telling | self.others

    def may_be_in(self, text: str) -> bool:
        """Whether a page has something of the kind, or a word for it: it may be the name of a column."""
        lower = text.casefold()
        return any(word in lower for word in self.telling) or bool(self.pattern.search(text))


def _kind(name: str, telling: str, others: str, *patterns: str, flags: int = re.IGNORECASE) -> Kind:
    return Kind(name, frozenset(telling.split()), frozenset(others.split()), re.compile("|".join(patterns), flags))


KINDS = [
    _kind(
        "e-mail addresses",
        "mail mails email emails courriel courriels correo correos",
        f"e electrónico {_ADDRESS}",
        r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    ),
    _kind(
        "telephone numbers",
        "telephone telephones phone phones fax telefonnummern telefonnummer téléphone teléfono",
        _NUMBER,
        r"(?<![\w.,/-])\d{2,4}(?: \d{2,4}){2,4}(?!\w|[.,]\d)",
        r"(?<![\w.,/-])(?:\+\d{1,3}|\(?0\d{1,5}\)?|\(\d{3}\)|\d{3}(?=-\d{3}-\d{4}))[ /-]?(?:\(0\))?"
        r"[\d /()-]{5,16}\d(?![\w-]|[.,]\d)",
    ),
    _kind(
        "web addresses",
        "web url urls link links website websites webseiten",
        f"site sites {_ADDRESS}",
        r"(?:https?://|www\.)[^\s<>\"')\]]*[\w/]",
    ),
    _kind(
        "dates",
        "date dates daten fechas datum",
        "",
        r"\b\d{4}-\d\d-\d\d\b",
        r"\b\d{1,2}[./]\d{1,2}[./]\d{4}\b",
        rf"\b{_DAY} (?:of |de )?{_MONTH} (?:de )?\d{{4}}\b",
        rf"\b{_MONTH} {_DAY}, \d{{4}}\b",
        rf"\b{_DAY} (?:of )?{MONTH}\b",
        rf"\b{MONTH} \d{{4}}\b",
    ),
    _kind(
        "amounts of money",
        "amount amounts money price prices cost costs sum sums fee fees beträge preise montants prix importes precios",
        "",
        rf"[€$£¥] ?{_AMOUNT}",
        rf"\b{_AMOUNT} ?(?:[€$£¥]|{_CURRENCY}\b)",
    ),
    _kind(
        "percentages",
        "percentage percentages percent prozentsätze pourcentages porcentajes",
        "",
        r"\b\d+(?:[.,]\d+)? ?(?:%|per ?cent\b)",
    ),
    _kind(
        "codes",
        f"code codes {_NUMBER} identifier identifiers id ids códigos",
        "",
        r"(?<![\w.])(?=[\w./-]*\d)(?=[\d./_-]*[A-Z])[A-Z0-9]+(?:[-_/.]?[A-Z0-9]+)*(?![\w-])",
        flags=0,
    ),
]


def kind_of(subject: Sequence[str]) -> Kind | None:
    """The kind that the last words of a subject name."""
    if not subject:
        return None
    for kind in KINDS:
        if subject[-1] in kind.words and not kind.telling.isdisjoint(subject):
            return kind
    return KINDS[-1] if subject[-1].endswith(("codes", "nummern")) else None  # “Fehlercodes”


class Patterns:
    """Finds things of a kind page by page of one document."""

    def __init__(self, request: Request) -> None:
        kind = kind_of(request.subject)
        optional = kind.words if kind else {request.head}
        self.asked = [word for word in request.words if word not in optional and not is_generic(word)]
        if not kind and not request.counts and request.head.isalpha():  # “alarm A-11”, “cabin 14”
            beginning = root(request.head).rstrip("i")
            pattern = re.compile(
                rf"\b{beginning}[a-z]{{0,3}} (?=[\w.-]*\d)[A-Z]{{0,4}}[-.]?\d[\w-]*(?![.,]?\d)", re.IGNORECASE
            )
            kind = Kind(f"“{request.head}” with a number", frozenset(), frozenset(), pattern)
        self.kind = kind
        what = kind.name if kind else ""
        self._what = f"{what} with “{' '.join(self.asked)}”" if self.asked else what
        self.is_named = False
        """Whether the question names the document: by its name, title or sender."""
        self._naming = [word for word in self.asked if word not in DOCUMENTS]
        self._is_first = True
        self._near = set[str]()
        self._all: list[tuple[str, Found]] = []

    def read(self, part: Part) -> None:
        """Read a page."""
        text = part.passage.text
        if self._is_first and self.kind and self._naming and not DOCUMENTS.isdisjoint(self.asked):
            beginning = stems(text[:BEGINNING]) | path_stems(part.outline)
            self.is_named = not uncovered(self._naming, beginning)
        self._is_first = False
        if not self.kind or not self.kind.pattern.search(text):
            return
        starts = [unit.start for unit in part.units]
        for start, end in statements(text):
            at = bisect_right(starts, start) - 1
            unit = part.units[at] if at >= 0 and part.units[at].end >= end else None
            path = part.path(unit) if unit else part.outline
            for match in self.kind.pattern.finditer(text, start, end):
                if not self.is_named and uncovered(self.asked, path_stems(path) | stems(text[start:end])):
                    break
                around = text[start : match.start()].split()[-BEFORE:] + text[match.end() : end].split()[:AFTER]
                if not uncovered(self.asked, stems(" ".join(around))):
                    self._near.add(_shape(match[0]))
                place = (unit.start, unit.end) if unit else (start, end)
                self._all.append((match[0], Found(part.passage, *place, match[0])))

    def weak(self) -> list[Items]:
        """What was found; of codes those that look like one next to the words that are asked for."""
        items = Items(self._what)
        for text, found in self._all:
            if not self._near or not self.kind or self.kind.name != "codes" or _shape(text) in self._near:
                items.add(found)
        return [items] if items else []


def _shape(code: str) -> str:
    """The letters that a code begins with."""
    match = re.match(r"[A-Za-z]*", code)
    return match[0] if match else ""
