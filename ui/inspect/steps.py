"""The switches of the steps of retrieval, wherever they are tried: the Search page, the sides of an evaluation."""

from __future__ import annotations

from typing import Any

import streamlit as st

from rag.schema import Fusion, RetrievalOptions


def draw(prefix: str, usual: RetrievalOptions) -> RetrievalOptions:
    """The switches, `usual` at first, their state kept under keys that begin with `prefix`."""

    def keep(name: str) -> dict[str, Any]:
        return {"key": f"{prefix}_{name}", "persist_state": "session"}

    words = st.toggle("Words", usual.words, help="Search by words (BM25).", **keep("words"))
    dense = st.toggle("Vectors", usual.dense, help="Search by meaning.", **keep("dense"))
    if not (words or dense):
        st.warning("Neither words nor vectors: words are searched.")
    fusion = st.selectbox(
        "Fusion",
        list(Fusion),
        list(Fusion).index(usual.fusion),
        disabled=not (words and dense),
        help="How the two become one order: by their scores or by their ranks.",
        **keep("fusion"),
    )
    phrases = st.toggle("Phrases", usual.phrases, help="Neighbouring words count as well.", **keep("phrases"))
    gate = st.toggle(
        "Gate", usual.gate, help="Words count as far as the best chunk covers the question.", **keep("gate")
    )
    names = st.toggle("Names", usual.names, help="A document that the question names counts more.", **keep("names"))
    merge = st.toggle(
        "Join found chunks", usual.merge, help="Two that stand side by side become one passage.", **keep("merge")
    )
    neighbours = st.slider(
        "Neighbours",
        0,
        max(3, usual.neighbours),
        usual.neighbours,
        help="Chunks on each side that are joined to one that is found.",
        **keep("neighbours"),
    )
    distinct = st.toggle(
        "Without near-copies",
        usual.distinct,
        help="Drop passages that say nearly the same as a better one.",
        **keep("distinct"),
    )
    reranker = st.text_input(
        "Reranker",
        usual.reranker,
        placeholder="none",
        help="A sentence-transformers CrossEncoder, by id or path.",
        **keep("reranker"),
    )
    return RetrievalOptions(
        words=words or not dense,
        dense=dense,
        fusion=fusion,
        phrases=phrases,
        gate=gate,
        history=usual.history,
        names=names,
        merge=merge,
        neighbours=neighbours,
        distinct=distinct,
        reranker=(reranker or "").strip(),
    )
