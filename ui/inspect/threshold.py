"""When Gestalt abstains (“not in your documents”): the error rates of each collection, and its threshold."""

from __future__ import annotations

import streamlit as st

from rag.schema import CollectionRecord
from services import Services
from ui.app import owner
from ui.sidebar import collections
from ui.widgets import errors, text

OFFSETS = {-2.0: "much less", -1.0: "less", 0.0: "as measured", 1.0: "more", 2.0: "much more"}
"""Labels of the threshold offsets."""


def draw(services: Services) -> None:
    """Draw an expander with a box for each searched collection."""
    with st.expander("When does Gestalt say “not in your documents”?", icon=":material/block:"):
        st.markdown(
            "Questions that are out of scope are answered with “not in your documents”, without asking a model. How "
            "close a passage has to be is measured for each collection, with questions made from its sentences and "
            "with general, out-of-scope ones. This does not recognise a question on the topic of the documents whose "
            "answer is missing; the sentence check helps there."
        )
        for collection in collections.searched(services):
            _collection(services, collection)


def _collection(services: Services, collection: CollectionRecord) -> None:
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
        st.select_slider(
            "Say “not in your documents”",
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
