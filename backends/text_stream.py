"""Token ids -> text as it is generated: delayed until characters are whole and no stop sequence can have begun."""

from __future__ import annotations

from collections.abc import Callable, Set

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer makes of the first bytes of an incomplete character."""


class TextStream:
    """The text of one answer, which ends before the first of `stop` or at a token of `end_ids`."""

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...], end_ids: Set[int]) -> None:
        self._decode = decode
        self._stop = tuple(text for text in stop if text)
        self._end_ids = end_ids
        self._ids: list[int] = []
        # Ids before `_read` are decoded. Those from `_context` on are decoded again with each new one, because the text
        # of a token depends on its left neighbour (a leading space).
        self._context = self._read = 0
        self._held = ""
        self.tokens = 0
        """Tokens received, including the end token but none after it."""
        self.ended = False
        """The model finished, or a stop sequence was generated."""

    def push(self, token: int) -> str:
        """Receive a token; return the text that is now certain, often none. Tokens after the end are ignored."""
        if self.ended:
            return ""
        self.tokens += 1
        if token in self._end_ids:
            self.ended = True
            return ""
        self._ids.append(token)
        return self._release(self._new_text())

    def finish(self) -> str:
        """Return the text held back so far, without an incomplete character."""
        if self.ended and not self._held and self._read == len(self._ids):
            return ""
        text = self._release(self._new_text(final=True).rstrip(REPLACEMENT))
        text, self._held = text + self._held, ""
        return text

    def _new_text(self, final: bool = False) -> str:
        before = self._decode(self._ids[self._context : self._read])
        after = self._decode(self._ids[self._context :])
        if not final and (after.endswith(REPLACEMENT) or len(after) <= len(before)):
            return ""
        self._context, self._read = self._read, len(self._ids)
        return after[len(before) :]

    def _release(self, text: str) -> str:
        text = self._held + text
        positions = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if positions:
            self.ended, self._held = True, ""
            self._context = self._read = len(self._ids)
            return text[: min(positions)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest suffix of `text` that is a prefix of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
