"""The figures of a question set over time, and its runs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from evaluation.figures import MEASURES
from evaluation.store import QuestionSet, Run
from services import Services
from ui.app import local_time, owner
from ui.widgets import text

PALETTE = ["#4c86d6", "#e08a2c", "#2a9d8f", "#b0659e", "#8a8f3a", "#c2554d"]  # legible on light and on dark


def draw(services: Services, chosen: QuestionSet) -> None:
    """Draw one figure of all runs of a set over time, and the table of runs."""
    runs = services.evaluations.runs.all(owner(), chosen.id)
    if not runs:
        st.info("Nothing has been measured with this set yet.", icon=":material/timeline:")
        return
    names = [name for name in MEASURES if any(name in run.figures for run in runs)]
    name = st.selectbox("Figure", names, format_func=lambda name: MEASURES[name].label, key="evaluate_measure")
    _line(runs, name)
    rows = [
        {
            "When": local_time(run.created),
            "Configuration": run.configuration.name,
            **{MEASURES[n].label: MEASURES[n].shown(run.figures[n]) for n in names if n in run.figures},
        }
        for run in runs
    ]
    ticked = st.dataframe(
        pd.DataFrame(rows).fillna(""),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=f"runs-{chosen.id}-{len(runs)}",
        column_config={
            "When": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm", timezone=st.context.timezone),
            "Configuration": st.column_config.TextColumn(width="medium"),
        },
        alt="All runs with their figures",
    ).selection.rows
    picked = [runs[row] for row in ticked if row < len(runs)]
    if picked and st.button(f"Delete {text.count(len(picked), 'run')}", icon=":material/delete:"):
        for run in picked:
            services.evaluations.runs.delete(owner(), run.id)
        st.rerun()


def _line(runs: list[Run], name: str) -> None:
    import altair as alt

    measure = MEASURES[name]
    rows = [
        (f"{local_time(run.created):%d %b %Y, %H:%M}", run.configuration.name, found.value, found.low, found.high)
        for run in reversed(runs)
        if (found := run.figures.get(name))
    ]
    moments = list(dict.fromkeys(when for when, *_ in rows))
    axis = alt.Axis(format=".0%" if measure.unit == "%" else ".2f" if not measure.unit else ".0f")
    scale = alt.Scale(zero=True) if measure.unit == "ms" else alt.Scale(domain=[0, 1])
    legend = alt.Legend(orient="top", labelLimit=400, columns=1)
    base = alt.Chart(pd.DataFrame(rows, columns=["When", "Configuration", "value", "low", "high"])).encode(
        # One step a run: days lie between some runs, seconds between others.
        x=alt.X("When:O", sort=moments, title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        xOffset="Configuration:N",
        color=alt.Color("Configuration:N", scale=alt.Scale(range=PALETTE), title=None, legend=legend),
        tooltip=["When", "Configuration", *(alt.Tooltip(n, format=".2f") for n in ("value", "low", "high"))],
    )
    title = f"{measure.label}{f' ({measure.unit})' if measure.unit == 'ms' else ''}"
    value = alt.Y("value:Q", title=title, scale=scale, axis=axis)
    lines = base.mark_line(strokeWidth=1, opacity=0.6).encode(y=value)
    spans = base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(y=value)
    st.altair_chart((lines + spans + points).properties(height=300), alt=f"{measure.label} over time")
