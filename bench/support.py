"""Fit the sentence check (`rag/chat/support.py`), and measure it through the real `Checker`.

    python -m bench.support --data DIR [--fit] [--baselines] [--questions 40]

DIR holds `squad/` and `mtrag_un/`. Sentences are built from SQuAD's questions and answers (`support_set.py`); `--fit`
fits the weights on every second article and prints them. Measured are the other articles, the hand-labelled sentences
that the embedded model wrote (`support_written.jsonl`), and how much is found of what people and large models wrote
freely (`mtrag_un`). `--baselines` measures a single threshold instead of the regression, and leaves out each feature.
Prints JSON lines. Without `--data`: the written sentences and the time only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.retrieval import emit
from bench.support_set import KINDS, MORE, Sample, build, read_articles
from rag.chat import support
from rag.chat.citations import Checker
from rag.chat.evidence import Evidence, _spans
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.schema import Passage, Verdict

WRITTEN = Path(__file__).parent / "support_written.jsonl"
AGAINST = frozenset(("echo", "replaced", "swapped", "denies", "denied"))
"""Features that count against support; all others but `fragment` count for it."""
PRECISION = 0.94
"""Precision on the fitted articles that sets the threshold."""
ROUNDS = 5
FEATURES = (
    *("covered", "new_in_passage", "echo", "asked", "given", "numbers", "named", "rival", "replaced", "place"),
    *("swapped", "denies", "denied", "fragment"),
)
STEPS = [step / 200 for step in range(40, 198)]
"""Thresholds that are tried."""

Array = np.ndarray[Any, np.dtype[np.float64]]


# --- fitting ---


def rows_of(samples: Sequence[Sample]) -> list[Array]:
    """For each sentence the features of its candidates; empty if a number or a name is missing."""
    rows = []
    for sample in samples:
        evidence = Evidence(sample.passages, sample.question)
        claim = support.parse_claim(evidence, sample.sentence)
        found = support.claim_context(evidence, claim)
        values = [
            [support.features(evidence, claim, evidence.spans[place], found)[name] for name in FEATURES]
            for place in ([] if evidence.missing(claim.whole) else support.candidates(evidence, claim))
        ]
        rows.append(np.array(values))
    return rows


def fit(samples: Sequence[Sample], all_rows: Sequence[Array], names: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Fit intercept and the weights of `names`; each sentence counts with its best candidate.

    Features whose weight would have the wrong sign are left out.
    """
    rows = [row for row in all_rows if len(row)]
    labels = np.array([float(s.supported) for s, row in zip(samples, all_rows, strict=True) if len(row)])
    used = [FEATURES.index(name) for name in names]
    while True:
        picks = [0] * len(rows)
        for _ in range(ROUNDS):
            beta = _logistic(np.array([row[pick][used] for row, pick in zip(rows, picks, strict=True)]), labels)
            picks = [int((row[:, used] @ beta[1:]).argmax()) for row in rows]
        wrong = {
            n: abs(weight)
            for n, weight in zip(used, beta[1:], strict=True)
            if FEATURES[n] != "fragment" and weight * (-1 if FEATURES[n] in AGAINST else 1) < 0
        }
        if not wrong:
            return float(beta[0]), {FEATURES[n]: float(weight) for n, weight in zip(used, beta[1:], strict=True)}
        used.remove(max(wrong, key=wrong.__getitem__))


def _logistic(values: Array, labels: Array, ridge: float = 1e-3) -> Array:
    """Coefficients of a logistic regression, intercept first, by Newton's method on standardised values."""
    mean, deviation = values.mean(0), values.std(0) + 1e-9
    x = np.c_[np.ones(len(values)), (values - mean) / deviation]
    penalty = ridge * np.eye(x.shape[1])
    penalty[0, 0] = 0
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ beta))
        gradient = x.T @ (labels - p) / len(labels) - penalty @ beta
        beta = beta + np.linalg.solve((x.T * (p * (1 - p) + 1e-9)) @ x / len(labels) + penalty, gradient)
    weights = beta[1:] / deviation
    return np.asarray(np.r_[beta[0] - weights @ mean, weights])


# --- measuring ---


@dataclass(frozen=True, slots=True)
class Outcome:
    """A labelled sentence and its verdict."""

    kind: str
    form: str
    right: bool
    score: float
    called: bool


def outcomes(samples: Iterable[Sample]) -> Iterator[Outcome]:
    for sample in samples:
        check = Checker(sample.passages, sample.question).check(sample.sentence).checks
        called = bool(check) and all(each.verdict is not Verdict.UNSUPPORTED for each in check)
        called &= any(each.verdict is Verdict.SUPPORTED for each in check)
        score = min((each.score for each in check if each.verdict is not Verdict.NO_CLAIM), default=0.0)
        yield Outcome(sample.kind, sample.form, sample.supported, score, called)


def figures(found: Sequence[Outcome], threshold: float | None = None) -> dict[str, Any]:
    called = [each for each in found if (each.called if threshold is None else each.score >= threshold)]
    right = sum(each.right for each in called)
    supported = sum(each.right for each in found)
    return {
        "precision": right / len(called) if called else 0.0,
        "recall": right / (supported or 1),
        "f1": 2 * right / ((len(called) + supported) or 1),
        "sentences": len(found),
        "called": len(called),
    }


def threshold_of(found: Sequence[Outcome]) -> float:
    """The lowest threshold that reaches PRECISION."""
    return next((step for step in STEPS if figures(found, step)["precision"] >= PRECISION), STEPS[-1])


def shared(evidence: Evidence, claim: support.Claim) -> tuple[float, int]:
    """Baseline: the highest weighted share of the claim's words."""
    shares = evidence.coverages([span.stems for span in evidence.spans], claim.words.content)
    return max((share, place) for place, share in enumerate(shares))


class Cosines:
    """Baseline: the highest cosine of the claim and a span, by the embedded model."""

    def __init__(self) -> None:
        self._model = EmbeddingModel(embedded_folder())
        self._vectors: dict[str, Array] = {}

    def __call__(self, evidence: Evidence, claim: support.Claim) -> tuple[float, int]:
        texts = [claim.text, *(span.text for span in evidence.spans)]
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        self._vectors |= zip(new, map(np.array, self._model.embed_long(new)), strict=True)
        claimed, *spans = (self._vectors[text] for text in texts)
        return max((float(span @ claimed), place) for place, span in enumerate(spans))


def baselines(fitted: Sequence[Sample], tested: Sequence[Sample]) -> None:
    """One threshold, the best on the fitted articles, instead of the regression; `Evidence.missing` still applies."""
    own = support.judge
    for name, judge in (("shared words", shared), ("cosine", Cosines())):
        support.judge = judge
        learnt = list(outcomes(fitted))
        threshold = max(STEPS, key=lambda step: figures(learnt, step)["f1"])
        for what, found in (("built", outcomes(tested)), ("written", written_outcomes())):
            claims = [each for each in found if each.kind != "no claim"]
            emit(baseline=name, set=what, threshold=threshold, **figures(claims, threshold))
    support.judge = own


def ablation(fitted: Sequence[Sample], tested: Sequence[Sample]) -> None:
    """The regression alone (no clauses, nothing verbatim), fitted again without each feature."""
    written = [
        Sample("", row.question, sentence, row.passages, label, row.part)
        for row in read_written(WRITTEN)
        for sentence, label in row.labels.items()
        if label != "no claim"
    ]
    sets = {"fitted": fitted, "built": tested, "written": written}
    rows = {name: rows_of(samples) for name, samples in sets.items()}

    def judged(name: str, intercept: float, weights: Mapping[str, float]) -> list[Outcome]:
        picked = [FEATURES.index(feature) for feature in weights]
        beta = np.array(list(weights.values()))
        return [
            Outcome(
                sample.kind,
                sample.form,
                sample.supported,
                float(1 / (1 + np.exp(-intercept - (row[:, picked] @ beta).max()))) if len(row) else 0.0,
                called=False,
            )
            for sample, row in zip(sets[name], rows[name], strict=True)
        ]

    for left_out in ("", *support.WEIGHTS):
        model = fit(fitted, rows["fitted"], [name for name in support.WEIGHTS if name != left_out])
        threshold = threshold_of([each for each in judged("fitted", *model) if each.kind in KINDS])
        for name in ("built", "written"):
            emit(without=left_out or "nothing", set=name, **figures(judged(name, *model), threshold))


def report(name: str, found: Sequence[Outcome]) -> None:
    emit(set=name, **figures(found))
    for kind in dict.fromkeys(each.kind for each in found):
        mine = [each for each in found if each.kind == kind]
        emit(set=name, kind=kind, sentences=len(mine), called_supported=sum(e.called for e in mine) / len(mine))
    for form in dict.fromkeys(each.form for each in found):
        emit(set=name, form=form, **figures([each for each in found if each.form == form]))


# --- the written sentences ---


@dataclass(frozen=True, slots=True)
class Written:
    """An answer of the embedded model, and its labelled sentences."""

    part: str
    question: str
    answer: str
    passages: tuple[Passage, ...]
    labels: dict[str, str]
    """Sentence on one line -> `supported`, `unsupported` or `no claim`."""


def read_written(path: Path) -> Iterator[Written]:
    passages: dict[str, Passage] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if name := row.get("passage"):
            place = row["document"], row["page"]
            text = row["text"]
            passages[name] = Passage(name, *place[:1], *place, text, 0, len(text), 1.0, 0.5, 1.0, row["heading"])
        else:
            labels = {each["sentence"]: each["label"] for each in row["sentences"]}
            shown = tuple(passages[name] for name in row["passages"])
            yield Written(row["set"], row["question"], row["answer"], shown, labels)


def written_outcomes() -> Iterator[Outcome]:
    """The labelled sentences, checked within their answers."""
    for row in read_written(WRITTEN):
        checked = Checker(row.passages, row.question).check(row.answer)
        found = {" ".join(checked.text[c.start : c.end].split()): c for c in reversed(checked.checks)}
        for sentence, label in row.labels.items():
            check = found[sentence]
            called = check.verdict is Verdict.SUPPORTED
            yield Outcome(label, row.part, label == "supported", check.score, called)


def written() -> None:
    found = list(written_outcomes())
    claims = [each for each in found if each.kind != "no claim"]
    emit(set="written", **figures(claims))
    for part in dict.fromkeys(each.form for each in claims):
        emit(set="written", part=part, **figures([each for each in claims if each.form == part]))
    silent = [each for each in found if each.kind == "no claim"]
    emit(set="written", kind="no claim", sentences=len(silent), called_supported=sum(each.called for each in silent))


# --- free wording ---


def free_words(path: Path) -> None:
    """MTRAG-UN's reference answers, all supported by their passages, and the same with those of another question."""
    tasks = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    tasks = [task for task in tasks if task["contexts"] and task["answerability"] == ["ANSWERABLE"]]
    counts = {"own passages": [0, 0], "passages of another question": [0, 0]}
    for task, other in zip(tasks, tasks[len(tasks) // 2 :] + tasks[: len(tasks) // 2], strict=True):
        question, answer = task["input"][-1]["text"], task["targets"][0]["text"]
        for passages, contexts in zip(counts, (task["contexts"], other["contexts"]), strict=True):
            shown = [
                Passage(c["document_id"], c["document_id"], "", None, c["text"], 0, len(c["text"]), 1.0, 0.5, 1.0)
                for c in contexts
            ]
            for check in Checker(shown, question).check(answer).checks:
                if check.verdict is not Verdict.NO_CLAIM:
                    counts[passages][0] += 1
                    counts[passages][1] += check.verdict is Verdict.SUPPORTED
    for passages, (sentences, called) in counts.items():
        emit(set="free words", passages=passages, sentences=sentences, called_supported=called / max(1, sentences))


# --- time ---


def timing() -> None:
    """CPU of a check of ten sentences over four passages that were not checked before: best and median of 15 runs."""
    rows = list(read_written(WRITTEN))
    shown = max((row.passages for row in rows), key=lambda passages: sum(len(p.text) for p in passages))
    sentences = [
        sentence for row in rows for sentence, label in row.labels.items() if label != "no claim" and len(sentence) > 40
    ]
    sentences = list(dict.fromkeys(sentences))
    took = []
    for run in range(15):
        _spans.cache_clear()
        started = time.process_time()
        Checker(shown, rows[0].question).check("\n".join(sentences[run : run + 10]))
        took.append(1000 * (time.process_time() - started))
    emit(cpu_ms_of="check", sentences=10, passages=len(shown), median=sorted(took)[7], best=min(took))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("--questions", type=int, default=40, help="of each article")
    options = parser.parse_args()
    if options.data:
        articles = read_articles(options.data / "squad/squad-v1.1-dev-part.json")
        fitted, tested = list(build(articles[::2], options.questions)), list(build(articles[1::2], options.questions))
        core, core_tested = (
            [sample for sample in samples if sample.kind in KINDS and sample.form != "joined"]
            for samples in (fitted, tested)
        )
        if options.baselines:
            baselines(core, core_tested)
            ablation([sample for sample in fitted if sample.form != "joined"], core_tested)
        if options.fit:
            samples = [sample for sample in fitted if sample.form != "joined"]
            support.INTERCEPT, support.WEIGHTS = fit(samples, rows_of(samples), FEATURES)
            emit(INTERCEPT=support.INTERCEPT, WEIGHTS={k: round(v, 3) for k, v in support.WEIGHTS.items()})
            support.THRESHOLD = threshold_of(list(outcomes(core)))
            emit(THRESHOLD=support.THRESHOLD)
        found = list(outcomes(tested))
        report("built", [each for each in found if each.kind in KINDS and each.form != "joined"])
        report("built, further kinds", [e for e in found if e.kind in MORE or e.form == "joined"])
        free_words(options.data / "mtrag_un/reference.part.jsonl")
    written()
    timing()


if __name__ == "__main__":
    main()
