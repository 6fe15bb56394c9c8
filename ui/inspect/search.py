"""The Search page: what a question finds without a model, why a text is not found, and when Gestalt abstains."""

from __future__ import annotations

from typing import Any

import streamlit as st

from options import AnswerOptions
from rag.index.lexical import question_terms
from rag.schema import CollectionRecord, Passage, Retrieval
from services import Services
from ui import navigation
from ui.app import owner
from ui.inspect import steps
from ui.sidebar import choices, collections
from ui.widgets import errors, text
from ui.widgets.errors import button

SHOWN = 10
SHORT = 400  # characters of a passage shown at once, so that the next one is in sight
LONGEST = 1000  # characters of an expected text; more than a chunk holds is of no use
_USED = "used for the answer", "The answer is made from it."
_RETRIEVED = "retrieved", "How many of these fit the model is known once it is loaded."
OFFSETS = {-2.0: "much less", -1.0: "less", 0.0: "as measured", 1.0: "more", 2.0: "much more"}


def draw(services: Services) -> None:
    """Draw the page."""
    st.title("Search your documents")
    st.markdown("See which passages a question finds, and how, without asking a model.")
    state = st.session_state
    if asked := st.query_params.get("q"):
        state.setdefault("search_question", asked)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        hint = "What are you looking for?"
        question = st.text_input("Question", key="search_question", placeholder=hint, max_chars=4000).strip()
        with st.popover("Steps", icon=":material/tune:"):
            retrieval = steps.draw("search", services.settings.answer.retrieval)
    if not question:
        st.query_params.pop("q", None)
        _nothing_asked(services)
        return
    st.query_params["q"] = question
    options = choices.current(services).replace(retrieval=retrieval)
    with st.spinner("Searching …", show_time=False):
        found = services.searching.retrieve(owner(), question, options.replace(k=SHOWN))
        used = services.searching.used(owner(), question, options)
    _verdict(services, found)
    for number, passage in enumerate(found.passages, 1):
        retrieved = number <= options.k and not found.abstained
        use = _RETRIEVED if used is None and retrieved else _USED if passage.chunk_id in (used or ()) else None
        _passage(number, passage, question, use)
    st.divider()
    _why(services, question, options)
    _thresholds(services)


def _nothing_asked(services: Services) -> None:
    ready = sum(services.library.ready(owner(), one.id) for one in collections.searched(services))
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


def _passage(number: int, passage: Passage, question: str, use: tuple[str, str] | None) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{number} · {text.literal(passage.place)}**")
            if use:
                label, purpose = use
                st.badge(label, icon=":material/check:", color="green", help=purpose)
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
            expected = {"expected": text.short(passage.text, LONGEST).removesuffix("…")}
            options: dict[str, Any] = {"key": f"expected-{passage.chunk_id}", "icon": "help", "type": "tertiary"}
            options |= {"help": None if use else "See why it is not used for the answer.", "disabled": bool(use)}
            button("I expected this", st.session_state.update, expected, **options)


def _score(name: str, score: float, rank: int, digits: int) -> str:
    return f"{name} {score:.{digits}f} (rank {rank:,})" if rank else f"{name} –"


def _why(services: Services, question: str, options: AnswerOptions) -> None:
    st.subheader("Why was it not found?")
    label = "Paste a sentence that you expected, exactly as in the document"
    hint = "The spare key to Shed 3 hangs behind the beehive."
    expected = st.text_area(label, key="expected", max_chars=LONGEST, placeholder=hint).strip()
    if not expected:
        return
    with st.spinner("Checking every stage …"):
        diagnosis = services.searching.diagnose(owner(), question, expected, options)
    lost = diagnosis.lost
    if lost is None:
        st.success("It is found and would be shown to the model.", icon=":material/check_circle:")
    else:
        st.error(f"Lost at: **{lost.stage}**. {text.literal(lost.message)}", icon=":material/cancel:")
        if lost.hint:
            st.info(text.literal(lost.hint), icon=":material/lightbulb:")
    for report in diagnosis.reports:
        icon = ":green[:material/check_circle:]" if report.kept else ":red[:material/cancel:]"
        st.markdown(f"{icon} **{report.stage}** — {text.literal(report.message)}")


def _thresholds(services: Services) -> None:
    with st.expander("When does Gestalt say “not in your documents”?", icon=":material/block:"):
        st.markdown(
            "Questions that are out of scope are answered with “not in your documents”, without asking a model. How "
            "close a passage has to be is measured for each collection, with questions made from its sentences and "
            "with general, out-of-scope ones. This does not recognise a question on the topic of the documents whose "
            "answer is missing; the sentence check helps there."
        )
        for collection in collections.searched(services):
            _threshold(services, collection)


def _threshold(services: Services, collection: CollectionRecord) -> None:
    calibration = services.search.calibrations.load(owner(), collection.id, collection.fingerprint)
    rates = calibration.error_rates()
    with st.container(border=True):
        st.markdown(f"**{text.literal(collection.name)}**")
        if not collection.fingerprint:
            st.caption("It has no documents yet.")
            return
        if rates is None:
            st.caption(
                "Not measured yet: this happens soon after its documents are read, if they have a few pages of text. "
                "Until then, a default applies."
            )
        else:
            st.markdown(
                f"Says “not in your documents” to **{rates.false_abstentions:.0%}** of the questions it could answer, "
                f"and tries to answer **{rates.false_answers:.0%}** of out-of-scope questions."
            )
            st.caption(
                f"Measured with {len(calibration.in_scope)} questions made from words of its sentences, which are "
                f"harder than real ones, and {len(calibration.out_of_scope)} out-of-scope questions."
            )
        key = f"threshold_offset-{collection.id}"
        nearest = min(OFFSETS, key=lambda step: abs(step - calibration.threshold_offset))

        @errors.with_error_boundary
        def choose() -> None:
            set_offset = services.search.calibrations.set_threshold_offset
            set_offset(owner(), collection.id, collection.fingerprint, st.session_state[key])

        label, name = "Say “not in your documents”", OFFSETS.__getitem__
        st.select_slider(label, list(OFFSETS), nearest, key=key, format_func=name, on_change=choose)
