"""The sidebar: conversations, who answers, its state, and how."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backends.base import Backend, GenerationOptions
from services import Services
from services.asking import Ask
from ui import collections, models, text
from ui.app import owner

CHAT_PAGE = "pages/talk/chat.py"


def draw(services: Services) -> None:
    """Everything below the navigation."""
    with st.sidebar:
        _conversations(services)
        collections.pick_searched(services)
        st.subheader("Model")
        backend = models.pick_backend(services, "backend")
        if model := models.pick_model(services, backend, "model"):
            models.draw_state(services, backend, model)
        _settings(services, backend)


def chosen(question: str, conversation_id: str | None) -> Ask:
    """The question with what the sidebar says about answering it."""
    state = st.session_state
    options = GenerationOptions(
        temperature=state["temperature"],
        top_p=state["top_p"],
        top_k=state["top_k"],
        max_new_tokens=state["max_new_tokens"],
    )
    return Ask(
        text=question,
        collections=state["searched_names"],
        conversation_id=conversation_id,
        backend=state["backend"],
        model=state["model"],
        options=options,
        passages=state["passages"],
        condense=state["condense"],
        strict=state["strict"],
        fallback=state["fallback"],
    )


def _conversations(services: Services) -> None:
    if st.button("New chat", icon=":material/edit_square:", width="stretch"):
        st.switch_page(CHAT_PAGE)
    current = st.query_params.get("c")
    for conversation in services.conversations.list(owner(), limit=8):
        here = conversation.id == current
        if st.button(
            text.literal(text.short(conversation.title, 30)),
            key=f"open-{conversation.id}",
            type="tertiary",
            icon=":material/chat_bubble:" if here else ":material/chat_bubble_outline:",
            wrap=False,
        ):
            st.switch_page(CHAT_PAGE, query_params={"c": conversation.id})


def _settings(services: Services, backend: Backend) -> None:
    settings, state = services.settings, st.session_state
    defaults: dict[str, Any] = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "max_new_tokens": settings.max_new_tokens,
        "passages": settings.passages,
        "strict": settings.strict,
        "condense": settings.condense,
        "fallback": settings.fallback or "",
    }
    for key, value in defaults.items():
        state.setdefault(key, value)
    cannot = backend.capabilities.cannot
    with st.expander("Settings", icon=":material/tune:"):
        # A setting may lie outside the usual range: the slider then reaches to it.
        st.slider(
            "Passages",
            1,
            max(12, settings.passages),
            key="passages",
            help="How many passages are found for a question and shown to the model.",
        )
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

        def slide(label: str, key: str, low: float, high: float, step: float, help: str | None = None) -> None:  # noqa: A002
            lowest, highest = min(low, defaults[key]), max(high, defaults[key])
            st.slider(label, lowest, highest, step=step, key=key, disabled=key in cannot, help=cannot.get(key, help))

        slide("Temperature", "temperature", 0.0, 2.0, 0.05, "0 always takes the likeliest word.")
        slide("Top-p", "top_p", 0.05, 1.0, 0.05)
        slide("Top-k", "top_k", 1, 200, 1)
        slide("Longest answer (tokens)", "max_new_tokens", 16, 2048, 16)
        if settings.fallback:
            services.manager.backend(settings.fallback)  # a wrong name in the settings is said, not replaced
        labels = {"": "nobody else"} | {other.name: other.label for other in services.manager.backends()}
        st.selectbox(
            "If it cannot answer, ask",
            labels,
            key="fallback",
            format_func=lambda name: labels.get(name, name),
            help="Another backend answers where the chosen one is down, busy or refuses the key. The answer says so.",
        )
