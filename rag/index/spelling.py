"""Finds the word that a misspelt one stands for."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 5  # letters of a word that may be misspelt: shorter ones have too many neighbours
SURE, LONG = 7, 8  # letters from which another letter counts once, and from which two mistakes are forgiven


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` stands for, in lower case with the same first letter; empty if there is none.

    In a short word a letter may be missing, doubled or swapped with its neighbour, but not another one: “bread” is not
    “break”.
    """
    if len(word) < SHORTEST or not word.isalpha():
        return ""
    most, replaced = (2 if len(word) >= LONG else 1), (1 if len(word) >= SURE else 2)
    near = (other for other in known if other[:1] == word[0] and abs(len(other) - len(word)) <= most)
    distance, best = min(((_distance(word, other, most, replaced), other) for other in near), default=(most + 1, ""))
    return best if distance <= most else ""


def _distance(one: str, other: str, most: int, replaced: int) -> int:
    """Insertions, deletions, swaps of neighbours and replacements between two words; over `most` if there are more."""
    before, row = list[int](), list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (replaced if a != b else 0))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
