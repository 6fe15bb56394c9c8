"""The sources of an answer: buttons for its citations, and all passages with scores and cited spans."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from rag.index.passages import matches
from rag.schema import Message, Passage
from ui.chat import passage_view
from ui.chat.passage_view import Place
from ui.widgets import text
from ui.widgets.errors import button

HEIGHT = 380  # pixels: enough for the best passage and the start of the next

MATCH = """How well words and meaning of the passage match the question, compared with the passage that matches best. It
says nothing about other questions. The Search page has the details."""


def row(message: Message) -> None:
    """A button for each cited page, in the order of the answer; opens the same dialog as the numbers."""
    seen = set[tuple[int, str]]()
    with st.container(horizontal=True, gap="small"):
        for index, place in enumerate(passage_view.places(message)):
            if place.citation is None or (place.number, place.citation.place) in seen:
                continue
            seen.add((place.number, place.citation.place))
            color, name = "green" if place.citation.answer_end else "gray", text.literal(place.citation.place)
            label, purpose = f":{color}-badge[{place.number}] {name}", f"Show the passage in its page: {name}"
            shown, key = (message.conversation_id, message.id, index), f"source-{message.id}-{index}"
            button(label, passage_view.show, *shown, key=key, type="tertiary", help=purpose)


def title(passages: Sequence[Passage]) -> str:
    """The label of the box with the passages."""
    return f"Sources ({text.count(len(passages), 'passage')})"


def draw(message: Message, *, label: str, latest: bool) -> None:
    """All passages of an answer, the cited ones first; unless `latest`, sent to the browser only when opened."""
    places = passage_view.places(message)
    first: dict[int, tuple[int, Place]] = {}
    for index, place in enumerate(places):
        first.setdefault(place.number, (index, place))
    # A chat scrolled to its end stays there as it grows: without a fixed height the box would open on its last passage.
    if places:
        if latest:
            box = st.expander(label, icon=":material/menu_book:")
        else:
            box = st.expander(label, icon=":material/menu_book:", key=f"sources-{message.id}", on_change="rerun")
            if not box.open:
                return
        shares = matches(message.passages)
        with box, st.container(height=HEIGHT, border=False):
            for number, (index, place) in first.items():
                _head(place)
                shown, key = (message.conversation_id, message.id, index), f"passage-{message.id}-{number}"
                button("Show in its page", passage_view.show, *shown, icon="find_in_page", key=key, type="tertiary")
                spans = [p.span for p in places if p.number == number and p.citation]
                # The nearest passages of an answer that found nothing match nothing.
                _passage(place.passage, spans, None if message.abstained else shares[number - 1])


def draw_found(passages: tuple[Passage, ...]) -> None:
    """The passages of an answer being written."""
    if passages:
        with st.expander(title(passages), icon=":material/menu_book:"), st.container(height=HEIGHT, border=False):
            for number, (passage, share) in enumerate(zip(passages, matches(passages), strict=True), 1):
                _head(Place(number, passage))
                _passage(passage, [], share)


def _head(place: Place) -> None:
    st.markdown(f"**{place.number} · {text.literal(place.passage.place)}** {place.badge}")
    if place.passage.heading:
        st.caption(text.literal(place.passage.heading))


def _passage(passage: Passage, spans: list[tuple[int, int]], share: float | None) -> None:
    with st.container(border=True):
        st.markdown(text.highlighted(passage.text, [(a - passage.start, b - passage.start) for a, b in spans]))
        if share is not None:
            st.caption("Best match" if share == 1 else f"Match: {share:.0%} of the best", help=MATCH)
