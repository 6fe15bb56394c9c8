"""A question that names a document wants that document: “in the crew handbook”, “in Amazon's Q3 2023 report”.

Knows names only, nothing of what stands in the documents.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import PurePath

from rag.index.lexical import STOP_WORDS

WEIGHT = 1.0
"""What a document's whole name is worth, in the unit of the fused score: a standard deviation of one of its halves."""


def filename_boost(question: str, names: dict[int, str]) -> dict[int, float]:
    """For each row how much its document is named by the question, 0 to `WEIGHT`.

    The share of the name's words that the question holds, each weighed by how few of the names have it.

    Args:
        question: what is asked.
        names: file names of the documents, by the rows that are from them.
    """
    asked = _words(question)
    words = {name: _words(PurePath(name).stem) for name in set(names.values())}
    frequency = Counter(word for name in words.values() for word in name)

    def weight(found: set[str]) -> float:
        return sum(math.log(1 + len(words) / frequency[word]) for word in found)

    worth = {name: WEIGHT * weight(found & asked) / weight(found) if found else 0.0 for name, found in words.items()}
    return {row: worth[name] for row, name in names.items()}


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.casefold())) - STOP_WORDS
