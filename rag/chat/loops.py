"""Find where an answer began to go round in circles, as small models do."""

from __future__ import annotations

import re

from rag.index.sentences import sentences

TIMES = 3
"""A passage of at least 3 words is a loop at its third time in a row."""
SHORT, SHORT_TOTAL = 3, 36
"""A shorter one is a loop once it fills 36 words: “no, no, no” and the cells of a table are none."""
LONGEST = 120
"""Words of the longest passage whose repetition is noticed."""
TAIL = 3000
"""Characters at the end of a text that are searched."""

# The marker of a list item is no word: the items of a numbered list may be the same.
_WORD = re.compile(r"(?:\A|(?<=\n)|(?<=[.!?:;]\s))[\s>#*_•–-]*\(?\d{1,3}[.):][*_]*(?=\s)|(\w+(?:['’]\w+)*)")

_STOP = re.compile(r"[.!?。！？]*")


def loop_end(text: str) -> int | None:
    """Where to cut a text whose end repeats itself, so that the first time is kept; None if it does not."""
    shift = max(0, len(text) - TAIL)
    places = [match for match in _WORD.finditer(text, shift) if match[1]]
    words = [match[1].casefold() for match in places]
    for period in range(1, min(LONGEST, len(words) // TIMES) + 1):
        total = _repeated(words, period) + period
        if total >= TIMES * period:
            # Longer periods are multiples of this one.
            return _cut(text, places, total, period) if period >= SHORT or total >= SHORT_TOTAL else None
    return None


def _cut(text: str, places: list[re.Match[str]], total: int, period: int) -> int:
    """Where the first time ends. If it began within a sentence, the whole of this is kept."""
    once, twice = (places[len(places) - total + n * period - 1].end() for n in (1, 2))
    stop = _STOP.match(text, once)
    return next((end for _, end in sentences(text) if once <= end < twice), stop.end() if stop else once)


def _repeated(words: list[str], period: int) -> int:
    """How many words at the end are the same as those a period before; the last one may be incomplete."""
    if not words[-1 - period].startswith(words[-1]):
        return 0
    pairs = zip(reversed(words[:-1]), reversed(words[: -1 - period]), strict=False)
    return next((n for n, (word, before) in enumerate(pairs, 1) if word != before), len(words) - period)
