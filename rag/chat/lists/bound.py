"""The numbers or dates that a question asks for: “more than 50”, “between 2017 and 2019”."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf, nextafter

from rag.chat.lists.values import MONTH, month_of, number, ordinal, ratio, unit_of
from rag.chat.lists.words import words


@dataclass(frozen=True, slots=True)
class Bound:
    """Numbers from `low` to `high`, or dates as `ordinal` has them."""

    low: float
    high: float
    text: str
    """For users: “more than 50 kg”."""
    near: tuple[str, ...]
    """The words of the question, the nearest to the number first: one names the column."""
    unit: str = ""
    """“kg”."""
    is_date: bool = False
    month: int = 0
    """Of any year, if the question says none."""

    def has(self, text: str, column: str = "") -> bool | None:
        """Whether a value is within it, None if it is none; its unit may stand in the name of its column."""
        value = ordinal(text) if self.is_date else number(text)
        if value is None:
            return None
        if self.month:
            return value // 100 % 100 == self.month
        return self.low <= value * (ratio(unit_of(text) or unit_of(column), self.unit) or 1) <= self.high


_MORE = (
    "(?:more|greater|larger|higher|heavier|older|longer|taller|bigger|mehr|größer|höher|schwerer|teurer|plus|más)"
    " (?:than|als|de|que)|(?:dearer|more expensive) than|over|above|exceed(?:s|ing)?|[uü]ber|>"
)
_LESS = (
    "(?:less|fewer|smaller|lower|lighter|younger|shorter|cheaper|weniger|kleiner|leichter|billiger|moins|menos)"
    " (?:than|als|de|que)|under|below|unter|<"
)
_COMPARISONS = {
    "at least": "at least|no less than|not less than|mindestens|au moins|al menos|>=|≥",
    "at most": "at most|no more than|not more than|up to|h[öo]chstens|au plus|como máximo|<=|≤",
    "exactly": "exactly|genau|exactement|exactamente",
    "more than": _MORE,
    "less than": _LESS,
    "since": "since|seit|depuis|desde",
    "after": "after|later than|nach|après|después de",
    "before": "before|earlier than|vor|avant|antes de",
    "in": rf"(?:in|during|im|en)(?= (?:(?:19|20)\d\d|{MONTH})\b)|(?:of|from|for)(?= {MONTH}\b)",
}
"""Their names for users, and how questions put them; the longer ones first."""
_AHEAD = re.compile(r"\(\?= .*?\\b\)")
_DATES = ("since", "after", "before", "in")
_VALUE = (
    r"(?:\d{1,2}(?:st|nd|rd|th|\.)? (?:of )?[^\W\d_]+ \d{4}|[^\W\d_]+ \d{1,2}(?:st|nd|rd|th)?,? \d{4}"
    rf"|[^\W\d_]+ \d{{4}}\b|{MONTH}\b"
    r"|(?:[€$£¥] ?)?-?(?:\d{1,3}(?:[ \u00a0\u202f]\d{3})+|\d(?:[\d.,:/-]*\d)?)"
    r"(?: (?:million|thousand)\b| ?[%€])?)"
)
_BOUND = re.compile(
    rf"(?:between|zwischen|entre|from) (?P<low>{_VALUE})(?P<unit>(?: [^\W\d_]+)?) ?(?:and|und|et|y|to|-) ?"
    rf"(?P<high>{_VALUE})|"
    rf"(?P<comparison>{'|'.join(_COMPARISONS.values())}) ?(?P<value>{_VALUE})",
    re.IGNORECASE,
)


def take_bound(text: str) -> tuple[Bound | None, str]:
    """The first bound in a text, and the text without it."""
    for match in _BOUND.finditer(text):
        before, after = text[: match.start()], text[match.end() :]
        if text[: match.start()][-1:].isalnum():  # within a word
            continue
        comparison = [word for word in words(match["comparison"] or "") if word[0].isalpha()]
        last, *earlier = (words(before) or [""])[::-1]
        near = tuple(word for word in (*comparison, last, *words(after), *earlier) if word)
        unit = re.match(r" ?([^\W\d_]+)", after)
        name = unit_of(unit[1]) if unit else ""
        if bound := _range(match, near, name) if match["low"] else _comparison(match, near, name):
            return bound, f"{before} {after}".strip()
    return None, text


def _range(match: re.Match[str], near: tuple[str, ...], unit: str) -> Bound | None:
    low, high = number(match["low"]), number(match["high"])
    lower = unit_of(match["unit"].strip())
    first, last = ordinal(match["low"]), ordinal(match["high"], last=True)
    text = f"between {match['low']}{match['unit']} and {match['high']}"
    if first and last:  # numbers that may be years are read as such in tables too
        return Bound(first, last, text, near, is_date=True)
    if low is None or high is None:
        return None
    return Bound(low * (ratio(lower, unit) or 1), high, _with_unit(text, unit), near, unit)


def _comparison(match: re.Match[str], near: tuple[str, ...], unit: str) -> Bound | None:
    value, text = match["value"].strip(), match["comparison"]
    name = next(
        name for name, forms in _COMPARISONS.items() if re.fullmatch(_AHEAD.sub("", forms), text, re.IGNORECASE)
    )
    if name in _DATES:
        if name == "in" and value.isalpha():
            return Bound(-inf, inf, f"in {value}", near, is_date=True, month=month_of(value))
        first, last = ordinal(value), ordinal(value, last=True)
        if first is None or last is None:
            return None
        low, high = {
            "since": (first, inf),
            "after": (nextafter(last, inf), inf),
            "before": (-inf, nextafter(first, -inf)),
            "in": (first, last),
        }[name]
        return Bound(low, high, f"{name} {value}", near, is_date=True)
    exact = number(value)
    if exact is None:
        return None
    low, high = {
        "at least": (exact, inf),
        "at most": (-inf, exact),
        "exactly": (exact, exact),
        "more than": (nextafter(exact, inf), inf),
        "less than": (-inf, nextafter(exact, -inf)),
    }[name]
    return Bound(low, high, _with_unit(f"{name} {value}", unit), near, unit)


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}" if unit else text
