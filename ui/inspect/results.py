"""Results: two runs side by side, and their differences question by question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pandas as pd
import streamlit as st

from evaluation.figures import MEASURES, Comparison, Pair, compare
from evaluation.store import QuestionSet, Run
from services import Services
from ui.app import local_time, owner
from ui.inspect.history import PALETTE
from ui.widgets import text

SIDES: Final = ("A", "B")
RUNS = ("evaluate_run_A", "evaluate_run_B")
TIMES = ("p50_ms", "p95_ms")
SHOWN: dict[str, Callable[[Pair], bool]] = {
    "Where they differ": lambda pair: bool(pair.differs),
    "Found by neither": lambda pair: not (pair.first.out_of_scope or pair.first.rank or pair.second.rank),
    "All": lambda pair: True,
}


def show(run_ids: list[str]) -> None:
    """Show these runs; next to a single one, the newest other one."""
    for key in RUNS:
        st.session_state.pop(key, None)
    st.session_state.update(zip(RUNS, run_ids, strict=False))


def draw(services: Services, chosen: QuestionSet) -> None:
    """Draw two runs of a set, or the only one."""
    runs = {run.id: run for run in services.evaluations.runs.all(owner(), chosen.id)}
    if not runs:
        return
    st.subheader("Results")
    alone = len(runs) == 1
    picked = list(runs.values()) if alone else [runs[id_] for id_ in _pick(runs)]
    k = (picked[0].configuration.options.k, picked[-1].configuration.options.k)
    compared = _compute(services, owner(), picked[0].id, picked[-1].id, k)
    if alone:
        st.caption(text.literal(_called(picked[0])))
    else:
        _headline(compared)
    _figures(picked, None if alone else compared)
    _chart(picked)
    _questions(compared, picked)


def _pick(runs: dict[str, Run]) -> list[str]:
    state, newest = st.session_state, list(runs)
    if state.get(RUNS[0]) not in runs:
        state[RUNS[0]] = newest[1] if state.get(RUNS[1]) != newest[1] else newest[0]
    if state.get(RUNS[1]) not in runs:
        state[RUNS[1]] = newest[0] if state[RUNS[0]] != newest[0] else newest[1]
    found = []
    for side, key, column in zip(SIDES, RUNS, st.columns(2), strict=True):
        with column:
            found.append(st.selectbox(side, runs, key=key, format_func=lambda id_: _called(runs[id_])))
    return found


def _called(run: Run) -> str:
    return f"{run.configuration.name} · {local_time(run.created):%d %b %Y, %H:%M}"


@st.cache_resource(max_entries=20, show_spinner=False)
def _compute(_services: Services, owner_: str, first: str, second: str, k: tuple[int, int]) -> Comparison:
    results = _services.evaluations.runs.results
    return compare(results(owner_, first), results(owner_, second), k, SIDES)


def _headline(compared: Comparison) -> None:
    """Draw which run is better at what, if any."""
    better: dict[str, list[str]] = {}
    for name, measure in MEASURES.items():
        if name in compared.differences and name not in TIMES:
            better.setdefault(compared.verdict(name, *SIDES), []).append(measure.label)
    won = {verdict: labels for verdict, labels in better.items() if verdict.endswith("is better")}
    for verdict, labels in won.items():
        st.markdown(f"**{verdict}**: {', '.join(labels).lower() if len(labels) > 3 else ', '.join(labels)}")
    if not won:
        st.markdown(f"**No difference that {len(compared.pairs):,} questions could show.**")


def _figures(runs: list[Run], compared: Comparison | None) -> None:
    names = [name for name in MEASURES if any(name in run.figures for run in runs)]
    rows = []
    for name in names:
        measure = MEASURES[name]
        row = {"Figure": measure.label}
        for side, run in zip(SIDES, runs, strict=False):
            figure = run.figures.get(name)
            row[f"{side} (95 %)"] = measure.shown(figure) if figure else ""
        if compared:
            found = compared.differences.get(name)
            row["B − A (95 %)"] = measure.shown(found) if found else ""
            row["Verdict"] = compared.verdict(name, *SIDES) if found else ""
        row["Questions"] = " / ".join(dict.fromkeys(f"{run.figures[name].n:,}" for run in runs if name in run.figures))
        rows.append(row)
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=35 * (len(rows) + 1) + 3,
        column_config={"Figure": st.column_config.TextColumn(pinned=True)},
        alt="Figures of both runs with intervals and differences",
    )
    with st.popover("What these figures mean", type="tertiary", icon=":material/help:"):
        st.markdown("\n".join(f"- **{MEASURES[name].label}**: {MEASURES[name].help}" for name in names))
        st.markdown(
            "The 95 % intervals come from resampling the questions: with similar questions, the figure would lie "
            "within them 19 times out of 20. A difference counts if its own interval excludes 0."
        )


def _chart(runs: list[Run]) -> None:
    """Draw the figures between 0 and 1 with their intervals."""
    import altair as alt

    labels = [run.configuration.name for run in runs]
    if len(runs) > 1:
        labels = [f"{side}: {label}" for side, label in zip(SIDES, labels, strict=True)]
    rows = [
        {"Figure": MEASURES[name].label, "Run": label, "value": found.value, "low": found.low, "high": found.high}
        for label, run in zip(labels, runs, strict=True)
        for name, found in run.figures.items()
        if name not in TIMES
    ]
    order = list(dict.fromkeys(str(row["Figure"]) for row in rows))
    scale, legend = alt.Scale(range=PALETTE), alt.Legend(orient="top", labelLimit=400, columns=1)
    base = alt.Chart(pd.DataFrame(rows)).encode(
        y=alt.Y("Figure:N", sort=order, title=None, axis=alt.Axis(labelLimit=200)),
        yOffset=alt.YOffset("Run:N"),
        color=alt.Color("Run:N", scale=scale, title=None, legend=legend),
        tooltip=["Figure", "Run", *(alt.Tooltip(name, format=".2f") for name in ("value", "low", "high"))],
    )
    axis = alt.X("low:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%"))
    lines = base.mark_rule(strokeWidth=2).encode(x=axis, x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x="value:Q")
    chart = (lines + points).properties(height=alt.Step(15))
    st.altair_chart(chart, alt="The figures of both runs with their intervals")


def _questions(compared: Comparison, runs: list[Run]) -> None:
    alone = len(runs) == 1
    st.subheader("Question by question")
    names = {"Found by neither": "Not found", "All": "All"} if alone else {kind: kind for kind in SHOWN}
    labels = {kind: f"{name} {sum(map(SHOWN[kind], compared.pairs)):,}" for kind, name in names.items()}
    kinds, key = list(labels), "evaluate_shown_pairs_alone" if alone else "evaluate_shown_pairs"
    options: dict[str, Any] = {"format_func": labels.__getitem__, "label_visibility": "collapsed"}
    shown = st.segmented_control("Show", kinds, default=kinds[0], required=True, key=key, **options)
    pairs = [pair for pair in compared.pairs if SHOWN[shown or kinds[0]](pair)]
    if not pairs:
        st.caption("None.")
        return
    rows = [_row(pair, alone) for pair in pairs]
    chosen = st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=min(460, 35 * (len(rows) + 1) + 3),
        on_select="rerun",
        selection_mode="single-row",
        key=f"pairs-{runs[0].id}-{runs[-1].id}-{shown}",
        column_config={
            "Question": st.column_config.TextColumn(width=280, pinned=True),
            "Differs": st.column_config.TextColumn(width=130),
        },
        placeholder="–",
        alt="Questions with what each run found first",
    ).selection.rows
    if chosen and chosen[0] < len(pairs):
        _both(pairs[chosen[0]], alone)
    else:
        st.caption("Tick a question to read what was found first.")


def _row(pair: Pair, alone: bool) -> dict[str, object]:
    row: dict[str, object] = {"Question": pair.first.question}
    if not alone:
        row["Differs"] = pair.differs
    for side, result in zip(SIDES[: 1 if alone else 2], (pair.first, pair.second), strict=False):
        prefix = "" if alone else f"{side}: "
        row[f"{prefix}found at"] = None if result.out_of_scope else result.rank
        row[f"{prefix}first passage"] = "“not in your documents”" if result.abstained else result.first
        if result.answer is not None:
            row[f"{prefix}answer"] = result.error or result.answer
    return row


def _both(pair: Pair, alone: bool) -> None:
    results = (pair.first,) if alone else (pair.first, pair.second)
    for side, result, column in zip(SIDES, results, st.columns(len(results)), strict=False):
        with column, st.container(border=True):
            place = text.literal(result.first) or "nothing"
            st.markdown(f"**{'' if alone else f'{side}: '}{place}**")
            st.caption("“Not in your documents”" if result.abstained else "In scope")
            st.markdown(text.literal(result.excerpt))
            if result.answer is not None:
                st.markdown(f"**Answer**: {text.literal(result.error or result.answer)}")
