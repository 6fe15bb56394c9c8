"""The sidebar: conversations, who answers, its state, and how."""

from __future__ import annotations

import streamlit as st

from backends.base import GenerationOptions, State
from services import Ask, Services
from ui import errors, text
from ui.app import owner

CHAT_PAGE = "pages/talk/chat.py"


def draw(services: Services) -> None:
    """Everything below the navigation."""
    with st.sidebar:
        _conversations(services)
        st.subheader("Model")
        backend = _pick_backend(services)
        model = _pick_model(services, backend)
        if model:
            _state(services, backend, model)
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
        conversation_id=conversation_id,
        backend=state["backend"],
        model=state["model"],
        options=options,
        passages=state["passages"],
        strict=state["strict"],
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


def _pick_backend(services: Services) -> str:
    services.manager.backend(services.settings.backend)  # a wrong name in the settings is said, not replaced
    labels = {backend.name: backend.label for backend in services.manager.backends()}
    st.session_state.setdefault("backend", services.settings.backend)
    return str(st.selectbox("Backend", labels, key="backend", format_func=lambda name: labels.get(name, name)))


def _pick_model(services: Services, backend: str) -> str | None:
    picked: str | None = None
    with errors.shown():
        who = services.manager.backend(backend)
        models = {model.name: model for model in who.list_models()}
        default = services.default_model(backend, list(models))
        if st.session_state.get("model_of") != backend:
            st.session_state["model"], st.session_state["model_of"] = default, backend
        names = list(dict.fromkeys([*models, default, st.session_state["model"]]))
        picked = st.selectbox(
            "Model",
            names,
            key="model",
            format_func=lambda name: models[name].label if name in models else str(name),
            accept_new_options=who.capabilities.free_model_name,
            help="Choose one, or type a model id or the path of a folder."
            if who.capabilities.free_model_name
            else None,
        )
        if picked in models and models[picked].note:
            st.caption(models[picked].note)
    return picked


def _state(services: Services, backend: str, model: str) -> None:
    settled = services.manager.status(backend, model).state in (State.READY, State.ERROR)

    @st.fragment(run_every=None if settled else 1.0)
    @errors.guarded
    def live() -> None:
        status = services.manager.status(backend, model)
        if status.state is State.READY:
            st.badge("Ready", icon=":material/check:", color="green")
            if status.loaded:
                st.caption(_facts(status.loaded.device, status.loaded.dtype, status.loaded.size_bytes))
        elif status.state is State.LOADING and status.progress:
            st.progress(status.progress.fraction or 0.0, status.progress.text)
        elif status.state is State.ERROR and status.error:
            errors.show(status.error.message, status.error.hint)
        else:
            st.badge("Not loaded: the first question loads it", icon=":material/bedtime:", color="gray")
        if not settled and status.state in (State.READY, State.ERROR):
            st.rerun()

    live()


def _facts(device: str | None, dtype: str | None, size: int | None) -> str:
    return " · ".join(part for part in (device, dtype, f"{size / 1e6:.0f} MB" if size else None) if part)


def _settings(services: Services, backend: str) -> None:
    settings, state = services.settings, st.session_state
    defaults = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "max_new_tokens": settings.max_new_tokens,
        "passages": settings.passages,
        "strict": settings.strict,
    }
    for key, value in defaults.items():
        state.setdefault(key, value)
    honoured = services.manager.backend(backend).capabilities.options
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

        def slide(label: str, key: str, low: float, high: float, step: float, help: str | None = None) -> None:  # noqa: A002
            lowest, highest = min(low, defaults[key]), max(high, defaults[key])
            st.slider(label, lowest, highest, step=step, key=key, disabled=key not in honoured, help=help)

        slide("Temperature", "temperature", 0.0, 2.0, 0.05, "0 always takes the likeliest word.")
        slide("Top-p", "top_p", 0.05, 1.0, 0.05)
        slide("Top-k", "top_k", 1, 200, 1)
        slide("Longest answer (tokens)", "max_new_tokens", 16, 2048, 16)
