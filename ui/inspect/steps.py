"""Switches for the steps of retrieval, on Search and on Evaluate."""

from __future__ import annotations

from typing import Any

import streamlit as st

from options import RetrievalOptions


def draw(prefix: str, usual: RetrievalOptions) -> RetrievalOptions:
    """Draw the switches, initially as `usual`; their keys start with `prefix`."""

    def keep(name: str) -> dict[str, Any]:
        return {"key": f"{prefix}_{name}", "persist_state": "session"}

    lexical = st.toggle("Lexical", usual.lexical, help="Search by words (BM25).", **keep("lexical"))
    dense = st.toggle("Dense", usual.dense, help="Search by meaning (vectors).", **keep("dense"))
    if not (lexical or dense):
        st.warning("One of the two is needed; lexical search is on.")
    merge = st.toggle("Merge", usual.merge, help="Merge two adjacent chunks into one passage.", **keep("merge"))
    purpose, most = "Chunks to add before and after a retrieved one.", max(3, usual.neighbours)
    neighbours = st.slider("Neighbours", 0, most, usual.neighbours, help=purpose, **keep("neighbours"))
    purpose = "“embedded” for the embedded language model, or a sentence-transformers CrossEncoder by id or path."
    reranker = st.text_input("Reranker", usual.reranker, placeholder="none", help=purpose, **keep("reranker"))
    return usual.replace(
        lexical=lexical or not dense, dense=dense, merge=merge, neighbours=neighbours, reranker=(reranker or "").strip()
    )
