"""Clean up text extracted from PDF: spaces, ligatures, hyphenation, garbled fonts."""

from __future__ import annotations

import re
import unicodedata

_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_BROKEN_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]+)[-\u2010\xad]\n([^\W\d_]+)")


def tidy(text: str) -> str:
    """Normalise spaces and ligatures; return '' for unreadable text."""
    if _is_garbled(text):
        return ""
    text = re.sub(r"[^\S\n]+", " ", text.replace("\r\n", "\n").translate(_LIGATURES))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()


def _is_garbled(text: str) -> bool:
    """Whether these are glyph numbers, as of a font without a character map."""
    if text.isascii():
        return False
    visible = [char for char in text if not char.isspace()]
    strange = sum(char == "\ufffd" or unicodedata.category(char) in {"Cc", "Cn", "Co", "Cs", "Mn"} for char in visible)
    return strange > 0.4 * len(visible)


def rejoin(text: str, words: set[str]) -> str:
    """Join words hyphenated at a line's end, and add the page's words to `words`, those of the document so far.

    "exam-/ple" becomes "example", but "well-/known" keeps its hyphen if "well" and "known" are among the words and
    "wellknown" is not.
    """
    words.update(re.findall(r"[^\W\d_]+", _BROKEN_WORD.sub(" ", text).lower()))

    def joined(found: re.Match[str]) -> str:
        first, second = found[1], found[2]
        if not second[0].islower():
            return f"{first}-{second}"
        whole = (first + second).lower()
        hyphenated = whole not in words and first.lower() in words and second.lower() in words
        return f"{first}-{second}" if hyphenated else first + second

    return _BROKEN_WORD.sub(joined, text)
