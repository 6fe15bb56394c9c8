"""Answers that no model writes: about the library, lists, summaries in the documents' own sentences, and quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from rag.chat import listing, small_talk, summary
from rag.chat.extract import BULLET, Extract, Taken, plain, quoted, windows
from rag.chat.quotes import Quote, Quotes, Similarity, choose
from rag.chat.router import Routing
from rag.index.contents import Contents, ListedDocument
from rag.schema import Checked, Mode, Passage, Route

SHOWN, SUMMED = 100, 20
"""Items of a list that are shown, and rows of those whose total or average is told."""
PARAGRAPH, ABOUT_A_CODE = 800, 300
"""Characters of the longest paragraph that is quoted whole: to compare, and around a code."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and where its parts stand."""

    route: Route
    passages: tuple[Passage, ...]
    checked: Checked
    notes: tuple[str, ...] = ()


def about_library(routing: Routing, documents: Sequence[ListedDocument]) -> Reply:
    """What the application itself says."""
    assert routing.topic
    topic, language = routing.topic
    said = small_talk.reply(topic, language, documents)
    return Reply(Route(Mode.LIBRARY, routing.why, verbatim=True), (), Checked(said))


def unreadable(routing: Routing) -> Reply:
    """That the attached files that the question is about could not be read, and why."""
    said = "\n\n".join(unread_note(document) for document in routing.unread)
    return Reply(Route(Mode.LIBRARY, routing.why, verbatim=True), (), Checked(said))


def unread_notes(routing: Routing) -> tuple[str, ...]:
    """Which attached files could not be read."""
    return tuple(map(unread_note, routing.unread))


def unread_note(document: ListedDocument) -> str:
    """That an attached file could not be read."""
    if document.state.is_open:
        return f"The attached file {document.name} is still being read: ask again when it is done."
    return f"The attached file {document.name} could not be read. {document.reason}"


def all_of_it(routing: Routing, contents: Contents) -> Reply | None:
    """Everything that the question asks for, by document; None if that cannot be told by reading alone."""
    assert routing.request
    only = {document.id for document in routing.documents}
    searched = replace(contents, only=frozenset(only)) if only else contents
    found = listing.find(routing.request, searched)
    if found is None:
        return None
    shown = [(item, _without_name(item)) for item in found.items[: SUMMED if found.result else SHOWN]]
    passages, places = windows([Taken(item.passage, start, item.end) for item, start in shown])
    text = Extract(passages)
    one = found.scanned == 1
    read, verb = ("The document", "was") if one else (f"All {found.scanned:,} documents", "were")
    said = found.result or f"{found.count:,} {found.what}"
    text.say(f"{plain(said)}. {read}{' that you named' if only else ''} {verb} searched.")
    by_document = groupby(zip(shown, places, strict=True), key=lambda each: each[0][0].passage.document)
    for name, items in by_document:
        text.say(f"\n\n**{plain(name)}**\n")
        for place, group in groupby(items, key=lambda each: each[1]):
            unsaid = [item.name for (item, start), _ in group if not _says_name(item, start)]
            text.say(f"\n- **{plain(', '.join(unsaid))}**: " if unsaid else "\n- ")
            text.quote(place.number, place.start, place.end)
    if found.count > len(shown):
        text.say(f"\n\nThe first {len(shown):,} are shown.")
    route = Route(Mode.LIST, f"{routing.why} Everything was searched.", found.count, verbatim=True)
    return Reply(route, tuple(passages), text.checked, unread_notes(routing))


def _says_name(item: listing.Found, start: int) -> bool:
    """Whether what is shown of an item from `start` says its name."""
    text = item.passage.text
    if text[item.start : start].strip("# \n").endswith(item.name):  # a heading is named, whatever is below it
        return False
    return set(re.findall(r"\w+", item.name)) <= set(re.findall(r"\w+", text[start : item.end]))


def _without_name(item: listing.Found) -> int:
    """Where an item begins after a heading that is its name, or its bullet."""
    text = item.passage.text[item.start : item.end]
    heading = re.match(rf"[#\s]*{re.escape(item.name)}[ \t]*\n\s*", text) or BULLET.match(text)
    return item.start + (heading.end() if heading and heading.end() < len(text) else 0)


def whole_documents(routing: Routing, contents: Contents) -> list[summary.DocumentText]:
    """The documents to summarise, with their texts."""
    chosen = routing.documents[: summary.DOCUMENTS]
    return [summary.DocumentText(document.name, list(contents.pages([document.id]))) for document in chosen]


def summarise(routing: Routing, texts: Sequence[summary.DocumentText]) -> Reply:
    """A summary in the documents' own sentences."""
    several = len(texts) > 1
    intro = (
        f"There are {len(routing.documents):,} documents; this is an overview of them. Name one to learn more of it."
    )
    passages, checked = summary.extract(texts, intro if several else "")
    return Reply(
        Route(Mode.SUMMARY, routing.why, verbatim=True),
        tuple(passages),
        checked,
        (*unread_notes(routing), *left_out(routing)),
    )


def left_out(routing: Routing) -> Iterator[str]:
    """That there are more documents than are summarised at once."""
    if len(routing.documents) > summary.DOCUMENTS:
        rest = len(routing.documents) - summary.DOCUMENTS
        yield f"The first {summary.DOCUMENTS} documents are summarised, {rest:,} more are not: name one to have it."


@dataclass(frozen=True, slots=True)
class Side:
    """What is asked of some of the passages: all of a question, or one of the things that it compares."""

    question: str
    passages: Sequence[Passage]
    compared: bool = False
    """It is compared by all that its best paragraph says."""


def quotes(
    sides: Sequence[Side],
    route: Route,
    similarity: Similarity | None,
    earlier: Sequence[str],
) -> Reply:
    """What the passages say about a question, in their own words."""
    passages: list[Passage] = []
    found: list[Quote] = []
    chosen: list[Quotes] = []
    for side in sides:
        best = choose(side.question, side.passages, similarity, earlier=earlier)
        if side.compared:
            best = replace(best, quotes=best.quotes[:1])
        # Where the very code stands, the whole paragraph is about it.
        best = replace(best, quotes=tuple(_paragraph(side, quote) for quote in best.quotes))
        chosen.append(best)
        found += [replace(quote, number=quote.number + len(passages)) for quote in best.quotes]
        passages += side.passages
    found = list({" ".join(passages[q.number - 1].text[q.start : q.end].split()): q for q in reversed(found)}.values())
    found.reverse()
    notes = ("This may not answer your question.",) if chosen and all(each.doubtful for each in chosen) else ()
    return Reply(route, tuple(passages), quoted(found, passages), notes)


def is_sure(side: Side, similarity: Similarity | None, earlier: Sequence[str]) -> bool:
    """Whether a quote of the passages answers what is asked, by its score."""
    found = choose(side.question, side.passages, similarity, earlier=earlier)
    return bool(found.quotes) and not found.doubtful


def _paragraph(side: Side, quote: Quote) -> Quote:
    """A quote extended to its paragraph, if that says more about what the question names, and is short."""
    if quote.lead:  # a row or item: the rest of its table or list is about other things
        return quote
    passage = side.passages[quote.number - 1]
    start = passage.text.rfind("\n\n", 0, quote.start) + 2 if "\n\n" in passage.text[: quote.start] else 0
    end = passage.text.find("\n\n", quote.start)
    end = len(passage.text) if end < 0 else end
    if side.compared:
        return replace(quote, start=start, end=end) if end - start <= PARAGRAPH else quote
    longer = start <= quote.start and quote.end < end
    return replace(quote, start=start, end=end) if passage.codes and longer and end - start <= ABOUT_A_CODE else quote
