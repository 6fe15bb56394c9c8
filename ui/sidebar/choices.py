"""What is chosen in the sidebar, for a question, for a conversation that is opened again, and for presets.

The choices stand in the session's state under their own names; here they are gathered, kept within their bounds, and
put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from backends.base import GenerationOptions
from services import Services
from services.asking import Ask
from ui.app import owner
from ui.sidebar import collections

OPTIONS = "temperature", "top_p", "top_k", "max_new_tokens"
"""What a model generates with."""
LONGEST_ANSWER, MOST_PASSAGES = 2048, 12
RANGES: dict[str, tuple[float, float]] = {
    "passages": (1, MOST_PASSAGES),
    "temperature": (0.0, 2.0),
    "top_p": (0.05, 1.0),
    "top_k": (1, 200),
    "max_new_tokens": (16, LONGEST_ANSWER),
}
"""As far as the sliders go; a setting may lie outside, they then reach to it."""
SETTINGS = (*RANGES, "strict", "condense", "fallback", "wishes")
_OPENED = "choices_of"


def settings(services: Services) -> dict[str, Any]:
    """The choices that the settings make."""
    configured = services.settings
    return {
        "passages": configured.passages,
        "strict": configured.strict,
        "condense": configured.condense,
        "fallback": configured.fallback or "",
        "wishes": "",
        **{name: getattr(configured, name) for name in OPTIONS},
    }


def bounds(services: Services, key: str) -> tuple[float, float]:
    """How far a slider goes."""
    low, high = RANGES[key]
    configured = settings(services)[key]
    return min(low, configured), max(high, configured)


def current() -> dict[str, Any]:
    """What is chosen now, as it is kept."""
    state = st.session_state
    chosen = {name: state[name] for name in (*SETTINGS, "backend", "model")}
    return chosen | {"collections": list(state["searched_names"]), "preset": state.get("preset")}


def ask(question: str, conversation_id: str | None, **values: Any) -> Ask:
    """The question with what the sidebar says about answering it; `values` say otherwise."""
    state = st.session_state
    chosen = current()
    return Ask(
        text=question,
        conversation_id=conversation_id,
        collections=state["searched_names"],
        options=GenerationOptions(**{name: chosen[name] for name in OPTIONS}),
        choices=chosen,
        **{name: chosen[name] for name in ("backend", "model", "passages", "condense", "strict", "fallback", "wishes")}
        | values,
    )


def begin(services: Services) -> None:
    """Choose what the settings say where nothing was chosen yet."""
    for key, value in settings(services).items():
        st.session_state.setdefault(key, value)


def follow(services: Services, conversation_id: str | None) -> None:
    """Take over the choices of a conversation that was opened; a new one begins with the default preset."""
    state = st.session_state
    begin(services)
    if _OPENED in state and state[_OPENED] == conversation_id:
        return
    state[_OPENED] = conversation_id
    if conversation_id:
        apply(services, services.conversations.choices(owner(), conversation_id))
    elif preset := services.presets.default(owner()):
        apply(services, preset.values | {"preset": preset.name})


def bind_conversation(conversation_id: str) -> None:
    """What is chosen now is what this conversation was begun with."""
    st.session_state[_OPENED] = conversation_id


def apply(services: Services, values: Mapping[str, Any]) -> None:
    """Choose `values`; what there is no more, or what a slider cannot show, is left as it is."""
    state = st.session_state
    for key in SETTINGS:
        if key in values:
            state[key] = values[key]
            if key in RANGES:
                low, high = bounds(services, key)
                state[key] = type(settings(services)[key])(min(max(values[key], low), high))
    if state.get("fallback") not in ("", *(backend.name for backend in services.manager.backends())):
        state["fallback"] = ""
    if values.get("backend") in {backend.name for backend in services.manager.backends()}:
        state["backend"] = values["backend"]
        if values.get("model"):
            # As if it had been picked there: see `pickers.pick_model`.
            state["model-backend"], state["model"] = values["backend"], values["model"]
    if "collections" in values:
        collections.search_in(services, values["collections"])
    if "preset" in values:
        names = {preset.name for preset in services.presets.list(owner())}
        state["preset"] = values["preset"] if values["preset"] in names else None
