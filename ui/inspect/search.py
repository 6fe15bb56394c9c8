"""The Search page: what a question finds, without a model, and why a text is not found."""

from __future__ import annotations

import streamlit as st

from options import AnswerOptions
from rag.index.diagnosis import Diagnosis, StageReport
from rag.index.lexical import question_terms
from rag.schema import Passage, Retrieval
from services import Services
from ui import navigation
from ui.app import owner
from ui.inspect import steps, threshold
from ui.sidebar import choices, collections
from ui.widgets import text
from ui.widgets.errors import button

SHOWN = 10
SHORT = 400
"""Characters of a passage shown at once, so that the next one is in sight."""
LONGEST = 1000
"""Characters of an expected text; more than a chunk holds is of no use."""


def draw(services: Services) -> None:
    """Draw the page."""
    st.title("Search your documents")
    st.markdown("See which passages a question finds, and how, without asking a model.")
    state = st.session_state
    if asked := st.query_params.get("q"):
        state.setdefault("search_question", asked)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        question = st.text_input(
            "Question", key="search_question", placeholder="What are you looking for?", max_chars=4000
        ).strip()
        with st.popover("Steps", icon=":material/tune:"):
            retrieval = steps.draw("search", services.settings.answer.retrieval)
    if not question:
        st.query_params.pop("q", None)
        _nothing_asked(services)
        return
    st.query_params["q"] = question
    options = choices.current().replace(retrieval=retrieval)
    with st.spinner("Searching …", show_time=False):
        found = services.searching.retrieve(owner(), question, options.replace(k=SHOWN))
    _verdict(services, found)
    for number, passage in enumerate(found.passages, 1):
        _passage(number, passage, question, shown=number <= options.k)
    st.divider()
    _why(services, question, options)
    threshold.draw(services)


def _nothing_asked(services: Services) -> None:
    ready = sum(services.documents.ready(owner(), one.id) for one in collections.searched(services))
    if ready:
        st.caption(f"{text.count(ready, 'document')} to search.")
        return
    st.info("There is nothing to search yet.", icon=":material/folder_open:")
    st.page_link(navigation.DOCUMENTS, label="Add documents", icon=":material/upload_file:")


def _verdict(services: Services, found: Retrieval) -> None:
    if not found.passages:
        st.info("Nothing was found.", icon=":material/search_off:")
    elif found.abstained:
        st.warning(
            "The answer would be “not in your documents”, without asking a model. These are the nearest passages.",
            icon=":material/block:",
        )
    else:
        st.caption(f"{text.count(len(found.passages), 'passage')} in {1000 * found.seconds:.0f} ms, best first.")


def _passage(number: int, passage: Passage, question: str, *, shown: bool) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{number} · {text.literal(passage.place)}**")
            if shown:
                st.badge("shown to the model", icon=":material/check:", color="green")
        if passage.heading:
            st.caption(text.literal(passage.heading))
        st.markdown(text.literal(text.excerpt(passage.text, question_terms(question)[0], SHORT)))
        if len(passage.text) > SHORT:
            with st.expander("Whole passage"):
                st.markdown(text.literal(passage.text))
        dense = _score("dense", passage.dense, passage.dense_rank, 2)
        lexical = _score("lexical", passage.lexical, passage.lexical_rank, 1)
        facts = [dense, lexical, f"combined **{passage.score:.2f}**"]
        if passage.reranked is not None:
            facts.append(f"reranked **{passage.reranked:.2f}**")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(" · ".join(facts))
            button(
                "I expected this",
                _expect,
                passage.text,
                icon="help",
                key=f"expected-{passage.chunk_id}",
                type="tertiary",
                help=None if shown else "See why it is not shown to the model.",
                disabled=shown,
            )


def _score(name: str, score: float, rank: int, digits: int) -> str:
    return f"{name} {score:.{digits}f} (rank {rank:,})" if rank else f"{name} –"


def _expect(expected: str) -> None:
    st.session_state["expected"] = text.short(expected, LONGEST).removesuffix("…")


def _why(services: Services, question: str, options: AnswerOptions) -> None:
    st.subheader("Why was it not found?")
    expected = st.text_area(
        "Paste a sentence that you expected, exactly as in the document",
        key="expected",
        max_chars=LONGEST,
        placeholder="The spare key to Shed 3 hangs behind the beehive.",
    ).strip()
    if not expected:
        return
    with st.spinner("Checking every stage …"):
        diagnosis = services.searching.diagnose(owner(), question, expected, options)
    _stages(diagnosis)


def _stages(diagnosis: Diagnosis) -> None:
    lost = diagnosis.lost
    if lost is None:
        st.success("It is found and would be shown to the model.", icon=":material/check_circle:")
    else:
        st.error(f"Lost at: **{lost.stage}**. {text.literal(lost.message)}", icon=":material/cancel:")
        if lost.hint:
            st.info(text.literal(lost.hint), icon=":material/lightbulb:")
    for finding in diagnosis.reports:
        _stage(finding)


def _stage(finding: StageReport) -> None:
    icon = ":green[:material/check_circle:]" if finding.kept else ":red[:material/cancel:]"
    st.markdown(f"{icon} **{finding.stage}** — {text.literal(finding.message)}")
