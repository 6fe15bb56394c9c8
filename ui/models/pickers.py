"""The list of models of all backends, and the state of the chosen one. Names no backend: each describes itself."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import streamlit as st

from backends.base import Backend, Loaded, ModelInfo, Needs, State, Status
from errors import AppError, ModelNotFound
from services import Services
from ui.app import owner
from ui.widgets import errors, text
from ui.widgets.errors import button, live

PATIENCE_S = 0.3  # how long a page waits for the first list of models; it does not wait for later ones


class Choice(NamedTuple):
    """A model of a backend; no model if the backend lists none, or is not available."""

    backend: str
    model: str

    def __str__(self) -> str:
        """As it is kept by a page, and as a person may type it."""
        return f"{self.backend}/{self.model}"


def chosen(services: Services, key: str) -> Choice:
    """What is chosen in a list of models with this key, before it is drawn too."""
    value = str(st.session_state.get(key) or "")
    names = [backend.name for backend in services.manager.backends()]
    backend, slash, model = value.partition("/")
    if slash and backend in names:
        return Choice(backend, model)
    # A typed name alone is a model of the backend that was chosen before, or of the first that takes one.
    default, last = services.settings.answer.backend, st.session_state.get(f"{key}-backend")
    free = [each.name for each in services.manager.backends() if each.capabilities.free_model_name]
    wanted = [name for name in (last, default, *free) if name in names and (name in free or not value)]
    return Choice(next(iter(wanted), names[0]), value)


def choose(key: str, backend: str, model: str) -> None:
    """Choose a model in a list that is drawn later."""
    st.session_state[key] = str(Choice(backend, model))


def pick(services: Services, key: str) -> tuple[Backend, str | None]:
    """Draw the choice of a model from all backends; `key` holds it. The model is None while none is known."""
    backends = {backend.name: backend for backend in services.manager.backends()}
    services.manager.backend(services.settings.answer.backend)  # report an unknown name in the settings
    choice = _with_model(services, chosen(services, key))
    choose(key, *choice)
    st.session_state[f"{key}-backend"] = choice.backend
    labels = _labels(services, choice)
    st.selectbox(
        "Model",
        labels,
        key=key,
        format_func=lambda value: labels.get(value, str(value)),
        accept_new_options=True,
        help="Choose a model, or type its name: `ollama/llama3.2`, or the name or folder of a Hugging Face model.",
    )
    backend = backends[choice.backend]
    checked = services.manager.checks.latest(backend.name)
    info = next((each for each in (checked.models if checked else []) if each.name == choice.model), None)
    for line in (info.note, about(info)) if info else ():
        if line:
            st.caption(text.literal(line))
    if checked and checked.error:
        errors.show(checked.error.message, checked.error.hint)
        button("Try again", services.manager.checks.refresh, backend.name, icon="refresh", key=f"{key}-again")
    _wait(services, backend)
    return backend, choice.model or None


def about(info: ModelInfo) -> str:
    """What a model can do and costs, in a line; empty if nothing is known."""
    price = f"${info.price[0]:,.2f} in, ${info.price[1]:,.2f} out a million tokens" if info.price else ""
    facts = ("thinks" if info.thinks else "", "sees pictures" if info.sees else "", price)
    return " · ".join(fact for fact in facts if fact)


def _with_model(services: Services, choice: Choice) -> Choice:
    """The choice with the backend's default model if it has none."""
    checked = services.manager.checks.latest(choice.backend, PATIENCE_S)
    listed = [info.name for info in checked.models] if checked and not checked.error else None
    with errors.error_boundary():
        if not choice.model and (listed or services.models.is_set(choice.backend)):
            return choice._replace(model=services.models.default(owner(), choice.backend, listed or ()))
    return choice


def _labels(services: Services, choice: Choice) -> dict[str, str]:
    """Everything to choose from, in the order of the backends, with what it is called."""
    labels: dict[str, str] = {}
    for backend in services.manager.backends():
        checked = services.manager.checks.latest(backend.name)
        listed = {info.name: info.label for info in checked.models} if checked else {}
        names = [*listed, *services.manager.known(backend.name)]
        if backend.name == choice.backend and choice.model:
            names.append(choice.model)
        for name in dict.fromkeys(names):
            labels[str(Choice(backend.name, name))] = f"{listed.get(name, name)} · {backend.label}"
        if not names:
            why = "checking …" if checked is None else "not available" if checked.error else "no model listed"
            labels[str(Choice(backend.name, ""))] = f"{backend.label}: {why}"
    return labels


def _wait(services: Services, backend: Backend) -> None:
    """Draw the page again when another backend has said which models it has."""
    names = [each.name for each in services.manager.backends()]
    open_ = [name for name in names if services.manager.checks.latest(name) is None]
    if not open_:
        return

    def wait() -> None:
        if any(services.manager.checks.latest(name) for name in open_):
            st.rerun()
        if backend.name in open_:
            st.caption(f":shimmer[Checking {text.literal(backend.location)} …]")

    live(0.5, wait)


@st.cache_resource(ttl=60, show_spinner="Asking what the model takes …")
def _needs(_backend: Backend, name: str, model: str) -> Needs | AppError | None:
    try:
        return _backend.needs(model)
    except AppError as error:
        return error


def draw_needs(backend: Backend, model: str) -> None:
    """Draw what loading a model takes of this machine, if anything."""
    needs = _needs(backend, backend.name, model)
    if isinstance(needs, AppError):
        st.caption(f":material/info: {text.literal(str(needs))}")
    elif needs:
        parts = [f"takes about {_size(needs.memory_bytes)} of memory ({_size(needs.memory_free_bytes)} are free)"]
        if needs.download_bytes:
            free = _size(needs.disk_free_bytes)
            parts.insert(0, f"downloads {_size(needs.download_bytes)} from Hugging Face ({free} of disk are free)")
        if needs.licence:
            parts.append(f"licence: {needs.licence}")
        said = text.literal("; ".join(parts))
        st.caption(f"{said[0].upper()}{said[1:]}." if needs.fits else f":material/warning: {said}: it does not fit.")


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
            draw_needs(backend, model)
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
            "Can": about(info),
        }
        for info in models
    ]
