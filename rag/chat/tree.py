"""The messages of a conversation as a tree: branches, and versions of a message."""

from __future__ import annotations

from collections.abc import Iterable


class Tree:
    """Which message stands after which."""

    def __init__(self, places: Iterable[tuple[str, str | None]]) -> None:
        """`places` are the ids of all messages with that of the message before, in the order in which they came."""
        self._parents = dict(places)
        self._after: dict[str | None, list[str]] = {}
        for id_, parent in self._parents.items():
            self._after.setdefault(parent, []).append(id_)

    def path(self, leaf: str | None) -> list[str]:
        """From the first message to `leaf`; empty where there is no such one."""
        path = []
        while leaf is not None and leaf in self._parents:
            path.append(leaf)
            leaf = self._parents[leaf]
        return path[::-1]

    def versions(self, id_: str) -> tuple[str, ...]:
        """The messages in the same place, oldest first, where there are several."""
        beside = self._after[self._parents[id_]]
        return tuple(beside) if len(beside) > 1 else ()

    def newest_leaf(self, id_: str) -> str:
        """The last message of the newest branch that goes on from a message."""
        while id_ in self._after:
            id_ = self._after[id_][-1]
        return id_
