"""Who answers: the pickers of backend and model, and the state of what was picked. All that a page knows of backends is
what they say of themselves."""

from __future__ import annotations

from functools import partial

import streamlit as st

from backends.base import Backend, Loaded, ModelInfo, State, Status
from backends.checks import BackendCheck
from errors import ModelNotFound
from services import Services
from ui.app import owner
from ui.widgets import errors, text

PATIENCE_S = 0.3
"""Seconds that a page waits for the first list of models; later ones it does not wait for."""


def pick_backend(services: Services, key: str, label: str = "Backend") -> Backend:
    """A choice of backends; `key` holds the name."""
    default = services.settings.answer.backend
    services.manager.backend(default)  # a wrong name in the settings is reported, not replaced
    backends = {backend.name: backend for backend in services.manager.backends()}
    st.session_state.setdefault(key, default)
    name = st.selectbox(label, backends, key=key, format_func=lambda name: backends[name].label)
    return backends[name]


def pick_model(services: Services, backend: Backend, key: str, label: str = "Model") -> str | None:
    """A choice of the models of `backend`; `key` holds the name. None while nothing is known to choose from."""
    checked = services.manager.checks.latest(backend.name, PATIENCE_S)
    models = {info.name: info for info in checked.models} if checked else {}
    _keep_choice(services, backend, key, list(models) if checked and not checked.error else None)
    chosen: str | None = st.session_state.get(key)
    names = list(dict.fromkeys([*models, *services.manager.known(backend.name), *([chosen] if chosen else [])]))
    free = backend.capabilities.free_model_name
    picked = st.selectbox(
        label,
        names,
        index=0 if names else None,
        key=key,
        format_func=lambda name: models[name].label if name in models else str(name),
        accept_new_options=free,
        placeholder="Type a model's name" if free else "No model to choose",
        help="Choose one, or type a name or the path of a folder." if free else None,
    )
    if picked in models and models[picked].note:
        st.caption(models[picked].note)
    if checked is None:
        _wait(services, backend)
    elif checked.error:
        show_check(services, checked, key)
    return picked


def _keep_choice(services: Services, backend: Backend, key: str, listed: list[str] | None) -> None:
    """Put a model of `backend` under `key` where there is none yet: the one picked there before, else the default."""
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
    @st.fragment(run_every=0.5)
    @errors.with_error_boundary
    def live() -> None:
        if services.manager.checks.latest(backend.name):
            st.rerun()
        st.caption(f":shimmer[Asking {text.literal(backend.location)} …]")

    live()


def show_check(services: Services, checked: BackendCheck, key: str) -> None:
    """What is wrong with a backend, and a button to look again."""
    assert checked.error
    errors.show(checked.error.message, checked.error.hint)
    st.button(
        "Try again",
        key=f"{key}-again",
        icon=":material/refresh:",
        on_click=errors.with_error_boundary(services.manager.checks.refresh),
        args=(checked.backend.name,),
    )


def draw_state(services: Services, backend: Backend, model: str) -> None:
    """The state of a model, live while it loads."""
    loading = services.manager.status(backend.name, model).state is State.LOADING

    @st.fragment(run_every=1.0 if loading else None)
    @errors.with_error_boundary
    def live() -> None:
        status = services.manager.status(backend.name, model)
        if loading is not (status.state is State.LOADING):
            st.rerun()  # to begin or to end polling
        if status.state is State.READY:
            st.badge("Ready", icon=":material/check:", color="green")
        elif status.state is State.UNLOADED:
            st.badge("Not loaded: the first question loads it", icon=":material/bedtime:", color="gray")
        details(services, backend, model, status, "sidebar")

    live()


def details(services: Services, backend: Backend, model: str, status: Status, place: str) -> None:
    """What is to be said of a model in this state: facts, progress, or what went wrong; `place` tells buttons apart."""
    if status.loaded and (told := facts(status.loaded)):
        st.caption(told)
    if status.progress:
        st.progress(status.progress.fraction or 0.0, text.literal(status.progress.text))
        st.button(
            "Cancel",
            key=f"{place}-cancel-{backend.name}-{model}",
            icon=":material/close:",
            on_click=errors.with_error_boundary(services.manager.cancel),
            args=(backend.name, model),
        )
    if status.error:
        errors.show(status.error.message, status.error.hint)
        if isinstance(status.error, ModelNotFound) and backend.capabilities.pulls:
            st.button(
                f"Pull {text.literal(text.short(model, 24))}",
                key=f"{place}-pull-{backend.name}-{model}",
                icon=":material/cloud_download:",
                on_click=errors.with_error_boundary(partial(services.manager.load, pull=True)),
                args=(backend.name, model),
            )
    if released := status.released:
        size, freed = megabytes(released.size_bytes), megabytes(max(0, released.freed_bytes))
        kept = released.size_bytes - released.freed_bytes
        st.caption(f"Unloaded: {freed} of {size} came back on {text.literal(released.device)}.")
        if kept > released.size_bytes / 10:
            st.caption(f":material/warning: {megabytes(kept)} did not come back.")


def facts(loaded: Loaded) -> str:
    """Device, dtype, quantization, size and window in one line."""
    parts = (
        loaded.device,
        loaded.dtype,
        loaded.quantization,
        megabytes(loaded.size_bytes) if loaded.size_bytes else None,
        f"window {loaded.context_window:,} tokens" if loaded.context_window else None,
    )
    return text.literal(" · ".join(part for part in parts if part))


def megabytes(size: int) -> str:
    """A size as people say it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def rows(models: list[ModelInfo]) -> list[dict[str, str | int | bool | None]]:
    """The models of a backend as a table."""
    return [
        {
            "Model": info.label,
            "Family": info.family,
            "Size": megabytes(info.size_bytes) if info.size_bytes else "",
            "Window": info.context_window,
            "In memory": info.in_memory,
        }
        for info in models
    ]
