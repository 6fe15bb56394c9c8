"""Two configurations side by side, their differences, and the buttons that measure them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from evaluation.runs import Configuration
from evaluation.store import QuestionSet
from services import Services
from ui import navigation
from ui.app import owner
from ui.inspect import steps
from ui.models import pickers
from ui.sidebar import collections
from ui.widgets import text
from ui.widgets.errors import button, live

SIDES = ("A", "B")
COLORS = {"A": "blue", "B": "orange"}
MOST_MISSING = 5


def draw(services: Services, chosen: QuestionSet) -> None:
    """Draw both sides and the buttons; warn of missing documents."""
    default = Configuration("", services.settings.answer)
    names = {each.id: each.name for each in collections.every(services)}
    found, tops = [], []
    for side, column in zip(SIDES, st.columns(2), strict=True):
        with column, st.container(border=True):
            tops.append(st.container())
            found.append(_configure(services, side, default, names))
    _show_differences(tops, found, names)
    waiting = _wait_for_documents(services)
    missing = services.evaluations.missing_documents(owner(), chosen.used)
    if missing and not waiting:
        listed = ", ".join(f"“{name}”" for name in missing[:MOST_MISSING])
        more = f" and {len(missing) - MOST_MISSING:,} more" if len(missing) > MOST_MISSING else ""
        where = f"not in any collection: {listed}{more}. These cannot be found."
        st.warning(text.literal(f"The questions expect documents that are {where}"))
    _buttons(services, chosen, found)


def _buttons(services: Services, chosen: QuestionSet, found: list[Configuration]) -> None:
    job, number = services.evaluations.job(owner()), len(chosen.used)
    busy = bool(job and job.running)
    ready = any(services.library.ready(owner(), each.id) for each in collections.every(services))
    a, b = found
    same = replace(a, name="") == replace(b, name="")
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, wanted, kind in (("Measure A and B", [a, b], "primary"), ("Only A", [a], "secondary")):
            disabled = busy or not (number and ready) or (same and len(wanted) > 1)
            start = services.evaluations.start
            button(label, start, owner(), chosen.id, wanted, icon="play_arrow", type=kind, disabled=disabled)
        if not ready:
            st.page_link(navigation.DOCUMENTS, label="Add documents first", icon=":material/upload_file:")
        elif not number:
            st.caption("No question is in use yet.")
        elif same:
            st.caption("A and B are the same.")
        elif any(each.answers for each in found):
            st.caption(f"{text.count(number, 'question')}, each answered by the model. You can leave this page.")


def _configure(services: Services, side: str, default: Configuration, names: dict[str, str]) -> Configuration:
    """Draw one side; B starts without dense search, so that there is something to compare."""

    def key(name: str) -> str:
        return f"evaluate_{side}_{name}"

    keep: dict[str, Any] = {"persist_state": "session"}
    typed, options = st.empty(), default.options
    searched = st.multiselect(
        "Search in", names, key=key("in"), format_func=names.__getitem__, placeholder="All collections", **keep
    )
    k = st.slider(
        "Passages", 1, max(12, options.k), options.k, key=key("k"), help="Passages shown to the model.", **keep
    )
    with st.expander("Steps of retrieval", icon=":material/tune:"):
        retrieval = options.retrieval.replace(dense=options.retrieval.dense and side == SIDES[0])
        retrieval = steps.draw(f"evaluate_{side}", retrieval)
    options = options.replace(collection_ids=tuple(searched) or None, k=k, retrieval=retrieval)
    purpose = "Also measure answers: one call of the model for each question."
    if answers := st.toggle("Generate answers", key=key("answers"), help=purpose, **keep):
        strict = st.toggle("Only from the documents", options.strict, key=key("strict"), **keep)
        backend, model = pickers.pick(services, key("model"))
        options = options.replace(strict=strict, backend=backend.name, model=model or "")
        answers = bool(model)
    made = Configuration("", options, answers)
    described = made.described(default, names)
    name = typed.text_input("Name", key=key("name"), placeholder=described, max_chars=60, **keep)
    return replace(made, name=" ".join(name.split()) or described)


def _show_differences(tops: list[Any], found: list[Configuration], names: dict[str, str]) -> None:
    a, b = (each.choices(names) for each in found)
    differing = [name for name in a if a[name] != b[name]]
    for side, top, choices in zip(SIDES, tops, (a, b), strict=True):
        badges = [f"**{side}**", *(text.literal(f"{name}: {choices[name]}") for name in differing)]
        top.markdown(" ".join(f":{COLORS[side]}-badge[{each}]" for each in badges))


def _wait_for_documents(services: Services) -> bool:
    """Show that documents are being read, live; return whether any are."""

    def waiting() -> int:
        counts = [services.library.counts(owner(), each.id) for each in collections.every(services)]
        return sum(number for count in counts for state, number in count.items() if state.is_open)

    if not waiting():
        return False

    def draw_number() -> None:
        left = waiting()
        if not left:
            st.rerun()
        st.caption(f":shimmer[{text.count(left, 'document')} still being read: wait, or measure without …]")

    live(1.0, draw_number)
    return True
