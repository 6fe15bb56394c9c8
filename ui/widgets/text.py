"""Text of documents and models as Markdown that Streamlit draws as it is meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&^=@/])")
BEFORE = 40
"""Characters of an excerpt before the first word that it is there for."""
_PRICE = re.compile(r"(?<!\\)\$(?=\d)")


def literal(text: str) -> str:
    """`text` of a document, drawn letter by letter: nothing in it is markup. Line breaks stay."""
    escaped = _SPECIAL.sub(r"\\\1", text)
    return re.sub(r"[ \t]*\n[ \t]*", "  \n", re.sub(r"\n{3,}", "\n\n", escaped))


def highlighted(
    text: str, spans: Sequence[tuple[int, int]], *, faint: Sequence[tuple[int, int]] = (), color: str = "yellow"
) -> str:
    """`text` drawn letter by letter, with the characters of `spans` marked and those of `faint` paler than the rest."""
    parts, at = [], 0
    styled = [(*span, f"{color}-background") for span in spans] + [(*span, "gray") for span in faint]
    for start, end, style in sorted(styled):
        if start < at:
            continue
        parts.append(literal(text[at:start]))
        lines = _lines(text[start:end])
        parts += [f":{style}[{literal(line)}]" if line.strip() else literal(line) for line in lines]
        at = end
    return "".join([*parts, literal(text[at:])])


def _lines(text: str) -> list[str]:
    # A directive cannot hold a line break.
    return re.split(r"(\n+)", text)


def short(text: str, length: int) -> str:
    """`text` in at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def excerpt(text: str, words: Collection[str], length: int) -> str:
    """About `length` characters of `text` that have most of `words`; its beginning where no others have more."""
    lower = text.lower()
    starts = sorted({0, *(at.start() for word in words for at in re.finditer(re.escape(word), lower))})
    best = max(starts, key=lambda start: sum(word in lower[start : start + length] for word in words))
    # A few words before it, whole ones.
    start = lower.rfind(" ", 0, max(0, best - BEFORE)) + 1 if best > BEFORE else 0
    return f"{'…' if start else ''}{short(text[start:], length + BEFORE)}"


def answer(text: str) -> str:
    """A model's answer: its Markdown is drawn, but a dollar before a digit is money and not a formula.

    Images stay text: a document may have talked the model into one, and fetching it would tell its server. The bracket
    is escaped and not the exclamation mark, which may have a backslash of the model's own before it.
    """
    return _PRICE.sub(r"\\$", text).replace("![", r"!\[")
