"""The answer options chosen in the sidebar.

The key of a widget is the name of its option. Options without a widget keep the value that they were applied with.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from options import AnswerOptions
from rag.chat.question import Question
from services import Services
from ui import app
from ui.app import owner
from ui.models import pickers
from ui.sidebar import collections

GENERATION = "temperature", "top_p", "top_k", "max_new_tokens"
MODEL = "model"
WIDGETS = "fallback", "answers", "k", "strict", "condense", "instructions"
RANGES: dict[str, tuple[float, float]] = {  # of the sliders; a setting outside extends them
    "k": (1, 12),
    "temperature": (0.0, 2.0),
    "top_p": (0.05, 1.0),
    "top_k": (1, 200),
    "max_new_tokens": (16, 2048),
}
_OPTIONS, _OPENED, _OPTIONS_FOR = "answer_options", "options_of", "options_for"


def _values(options: AnswerOptions) -> dict[str, Any]:
    generation = {name: getattr(options.generation, name) for name in GENERATION}
    return {name: getattr(options, name) for name in WIDGETS} | generation


def bounds(services: Services, key: str) -> tuple[float, float]:
    """The range of a slider."""
    low, high = RANGES[key]
    configured = _values(services.settings.answer)[key]
    return min(low, configured), max(high, configured)


def current(services: Services) -> AnswerOptions:
    """The options chosen now."""
    state = st.session_state
    options: AnswerOptions = state[_OPTIONS]
    return options.replace(
        **{name: state[name] for name in WIDGETS},
        **pickers.chosen(services, MODEL)._asdict(),
        generation=options.generation.replace(**{name: state[name] for name in GENERATION}),
        collection_ids=state["searched_ids"],  # set by `collections.pick_searched`
    )


def question(text: str, conversation_id: str | None, instead_of: str | None = None, **options: Any) -> Question:
    """A question with the options chosen now; `options` override them."""
    preset = st.session_state.get("preset")
    return Question(text, current(app.services()).replace(**options), conversation_id, instead_of, preset=preset)


def begin(services: Services) -> None:
    """Choose what was chosen last, else the options of the settings, if none were chosen in this visit yet."""
    defaults = services.settings.answer
    is_new_visit = _OPTIONS not in st.session_state
    st.session_state.setdefault(_OPTIONS, defaults)
    for key, value in _values(defaults).items():
        st.session_state.setdefault(key, value)
    if is_new_visit and (last := services.conversations.last_options(owner())):
        known = {collection.id for collection in collections.every(services)}
        ids = tuple(id_ for id_ in last.collection_ids or () if id_ in known)
        apply(services, last.replace(collection_ids=ids or None))


def follow(services: Services, conversation_id: str | None) -> None:
    """Apply the options of a chat when it is opened, or the default preset to a new one."""
    state = st.session_state
    begin(services)
    if _OPENED in state and state[_OPENED] == conversation_id:
        return
    state[_OPENED] = conversation_id
    if conversation_id:
        if stored := services.conversations.options(owner(), conversation_id):
            apply(services, *stored)
    elif preset := services.presets.default(owner()):
        apply(services, preset.options, preset.name)
    elif not collections.searched(services):
        state.pop(collections.SEARCHED)


def use_options_of(services: Services, backend: str) -> None:
    """Begin with the options of a server when one of its models is chosen."""
    state = st.session_state
    if state.setdefault(_OPTIONS_FOR, backend) == backend:
        return
    state[_OPTIONS_FOR] = backend
    if stored := services.servers.get(backend):
        state.update({name: value for name, value in stored.options.items() if name in GENERATION})


def bind_conversation(conversation_id: str) -> None:
    """The options chosen now belong to this new conversation."""
    st.session_state[_OPENED] = conversation_id


def apply(services: Services, options: AnswerOptions, preset: str | None = None) -> None:
    """Choose `options`, within the ranges of the sliders; ignore a backend or preset that no longer exists."""
    state = st.session_state
    backends = {backend.name for backend in services.manager.backends()}
    state[_OPTIONS] = options
    for key, value in _values(options).items():
        if key in RANGES:
            low, high = bounds(services, key)
            state[key] = type(value)(min(max(value, low), high))
        else:
            state[key] = value
    if state["fallback"] not in ("", *backends):
        state["fallback"] = ""
    if options.backend in backends:
        pickers.choose(MODEL, options.backend, options.model)
        state[_OPTIONS_FOR] = options.backend
    collections.search_in(services, options.collection_ids)
    state["preset"] = preset if preset in {each.name for each in services.presets.list(owner())} else None
