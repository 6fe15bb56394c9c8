"""The pickers of backend and model, and the state of the chosen model. Names no backend: each describes itself."""

from __future__ import annotations

from functools import partial

import streamlit as st

from backends.base import Backend, Loaded, ModelInfo, State, Status
from errors import ModelNotFound
from services import Services
from ui.app import owner
from ui.widgets import errors, text
from ui.widgets.errors import button, live

PATIENCE_S = 0.3  # how long a page waits for the first list of models; it does not wait for later ones


def pick_backend(services: Services, key: str) -> Backend:
    """Draw the choice of a backend; `key` holds its name."""
    default = services.settings.answer.backend
    services.manager.backend(default)  # report an unknown name in the settings
    backends = {backend.name: backend for backend in services.manager.backends()}
    st.session_state.setdefault(key, default)
    name = st.selectbox("Backend", backends, key=key, format_func=lambda name: backends[name].label)
    return backends[name]


def pick_model(services: Services, backend: Backend, key: str) -> str | None:
    """Draw the choice of a model of `backend`; `key` holds its name. None while no model is known."""
    checked = services.manager.checks.latest(backend.name, PATIENCE_S)
    models = {info.name: info for info in checked.models} if checked else {}
    _keep_choice(services, backend, key, list(models) if checked and not checked.error else None)
    chosen: str | None = st.session_state.get(key)
    names = list(dict.fromkeys([*models, *services.manager.known(backend.name), *([chosen] if chosen else [])]))
    free = backend.capabilities.free_model_name
    picked = st.selectbox(
        "Model",
        names,
        index=0 if names else None,
        key=key,
        format_func=lambda name: models[name].label if name in models else str(name),
        accept_new_options=free,
        placeholder="Type a model's name" if free else "No model to choose",
        help="Choose a model, or type a name or the path of a folder." if free else None,
    )
    if picked in models and models[picked].note:
        st.caption(models[picked].note)
    if checked is None:
        _wait(services, backend)
    elif checked.error:
        errors.show(checked.error.message, checked.error.hint)
        button("Try again", services.manager.checks.refresh, backend.name, icon="refresh", key=f"{key}-again")
    return picked


def _keep_choice(services: Services, backend: Backend, key: str, listed: list[str] | None) -> None:
    """Choose a model of `backend` if none is: the last one chosen for it, else the default."""
    state = st.session_state
    picked: dict[str, str] = state.setdefault(f"{key}-of", {})
    if state.get(f"{key}-backend") == backend.name and state.get(key):
        picked[backend.name] = state[key]
        return
    state[f"{key}-backend"] = backend.name
    state[key] = picked.get(backend.name)
    with errors.error_boundary():
        if state[key] is None and (listed or services.models.is_set(backend.name)):
            state[key] = services.models.default(owner(), backend.name, listed or ())


def _wait(services: Services, backend: Backend) -> None:
    def wait() -> None:
        if services.manager.checks.latest(backend.name):
            st.rerun()
        st.caption(f":shimmer[Checking {text.literal(backend.location)} …]")

    live(0.5, wait)


def draw_state(services: Services, backend: Backend, model: str) -> None:
    """Draw the state of a model, live while it loads."""
    loading = services.manager.status(backend.name, model).state is State.LOADING

    def draw_model() -> None:
        status = services.manager.status(backend.name, model)
        if loading is not (status.state is State.LOADING):
            st.rerun()  # start or stop polling
        if status.state is State.READY:
            st.badge("Ready", icon=":material/check:", color="green")
        elif status.state is State.UNLOADED:
            st.badge("Loads with the first question", icon=":material/bedtime:", color="gray")
        details(services, backend, model, status, "sidebar")

    live(1.0 if loading else None, draw_model)


def details(services: Services, backend: Backend, model: str, status: Status, place: str) -> None:
    """Draw facts, progress or the error of a model; `place` keeps the keys of the buttons apart."""
    if status.loaded and (line := _facts(status.loaded)):
        st.caption(line)
    if status.progress:
        st.progress(status.progress.fraction or 0.0, text.literal(status.progress.text))
        key = f"{place}-cancel-{backend.name}-{model}"
        button("Cancel", services.manager.cancel, backend.name, model, icon="close", key=key)
    if status.error:
        errors.show(status.error.message, status.error.hint)
        if isinstance(status.error, ModelNotFound) and backend.capabilities.pulls:
            label, key = f"Pull {text.literal(text.short(model, 24))}", f"{place}-pull-{backend.name}-{model}"
            pull = partial(services.manager.load, pull=True)
            button(label, pull, backend.name, model, icon="cloud_download", key=key)
    if released := status.released:
        size, freed = _size(released.size_bytes), _size(max(0, released.freed_bytes))
        kept = released.size_bytes - released.freed_bytes
        st.caption(f"Unloaded: {freed} of {size} freed on {text.literal(released.device)}.")
        if kept > released.size_bytes / 10:
            st.caption(f":material/warning: {_size(kept)} still in use.")


def _facts(loaded: Loaded) -> str:
    size = _size(loaded.size_bytes) if loaded.size_bytes else None
    window = f"window {loaded.context_window:,} tokens" if loaded.context_window else None
    parts = (loaded.device, loaded.dtype, loaded.quantization, size, window)
    return text.literal(" · ".join(part for part in parts if part))


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def rows(models: list[ModelInfo]) -> list[dict[str, str | int | bool | None]]:
    """The models of a backend as a table."""
    return [
        {
            "Model": info.label,
            "Family": info.family,
            "Size": _size(info.size_bytes) if info.size_bytes else "",
            "Window": info.context_window,
            "In memory": info.in_memory,
        }
        for info in models
    ]
