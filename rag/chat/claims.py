"""The stems, numbers, names and negations of a text, so that it can be compared with another.

Stemming and negation are English only; Chinese, Japanese and Korean are compared by pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import pairwise

import snowballstemmer

from rag.index.lexical import STOP_WORDS

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7ff"
_TOKEN = re.compile(
    rf"(?P<number>\d+(?:[.,:]\d+)*)(?:(?:st|nd|rd|th|s)\b)?|(?P<unspaced>[{_UNSPACED}]+)"
    rf"|(?:[^\W\d_]\.){{2,}}|[^\W\d_{_UNSPACED}][^\W_{_UNSPACED}]*(?:['’][^\W\d_]+)?"
)
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")
_UNITS = {word: n for n, word in enumerate("one two three four five six seven eight nine".split(), 1)}
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = {word: 10 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}
_ORDINALS = (
    "fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
    "seventeenth eighteenth nineteenth twentieth"
)
_NUMBER_WORDS = (
    {word: n for word, n in _UNITS.items() if n > 1}
    | {word: n for n, word in enumerate(_TEENS.split(), 10)}
    | {word: n for n, word in enumerate(_ORDINALS.split(), 4)}
    | {**_TENS, "zero": 0, "dozen": 12}
)
"""Without “one”, “first”, “second” and “third”, which are often not numbers."""
_TIMES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}

NEGATIONS = frozenset(
    """not never no nor none neither nobody nothing nowhere without cannot hardly scarcely barely unable impossible
    fail fails failed refuse refuses refused lack lacks lacked deny denies denied""".split()
)
_NO_NEGATION = frozenset(("not only", "not just", "not merely", "no doubt"))
SCOPE = 6
"""Words after a negation that it applies to."""
BEFORE = 3
"""Words before it that it may apply to: “Dogs are not allowed”."""

_OPENERS = frozenset(
    """according additionally afterwards almost alternatively although always another anyone anything apart
    approximately around aside based basically besides between certainly clearly consequently conversely
    currently despite due each eventually every everyone everything except finally firstly following formerly
    fortunately furthermore generally given hence historically however hundreds ideally importantly including
    indeed initially instead lastly later lately like likewise many mainly maybe meanwhile moreover most mostly
    much namely nearly nevertheless next nobody nonetheless normally notably note nothing nowadays obviously
    occasionally often okay one ones originally otherwise overall part particularly people perhaps please plus
    possibly presumably previously primarily probably quite rather recently regarding roughly secondly several
    similarly simply since so some someone something sometimes somewhat soon specifically still subsequently
    such sure surely therefore thereby third thirdly though thousands thus today together tomorrow traditionally
    two typically ultimately unfortunately unlike unless upon usually various well whatever whenever whereas
    wherever whether whichever whoever within yes yesterday yet add ask avoid be begin book bring buy call check
    choose click come consider contact do enter find follow get give go have help keep leave let look make open
    pay prepare press put read remember run see select send set show sign speak start stay stop take tell think
    try turn use visit wait wear welcome write""".split()
)
"""Words that often begin a sentence and are not names."""

_FORMS = {
    form: base
    for base, *forms in map(
        str.split,
        """become became/begin began begun/bend bent/bind bound/bite bit bitten/blow blew blown/break broke broken
        bring brought/build built/burn burnt/buy bought/catch caught/choose chose chosen/come came/creep crept
        deal dealt/dig dug/draw drew drawn/drink drank drunk/drive drove driven/eat ate eaten/fall fell fallen
        feed fed/feel felt/fight fought/find found/fly flew flown/forget forgot forgotten/forgive forgave
        freeze froze frozen/get got gotten/give gave given/go went gone/grow grew grown/hang hung/have has had
        hear heard/hide hid hidden/hold held/keep kept/know knew known/lay laid/lead led/learn learnt/leave left
        lend lent/lose lost/make made/mean meant/meet met/pay paid/ride rode ridden/ring rang rung/rise rose risen
        run ran/say said/see saw seen/sell sold/send sent/shake shook shaken/shine shone/shoot shot/show shown
        shrink shrank shrunk/sing sang sung/sink sank sunk/sit sat/sleep slept/slide slid/speak spoke spoken
        spend spent/spin spun/stand stood/steal stole stolen/stick stuck/strike struck/swear swore sworn/sweep swept
        swim swam swum/swing swung/take took taken/teach taught/tear tore torn/tell told/think thought
        throw threw thrown/understand understood/wake woke woken/wear wore worn/weave wove woven/win won/wind wound
        write wrote written/man men/woman women/child children/foot feet/tooth teeth/mouse mice/person people
        wife wives/knife knives/half halves""".replace("\n", "/").split("/"),
    )
    for form in forms
}
"""Irregular forms, which the stemmer does not conflate."""


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The stem of a word in lower case, which irregular forms share."""
    folded = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode() or word
    folded = _FORMS.get(folded, folded)
    return str(snowballstemmer.stemmer("english").stemWord(folded))


@dataclass(frozen=True, slots=True)
class Entity:
    """A number, or a run of capitalised words."""

    stems: tuple[str, ...]
    parts: tuple[str, ...]
    """Its words as written."""
    at: int
    """Position of its first word."""
    is_number: bool


@dataclass(frozen=True, slots=True)
class Words:
    """An analysed text. The stem of a number is `#` and its value."""

    sequence: tuple[str, ...]
    """Stems of all words, empty for stop words."""
    forms: tuple[str, ...]
    """All words, in lower case."""
    content: frozenset[str]
    """Stems without stop words."""
    entities: tuple[Entity, ...]
    negation_heads: tuple[str, ...]
    """For each negation the first stem after it."""
    negated: frozenset[str]
    """Stems in the scope of a negation."""

    @property
    def numbers(self) -> frozenset[str]:
        """Stems of the numbers."""
        return frozenset(stem for entity in self.entities if entity.is_number for stem in entity.stems)


@dataclass(slots=True)
class _Token:
    text: str
    start: int
    end: int
    lower: str
    stem: str
    also: str = ""
    """Another stem that it matches."""
    number: bool = False


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    for match in _TOKEN.finditer(text):
        word, start, end = match.group(), match.start(), match.end()
        lower = word.casefold().replace("’", "'")
        if match["number"]:
            value = match["number"]
            value = value.replace(",", "") if _THOUSANDS.fullmatch(value) else value
            value = value.lstrip("0") if ":" in value else value
            found.append(_Token(word, start, end, lower, f"#{value}", number=True))
        elif match["unspaced"]:
            pairs = ["".join(pair) for pair in pairwise(word)] or [word]
            found.extend(_Token(pair, start + n, start + n + 2, pair, pair) for n, pair in enumerate(pairs))
        elif lower in _TIMES and found and found[-1].number and found[-1].end >= start - 2:
            _multiply(found[-1], _TIMES[lower], end, text)
        elif lower in _UNITS and found and found[-1].lower in _TENS and found[-1].end >= start - 1:
            tens = found[-1]
            tens.stem = f"#{_TENS[tens.lower] + _UNITS[lower]}"
            tens.lower, tens.text, tens.end = tens.stem, text[tens.start : end], end
        elif lower in _NUMBER_WORDS:
            found.append(_Token(word, start, end, lower, f"#{_NUMBER_WORDS[lower]}", number=True))
        else:
            found.append(_word(word, start, end, lower))
    return found


def _multiply(token: _Token, times: int, end: int, text: str) -> None:
    """“7.5 million” is 7500000, and also matches 7.5."""
    with suppress(InvalidOperation):
        value = Decimal(token.stem[1:]) * times
        token.also, token.stem = token.stem, f"#{value.normalize():f}"
        token.text, token.end = text[token.start : end], end


def _word(word: str, start: int, end: int, lower: str) -> _Token:
    if "." in word:  # U.S.
        lower = lower.replace(".", "")
    elif lower.endswith("n't"):
        lower = "not"
    elif "'" in lower:
        lower = lower.partition("'")[0]
    stop = lower in STOP_WORDS and not (word.isupper() and len(word) > 1)  # the US, the WHO
    return _Token(word, start, end, lower, "" if stop else stem(lower))


def analyse(text: str, names: Iterable[str] = (), common: Iterable[str] = ()) -> Words:
    """Analyse a text; the stems `names` are known to be names, which a capital at its beginning does not show.

    The stems `common` are known not to be names.
    """
    tokens = _tokens(text)
    sequence = tuple(token.stem for token in tokens)
    content = {stem for stem in sequence if stem} | {token.also for token in tokens if token.also}
    heads, negated = _negations(tokens)
    entities = _entities(text, tokens, frozenset(names), frozenset(common))
    return Words(sequence, tuple(token.lower for token in tokens), frozenset(content), entities, heads, negated)


def _negations(tokens: list[_Token]) -> tuple[tuple[str, ...], frozenset[str]]:
    heads, negated = list[str](), set[str]()
    for at, token in enumerate(tokens):
        after = tokens[at + 1].lower if at + 1 < len(tokens) else ""
        if token.lower in NEGATIONS and f"{token.lower} {after}" not in _NO_NEGATION:
            reach = [other.stem for other in tokens[at + 1 : at + 1 + SCOPE] if other.stem]
            heads.append(reach[0] if reach else "")
            negated |= {*reach, *(other.stem for other in tokens[max(0, at - BEFORE) : at] if other.stem)}
    return tuple(heads), frozenset(negated)


def _entities(text: str, tokens: list[_Token], names: frozenset[str], common: frozenset[str]) -> tuple[Entity, ...]:
    capital = [
        bool(token.stem) and token.text[0].isupper() and not token.number and token.lower not in NEGATIONS
        for token in tokens
    ]
    found: list[Entity] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token.number:
            found.append(Entity((token.stem,), (token.text,), at, is_number=True))
        elif capital[at]:
            last = at
            while last + 1 < len(tokens) and capital[last + 1] and tokens[last + 1].start - tokens[last].end <= 2:
                last += 1
            first = at
            if _starts_sentence(text, token.start) and not _is_name(tokens[at : last + 1], names, common):
                first += 1
            if first <= last:
                run = tokens[first : last + 1]
                stems, parts = tuple(each.stem for each in run), tuple(each.text for each in run)
                found.append(Entity(stems, parts, first, is_number=False))
            at = last
        at += 1
    return tuple(found)


def _starts_sentence(text: str, start: int) -> bool:
    """Whether a word at `start` may be capitalised because it begins a sentence."""
    before = text[:start].rstrip(" \"'“‘(*_[")
    return not before or before[-1] in ".!?:;\n#|•–-"


def _is_name(run: list[_Token], names: frozenset[str], common: frozenset[str]) -> bool:
    """Whether the capitalised words at the beginning of a sentence are a name."""
    first = run[0]
    if first.stem in names:
        return True
    if first.stem in common or first.lower in _OPENERS:
        return False
    return len(run) > 1 or not first.lower.endswith(("ly", "ing", "ed", "s"))
