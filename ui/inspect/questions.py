"""The questions of a set: adding them, editing them in a table, and downloading them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
import streamlit as st

from evaluation import files
from evaluation.questions import GoldQuestion
from evaluation.store import QuestionSet
from evaluation.thumbs import from_thumbs
from services import Services
from ui.app import owner
from ui.widgets import dialogs, errors, text

HAND, FILE, THUMBS = "By hand", "From a file", "From thumbs"
NOTES = "evaluate_notes"
MOST_NOTES = 8
HEIGHT = 460
"""Pixels of the table at most."""
_EDITED = "evaluate_edited"
_TABLES = "evaluate_tables"


# --- adding questions -----------------------------------------------------------------------------------


@st.dialog("Questions", width="medium", on_dismiss=dialogs.close)
@errors.with_error_boundary
def more(services: Services, chosen: QuestionSet | None) -> None:
    """Add questions to a set, or make a new set."""
    if chosen:
        name = chosen.name
        st.markdown(f"They are added to **{text.literal(chosen.name)}**.")
    else:
        name = st.text_input("Name of the set", max_chars=80, placeholder="Contracts")
    sources = [FILE, THUMBS] if chosen else [HAND, FILE, THUMBS]
    source = st.segmented_control("Source", sources, default=sources[0], required=True, key="evaluate_source")
    {HAND: _by_hand, FILE: _from_file, THUMBS: _from_thumbs}[source or sources[0]](services, chosen, name)


def _by_hand(services: Services, chosen: QuestionSet | None, name: str) -> None:
    st.caption("Type them into a table.")
    if st.button("Make the set", type="primary"):
        _add(services, chosen, name, ())


def _from_file(services: Services, chosen: QuestionSet | None, name: str) -> None:
    st.caption(
        "CSV with the columns question, answers and documents, or JSON lines with these keys. Separate several answers "
        "or documents with bars: `62 metres | sixty-two metres`. A question with neither is out of scope."
    )
    file = st.file_uploader("File", type=["csv", "tsv", "txt", "jsonl", "ndjson"], label_visibility="collapsed")
    if st.button("Read the file", type="primary", disabled=file is None) and file:
        brought = files.read(file.name, file.getvalue())
        _add(services, chosen, name or file.name.rpartition(".")[0], brought.questions, brought.problems)


def _from_thumbs(services: Services, chosen: QuestionSet | None, name: str) -> None:
    found = from_thumbs(services.database, owner())
    good = sum(question.use for question in found)
    st.caption(
        "From an answer with a thumb up, the question and its citations are added; from one with a thumb down, only "
        "the question: fill in the right answer."
    )
    if not found:
        st.info("No answer has a thumb yet.", icon=":material/thumbs_up_down:")
        return
    st.markdown(f"{text.count(len(found), 'question')}, {good:,} of them ready to use.")
    if st.button("Add them", type="primary"):
        _add(services, chosen, name or "From thumbs", found)


def _add(
    services: Services,
    chosen: QuestionSet | None,
    name: str,
    questions: Sequence[GoldQuestion],
    problems: Sequence[files.Problem] = (),
) -> None:
    sets = services.evaluations.sets
    target = chosen or sets.create(owner(), name)
    before = len(target.questions)
    sets.save(owner(), target.id, [*target.questions, *questions])
    added = len(sets.get(owner(), target.id).questions) - before
    notes = [f"{text.count(added, 'question')} added."] if questions or problems else []
    if again := len(questions) - added:
        notes.append(f"{again:,} of the file already in the set.")
    st.session_state[NOTES] = [*notes, *map(str, problems)]
    _show(target.id)


def _show(set_id: str) -> None:
    st.session_state["evaluate_set"] = set_id
    st.session_state["evaluate_view"] = "Questions"
    dialogs.close()
    st.rerun()


def draw_notes() -> None:
    """Draw the notes on the questions added last."""
    notes: list[str] = st.session_state.get(NOTES, [])
    if not notes:
        return
    lines = [text.literal(note) for note in notes[:MOST_NOTES]]
    if len(notes) > MOST_NOTES:
        lines.append(f"And {len(notes) - MOST_NOTES:,} more.")
    with st.container(border=True):
        st.markdown("  \n".join(lines))
        st.button("Dismiss", key="dismiss_notes", type="tertiary", on_click=st.session_state.pop, args=(NOTES,))


def draw(services: Services, chosen: QuestionSet) -> None:
    """Draw the table of a set; edits are saved at once."""
    st.caption(
        "Answers: words exactly as in the documents; separate alternatives with bars. Documents: where the "
        "answer has to come from. A question with neither is out of scope."
    )
    warnings = st.container()
    before = _before(chosen)
    edited = st.data_editor(
        before,
        key=f"questions-{st.session_state[_TABLES]}",
        num_rows="dynamic",
        hide_index=False,
        height=min(HEIGHT, 35 * (len(before) + 2) + 3),
        column_config={
            "use": st.column_config.CheckboxColumn("Use", default=True, width="small", help="Only these are asked."),
            "question": st.column_config.TextColumn("Question", width="large", max_chars=4000),
            "answers": st.column_config.TextColumn("Answers", width="medium"),
            "documents": st.column_config.TextColumn("Documents", width="medium"),
        },
        alt="The questions of the set, with their answers and documents",
    )
    found = files.check(_cells(edited))
    if found.questions != st.session_state[_EDITED][1]:
        services.evaluations.sets.save(owner(), chosen.id, found.questions)
        st.session_state[_EDITED] = (chosen.id, found.questions)
        st.rerun()  # update the caption above
    for problem in found.problems[:MOST_NOTES]:
        warnings.warning(f"Row {problem.row} is not saved yet: {text.literal(problem.reason)}.", icon=":material/edit:")
    _downloads(chosen, found.questions)


def _before(chosen: QuestionSet) -> pd.DataFrame:
    """The table before edits: the same one until the set changes elsewhere."""
    state = st.session_state
    state.setdefault(_TABLES, 0)
    drawn = f"questions-{state[_TABLES]}" in state
    if not drawn or state.get(_EDITED) != (chosen.id, chosen.questions):
        state[_TABLES] += 1
        state[_EDITED] = (chosen.id, chosen.questions)
        state["evaluate_before"] = _frame(chosen.questions)
    before: pd.DataFrame = state["evaluate_before"]
    return before


def _frame(questions: Sequence[GoldQuestion]) -> pd.DataFrame:
    rows = [(each.use, each.question, files.joined(each.answers), files.joined(each.documents)) for each in questions]
    types = {"use": "bool", "question": "str", "answers": "str", "documents": "str"}
    return pd.DataFrame(rows, pd.RangeIndex(1, len(rows) + 1), list(types)).astype(types)


def _cells(edited: pd.DataFrame) -> Iterator[files.Row]:
    """Number and cells of each row with any input."""
    for number, (_, cells) in enumerate(edited.iterrows(), 1):
        row = {key: "" if pd.isna(value) else value for key, value in cells.items()}
        if any(str(row[key]).strip() for key in ("question", "answers", "documents")):
            yield number, row | {key: files.split(str(row[key])) for key in ("answers", "documents")}


def _downloads(chosen: QuestionSet, questions: Sequence[GoldQuestion]) -> None:
    if not questions:
        return
    csv = files.as_csv(questions).encode("utf-8-sig")  # spreadsheets recognise UTF-8 by the byte order mark
    jsonl = files.as_jsonl(questions).encode()
    with st.container(horizontal=True):
        for label, ending, kind, content in (
            ("Save as CSV", "csv", "text/csv", csv),
            ("Save as JSON lines", "jsonl", "application/jsonl", jsonl),
        ):
            name, key, icon = f"{chosen.name}.{ending}", f"save_{ending}", ":material/download:"
            st.download_button(label, content, name, kind, key=key, icon=icon, on_click="ignore")
