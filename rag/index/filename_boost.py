"""Boosts documents whose file name the question mentions: “in the crew handbook”, “in Amazon's Q3 2023 report”."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import PurePath

from rag.index.lexical import STOP_WORDS

WEIGHT = 1.0  # the boost if the whole name is in the question, in standard deviations of the scores


def filename_boost(question: str, names: dict[int, str]) -> dict[int, float]:
    """The boost of each row, 0 to `WEIGHT`: the share of its file name's words in the question, weighted by rarity."""
    asked = _words(question)
    words = {name: _words(PurePath(name).stem) for name in set(names.values())}
    frequency = Counter(word for name in words.values() for word in name)

    def weight(found: set[str]) -> float:
        return sum(math.log(1 + len(words) / frequency[word]) for word in found)

    boosts = {name: WEIGHT * weight(found & asked) / weight(found) if found else 0.0 for name, found in words.items()}
    return {row: boosts[name] for row, name in names.items()}


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.casefold())) - STOP_WORDS
