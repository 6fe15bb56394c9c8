"""Split pages into chunks that fit the embedding model, at headings, paragraphs and sentences where possible.

Works on windows of the text, so that memory is constant and time linear even for very long words.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum

from rag.schema import Chunk, Page

Spans = Callable[[str], list[tuple[int, int]]]  # start and end of each token of a text, without special tokens
VERSION = 2  # increase when the same text is split differently
MAX_CHARS = 4000  # WordPiece makes one token of any word over 100 characters, so tokens alone do not limit a chunk

_SPACE = re.compile(r"\s*")
# Where a chunk may end: white space, or the end of a sentence in scripts without spaces.
_PAUSE = re.compile(r"\s+|(?<=[。！？」』])(?=[^\s。！？」』])")
_SENTENCE_END = re.compile(r"[.!?…。！？؟۔।][\"'”’»)\]」』]*$")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nr|Fig|Eq|Sec|vs|al|cf|e\.g|i\.e|z\.B|[A-Z])\.$")
_MARKDOWN = re.compile(r"^(#{1,6})[ \t]+(\S[^\n]{0,119})", re.MULTILINE)
_HEADING = re.compile(
    r"#{1,6}[ \t]+\S"  # Markdown, also used by other readers
    r"|(?:\d+(?:\.\d+)+\.?|(?i:chapter|section|article|appendix|part)[ \t]+(?:\d+|[IVXLC]+)[.:]?)"
    r"(?:[ \t]+[^\W\d_a-z][^\n]{0,80})?(?<![.,;])(?=\n|$)"
)


class _Boundary(IntEnum):
    """What ends at the end of a chunk; higher is better."""

    WORD = 0
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 3
    HEADING = 4


def split(pages: Iterable[Page], spans: Spans, max_tokens: int, overlap: int) -> list[Chunk]:
    """Split each page into chunks of at most `max_tokens` tokens and `MAX_CHARS` characters.

    `chunk.text == page.text[chunk.start:chunk.end]` starts and ends with a visible character and repeats up to
    `overlap` tokens of the previous chunk; together the chunks contain every visible character. `chunk.heading` is the
    path of Markdown headings above. Only a single character may have more than `max_tokens` tokens.
    """
    if max_tokens < 1 or overlap < 0:
        raise ValueError(f"max_tokens={max_tokens} and overlap={overlap} are invalid")
    # Less than half, so that each chunk gets past the end of the previous one.
    overlap = min(overlap, (max_tokens - 1) // 2)
    chunks: list[Chunk] = []
    outline: list[tuple[int, str]] = []
    for page in pages:
        headings = deque(_MARKDOWN.finditer(page.text))
        for start, end in _chunk_spans(page.text, spans, max_tokens, overlap):
            while headings and headings[0].start() < start:
                outline = _updated(outline, headings.popleft())
            path = " › ".join(title for _, title in outline)
            chunks.append(Chunk(len(chunks), page.text[start:end], start, end, page.number, path, page.label))
        for heading in headings:
            outline = _updated(outline, heading)
    return chunks


def _updated(outline: list[tuple[int, str]], heading: re.Match[str]) -> list[tuple[int, str]]:
    """Return the headings, `(level, title)`, above the text after `heading`."""
    level = len(heading[1])
    return [*(kept for kept in outline if kept[0] < level), (level, heading[2].strip())]


def _chunk_spans(text: str, spans: Spans, max_tokens: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each chunk of one page."""
    last = len(text.rstrip())
    size = max_tokens * 8  # of the window, in characters; adapts to the length of the chunks
    start = done = _skip_space(text, 0)
    while done < last:
        tokens, size = _window(text, start, last, spans, max_tokens, size)
        limit, fit = min(start + size, last), max_tokens
        if len(tokens) > max_tokens:
            if limit == last:  # leave no scrap at the end of the page
                fit = max(1, min(max_tokens, len(tokens) - max_tokens // 4))
            limit = start + tokens[fit][0]
        end, rank = _end(text, start, done, limit, last, spans, max_tokens)
        if end <= done:  # the overlap left no room for anything new
            start = _skip_space(text, done)
            continue
        yield start, end
        size = 2 * (end - start)
        done = _skip_space(text, end)
        inside = bisect_left(tokens, (end - start,))
        keep = 0 if rank is _Boundary.HEADING else min(overlap, inside - 1)  # a heading starts a new topic
        start = _overlap_start(text, start + tokens[inside - keep][0], end, done) if keep > 0 else done


def _window(
    text: str, start: int, last: int, spans: Spans, max_tokens: int, size: int
) -> tuple[list[tuple[int, int]], int]:
    """Return the tokens from `start`, half as many again as a chunk holds, and the size of the window."""
    size = max(1, min(size, MAX_CHARS))
    while True:
        tokens = spans(text[start : min(start + size, last)])
        if len(tokens) > max_tokens * 3 // 2 or size >= min(MAX_CHARS, last - start):
            return tokens, size
        size = min(size * 2, MAX_CHARS)


def _end(
    text: str, start: int, done: int, limit: int, last: int, spans: Spans, max_tokens: int
) -> tuple[int, _Boundary]:
    """Return the end of the chunk and its boundary; a cut inside a word can change its tokens, so they are counted."""
    while True:
        end, rank = (last, _Boundary.PARAGRAPH) if limit >= last else _best_pause(text, start, done, limit)
        count = len(spans(text[start:end]))
        if count <= max_tokens or end <= start + 1:
            return end, rank
        limit = start + max(1, (end - start) * max_tokens // count)


def _best_pause(text: str, start: int, done: int, limit: int) -> tuple[int, _Boundary]:
    """Return the latest of the best pauses in the second half of what fits, or `limit` inside a long word."""
    low = max(start + (limit - start) // 2, done)
    best, rank = start + len(text[start:limit].rstrip()), None
    for pause in _PAUSE.finditer(text, low, limit + 1):
        if low < pause.start() <= limit:
            found = _boundary(text, pause.start())
            if rank is None or found >= rank:
                best, rank = pause.start(), found
    return best, _Boundary.WORD if rank is None else rank


def _boundary(text: str, end: int) -> _Boundary:
    following = _skip_space(text, end)
    lines = text.count("\n", end, following)
    continues = text[following : following + 1].islower()
    line = text.rfind("\n", max(0, end - 200), end) + 1
    if lines and line and _HEADING.match(text, line):
        return _Boundary.WORD  # keep a heading with the text after it
    if lines and _HEADING.match(text, following):
        return _Boundary.HEADING
    if lines > 1:
        return _Boundary.PARAGRAPH
    before = text[max(0, end - 12) : end].rstrip()
    # A wrapped line, as in a PDF, ends at any word.
    if lines and not continues and not before.endswith((",", ";", "-")):
        return _Boundary.LINE
    if not continues and _SENTENCE_END.search(before) and not _ABBREVIATION.search(before):
        return _Boundary.SENTENCE
    return _Boundary.WORD


def _overlap_start(text: str, earliest: int, end: int, following: int) -> int:
    """Return the start of the next chunk: the first sentence that starts in the overlap, else the first word."""
    word = following
    for pause in _PAUSE.finditer(text, max(earliest - 1, 0), end):
        begin = _skip_space(text, pause.start())
        if earliest <= begin < end:
            if _boundary(text, pause.start()) > _Boundary.WORD:
                return begin
            word = min(word, begin)
    return word


def _skip_space(text: str, position: int) -> int:
    return next(_SPACE.finditer(text, position)).end()  # it matches the empty string
