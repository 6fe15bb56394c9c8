"""Text of documents and models as Markdown for Streamlit."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&^=@/])")
_PRICE = re.compile(r"(?<!\\)\$(?=\d)")
BEFORE = 40  # characters of an excerpt before its first matching word


def literal(text: str) -> str:
    """Escape `text` so that nothing in it is markup. Keep line breaks."""
    escaped = _SPECIAL.sub(r"\\\1", text)
    return re.sub(r"[ \t]*\n[ \t]*", "  \n", re.sub(r"\n{3,}", "\n\n", escaped))


def highlighted(
    text: str, spans: Sequence[tuple[int, int]], *, faint: Sequence[tuple[int, int]] = (), color: str = "yellow"
) -> str:
    """Escape `text`, mark the characters of `spans`, and grey out those of `faint`."""
    parts, at = [], 0
    styled = [(*span, f"{color}-background") for span in spans] + [(*span, "gray") for span in faint]
    for start, end, style in sorted(styled):
        if start < at:
            continue
        parts.append(literal(text[at:start]))
        lines = re.split(r"(\n+)", text[start:end])  # a directive cannot hold a line break
        parts += [f":{style}[{literal(line)}]" if line.strip() else literal(line) for line in lines]
        at = end
    return "".join([*parts, literal(text[at:])])


def emphasised(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Escape `text`, with some characters in bold."""
    parts, at = [], 0
    for start, end in spans:
        parts += [literal(text[at:start]), f"**{literal(text[start:end])}**"]
        at = end
    return "".join([*parts, literal(text[at:])])


def short(text: str, length: int) -> str:
    """`text` in at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def count(number: int, noun: str) -> str:
    """A number with its noun: “1 document”, “1,200 documents”."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def excerpt(text: str, words: Collection[str], length: int) -> str:
    """About `length` characters of `text`: the first part with the most `words`."""
    lower = text.lower()
    starts = sorted({0, *(at.start() for word in words for at in re.finditer(re.escape(word), lower))})
    best = max(starts, key=lambda start: sum(word in lower[start : start + length] for word in words))
    # Begin a few whole words earlier.
    start = lower.rfind(" ", 0, max(0, best - BEFORE)) + 1 if best > BEFORE else 0
    return f"{'…' if start else ''}{short(text[start:], length + BEFORE)}"


def answer(text: str) -> str:
    """A model's answer: Markdown, but a dollar before a digit is money and not a formula.

    Images stay text: a document may have talked the model into one, and fetching it would tell its server. The bracket
    is escaped instead of the exclamation mark, as the model may have put a backslash before that.
    """
    return _PRICE.sub(r"\\$", text).replace("![", r"!\[")
