"""Fit the refusal of `rag/index/retriever.py`: which questions are about other documents?

    python -m bench.fit_refusal --data DIR

A logistic regression on (top cosine, coverage): SQuAD v2's answerable questions over its paragraphs against the
questions of other sets over the same paragraphs, both classes of equal weight; the threshold refuses 3 % of the
answerable ones (`--false-refusals`).
Fitted on every second question, measured on the others and on another collection (MTRAG-UN). Prints JSON lines: the
constants to put into the module, then the error rates.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.retrieval import emit, foreign_questions, indexed, read_mtrag, read_squad
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.index.retriever import HybridRetriever

Array = np.ndarray[Any, np.dtype[np.float64]]


def features(retriever: HybridRetriever, questions: Sequence[str]) -> Array:
    """Rows of (1, top cosine, coverage)."""
    rows = []
    for question in questions:
        found = retriever.candidates(question)
        assert found is not None
        rows.append((1.0, max(found.cosines.values()), found.coverage))
    return np.array(rows)


def fit(about: Array, foreign: Array) -> Array:
    """Coefficients of the logistic regression, by Newton's method, with a small ridge."""
    x = np.vstack([about, foreign])
    y = np.repeat([1.0, 0.0], [len(about), len(foreign)])
    weight = np.repeat([0.5 / len(about), 0.5 / len(foreign)], [len(about), len(foreign)])
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ beta))
        gradient = x.T @ (weight * (y - p)) - 1e-5 * beta
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + 1e-5 * np.eye(len(beta))
        beta = beta + np.linalg.solve(hessian, gradient)
    return beta


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--false-refusals", type=float, default=0.03)
    options = parser.parse_args()
    data = options.data
    model = EmbeddingModel(embedded_folder())
    paragraphs, answerable, unanswerable = read_squad(data / "squad/squad-v2.0-dev-part.json")
    with indexed(model, paragraphs, "squad_v2") as retriever:
        about = features(retriever, [question for question, _ in answerable])
        foreign = {name: features(retriever, questions) for name, questions in foreign_questions(data).items()}
        missing = features(retriever, unanswerable[::3])
    beta = fit(about[::2], np.vstack([rows[::2] for rows in foreign.values()]))

    def probability(rows: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-rows @ beta)))

    threshold = float(np.quantile(probability(about[::2]), options.false_refusals))
    emit(intercept=float(beta[0]), top_cosine=float(beta[1]), coverage=float(beta[2]), threshold=threshold)

    def refusals(what: str, rows: Array) -> None:
        emit(what=what, questions=len(rows), refused=float((probability(rows) < threshold).mean()))

    refusals("squad answerable, held out (false refusals)", about[1::2])
    for name, rows in foreign.items():
        refusals(f"{name} over squad, held out", rows[1::2])
    refusals("squad unanswerable", missing)
    passages, conversations = read_mtrag(data / "mtrag_un/reference.part.jsonl")
    with indexed(model, list(passages.values()), "mtrag_un") as retriever:
        first = [turns[0] for turns, gold in conversations if gold and len(turns) == 1]
        refusals("mtrag_un first turns with an answer (false refusals)", features(retriever, first))
        last = [turns[-1] for turns, gold in conversations if gold]
        refusals("mtrag_un last turns with an answer, history not given (false refusals)", features(retriever, last))
        refusals("squad over mtrag_un", features(retriever, [question for question, _ in answerable[::7]]))


if __name__ == "__main__":
    main()
