"""The Evaluate page: a question set, the running job, and one of three views."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from evaluation.evaluations import Job
from evaluation.store import QuestionSet
from services import Services
from ui.app import owner
from ui.inspect import configurations, history, questions, results
from ui.widgets import dialogs, errors, text
from ui.widgets.errors import button, live

CHOSEN = "evaluate_set"
ICONS = {"Measure": "speed", "Questions": "quiz", "Over time": "timeline"}
VIEWS = {name: f":material/{icon}: {name}" for name, icon in ICONS.items()}


def draw(services: Services) -> None:
    """Draw the page."""
    st.title("Evaluate")
    found = services.evaluations.sets.all(owner())
    _job(services)
    if not found:
        _welcome(services)
    else:
        chosen = _choose(services, found)
        keep: dict[str, Any] = {"label_visibility": "collapsed", "persist_state": "session"}
        label, views = VIEWS.__getitem__, list(VIEWS)
        view = st.segmented_control(
            "View", views, default="Measure", required=True, format_func=label, key="evaluate_view", **keep
        )
        questions.draw_notes()
        if view == "Questions":
            questions.draw(services, chosen)
        elif view == "Over time":
            history.draw(services, chosen)
        else:
            configurations.draw(services, chosen)
            results.draw(services, chosen)
    dialogs.draw()


def _welcome(services: Services) -> None:
    st.markdown(
        "Ask questions whose answers you know, and see how often the right passage is found and the right answer "
        "given. Then change one thing, measure again, and see whether it helped."
    )
    with st.container(horizontal=True):
        button("Make a set from the samples", _make_sample_set, services, icon="auto_stories", type="primary")
        button("Make your own set", dialogs.ask, questions.more, services, None, icon="add")
    st.caption("The samples come with 40 questions that they answer and 8 that are out of scope.")


def _make_sample_set(services: Services) -> None:
    st.session_state[CHOSEN] = services.make_sample_set(owner()).id


def _choose(services: Services, found: list[QuestionSet]) -> QuestionSet:
    sets, names = {each.id: each for each in found}, {each.id: each.name for each in found}
    state = st.session_state
    if state.get(CHOSEN) not in sets:
        state[CHOSEN] = found[0].id
    state["evaluate_picker"] = state[CHOSEN]

    def pick() -> None:
        state[CHOSEN] = state["evaluate_picker"]

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Questions", sets, key="evaluate_picker", format_func=lambda id_: names.get(id_, ""), on_change=pick
        )
        action = st.menu_button("Manage", list(_MENU), icon=":material/folder_managed:", key="evaluate_menu")
    chosen = sets[state[CHOSEN]]
    st.caption(_described(chosen))
    if action:
        dialogs.ask(_MENU[action], services, chosen)
    return chosen


def _described(chosen: QuestionSet) -> str:
    used = chosen.used
    out_of_scope = sum(question.out_of_scope for question in used)
    left = len(chosen.questions) - len(used)
    parts = [f"{len(used) - out_of_scope:,} with an answer", f"{out_of_scope:,} out of scope"]
    return ", ".join(parts + [f"{left:,} not in use"] * bool(left))


def _job(services: Services) -> None:
    """Draw the running job, live, or the outcome of the last one."""
    job = services.evaluations.job(owner())
    if job is None:
        return
    if not job.running:
        _ended(services, job)
        return

    def follow() -> None:
        if not job.running and not dialogs.is_open():
            st.rerun()
        with st.container(border=True):
            done = f"{job.what}: {job.done:,} of {job.total:,}"
            st.progress(min(1.0, job.done / max(1, job.total)), text.literal(done))
            st.button("Cancel", key="cancel_job", icon=":material/close:", disabled=job.cancelled, on_click=job.cancel)

    live(0.5, follow)


def _ended(services: Services, job: Job) -> None:
    state = st.session_state
    if job.run_ids and state.get("evaluate_shown") != job.run_ids:
        state["evaluate_shown"] = list(job.run_ids)
        results.show(job.run_ids)
    if job.error:
        errors.show(f"{job.what} ended: {job.error.message}", job.error.hint)
    elif job.cancelled:
        st.info("Cancelled. Complete runs are kept.", icon=":material/cancel:")
    else:
        services.evaluations.dismiss(owner())
        return
    st.button("Dismiss", key="dismiss_job", type="tertiary", on_click=services.evaluations.dismiss, args=(owner(),))


def _rename(services: Services, chosen: QuestionSet) -> None:
    rename = partial(services.evaluations.sets.rename, owner(), chosen.id)
    dialogs.rename("Rename question set", "Name", chosen.name, 80, rename)


@st.dialog("Delete question set?", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _delete(services: Services, chosen: QuestionSet) -> None:
    runs = text.count(len(services.evaluations.runs.all(owner(), chosen.id)), "run")
    many = text.count(len(chosen.questions), "question")
    st.markdown(f"This deletes **{text.literal(chosen.name)}** with its {many} and {runs}.")
    if st.button("Delete the set", key="delete_set", type="primary", icon=":material/delete:"):
        services.evaluations.sets.delete(owner(), chosen.id)
        st.session_state.pop(CHOSEN, None)
        dialogs.close()
        st.rerun()


_MENU = {
    ":material/add: New set": lambda services, _: questions.more(services, None),
    ":material/playlist_add: Add questions": questions.more,
    ":material/edit: Rename": _rename,
    ":material/delete: Delete": _delete,
}
