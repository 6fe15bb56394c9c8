"""Builds an answer from parts of the documents, verbatim, each with its citation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from rag.chat.quotes import Quote
from rag.schema import Check, Checked, Citation, Passage, Span, Verdict

WINDOW = 1200
"""Characters of a page that one passage shows around what was taken from it, at most, unless that is longer."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A part of a page, which is a passage with the page's whole text."""

    page: Passage
    start: int
    end: int


@dataclass(slots=True)
class Extract:
    """An answer that is being put together: its text, and where its parts stand."""

    passages: list[Passage]
    text: str = ""
    _checks: list[Check] = field(default_factory=list)
    _citations: list[Citation] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add words of the application."""
        self.text += text

    def quote(self, number: int, start: int, end: int, bold: Sequence[Span] = ()) -> None:
        """Add `passage.text[start:end]` of the passage with this number, on one line unless it is a table or list."""
        passage = self.passages[number - 1]
        quote = passage.text[start:end]
        shown = _readable(quote)
        at = len(self.text)
        self.text += shown
        citation = Citation(
            n=number,
            document_id=passage.document_id,
            document=passage.document,
            page=passage.page,
            quote=quote,
            start=passage.start + start,
            end=passage.start + end,
            answer_end=len(self.text),
            label=passage.label,
            bold=_carried(quote, shown, [(a - start, b - start) for a, b in bold]),
        )
        self._checks.append(Check(at, len(self.text), Verdict.SUPPORTED, 1.0, len(self._citations)))
        self._citations.append(citation)

    @property
    def checked(self) -> Checked:
        """What was said, with all parts marked as supported: they stand there."""
        return Checked(self.text, tuple(self._citations), tuple(self._checks))


def _readable(quote: str) -> str:
    """A quote with lines that were wrapped joined; lines that are items or rows stay apart."""
    lines = quote.strip().split("\n")
    joined = [lines[0].strip()]
    for line in lines[1:]:
        if not line.strip() or not joined[-1] or _STARTS.match(line) or "|" in line or "|" in joined[-1]:
            joined.append(line.rstrip())
        elif joined[-1].endswith("-") and line.strip()[:1].islower():
            joined[-1] += line.strip()
        else:
            joined[-1] += f" {line.strip()}"
    return "\n".join(joined)


BULLET = re.compile(r"\s*[*•‣◦▪●–—\-+]\s+")
_STARTS = re.compile(r"\s*(?:[*•‣◦▪●–—\-+>#]|\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)])\s")


def _carried(quote: str, shown: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """The spans of a quote as spans of what is shown of it; those that changed are left out."""
    found = []
    for start, end in spans:
        words = " ".join(quote[start:end].split())
        before = len(re.sub(r"\s", "", quote[:start]))
        at = -1
        while (at := shown.find(words, at + 1)) >= 0:
            if len(re.sub(r"\s", "", shown[:at])) == before:
                found.append((at, at + len(words)))
                break
    return tuple(found)


def plain(name: str) -> str:
    """A name without the brackets and stars that would be markup: the text around quotes is drawn as Markdown."""
    return name.translate(str.maketrans("[]<>*_`$", "()‹›∗ˍˋ＄"))


def quoted(quotes: Sequence[Quote], passages: Sequence[Passage]) -> Checked:
    """An answer of quotes, one below the other; each with the line that it needs to be understood."""
    extract = Extract(list(passages))
    leads = set[tuple[int, Span]]()
    for quote in quotes:
        if extract.text:
            extract.say("\n\n")
        if quote.lead and (quote.number, quote.lead) not in leads:
            leads.add((quote.number, quote.lead))
            extract.say(f"{plain(_readable(passages[quote.number - 1].text[slice(*quote.lead)]))}\n")
        extract.quote(quote.number, quote.start, quote.end, quote.bold)
    return extract.checked


def windows(taken: Sequence[Taken]) -> tuple[list[Passage], list[Quote]]:
    """Passages around what was taken from whole pages, and the same parts as quotes of these passages.

    Parts that stand near each other share a passage.
    """
    passages: list[Passage] = []
    quotes: list[Quote] = []
    for part in taken:
        page = part.page
        last = passages[-1] if passages else None
        same = last and (last.document_id, last.chunk_id) == (page.document_id, page.chunk_id)
        if not (last and same and last.start <= part.start and part.end <= last.end):
            start, end = _around(page.text, part.start, part.end)
            if last and same and start < last.end <= part.start:
                start = last.end
            last = replace(page, text=page.text[start:end], start=start, end=end)
            passages.append(last)
        quotes.append(Quote(len(passages), part.start - last.start, part.end - last.start))
    return passages, quotes


def _around(text: str, start: int, end: int) -> Span:
    """A window that begins shortly before `start` and ends at the end of a line."""
    first = max(text.rfind("\n\n", 0, start) + 2 if "\n\n" in text[:start] else 0, start - WINDOW // 4)
    last = text.find("\n\n", max(end, min(start + WINDOW, len(text))))
    last = len(text) if last < 0 else last
    if last - first > 2 * WINDOW:
        last = max(end, text.rfind("\n", end, first + 2 * WINDOW))
    return first, last


def cited_only(passages: Sequence[Passage], checked: Checked) -> tuple[tuple[Passage, ...], Checked]:
    """The passages that an answer cites, or the first if it cites none, and its check with their new numbers."""
    cited = sorted({citation.n for citation in checked.citations}) or [1]
    new = {old: number for number, old in enumerate(cited, 1)}
    citations = tuple(replace(citation, n=new[citation.n]) for citation in checked.citations)
    return tuple(passages[number - 1] for number in cited), replace(checked, citations=citations)
