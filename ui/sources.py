"""The sources of an answer: numbered passages with file, page, scores and the supporting span marked."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from rag.schema import Citation, Passage
from ui import text

HEIGHT = 380
"""Pixels: the best passage whole, and the beginning of the next."""


def draw(passages: Sequence[Passage], citations: Sequence[Citation] = (), *, label: str) -> None:
    """All passages in one expander; those that hold a cited span come first."""
    if not passages:
        return
    cited = {citation.n for citation in citations}
    numbered = sorted(enumerate(passages, 1), key=lambda item: item[0] not in cited)
    # A chat that stands at its end stays there when it grows: without a height of its own the box would open on its
    # last passage.
    with st.expander(label, icon=":material/menu_book:"), st.container(height=HEIGHT, border=False):
        for number, passage in numbered:
            _passage(number, passage, [c for c in citations if c.n == number])


def _passage(number: int, passage: Passage, citations: Sequence[Citation]) -> None:
    mark = ""
    if any(citation.answer_end for citation in citations):
        mark = ":green-badge[:material/check: supports the answer]"
    elif citations:
        mark = ":gray-badge[fits the question]"
    st.markdown(f"**{number} · {text.literal(passage.place)}** {mark}")
    if passage.heading:
        st.caption(text.literal(passage.heading))
    spans = [(c.start - passage.start, c.end - passage.start) for c in citations]
    with st.container(border=True):
        st.markdown(text.highlighted(passage.text, spans))
        st.caption(
            f"Score {passage.score:.2f} · similarity {passage.dense:.2f} · BM25 {passage.lexical:.1f}",
            help="The score fuses the similarity of meaning (cosine) with the match of words (BM25). "
            "It ranks passages of one question; do not compare it between questions.",
        )


def chips(citations: Sequence[Citation]) -> None:
    """One badge a cited place, in the answer's order."""
    seen = {(c.n, c.place): c for c in reversed(citations)}
    if not seen:
        return
    st.markdown(
        " ".join(
            f":{'green' if citation.answer_end else 'gray'}-badge[:material/description: {n} · {text.literal(where)}]"
            for (n, where), citation in seen.items()
        )
    )
