"""Separates what a model thinks from what it says, where it writes both into its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMES = "think|thinking|thought|reasoning"
_OPEN = re.compile(rf"\s*(?:<(?:{_NAMES})>|\[THINK\]|◁think▷)", re.IGNORECASE)
_CLOSE = re.compile(rf"</(?:{_NAMES})>|\[/THINK\]|◁/think▷", re.IGNORECASE)
LONGEST = len("</reasoning>")
"""Characters of the longest mark."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a piece of an answer adds."""

    said: str = ""
    thought: str = ""
    all_was_thought: bool = False
    """All that was said before was thought: only the end of the thoughts is marked. It is not in `thought`."""


class Thoughts:
    """Reads the pieces of one answer.

    Thoughts stand at the beginning, between marks like `<think>` and `</think>`. Some servers leave the first mark out:
    what comes before the second one is then taken back.
    """

    def __init__(self) -> None:
        self._held = ""
        """The end of what was read, which may be the beginning of a mark."""
        self._begun = self._open = self._closed = False

    def read(self, piece: str) -> Spoken:
        """What the next piece adds; a mark may be spread over several."""
        if self._closed:
            return Spoken(piece)
        text = self._held + piece
        if not self._begun:
            if found := _OPEN.match(text):
                self._open = self._begun = True
                text = text[found.end() :]
            elif len(text.lstrip()) < LONGEST and _may_open(text):
                self._held = text
                return Spoken()
            else:
                self._begun = bool(text.strip())
        if found := _CLOSE.search(text):
            self._closed, self._held = True, ""
            before, after = text[: found.start()], text[found.end() :].lstrip()
            return Spoken(after, before, all_was_thought=not self._open)
        self._held = _beginning_of_mark(text)
        text = text[: len(text) - len(self._held)]
        return Spoken(thought=text) if self._open else Spoken(text)

    def end(self) -> Spoken:
        """What was held back."""
        held, self._held = self._held, ""
        return Spoken(thought=held) if self._open and not self._closed else Spoken(held)


def without_thoughts(text: str) -> str:
    """What a whole answer says."""
    thoughts = Thoughts()
    spoken, rest = thoughts.read(text), thoughts.end()
    return (spoken.said + rest.said).strip()


def _may_open(text: str) -> bool:
    start = text.lstrip().lower()
    return any(f"<{name}>".startswith(start) for name in _NAMES.split("|")) or any(
        mark.startswith(start) for mark in ("[think]", "◁think▷")
    )


def _beginning_of_mark(text: str) -> str:
    """The end of a text from the last character on that may begin a closing mark."""
    tail = text[-LONGEST:]
    at = max(tail.rfind("<"), tail.rfind("["), tail.rfind("◁"))
    if at < 0:
        return ""
    start = tail[at:].lower()
    marks = [f"</{name}>" for name in _NAMES.split("|")] + ["[/think]", "◁/think▷"]
    return tail[at:] if any(mark.startswith(start) for mark in marks) else ""
