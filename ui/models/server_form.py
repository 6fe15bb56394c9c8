"""The dialog that adds a server of models, or changes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from backends.offers import OFFERS, Offer
from backends.server import StoredServer
from services.servers import LONGEST_NAME, Tried
from ui import app
from ui.widgets import dialogs, errors, text

_TOKENS = {"min_value": 256, "step": 1}
MORE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "timeout": (
        "Time-out (seconds)",
        "The wait for each piece of an answer, including the first.",
        {"min_value": 1.0, "step": 10.0, "format": "%g"},
    ),
    "context_window": ("Context window", "Tokens of prompt and answer, if the server does not tell.", _TOKENS),
    "num_ctx": (
        "Context window",
        "Tokens of prompt and answer; else the model's own, if memory allows.",
        _TOKENS,
    ),
    "keep_alive": ("Keep in memory for", "After an answer: 10m, or -1 for ever; else as the server is set up.", {}),
    "max_retries": (
        "Retries",
        "If the server refuses a request or cannot be reached. Each may take the time-out.",
        {"min_value": 0, "step": 1},
    ),
}
"""Settings that few servers need: title, purpose, and limits of a number."""
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "temperature": ("Temperature", {"min_value": 0.0, "max_value": 2.0, "step": 0.1}),
    "max_new_tokens": ("Longest answer (tokens)", {"min_value": 16, "step": 16}),
}
TITLES = {"base_url": "address", "api_key": "key"} | {name: title.lower() for name, (title, *_) in MORE.items()}
"""The settings of a server, in words."""
_KEY = "server_"


@st.dialog("Add a server", width="medium", on_dismiss=dialogs.close)
@errors.with_error_boundary
def add() -> None:
    """Add a server."""
    titles = {offer.title: offer for offer in OFFERS}
    offer = titles[st.selectbox("What runs there?", titles, key=f"{_KEY}offer")]
    taken = {backend.label for backend in app.services().manager.backends()}
    name = next(f"{offer.title}{n}" for n in ("", *(f" {n}" for n in range(2, 99))) if f"{offer.title}{n}" not in taken)
    label = name if offer is not OFFERS[-1] else ""
    _form(StoredServer("", offer.kind, label, {"base_url": offer.address}), offer)


@st.dialog("Change a server", width="medium", on_dismiss=dialogs.close)
@errors.with_error_boundary
def change(name: str) -> None:
    """Change a server."""
    _form(app.services().servers.current(name), None)


def _form(known: StoredServer, offer: Offer | None) -> None:
    services = app.services()
    # Another kind of server begins with its own name and address.
    prefix = f"{_KEY}{known.name or (offer.title if offer else '')}_"
    set_outside = services.servers.from_environment(known.name)

    def field(name: str, draw: Any, label: str, value: Any, **options: Any) -> None:
        """A field, which cannot be changed if the environment names it."""
        if name in set_outside:
            value = "" if name == "api_key" else set_outside[name]
            options |= {"disabled": True, "help": "Set in the environment of Gestalt."}
        draw(label, value=value, key=f"{prefix}{name}", **options)

    # A form, because a password field tells what was typed only then.
    with st.form(f"{prefix}form", border=False):
        field("label", st.text_input, "Name", known.label, max_chars=LONGEST_NAME, placeholder="The big box")
        field("base_url", st.text_input, "Address", known.values.get("base_url", ""))
        has_key = bool(known.values.get("api_key"))
        placeholder = "unchanged" if has_key else "none"
        field("api_key", st.text_input, "Key", "", type="password", placeholder=placeholder, autocomplete="off")
        if offer and offer.hint:
            st.caption(text.literal(offer.hint))
        if has_key:
            st.checkbox("Remove the key", key=f"{prefix}gone")
        with st.expander("More"):
            _more(known, services.servers.fields(known.kind), field)
        with st.container(horizontal=True):
            test = st.form_submit_button("Test", icon=":material/network_check:")
            save = st.form_submit_button("Save", type="primary")
    if save:
        saved = services.servers.save(_typed(known, prefix))
        for name in [name for name in st.session_state if str(name).startswith(_KEY)]:
            del st.session_state[name]  # no typed key is kept
        services.manager.checks.latest(saved.name)
        dialogs.close()
        st.rerun()
    if test:
        with st.spinner("Asking the server …"):
            tried = services.servers.test(_typed(known, prefix))
        draw_tried(tried)


def _more(known: StoredServer, fields: Mapping[str, Any], field: Callable[..., None]) -> None:
    """Settings that few servers need, and what questions to it begin with."""
    for name, (title, purpose, limits) in MORE.items():
        if name in fields:
            draw = st.number_input if limits else st.text_input
            field(name, draw, title, known.values.get(name, fields[name]), help=purpose, **limits)
    for name, (title, limits) in OPTIONS.items():
        purpose = "What the settings begin with when one of its models is chosen; empty: as they are."
        field(f"option_{name}", st.number_input, title, known.options.get(name), help=purpose, **limits)


def _typed(known: StoredServer, prefix: str) -> StoredServer:
    """The server as it is typed."""
    state, servers = st.session_state, app.services().servers
    names = servers.fields(known.kind).keys() - servers.from_environment(known.name).keys() - {"api_key"}
    typed = {name: state[f"{prefix}{name}"] for name in names if f"{prefix}{name}" in state}
    key = state[f"{prefix}api_key"] or ("" if state.get(f"{prefix}gone") else known.values.get("api_key"))
    values = {**known.values, **typed, "api_key": key}
    kept = {name: value for name, value in values.items() if value not in (None, "")}
    options = {name: value for name in OPTIONS if (value := state[f"{prefix}option_{name}"]) is not None}
    return replace(known, label=state[f"{prefix}label"], values=kept, options=options)


def draw_tried(tried: Tried) -> None:
    """Draw what a test found."""
    if tried.error:
        errors.show(tried.error.message, tried.error.hint)
    if tried.seconds and not (tried.error and not tried.models):
        found = f"Answered in {_time(tried.seconds)}, with {text.count(len(tried.models), 'model')}"
        if tried.answer_s:
            found += f"; {text.literal(text.short(tried.asked, 40))} gave a word in {_time(tried.answer_s)}"
        st.success(f"{found}.", icon=":material/check:")
        if not tried.models:
            st.caption("It lists no models: type a model's name where you choose one.")


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
