"""From pages to chunks: pieces of text short enough for the embedding model, cut where a reader would pause.

It works on windows of the text, so that memory stays flat and cost is linear however long a page or a word is, and it
counts the tokens of each finished chunk again: a cut inside a word can change them. It must not know which tokenizer
counts, where the pages come from, or who stores the chunks.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum

from rag.schema import Chunk, Page

Spans = Callable[[str], list[tuple[int, int]]]
"""The character span (start, end) of each token of a text, without special tokens."""

VERSION = 2
"""Of the way texts are cut: changes with what it gives for the same text."""
MAX_CHARS = 4000
"""WordPiece makes one token of any word over 100 characters: tokens alone would not limit a chunk."""

_SPACE = re.compile(r"\s*")
# Where a cut may be: white space, or right after a sentence's end in scripts that write without spaces.
_PAUSE = re.compile(r"\s+|(?<=[。！？」』])(?=[^\s。！？」』])")
_SENTENCE_END = re.compile(r"[.!?…。！？؟۔।][\"'”’»)\]」』]*$")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nr|Fig|Eq|Sec|vs|al|cf|e\.g|i\.e|z\.B|[A-Z])\.$")
_MARKDOWN = re.compile(r"^(#{1,6})[ \t]+(\S[^\n]{0,119})", re.MULTILINE)
_HEADING = re.compile(
    r"#{1,6}[ \t]+\S"  # Markdown; the loaders of Word and HTML write headings the same way
    r"|(?:\d+(?:\.\d+)+\.?|(?i:chapter|section|article|appendix|part)[ \t]+(?:\d+|[IVXLC]+)[.:]?)"
    r"(?:[ \t]+[^\W\d_a-z][^\n]{0,80})?(?<![.,;])(?=\n|$)"
)


class _Cut(IntEnum):
    """How good it is to cut at a pause; higher is better."""

    WORD = 0
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 3
    HEADING = 4


def split(pages: Iterable[Page], spans: Spans, max_tokens: int, overlap: int) -> list[Chunk]:
    """Cuts each page into chunks of at most `max_tokens` tokens and `MAX_CHARS` characters.

    `chunk.text == page.text[chunk.start:chunk.end]`, begins and ends with a visible character, and repeats up to
    `overlap` tokens of the chunk before it. Together the chunks hold every visible character. `chunk.heading` names the
    Markdown headings above it. The one exception to `max_tokens` is a single character that has more tokens than that.

    Raises:
        ValueError: `max_tokens` is below 1 or `overlap` below 0.
    """
    if max_tokens < 1 or overlap < 0:
        raise ValueError(f"max_tokens={max_tokens} and overlap={overlap} cannot be used")
    # Less than half: a chunk that begins with the overlap must still get past the end of the one before.
    overlap = min(overlap, (max_tokens - 1) // 2)
    chunks: list[Chunk] = []
    outline: list[tuple[int, str]] = []
    for page in pages:
        headings = deque(_MARKDOWN.finditer(page.text))
        for start, end in _pieces(page.text, spans, max_tokens, overlap):
            while headings and headings[0].start() < start:
                outline = _below(outline, headings.popleft())
            path = " › ".join(title for _, title in outline)
            chunks.append(Chunk(len(chunks), page.text[start:end], start, end, page.number, path, page.label))
        for heading in headings:
            outline = _below(outline, heading)
    return chunks


def _below(outline: list[tuple[int, str]], heading: re.Match[str]) -> list[tuple[int, str]]:
    """The headings, `(level, title)`, that stand above what follows `heading`."""
    level = len(heading[1])
    return [*(kept for kept in outline if kept[0] < level), (level, heading[2].strip())]


def _pieces(text: str, spans: Spans, max_tokens: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Start and end of each chunk of one page."""
    last = len(text.rstrip())
    size = max_tokens * 8  # of the window, in characters; follows how long the chunks turn out
    start = done = _skip_space(text, 0)
    while done < last:
        tokens, size = _window(text, start, last, spans, max_tokens, size)
        limit = _limit(tokens, start, min(start + size, last), last, max_tokens)
        end, rank = _end(text, start, done, limit, last, spans, max_tokens)
        if end <= done:  # the overlap left no room for anything new
            start = _skip_space(text, done)
            continue
        yield start, end
        size = 2 * (end - start)
        done = _skip_space(text, end)
        # A heading begins something new: the text before it is no context for it.
        inside = bisect_left(tokens, (end - start,))
        keep = 0 if rank is _Cut.HEADING else min(overlap, inside - 1)
        start = _overlap_start(text, start + tokens[inside - keep][0], end, done) if keep > 0 else done


def _window(
    text: str, start: int, last: int, spans: Spans, max_tokens: int, size: int
) -> tuple[list[tuple[int, int]], int]:
    """The tokens from `start` on, rather more than a chunk of them, and the size of the window that held them."""
    size = max(1, min(size, MAX_CHARS))
    while True:
        tokens = spans(text[start : min(start + size, last)])
        if len(tokens) > max_tokens * 3 // 2 or size >= min(MAX_CHARS, last - start):
            return tokens, size
        size = min(size * 2, MAX_CHARS)


def _limit(tokens: list[tuple[int, int]], start: int, window_end: int, last: int, max_tokens: int) -> int:
    """The furthest end of a chunk. Nearer where otherwise a scrap would be left at the end of the page."""
    fit = max_tokens
    if len(tokens) > max_tokens and window_end == last:
        fit = max(1, min(max_tokens, len(tokens) - max_tokens // 4))
    return start + tokens[fit][0] if len(tokens) > fit else window_end


def _end(text: str, start: int, done: int, limit: int, last: int, spans: Spans, max_tokens: int) -> tuple[int, _Cut]:
    """Where the chunk ends and how good a cut that is. Its tokens are counted again, on its own."""
    while True:
        end, rank = (last, _Cut.PARAGRAPH) if limit >= last else _best_pause(text, start, done, limit)
        count = len(spans(text[start:end]))
        if count <= max_tokens or end <= start + 1:
            return end, rank
        limit = start + max(1, (end - start) * max_tokens // count)


def _best_pause(text: str, start: int, done: int, limit: int) -> tuple[int, _Cut]:
    """The best pause in the second half of what fits, the latest of its kind; `limit` itself inside an endless word."""
    low = max(start + (limit - start) // 2, done)
    best, rank = start + len(text[start:limit].rstrip()), None
    for pause in _PAUSE.finditer(text, low, limit + 1):
        if low < pause.start() <= limit:
            found = _rank(text, pause.start())
            if rank is None or found >= rank:
                best, rank = pause.start(), found
    return best, _Cut.WORD if rank is None else rank


def _rank(text: str, end: int) -> _Cut:
    """How good it is to end a chunk at `end`."""
    following = _skip_space(text, end)
    lines = text.count("\n", end, following)
    goes_on = text[following : following + 1].islower()
    line = text.rfind("\n", max(0, end - 200), end) + 1
    if lines and line and _HEADING.match(text, line):
        return _Cut.WORD  # a heading belongs to what follows it, be it another heading
    if lines and _HEADING.match(text, following):
        return _Cut.HEADING
    if lines > 1:
        return _Cut.PARAGRAPH
    before = text[max(0, end - 12) : end].rstrip()
    # A line of a PDF that was only wrapped is no better a place than any other word.
    if lines and not goes_on and not before.endswith((",", ";", "-")):
        return _Cut.LINE
    if not goes_on and _SENTENCE_END.search(before) and not _ABBREVIATION.search(before):
        return _Cut.SENTENCE
    return _Cut.WORD


def _overlap_start(text: str, earliest: int, end: int, following: int) -> int:
    """Where the next chunk begins: the first sentence that starts in the overlap, else the first word."""
    word = following
    for pause in _PAUSE.finditer(text, max(earliest - 1, 0), end):
        begin = _skip_space(text, pause.start())
        if earliest <= begin < end:
            if _rank(text, pause.start()) > _Cut.WORD:
                return begin
            word = min(word, begin)
    return word


def _skip_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None  # it matches nothing at all as well
    return found.end()
