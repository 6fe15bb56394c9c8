"""Numbers and dates as documents and questions write them."""

from __future__ import annotations

import re

_NUMBER = re.compile(
    r"[^\w\d+-]{0,3}(?:[A-Z]{3} ?)?(?P<sign>[-+−]?)[€$£¥ ]{0,2}(?P<digits>\d[\d.,'’ \u00a0\u202f]*)"
    r"(?: ?(?P<times>million|thousand|mio|tsd)\b)?\.?[-–]{0,2} ?"
    r"(?:%|°?[^\W\d_]{1,12}(?: [^\W\d_]{1,12})?\.?|[€$£¥])?",
    re.IGNORECASE,
)
_TIMES = {"million": 1e6, "mio": 1e6, "thousand": 1e3, "tsd": 1e3}
_MONTHS = (
    "jan ene gen",
    "feb fév fev",
    "mar mär mrz",
    "apr abr avr",
    "may mai",
    "jun juin",
    "jul juil",
    "aug ago août aou",
    "sep set",
    "oct okt out",
    "nov",
    "dec dez déc dic",
)
MONTH = (
    "(?:jan(?:uary|uar|vier)?|feb(?:ruary|ruar|rero)?|f[ée]vrier|mar(?:ch|s|zo)?|m[äa]rz|apr(?:il)?|avril|abril|may|mai"
    "|mayo|june?|juni|juin|junio|july?|juli|juillet|julio|aug(?:ust)?|août|agosto|sept?(?:ember|embre|iembre)?"
    "|oct(?:ober|obre|ubre)?|okt(?:ober)?|nov(?:ember|embre|iembre)?|dec(?:ember)?|dez(?:ember)?|d[ée]cembre|diciembre"
    "|enero)"
)
"""A month, as a pattern."""
_UNITS = {
    name: (each, float(factor))
    for each, *others in map(
        str.split,
        (
            "weight mg=.001 g=1 gram=1 grams=1 kg=1000 kilos=1000 kilograms=1000 t=1e6 tonnes=1e6",
            "length mm=.001 cm=.01 m=1 metre=1 metres=1 meters=1 km=1000",
            "volume ml=.001 cl=.01 dl=.1 l=1 litre=1 litres=1 liter=1 liters=1",
            "power w=1 watt=1 watts=1 kw=1000 kilowatt=1000 kilowatts=1000 mw=1e6",
        ),
    )
    for name, factor in (other.split("=") for other in others)
}
_UNIT = re.compile(r"(?:\d ?|[(\[]|^)([^\W\d_]{1,9})[)\]]?$")
_ISO = re.compile(r"(\d{4})-(\d{1,2})(?:-(\d{1,2}))?(?:[T ].*)?")
_FIGURES = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{4})")
_NAMED = re.compile(
    r"(?:(\d{1,2})(?:\.|st|nd|rd|th)?\s+(?:of |de )?)?([^\W\d_]{3,})\.?,?\s+"
    r"(?:(\d{1,2})(?:st|nd|rd|th)?,?\s+)?(?:de )?(\d{4})"
)
_YEAR = re.compile(r"1[0-9]\d\d|20\d\d")


def number(text: str) -> float | None:
    """The number that a text is, with separators, sign, currency or unit: “€1,234.50” and “12.5 kg”; otherwise None."""
    match = _NUMBER.fullmatch(text.strip())
    if not match:
        return None
    digits = re.sub(r"['’ \u00a0\u202f]", "", match["digits"]).rstrip(".,")
    last = max(digits.rfind("."), digits.rfind(","))
    if last >= 0:
        mark, rest = digits[last], digits[last + 1 :]
        both = "." in digits and "," in digits
        # 1,234 is a thousand, 1.234 is not; a mark that is repeated separates thousands
        groups = digits.count(mark) > 1 or (mark == "," and len(rest) == 3 and not both)
        whole = re.sub(r"[.,]", "", digits[:last])
        digits = whole + rest if groups else f"{whole}.{rest}"
    value = float(digits) * _TIMES.get((match["times"] or "").lower(), 1)
    return -value if match["sign"] in ("-", "−") else value


def ordinal(text: str, *, last: bool = False) -> float | None:
    """The date that a text is as YYYYMMDD, of a year or month its first day or the `last`; otherwise None."""
    text = text.strip(" ,.")
    day: str | int | None
    if match := _ISO.fullmatch(text):
        year, month, day = int(match[1]), int(match[2]), match[3]
    elif match := _FIGURES.fullmatch(text):
        year, month, day = int(match[3]), int(match[2]), match[1]
    elif match := _NAMED.fullmatch(text):
        year, month, day = int(match[4]), month_of(match[2]), match[1] or match[3]
    elif _YEAR.fullmatch(text):
        year, month, day = int(text), 12 if last else 1, None
    else:
        return None
    if not 1 <= month <= 12:
        return None
    return float(year * 10000 + month * 100 + int(day or (31 if last else 1)))


def month_of(name: str) -> int:
    """Its number from 1; 0 if it is none."""
    return next((at for at, names in enumerate(_MONTHS, 1) if name.casefold().startswith(tuple(names.split()))), 0)


def unit_of(text: str) -> str:
    """The unit that a number or the name of a column ends with: kg in “12 kg” and “weight (kg)”; otherwise empty."""
    match = _UNIT.search(text.strip(" ."))
    unit = match[1].lower() if match else ""
    return unit if unit in _UNITS else ""


def ratio(unit: str, other: str) -> float | None:
    """How many of the unit `other` one `unit` is; None if they measure different things or one is unknown."""
    if unit in _UNITS and other in _UNITS and _UNITS[unit][0] == _UNITS[other][0]:
        return _UNITS[unit][1] / _UNITS[other][1]
    return None
