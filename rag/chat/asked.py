"""What a question asks for: its words, compared in spite of inflection and spelling, and the kind of its answer."""

from __future__ import annotations

import re
import unicodedata
from enum import Enum
from functools import lru_cache

from rag.chat.claims import analyse
from rag.index.spelling import nearest


class Kind(Enum):
    """What kind of words answers a question."""

    NUMBER = "number"
    TIME = "time"
    NAME = "name"
    PLACE = "place"
    OPEN = "open"
    """Anything: what, how, why, or a word alone."""


_KINDS = {
    Kind.TIME: r"when\b|how (?:long|often|soon|late|early)\b"
    r"|(?:what|which|in what|in which) (?:year|date|day|month|time|century|decade)\b"
    r"|wann\b|wie (?:lange|oft)\b|quand\b|combien de temps\b|cuándo\b|quando\b",
    Kind.NUMBER: r"how (?:many|much|far|high|tall|old|big|large|deep|wide|heavy|fast|strong|hot|cold)\b"
    r"|(?:what|which) (?:number|percentage|percent|share|amount|population|price|temperature|weight|speed|size)\b"
    r"|wie (?:viele?|hoch|schwer|groß|weit|alt|teuer|schnell)\b|combien\b|cuánt[oa]s?\b|quant[oaie]\b",
    Kind.NAME: r"who(?:m|se)?\b|wer\b|wen\b|wem\b|wessen\b|qui\b|quién(?:es)?\b|quem\b|chi\b",
    Kind.PLACE: r"where\b|(?:what|which) (?:city|country|town|place|state)\b|wo(?:her|hin)?\b"
    r"|où\b|dónde\b|onde\b|dove\b",
}
_KIND = [(kind, re.compile(rf"\b(?:{words})", re.IGNORECASE)) for kind, words in _KINDS.items()]

GENERIC = frozenset(
    """rule step list thing inform detail say tell describ explain give show mean point summari summar overview
    instruct regul condit requir polici key exact know find pleas need happen much mani long kind type sort includ
    contain cover matter document file text contract agreement manual""".split()
)
"""Stems that say what kind of text is wanted rather than what about."""

_MEASURES = {
    stem: measure
    for measure, words in {
        "weight": "heavi weigh schwer gewicht",
        "width": "wide breit breite",
        "height": "tall hoehe höhe",
        "depth": "deep tief tiefe",
        "price": "cost cheap cheaper cheapest expens teuer billig billiger preis kost",
        "speed": "fast schnell geschwind",
    }.items()
    for stem in words.split()
}
"""Stems of what a question asks by, and of what tables call it."""

_LETTER_DIGIT = re.compile(r"(?<=[^\W\d_])(?=\d)")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d{1,2}\b)")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b")
_WORD = re.compile(r"[^\W\d_]+")
_HYPHENS = re.compile("[\u2010-\u2015\u2212]")
_MONTHS = "January February March April May June July August September October November December".split()
_FORBIDDEN = re.compile(
    r"\b(?:forbidden|forbids?|prohibit\w*|banned|(?:must|may|can|shall|are|is|be|do|should)(?: not|n['’]t)"
    r"|not (?:allowed|permitted)|cannot|never|but not|no \w+ing)\b",
    re.IGNORECASE,
)
_BANS = re.compile(r"\b(?:forbidden|prohibited|banned|not (?:allowed|permitted)|(?:must|may) not)\b", re.IGNORECASE)
BAN = "¬allow"
"""Stands for any way to say that something is not allowed."""


def kind_of(question: str) -> Kind:
    """The kind of words that a question asks for."""
    found = [(match.start(), kind) for kind, words in _KIND if (match := words.search(question))]
    return min(found, key=lambda each: each[0])[1] if found else Kind.OPEN


def asks_for_bans(question: str) -> bool:
    """Whether a question asks what is not allowed."""
    return bool(_BANS.search(question))


@lru_cache(maxsize=4096)
def stems(text: str) -> frozenset[str]:
    """The stems of a text, numbers by their value; ERR-4012, ERR4012 and err 4012 have the same."""
    text = _HYPHENS.sub("-", unicodedata.normalize("NFKC", text))
    text = "".join(f" {unicodedata.name(c, '').lower()} " if unicodedata.category(c) == "So" else c for c in text)
    text = _ISO_DATE.sub(_spelt, text)
    words = analyse(_DECIMAL_COMMA.sub(".", _LETTER_DIGIT.sub(" ", text)))
    found = {_MEASURES.get(stem, stem) for stem in words.content} | {f"¬{stem}" for stem in words.negated}
    return frozenset(found | {BAN} if _FORBIDDEN.search(text) else found)


def _spelt(date: re.Match[str]) -> str:
    month = int(date[2])
    return f"{int(date[3])} {_MONTHS[month - 1]} {date[1]}" if 1 <= month <= 12 else date[0]


def respelt(question: str, known: frozenset[str], words: frozenset[str]) -> str:
    """The question with the nearest of some words, in lower case, for each word whose stems are not among the known."""

    def spelt(match: re.Match[str]) -> str:
        word = match[0].casefold()
        if not known.isdisjoint(found := stems(match[0])) or not found:
            return match[0]
        return nearest(word, words) or match[0]

    return _WORD.sub(spelt, question)


def words_of(text: str) -> set[str]:
    """The words of a text in lower case."""
    return {word for word in _WORD.findall(text.casefold()) if len(word) > 3}
