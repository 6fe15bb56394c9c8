"""The figures of a run, and how two runs differ. One table lists what is measured, in display order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation import metrics
from evaluation.metrics import Column, Difference, Figure, Figures
from evaluation.questions import folded
from evaluation.runs import DEPTH, Result


@dataclass(frozen=True, slots=True)
class Measure:
    """How a figure is displayed."""

    label: str
    help: str
    less_is_better: bool = False
    unit: str = "%"
    """“%” for a share, “ms”, or “” for a figure between 0 and 1."""

    def shown(self, figure: Figure | Difference) -> str:
        """Format a figure and its interval: “92 % (82 to 98)”; a difference is signed."""
        signed = isinstance(figure, Difference)
        value, low, high = (self._number(each, signed) for each in (figure.value, figure.low, figure.high))
        return f"{value}{' ' if self.unit else ''}{self.unit} ({low} to {high})"

    def _number(self, value: float, signed: bool) -> str:
        factor, digits = (100, 0) if self.unit == "%" else (1, 0 if self.unit == "ms" else 2)
        number = round(factor * value, digits) + 0.0  # no -0
        sign = "+" if signed and number else ""
        return f"{number:{sign},.{digits}f}".replace("-", "−")


MEASURES: Mapping[str, Measure] = {
    "found": Measure("Found", "A passage with the answer is among those given to the model."),
    "hit@1": Measure("Found first", "The first passage has the answer (hit@1)."),
    "hit@3": Measure("Found in the first 3", "hit@3"),
    "hit@5": Measure("Found in the first 5", "hit@5"),
    "hit@10": Measure("Found in the first 10", "hit@10"),
    "mrr": Measure("MRR", "1 / rank of the first passage with the answer, on average; 0 after the tenth.", unit=""),
    "ndcg@10": Measure("nDCG@10", "How near the top the relevant passages are, 0 to 1.", unit=""),
    "false_abstentions": Measure(
        "Wrong abstentions", "Questions with an answer for which Gestalt abstained.", less_is_better=True
    ),
    "out_of_scope_abstained": Measure(
        "Out-of-scope questions caught", "Questions without an answer for which Gestalt abstained, as it should."
    ),
    "right": Measure("Right answers", "Answers that contain the expected words."),
    "support": Measure("Supported sentences", "Sentences of the answers that the passages support, of those checked."),
    "p50_ms": Measure("Search time, median", "Milliseconds per search.", less_is_better=True, unit="ms"),
    "p95_ms": Measure("Search time, p95", "19 out of 20 searches take no longer.", less_is_better=True, unit="ms"),
}
"""All figures, in display order."""


def columns(results: Sequence[Result], k: int) -> dict[str, Column]:
    """The values of each question, by measure; `k` is the number of passages given to the model."""
    counts = np.array([not result.out_of_scope for result in results], dtype=np.float64)
    ranks = metrics.rank_columns([result.relevant[:DEPTH] for result in results], [result.total for result in results])
    found = {
        "found": metrics.column([None if r.out_of_scope else any(r.relevant[:k]) for r in results]),
        **{name: Column(each.values, each.weights * counts) for name, each in ranks.items()},
        "false_abstentions": metrics.column([None if r.out_of_scope else r.abstained for r in results]),
        "out_of_scope_abstained": metrics.column([r.abstained if r.out_of_scope else None for r in results]),
        "right": metrics.column([r.right for r in results]),
        "support": metrics.share_column([(r.supported, r.checked) for r in results]),
        **metrics.latency_columns([r.seconds for r in results]),
    }
    return {name: found[name] for name in MEASURES}


def figures(results: Sequence[Result], k: int) -> Figures:
    """The figures of a run, without those that no question measures."""
    return metrics.figures(columns(results, k))


@dataclass(frozen=True, slots=True)
class Pair:
    """A question that both runs asked."""

    first: Result
    second: Result
    differs: str
    """How the results differ, for display; empty if they do not."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs over the questions that both asked."""

    differences: Mapping[str, Difference]
    """By measure, the second minus the first."""
    pairs: tuple[Pair, ...]

    def verdict(self, measure: str, first: str, second: str) -> str:
        """Name the better run, or state that the questions are too few to tell."""
        found = self.differences[measure]
        if not found.shown:
            return f"No difference that {found.n} question{'' if found.n == 1 else 's'} could show"
        second_is_better = (found.value > 0) is not MEASURES[measure].less_is_better
        return f"{second if second_is_better else first} is better"


def compare(
    first: Sequence[Result], second: Sequence[Result], k: tuple[int, int], names: tuple[str, str]
) -> Comparison:
    """Compare two runs by questions of the same text; `k` passages went to each model, `names` are for `differs`."""
    others = {(folded(result.question), result.out_of_scope): result for result in second}
    both = [(r, others[key]) for r in first if (key := (folded(r.question), r.out_of_scope)) in others]
    left, right = columns([a for a, _ in both], k[0]), columns([b for _, b in both], k[1])
    found = {name: metrics.difference(left[name], right[name]) for name in MEASURES}
    return Comparison(
        {name: each for name, each in found.items() if each},
        tuple(Pair(a, b, _differs(a, b, k, names)) for a, b in both),
    )


def _differs(a: Result, b: Result, k: tuple[int, int], names: tuple[str, str]) -> str:
    outcomes = (
        ("found by", (any(a.relevant[: k[0]]), any(b.relevant[: k[1]]))),
        ("abstained by", (a.abstained, b.abstained)),
        ("answered rightly by", (a.right, b.right)),
    )
    return ", ".join(
        f"{what} {names[0 if one else 1]} only" for what, (one, other) in outcomes if bool(one) is not bool(other)
    )
