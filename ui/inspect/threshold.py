"""When a question is answered with “not in your documents”: the two errors of each collection, and the choice."""

from __future__ import annotations

import streamlit as st

from rag.schema import CollectionRecord
from services import Services
from ui.app import owner
from ui.sidebar import collections
from ui.widgets import errors, text

OFFSETS = {-2.0: "much less", -1.0: "less", 0.0: "as measured", 1.0: "more", 2.0: "much more"}


def draw(services: Services) -> None:
    """An expander with a row for each collection that is searched."""
    with st.expander("When does Gestalt say “not in your documents”?", icon=":material/block:"):
        st.markdown(
            "A question that is about something else than the documents is not given to a model. How near it has to "
            "be is measured for each collection: with questions made of its own sentences, and with general ones that "
            "are out of scope to it. What it cannot tell is a question about the documents whose answer is missing: "
            "there the check of the answer's sentences helps."
        )
        for collection in collections.searched(services):
            _collection(services, collection)


def _collection(services: Services, collection: CollectionRecord) -> None:
    calibration = services.search.calibrations.load(owner(), collection.id, collection.fingerprint)
    rates = calibration.error_rates()
    with st.container(border=True):
        st.markdown(f"**{text.literal(collection.name)}**")
        if not collection.fingerprint:
            st.caption("There is no document in it yet.")
            return
        if rates is None:
            st.caption(
                "Not measured: that follows soon after its documents are read, where they have some pages of text. "
                "Until then the usual holds."
            )
        else:
            st.markdown(
                f"Refuses **{rates.false_abstentions:.0%}** of the questions that it answers, "
                f"and lets **{rates.false_answers:.0%}** of out-of-scope ones through."
            )
            st.caption(
                f"Measured with {len(calibration.in_scope)} questions made of some words of one of its sentences each, "
                f"which are harder than what people ask, and with {len(calibration.out_of_scope)} out-of-scope ones."
            )
        key = f"threshold_offset-{collection.id}"
        nearest = min(OFFSETS, key=lambda step: abs(step - calibration.threshold_offset))
        st.select_slider(
            "Refuse",
            list(OFFSETS),
            nearest,
            key=key,
            format_func=OFFSETS.__getitem__,
            on_change=errors.with_error_boundary(_choose),
            args=(services, collection, key),
        )


def _choose(services: Services, collection: CollectionRecord, key: str) -> None:
    services.search.calibrations.set_threshold_offset(
        owner(), collection.id, collection.fingerprint, st.session_state[key]
    )
