"""The messages of a conversation as a tree: branches, and versions of a message."""

from __future__ import annotations

from collections.abc import Iterable


class Tree:
    """Which message follows which, from pairs of a message id and its parent id in the order they were added."""

    def __init__(self, places: Iterable[tuple[str, str | None]]) -> None:
        self._parents = dict(places)
        self._after: dict[str | None, list[str]] = {}
        for id_, parent in self._parents.items():
            self._after.setdefault(parent, []).append(id_)

    def path(self, leaf: str | None) -> list[str]:
        """From the first message to `leaf`; empty if there is no such message."""
        path = []
        while leaf is not None and leaf in self._parents:
            path.append(leaf)
            leaf = self._parents[leaf]
        return path[::-1]

    def versions(self, id_: str) -> tuple[str, ...]:
        """The messages with the same parent, oldest first; empty if there is only one."""
        siblings = self._after[self._parents[id_]]
        return tuple(siblings) if len(siblings) > 1 else ()

    def newest_leaf(self, id_: str) -> str:
        """The last message of the newest branch that continues a message."""
        while id_ in self._after:
            id_ = self._after[id_][-1]
        return id_
