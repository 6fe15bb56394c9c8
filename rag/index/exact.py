"""The exact terms of a question: codes, numbers, dates and quoted phrases, in all the forms that documents have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from rag.index.lexical import STOP_WORDS, phrase

PARTS = 5  # of a longer code only all of it is searched, as it is written

_DASH = r"[-\u2010-\u2015\u2212]"
_JOINT = rf"(?:{_DASH}|[_/.])"
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»\n]{2,80})[\"”“»]")
_DATE = re.compile(rf"\b(\d{{4}}){_DASH}(\d{{1,2}}){_DASH}(\d{{1,2}})\b|\b(\d{{1,2}})[./](\d{{1,2}})[./](\d{{4}})\b")
_CODE = re.compile(rf"(?<![\w.])(?=[^\s?!,;:]*\d)[^\W_]+(?:{_JOINT}[^\W_]+)*(?!\w)")
_CLAUSE = re.compile(
    r"(?:\b(?:clause|section|article|paragraph|item|point|rule|klausel|ziffer|absatz|artikel|abschnitt)|§) ?"
    r"(\d+(?:\.\d+)+)\b",
    re.IGNORECASE,
)
_SPACED = re.compile(r"(?<![\w-])([^\W\d_]{1,12})[ \u00a0\u202f](\d{1,8}(?:\.\d+)*)(?![\w-]|[.,]\d)")
_NUMBER = re.compile(
    r"(?<![\w.,])\d{1,3}(?:[., \u00a0\u202f’']\d{3})+(?:[.,]\d+)?(?!\w)|(?<![\w.,])\d+(?:[.,]\d+)?(?!\w)"
)
_MEASURE = re.compile(r"\d+(?:[.,]\d+)?(?:st|nd|rd|th|s|%|°?[A-Za-zµ]{1,3})")
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_RUN = re.compile(r"\d+|[^\W\d_]+")
_MONTHS = (
    "january february march april may june july august september october november december".split(),
    "januar februar märz april mai juni juli august september oktober november dezember".split(),
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
)


@dataclass(frozen=True, slots=True)
class ExactTerm:
    """A term of a question that a passage has or has not, whatever it means."""

    text: str
    """As the person wrote it."""
    phrases: tuple[str, ...]
    """Its forms as words separated by spaces, for the full-text index."""
    is_code: bool = False
    """A code or a quoted phrase: a passage that has it comes first. Numbers only count for it."""
    glued: str = ""
    """A pattern of the forms without a space, if only those make “err 4012” a code."""
    telling: bool = False
    """A question about it is in scope where few chunks have it: a date, or a number of three digits that is no year."""


def exact_terms(question: str) -> list[ExactTerm]:
    """The exact terms of a question, in their order; the parts of a longer one are none of their own."""
    found: list[tuple[int, int, ExactTerm]] = []
    for start, end, term in _terms(question):
        if all(end <= first or last <= start or longer.glued for first, last, longer in found):
            found.append((start, end, term))
    return [term for _, _, term in sorted(found, key=lambda each: each[0])]


def _terms(question: str) -> Iterator[tuple[int, int, ExactTerm]]:
    """Start, end and term, those that may be longer first."""
    for match in _QUOTED.finditer(question):
        yield *match.span(), ExactTerm(match[1].strip(), (phrase(match[1]),), is_code=True)
    for match in _DATE.finditer(question):
        yield *match.span(), ExactTerm(match[0], _dates(match), telling=True)
    for match in filter(_is_code, _CODE.finditer(question)):
        yield *match.span(), ExactTerm(match[0], _forms(match[0]), is_code=True)
    for match in _CLAUSE.finditer(question):
        yield *match.span(), ExactTerm(match[0], (" ".join(re.findall(r"\d+", match[1])),), is_code=True)
    for match in _SPACED.finditer(question):
        if match[1].lower() not in STOP_WORDS:  # “err 4012” may mean ERR-4012
            glued = rf"\b{match[1]}{_JOINT}?{re.escape(match[2])}\b"
            yield *match.span(), ExactTerm(match[0], _forms(match[0]), glued=glued)
    for match in _NUMBER.finditer(question):
        if sum(map(str.isdigit, match[0])) >= 3:
            telling = not _YEAR.fullmatch(match[0])
            yield *match.span(), ExactTerm(match[0], _numbers(match[0]), telling=telling)


def _is_code(match: re.Match[str]) -> bool:
    """Whether it mixes letters and digits, or has groups of digits that are no years; “10kg” and “2nd” are no codes."""
    text = match[0]
    if _MEASURE.fullmatch(text):
        return False
    if any(map(str.isalpha, text)):
        return True
    groups = re.split(_JOINT, text)
    years = len(groups) == 2 and all(map(_YEAR.fullmatch, groups))
    return "." not in text and len(groups) > 1 and len("".join(groups)) >= 6 and not years


def _forms(text: str) -> tuple[str, ...]:
    """Its runs of letters and of digits, joined and apart in all ways: “err 4012” and “err4012”."""
    parts = _RUN.findall(text.lower())
    if len(parts) > PARTS:
        return (" ".join(parts),)
    glues = product(*[(" ", "")] * (len(parts) - 1))
    return tuple("".join(map("".join, zip(parts, [*glue, ""], strict=True))) for glue in glues)


def _numbers(text: str) -> tuple[str, ...]:
    """A number with and without separators of thousands."""
    parts = re.findall(r"\d+", text)
    forms = [" ".join(parts)]
    whole, rest = parts, list[str]()
    if len(parts) > 1 and len(parts[-1]) != 3:
        whole, rest = parts[:-1], parts[-1:]
    if all(len(part) == 3 for part in whole[1:]):
        digits = "".join(whole)
        groups = [digits[max(0, at - 3) : at] for at in range(len(digits), 0, -3)][::-1]
        forms += [" ".join([digits, *rest]), " ".join([*groups, *rest])]
    return tuple(dict.fromkeys(forms))


def _dates(match: re.Match[str]) -> tuple[str, ...]:
    """A date in figures, and with the name of its month; day and month both ways if either may come first."""
    if match[1]:
        year, readings = match[1], [(int(match[3]), int(match[2]))]
    else:
        first, second = int(match[4]), int(match[5])
        year, readings = match[6], [(first, second), (second, first)]
    forms = [phrase(match[0])]
    for day, month in readings:
        if 1 <= month <= 12 and 1 <= day <= 31:
            for names in _MONTHS:
                name = names[month - 1]
                forms += [f"{day} {name} {year}", f"{name} {day} {year}", f"{day} de {name} {year}"]
            forms += [f"{year} {month:02} {day:02}", f"{day:02} {month:02} {year}", f"{day} {month} {year}"]
    return tuple(dict.fromkeys(forms))
