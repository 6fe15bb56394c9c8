"""The sidebar: the conversations, who answers, its state, and how."""

from __future__ import annotations

import streamlit as st

from backends.base import Backend
from services import Services
from ui.models import pickers
from ui.sidebar import choices, collections, conversations, presets


def draw(services: Services, *, chatting: bool) -> None:
    """Everything below the navigation; `chatting` where the address may name a conversation."""
    choices.follow(services, st.query_params.get("c")) if chatting else choices.begin(services)
    with st.sidebar:
        conversations.draw_new()
        conversations.draw_list(services)
        collections.pick_searched(services)
        backend = pickers.pick_backend(services, "backend")
        if model := pickers.pick_model(services, backend, "model"):
            pickers.draw_state(services, backend, model)
        with st.expander("Settings", icon=":material/tune:"):
            presets.draw(services)
            _settings(services, backend)


def _settings(services: Services, backend: Backend) -> None:
    cannot = backend.capabilities.cannot
    st.text_area(
        "Instructions",
        key="wishes",
        max_chars=2000,
        height=90,
        placeholder="Answer in French. Use bullet points.",
        help="What the model should heed in every answer, beside what Gestalt tells it.",
    )

    def slide(label: str, key: str, step: float, help: str | None = None) -> None:  # noqa: A002 - Streamlit's own name
        low, high = choices.bounds(services, key)
        st.slider(label, low, high, step=step, key=key, disabled=key in cannot, help=cannot.get(key, help))

    slide("Passages", "passages", 1, "How many passages are found for a question and shown to the model.")
    st.toggle(
        "Only from the documents",
        key="strict",
        help="Where the documents hold no answer, say so instead of letting the model answer by itself.",
    )
    st.toggle(
        "Rewrite follow-ups",
        key="condense",
        help="Let the model put a follow-up in full before the search: one more call of it. Both are searched. "
        "Small models are not asked.",
    )
    slide("Temperature", "temperature", 0.05, "0 always takes the likeliest word.")
    slide("Top-p", "top_p", 0.05)
    slide("Top-k", "top_k", 1)
    slide("Longest answer (tokens)", "max_new_tokens", 16)
    if services.settings.fallback:
        services.manager.backend(services.settings.fallback)  # a wrong name in the settings is said, not replaced
    labels = {"": "nobody else"} | {other.name: other.label for other in services.manager.backends()}
    st.selectbox(
        "If it cannot answer, ask",
        labels,
        key="fallback",
        format_func=lambda name: labels.get(name, name),
        help="Another backend answers where the chosen one is down, busy or refuses the key. The answer says so.",
    )
