"""The evaluate page: which set of questions, what is being measured now, and one of three views of it."""

from __future__ import annotations

import streamlit as st

from evaluation.evaluations import Job
from evaluation.store import QuestionSet
from services import Services
from ui.app import owner
from ui.inspect import configurations, history, questions, results
from ui.widgets import dialogs, errors, text

POLL_S = 0.5
CHOSEN = "evaluate_set"
VIEWS = {
    "Measure": ":material/speed:",
    "Questions": ":material/quiz:",
    "Over time": ":material/timeline:",
}


def draw(services: Services) -> None:
    """The whole page."""
    st.title("Evaluate")
    found = services.evaluations.sets.all(owner())
    _job(services)
    if not found:
        _welcome(services)
    else:
        chosen = _choose(services, found)
        view = st.segmented_control(
            "View",
            list(VIEWS),
            default="Measure",
            required=True,
            format_func=lambda name: f"{VIEWS[name]} {name}",
            key="evaluate_view",
            label_visibility="collapsed",
            persist_state="session",
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
        "Put questions whose answers you know to your documents, and see how often the right passage is found and the "
        "right answer given. Then change one thing, measure again, and know whether it helped."
    )
    with st.container(horizontal=True):
        st.button(
            "Make a set from the samples",
            type="primary",
            icon=":material/auto_stories:",
            on_click=errors.with_error_boundary(_make_sample_set),
            args=(services,),
        )
        st.button("Make your own set", icon=":material/add:", on_click=questions.ask_for_more, args=(services, None))
    st.caption("The samples bring 40 questions that they answer and 8 that are out of scope.")


def _make_sample_set(services: Services) -> None:
    st.session_state[CHOSEN] = services.make_sample_set(owner()).id


def _choose(services: Services, found: list[QuestionSet]) -> QuestionSet:
    """The picker with its menu."""
    sets = {each.id: each for each in found}
    state = st.session_state
    if state.get(CHOSEN) not in sets:
        state[CHOSEN] = found[0].id
    state["evaluate_picker"] = state[CHOSEN]

    def pick() -> None:
        state[CHOSEN] = state["evaluate_picker"]

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Questions",
            sets,
            key="evaluate_picker",
            format_func=lambda id_: sets[id_].name if id_ in sets else "",
            on_change=pick,
        )
        wish = st.menu_button("Manage", list(_MENU), icon=":material/folder_managed:", key="evaluate_menu")
    chosen = sets[state[CHOSEN]]
    st.caption(told(chosen))
    if wish:
        dialogs.ask(_MENU[wish], services, chosen)
    return chosen


def told(chosen: QuestionSet) -> str:
    """What is in a set, in a line."""
    used = chosen.used
    out_of_scope = sum(question.out_of_scope for question in used)
    left = len(chosen.questions) - len(used)
    parts = [f"{len(used) - out_of_scope:,} with an answer", f"{out_of_scope:,} that are out of scope"]
    return ", ".join(parts + [f"{left:,} not in use"] * bool(left))


# --- what goes on in the background ------------------------------------------------------------------------------


def _job(services: Services) -> None:
    """The job that is running, live, or what came of the last one."""
    job = services.evaluations.job(owner())
    if job and job.running:
        _follow(services, job)
    elif job:
        _ended(services, job)


def _follow(services: Services, job: Job) -> None:
    @st.fragment(run_every=POLL_S)
    @errors.with_error_boundary
    def live() -> None:
        if not job.running and not dialogs.is_open():
            st.rerun()
        with st.container(border=True):
            done = f"{job.what}: {job.done:,} of {job.total:,}"
            st.progress(min(1.0, job.done / max(1, job.total)), text.literal(done))
            st.button("Cancel", key="cancel_job", icon=":material/close:", disabled=job.cancelled, on_click=job.cancel)

    live()


def _ended(services: Services, job: Job) -> None:
    state = st.session_state
    if job.run_ids and state.get("evaluate_shown") != job.run_ids:
        state["evaluate_shown"] = list(job.run_ids)
        results.show(job.run_ids)
    if job.error:
        errors.show(f"{job.what} ended: {job.error.message}", job.error.hint)
    elif job.cancelled:
        st.info("It was cancelled. What was complete is kept.", icon=":material/cancel:")
    else:
        services.evaluations.dismiss(owner())
        return
    st.button("Dismiss", key="dismiss_job", type="tertiary", on_click=services.evaluations.dismiss, args=(owner(),))


# --- the menu ----------------------------------------------------------------------------------------------------


def _new(services: Services, chosen: QuestionSet) -> None:
    del chosen
    questions.more(services, None)


@st.dialog("Rename question set", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _rename(services: Services, chosen: QuestionSet) -> None:
    with st.form("rename_set", border=False):
        name = st.text_input("Name", chosen.name, max_chars=80)
        if not st.form_submit_button("Rename", type="primary"):
            return
    services.evaluations.sets.rename(owner(), chosen.id, name)
    dialogs.close()
    st.rerun()


@st.dialog("Delete question set?", on_dismiss=dialogs.close)
@errors.with_error_boundary
def _delete(services: Services, chosen: QuestionSet) -> None:
    runs = len(services.evaluations.runs.all(owner(), chosen.id))
    many = f", and the {runs:,} run{'' if runs == 1 else 's'} measured with it" if runs else ""
    st.markdown(f"**{text.literal(chosen.name)}** with its {len(chosen.questions):,} questions{many} will be gone.")
    if st.button("Delete the set", key="delete_set", type="primary", icon=":material/delete:"):
        services.evaluations.sets.delete(owner(), chosen.id)
        st.session_state.pop(CHOSEN, None)
        dialogs.close()
        st.rerun()


_MENU = {
    ":material/add: New set": _new,
    ":material/playlist_add: Add questions": questions.more,
    ":material/edit: Rename": _rename,
    ":material/delete: Delete": _delete,
}
