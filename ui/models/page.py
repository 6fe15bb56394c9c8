"""The Models page: which backends are available, servers to add and change, models to load, unload and pull."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import streamlit as st

from backends import BACKENDS
from backends.base import Backend, State
from backends.checks import BackendCheck
from backends.server import ServerBackend, StoredServer
from services import Services
from ui.models import pickers, server_form
from ui.widgets import dialogs, text
from ui.widgets.errors import button, live

BADGES: dict[State, tuple[str, Literal["gray", "blue", "green", "red"]]] = {
    State.UNLOADED: (":material/bedtime:", "gray"),
    State.LOADING: (":material/hourglass_top:", "blue"),
    State.READY: (":material/check:", "green"),
    State.ERROR: (":material/error:", "red"),
}


def draw(services: Services) -> None:
    """Draw the page."""
    st.title("Models")
    st.markdown("The backends that models answer on. Choose the one that answers in the sidebar.")
    with st.container(horizontal=True):
        button("Add a server", dialogs.ask, server_form.add, icon="add", type="primary")
        button("Check again", _check_again, services, icon="refresh")
    for backend in services.manager.backends():
        _card(services, backend)
    for stored in services.servers.list():
        if stored.disabled:
            _disabled(services, stored)
    dialogs.draw()


def _check_again(services: Services) -> None:
    for backend in services.manager.backends():
        services.manager.checks.refresh(backend.name)


def _card(services: Services, backend: Backend) -> None:
    busy = _busy(services, backend)

    def draw_card() -> None:
        if busy is not _busy(services, backend):
            st.rerun()  # start or stop polling
        with st.container(border=True):
            checked = services.manager.checks.latest(backend.name, pickers.PATIENCE_S)
            _head(backend, checked)
            for model, status in services.manager.known(backend.name).items():
                icon, color = BADGES[status.state]
                st.badge(text.literal(f"{text.short(model, 60)}: {status.state}"), icon=icon, color=color)
                pickers.details(services, backend, model, status, "page")
            if checked and not checked.error:
                _controls(services, backend, checked)
            if isinstance(backend, ServerBackend):
                _server(services, backend)

    live(1.0 if busy else None, draw_card)


def _busy(services: Services, backend: Backend) -> bool:
    loading = any(status.state is State.LOADING for status in services.manager.known(backend.name).values())
    return loading or services.manager.checks.is_checking(backend.name)


def _head(backend: Backend, checked: BackendCheck | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(text.literal(backend.label), anchor=False, width="content")
        if checked is None:
            st.badge("Checking …", icon=":material/hourglass_top:", color="blue")
        elif checked.error:
            st.badge("Not available", icon=":material/cloud_off:", color="orange")
        else:
            st.badge(text.count(len(checked.models), "model"), icon=":material/check:", color="green")
            if backend.location != backend.label:
                st.caption(f"{text.literal(backend.location)} · answered in {1000 * checked.seconds:.0f} ms")
    if checked and checked.error:
        st.markdown(f"**{text.literal(checked.error.message)}** {text.literal(checked.error.hint)}")


def _server(services: Services, backend: ServerBackend) -> None:
    """What can be done with a server itself."""
    stored, servers = services.servers.get(backend.name), services.servers
    key, name = f"server-{backend.name}", backend.name

    def act(label: str, icon: str, do: Callable[..., object], *args: object) -> None:
        """A button that changes more of the page than its card."""
        if st.button(label, icon=f":material/{icon}:", key=f"{key}-{label}", type="tertiary"):
            do(*args)
            st.rerun()

    with st.container(horizontal=True, gap="small"):
        button("Test", _test, services, name, icon="network_check", key=f"{key}-test", type="tertiary")
        act("Change", "edit", dialogs.ask, server_form.change, name)
        if stored:
            act("Disable", "visibility_off", servers.disable, name, True)
            act("Forget the changes" if name in BACKENDS else "Remove", "delete", servers.remove, name)
    if names := services.servers.from_environment(name):
        st.caption(f"From the environment: {', '.join(server_form.TITLES[each] for each in names)}.")
    if tried := st.session_state.get("tried_servers", {}).get(name):
        server_form.draw_tried(tried)


def _test(services: Services, name: str) -> None:
    tried = services.servers.test(services.servers.current(name), str(st.session_state.get(f"manage-{name}") or ""))
    st.session_state.setdefault("tried_servers", {})[name] = tried


def _disabled(services: Services, stored: StoredServer) -> None:
    """A server that is not offered."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.subheader(text.literal(stored.label), anchor=False, width="content")
        st.badge("Disabled", icon=":material/visibility_off:", color="gray")
        key, servers = f"server-{stored.name}", services.servers
        button("Enable", servers.disable, stored.name, False, icon="visibility", key=f"{key}-on", type="tertiary")
        button("Remove", servers.remove, stored.name, icon="delete", key=f"{key}-remove", type="tertiary")


def _controls(services: Services, backend: Backend, checked: BackendCheck) -> None:
    can, key = backend.capabilities, f"manage-{backend.name}"
    suggested = backend.suggestions()
    labels = {info.name: info.label for info in checked.models}
    known = set(labels)
    labels |= {info.name: f"{info.label} · to download" for info in suggested}
    if checked.models:
        with st.expander("Models"):
            st.dataframe(pickers.rows(checked.models), hide_index=True)
    if suggested:
        with st.expander("Good small models to download"):
            both = zip(suggested, pickers.rows(suggested), strict=True)
            rows = [{"Name": info.name, "Licence": info.note, **row} for info, row in both]
            st.dataframe(rows, hide_index=True, column_order=("Name", "Size", "Window", "Can", "Licence"))
    columns = st.columns([3, 2]) if can.variants else [st.container()]
    with columns[0]:
        picked = st.selectbox(
            "Model",
            labels,
            key=key,
            format_func=lambda name: labels.get(name, str(name)),
            accept_new_options=can.free_model_name,
            placeholder="Type a model's name",
        )
    variant = None
    if can.variants:
        with columns[1]:
            variant = st.selectbox(
                "Quantization",
                ["", *can.variants],
                key=f"{key}-variant",
                format_func=lambda name: name or "none",
                help="Quantized weights take less memory. The sidebar lists the models loaded here.",
            )
    if not picked:
        return
    manager, model = services.manager, f"{picked}@{variant}" if variant else str(picked)
    state = manager.status(backend.name, model).state
    ready, loading = state is State.READY, state is State.LOADING
    if not ready and not loading:
        pickers.draw_needs(backend, model)
    actions: list[tuple[str, str, Callable[[str, str], object], bool]] = [
        ("Load", "download", manager.load, not ready and not loading),
        ("Reload", "restart_alt", manager.reload, ready),
    ]
    if can.unloads:
        actions.insert(1, ("Unload", "eject", manager.unload, ready))
    if can.pulls:
        missing = picked not in known and not loading
        actions.append(("Pull", "cloud_download", partial(manager.load, pull=True), missing))
    with st.container(horizontal=True):
        for label, icon, act, enabled in actions:
            button(label, act, backend.name, model, icon=icon, key=f"{key}-{label}", disabled=not enabled)
