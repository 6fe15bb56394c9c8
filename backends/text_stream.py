"""Token ids -> text, as they come: whole characters only, and never a piece of a stop sequence.

A character may take several tokens, and a stop sequence may span tokens, so both hold text back until it is sure.
Knows a `decode` function and nothing else of models.
"""

from __future__ import annotations

from collections.abc import Callable, Set

LOOP_TOKENS, LOOP_TIMES, LOOP_PERIODS = 40, 3, range(4, 65)
"""An answer whose last 40 tokens or more are the same 4 to 64 tokens, three times or more, will not end by itself."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer decodes the first bytes of an unfinished character to."""


class TextStream:
    """The text of one answer.

    Args:
        decode: ids -> text, without special tokens.
        stop: the answer ends before the first of these; they are not part of it.
        end_ids: tokens with which the model says that it has finished.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...], end_ids: Set[int]) -> None:
        self._decode = decode
        self._stop = tuple(text for text in stop if text)
        self._end_ids = end_ids
        self._ids: list[int] = []
        # Ids before `_read` are decoded; those from `_context` on are decoded again with each new one, because a
        # token's text depends on its left neighbour (a leading space).
        self._context = self._read = 0
        self._held = ""
        self.tokens = 0
        """Tokens taken, the model's end token included; those after the end are not counted."""
        self.ended = False
        """The model finished, a stop sequence came, or the answer goes round in circles."""
        self.looped = False
        """It ended because it went round in circles, as small models do."""

    def push(self, token: int) -> str:
        """Take one token; return the text that is now sure, often none. Tokens after the end are ignored."""
        if self.ended:
            return ""
        self.tokens += 1
        if token in self._end_ids:
            self.ended = True
            return ""
        self._ids.append(token)
        self.looped = self._is_loop()
        text = self._release(self._new_text())
        self.ended |= self.looped
        return text

    def _is_loop(self) -> bool:
        def repeats(period: int) -> bool:
            length = period * max(LOOP_TIMES, -(-LOOP_TOKENS // period))
            tail = self._ids[-length:]
            # A sequence has this period exactly if it equals itself moved by it.
            return len(tail) == length and tail[period:] == tail[:-period]

        return any(self._ids[-1] == self._ids[-1 - p] and repeats(p) for p in LOOP_PERIODS if p < len(self._ids))

    def finish(self) -> str:
        """What was held back and turned out to be text. An unfinished character is dropped."""
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
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.ended, self._held = True, ""
            self._context = self._read = len(self._ids)
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
