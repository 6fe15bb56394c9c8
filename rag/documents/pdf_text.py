"""The text of a PDF's page as it should have been: words whole, ligatures apart, nothing that only looks like text.

It must not know of readers and of files.
"""

from __future__ import annotations

import re
import unicodedata

_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_BROKEN_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]+)[-\u2010\xad]\n([^\W\d_]+)")


def tidy(text: str) -> str:
    """One space between words, no space at a line's ends, letters for ligatures; '' where it is not readable."""
    if _is_garbled(text):
        return ""
    text = re.sub(r"[^\S\n]+", " ", text.replace("\r\n", "\n").translate(_LIGATURES))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()


def _is_garbled(text: str) -> bool:
    """Whether glyph numbers were taken for characters, as happens where a font does not say what its glyphs mean."""
    if text.isascii():
        return False
    visible = [char for char in text if not char.isspace()]
    strange = sum(char == "\ufffd" or unicodedata.category(char) in {"Cc", "Cn", "Co", "Cs", "Mn"} for char in visible)
    return strange > 0.4 * len(visible)


def rejoin(text: str, words: set[str]) -> str:
    """Puts words together that were hyphenated at a line's end; `words` are those seen in the document so far.

    "exam-/ple" becomes "example", but "well-/known" keeps its hyphen where "well" and "known" are words here and
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
