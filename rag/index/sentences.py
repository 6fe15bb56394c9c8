"""Splits text into sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Before anything but a small letter; “am 3. Mai” goes on.
_SENTENCE_END = re.compile(
    r"(?<=[.!?؟।…])[\"'”’»)\]]*\s+(?=[\"'“‘„«(\[¿¡]*[^\W_a-zß-öø-ÿа-яёα-ω])"
    r"(?!(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)\b)"
    r"|\s*\n\s*|(?<=[。！？])"
)
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nos|Nr|Fig|vs|e\.g|i\.e|z\. ?B|d\. ?h|approx|[A-Z])\.$")


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """`(start, end)` of each sentence or line of `text`."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text[max(start, match.start() - 8) : match.start()]) and "\n" not in match.group():
            continue
        if text[start : match.start()].strip():
            yield start, match.start()
        start = match.end()
    if text[start:].strip():
        yield start, start + len(text[start:].rstrip())
