"""The dialog that adds a server of models, or changes one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from backends.server import StoredServer
from services.servers import LONGEST_NAME, OFFERS, Offer, Tried
from ui import app
from ui.widgets import dialogs, errors, text

MORE = {
    "context_window": ("Context window", "Tokens of prompt and answer, if the server does not tell."),
    "num_ctx": ("Context window", "Tokens of prompt and answer; by default the model's own, as far as memory allows."),
    "keep_alive": ("Keep in memory for", "After an answer: 10m, or -1 for ever. By default as the server is set up."),
    "max_retries": ("Retries", "If the server refuses a request or cannot be reached. Each may take the time-out."),
}
TITLES = {"base_url": "address", "api_key": "key", "timeout": "time-out"} | {
    name: title.lower() for name, (title, _) in MORE.items()
}
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
        fields = services.servers.fields(known.kind)
        with st.expander("More"):
            purpose = "Seconds to wait for each piece of an answer, including the first."
            timeout = float(known.values.get("timeout", fields["timeout"]))
            field(
                "timeout",
                st.number_input,
                "Time-out (seconds)",
                timeout,
                min_value=1.0,
                step=10.0,
                format="%g",
                help=purpose,
            )
            for name, (title, purpose) in MORE.items():
                if name in fields:
                    is_text = name == "keep_alive"
                    draw = st.text_input if is_text else st.number_input
                    bounds = {} if is_text else {"min_value": 0 if name == "max_retries" else 256, "step": 1}
                    field(name, draw, title, known.values.get(name, fields[name]), help=purpose, **bounds)
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


def _typed(known: StoredServer, prefix: str) -> StoredServer:
    """The server as it is typed."""
    state, servers = st.session_state, app.services().servers
    names = servers.fields(known.kind).keys() - servers.from_environment(known.name).keys() - {"api_key"}
    typed = {name: state[f"{prefix}{name}"] for name in names if f"{prefix}{name}" in state}
    key = state[f"{prefix}api_key"] or ("" if state.get(f"{prefix}gone") else known.values.get("api_key"))
    values = {**known.values, **typed, "api_key": key}
    kept = {name: value for name, value in values.items() if value not in (None, "")}
    return replace(known, label=state[f"{prefix}label"], values=kept)


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
