"""Measure abstention: ask each collection its own questions and those of all others. Prints JSON lines.

    python -m bench.abstention --data DIR [--each 40] [--only squad,samples] [--skip-extras] [--languages]

DIR holds `squad/`, `mtrag_un/`, `chunking_eval/`, `sec_10q/` and `xquad/`; the repository's samples are a collection
too. Each collection is calibrated on its own text only (`rag/index/abstention.py`). Leave-one-collection-out,
IN_SCOPE_SHARE is refitted, and so are the baselines: one threshold for all on each collection's scale, the cosine of
the nearest chunk alone, and the constants once fitted on SQuAD.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.abstention_sets import Asked, alone, collections, facts, some, squad_conversations, xquad_halves
from bench.retrieval import COLLECTION, emit, indexed, read_squad
from rag.index.abstention import (
    IN_SCOPE_SHARE,
    PRIOR,
    Calibration,
    Signals,
    calibrate,
    out_of_scope_questions,
    threshold_between,
)
from rag.index.calibrations import SAMPLE
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.index.language import is_foreign
from rag.index.multilingual_model import MultilingualModel
from rag.index.retriever import CHECKED_PASSAGES, HybridRetriever
from rag.index.sentence_check import sentence_cosine
from rag.index.sentence_vectors import SentenceVectors
from settings import get_settings

MOST = 200
"""Own questions asked of a collection."""
WORST = 0.04
"""Highest share of false abstentions in any collection that a threshold is fitted on."""
TINY = 8
"""Chunks of a collection too small to calibrate."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The signals of one question over one collection, for all rules compared here."""

    signals: Signals
    chunk: float
    """Cosine of the nearest chunk."""
    sentence: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Case:
    """A collection with its own questions, and out-of-scope ones by their set."""

    name: str
    calibration: Calibration
    own: list[Probe]
    out_of_scope: dict[str, list[Probe]]

    def abstained(self, rule: Rule) -> tuple[float, float]:
        """Shares of own and of out-of-scope questions that get no answer; each out-of-scope set counts equally."""
        out_of_scope = [self.share(probes, rule) for probes in self.out_of_scope.values()]
        return self.share(self.own, rule), float(np.mean(out_of_scope))

    def share(self, probes: Sequence[Probe], rule: Rule) -> float:
        return sum(rule(self.calibration, asked) for asked in probes) / len(probes)


Rule = Callable[[Calibration, Probe], bool]
"""Whether to abstain."""


class CachedModel(EmbeddingModel):
    """The English model with a cache, as many questions lead to the same sentences."""

    @cached_property
    def known(self) -> dict[str, list[float]]:
        return {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known |= dict(zip(new, super().embed_documents(new), strict=True))
        return [self.known[text] for text in texts]


class CachedMultilingualModel(CachedModel, MultilingualModel):
    """The multilingual model with a cache."""


# --- asking ----------------------------------------------------------------------------------------------------------


def probe(retriever: HybridRetriever, question: str, history: Sequence[str] = ()) -> Probe:
    found = retriever.candidates(question, history=history)
    if found is None:
        return Probe(Signals(-1.0, 0.0), -1.0, -1.0, 0.0)
    chunk = max(found.cosines.values(), default=-1.0)
    passages = retriever.passages(found, question, CHECKED_PASSAGES)
    sentence = sentence_cosine(SentenceVectors(retriever.embeddings), found, passages)
    # As in the earlier rule: the better of the question and the previous one.
    searched = [(text, 1.0) for text in (question, *history[-1:])]
    coverage = max(retriever.lexical.search(COLLECTION, searched).coverage)
    foreign = not retriever.embeddings.latin_only and is_foreign(question, [passage.text for passage in passages])
    signals = replace(found.signals[COLLECTION], foreign=foreign)
    return Probe(signals.with_sentence(sentence) if found.readable else signals, chunk, sentence, coverage)


@contextmanager
def calibrated(model: EmbeddingModel, name: str, texts: Sequence[str]) -> Iterator[tuple[HybridRetriever, Calibration]]:
    with indexed(model, texts, name) as retriever:
        cpu = time.process_time()
        calibration = calibrate(some(texts, SAMPLE), lambda questions: list(retriever.measure(questions)))
        emit(
            set=name,
            what="calibrated",
            cpu_seconds=time.process_time() - cpu,
            threshold=calibration.threshold,
            nearest=calibration.cosine.middle,
            nearest_spread=calibration.cosine.spread,
            matched=calibration.word_match.middle,
            matched_spread=calibration.word_match.spread,
        )
        yield retriever, calibration


# --- rules -----------------------------------------------------------------------------------------------------------


def ours(calibration: Calibration, asked: Probe) -> bool:
    return calibration.abstains(asked.signals)


def before(_: Calibration, asked: Probe) -> bool:
    """The earlier rule, with constants fitted on SQuAD."""
    logit = -12.19 + 16.01 * asked.chunk + 19.88 * asked.coverage
    return bool(1 / (1 + np.exp(-logit)) < 0.398 and asked.chunk < 0.5 and asked.sentence < 0.45)


def from_own_text(share: float) -> Rule:
    """The shipped rule with another IN_SCOPE_SHARE."""

    def abstains(calibration: Calibration, asked: Probe) -> bool:
        return calibration.score(asked.signals) < threshold_between(
            calibration.in_scope, calibration.out_of_scope, share
        )

    return abstains


def one_for_all(threshold: float) -> Rule:
    return lambda calibration, asked: calibration.score(asked.signals) < 10 * threshold


def dense(threshold: float) -> Rule:
    return lambda _, asked: asked.chunk < threshold


FITTED = {
    "calibrated": from_own_text,
    "own scale, one threshold": one_for_all,
    "dense score alone": dense,
}


def fit(training: Sequence[Case], rule: Callable[[float], Rule]) -> float:
    """The highest threshold with at most WORST false abstentions in every training collection."""
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        abstained = max(case.share(case.own, rule(middle)) for case in training)
        low, high = (middle, high) if abstained <= WORST else (low, middle)
    return low


# --- reports ---------------------------------------------------------------------------------------------------------


def report(cases: Sequence[Case]) -> None:
    totals: dict[str, list[tuple[float, float]]] = {}
    for case in cases:
        for name, probes in case.out_of_scope.items():
            emit(set=case.name, out_of_scope=name, questions=len(probes), abstained=case.share(probes, ours))
        results = {"as shipped": case.abstained(ours), "constants before": case.abstained(before)}
        others = [other for other in cases if other is not case]
        for name, rule in FITTED.items() if others else ():
            results[f"{name}, fitted on the others"] = case.abstained(rule(fit(others, rule)))
        for name, (false, abstained) in results.items():
            totals.setdefault(name, []).append((false, abstained))
            emit(
                set=case.name,
                rule=name,
                questions=len(case.own),
                false_abstentions=false,
                out_of_scope_abstained=abstained,
            )
        if rates := case.calibration.error_rates():
            emit(
                set=case.name,
                what="as the calibration has it",
                abstained=rates.false_abstentions,
                let_through=rates.false_answers,
            )
    for name, found in totals.items():
        false_abstentions, out_of_scope = zip(*found, strict=True)
        emit(
            rule=name,
            false_abstentions=float(np.mean(false_abstentions)),
            worst_false_abstentions=max(false_abstentions),
            out_of_scope_abstained=float(np.mean(out_of_scope)),
            worst_out_of_scope_abstained=min(out_of_scope),
        )
    emit(what="IN_SCOPE_SHARE fitted on all", share=fit(cases, from_own_text), shipped=IN_SCOPE_SHARE)
    emit(what="logistic regression on the two z", **regression(cases))


def regression(cases: Sequence[Case]) -> dict[str, float]:
    """Weights of the two signals: the source of COSINE_WEIGHT and STEEPNESS."""
    rows, answered, weights = [], [], []
    for case in cases:
        for probes, yes in [(case.own, True), *((found, False) for found in case.out_of_scope.values())]:
            near, words = case.calibration.cosine, case.calibration.word_match
            rows += [[1.0, near.above(p.signals.cosine), words.above(p.signals.word_match)] for p in probes]
            answered += [float(yes)] * len(probes)
            weights += [1 / len(probes) / (1 if yes else len(case.out_of_scope))] * len(probes)
    x, y, w = np.array(rows), np.array(answered), np.array(weights) / sum(weights)
    beta = np.zeros(3)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        hessian = (x * (w * p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(3)
        beta = beta + np.linalg.solve(hessian, x.T @ (w * (y - p)) - 1e-6 * beta)
    return dict(zip(("intercept", "nearest", "matched"), beta.tolist(), strict=True))


def ask(what: str, retriever: HybridRetriever, calibration: Calibration, asked: Sequence[Asked]) -> None:
    case = Case(what, calibration, [probe(retriever, *question) for question in asked], {})
    shares = {"abstained": case.share(case.own, ours), "abstained_before": case.share(case.own, before)}
    emit(what=what, questions=len(asked), **shares)


# --- hard cases ------------------------------------------------------------------------------------------------------


def squad_extras(data: Path, retriever: HybridRetriever, calibration: Calibration, others: Sequence[Asked]) -> None:
    _, _, unanswerable = read_squad(data / "squad/squad-v2.0-dev-part.json")
    ask("squad: its unanswerable questions", retriever, calibration, alone(some(unanswerable, 300)))
    talks = some(squad_conversations(data), 150)
    ask("squad: with history (false abstentions)", retriever, calibration, talks)
    turned = [(question, history) for question, (_, history) in zip(out_of_scope_questions(), talks, strict=False)]
    ask("squad: an out-of-scope question after its own", retriever, calibration, turned)
    ask("squad: conversations of mtrag_un", retriever, calibration, [asked for asked in others if asked[1]])


def removed_gold(data: Path, model: EmbeddingModel) -> None:
    paragraphs, answerable, _ = read_squad(data / "squad/squad-v2.0-dev-part.json")
    kept = [text for number, text in enumerate(paragraphs) if number % 5]
    gone = [question for question, number in answerable if not number % 5]
    with calibrated(model, "squad_without_every_fifth", kept) as (retriever, calibration):
        ask("squad: the paragraph was removed", retriever, calibration, alone(some(gone, 300)))


def tiny(data: Path, model: EmbeddingModel, others: Sequence[str]) -> None:
    """The first paragraphs of some SQuAD articles as collections, with the prior."""
    paragraphs, answerable, _ = read_squad(data / "squad/squad-v2.0-dev-part.json")
    for first in range(0, len(paragraphs), 120):
        chosen = range(first, first + TINY)
        with indexed(model, [paragraphs[number] for number in chosen if number < len(paragraphs)], "tiny") as retriever:
            own = [question for question, number in answerable if number in chosen]
            ask(f"tiny {first}: own (false abstentions)", retriever, PRIOR, alone(own))
            ask(f"tiny {first}: of other collections", retriever, PRIOR, alone(some(others, 100)))


def samples_extras(retriever: HybridRetriever, calibration: Calibration) -> None:
    for fact in facts():
        found = probe(retriever, fact["question"])
        if bool(fact.get("out_of_scope")) or ours(calibration, found):
            emit(
                set="samples",
                question=fact["question"],
                out_of_scope=bool(fact.get("out_of_scope")),
                abstained=ours(calibration, found),
                abstained_before=before(calibration, found),
            )


def xquad(data: Path) -> None:
    model = CachedMultilingualModel(get_settings().data_dir)
    english_own, english_other = xquad_halves(data, "en")[1:]
    for language in sorted(path.name.split(".")[1] for path in (data / "xquad").glob("xquad.*.part.json")):
        texts, own, out_of_scope = xquad_halves(data, language)
        with calibrated(model, f"xquad_{language}", texts) as (retriever, calibration):
            ask(f"xquad_{language}: own (false abstentions)", retriever, calibration, alone(own))
            ask(f"xquad_{language}: of other articles", retriever, calibration, alone(out_of_scope))
            ask(f"xquad_{language}: own in English (false abstentions)", retriever, calibration, alone(english_own))
            ask(f"xquad_{language}: of other articles in English", retriever, calibration, alone(english_other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--each", type=int, default=40, help="questions of each other collection")
    parser.add_argument("--only", default="", help="names of collections")
    parser.add_argument("--skip-extras", action="store_true")
    parser.add_argument("--languages", action="store_true", help="other languages too, with the multilingual model")
    options = parser.parse_args()
    model = CachedModel(embedded_folder())
    every = list(collections(options.data, model))
    conversations = next(found.own for found in every if found.name == "mtrag_un")
    cases = []
    for found in every:
        if options.only and found.name not in options.only.split(","):
            continue
        with calibrated(model, found.name, found.texts) as (retriever, calibration):
            own = [probe(retriever, *asked) for asked in some(found.own, MOST)]
            out_of_scope = {
                other.name: [probe(retriever, question) for question in some(other.alone, options.each)]
                for other in every
                if other is not found
            }
            cases.append(Case(found.name, calibration, own, out_of_scope))
            if found.name == "squad" and not options.skip_extras:
                squad_extras(options.data, retriever, calibration, conversations)
            if found.name == "samples" and not options.skip_extras:
                samples_extras(retriever, calibration)
    report(cases)
    if not options.skip_extras:
        removed_gold(options.data, model)
        tiny(options.data, model, [question for found in every if found.name != "squad" for question in found.alone])
    if options.languages:
        xquad(options.data)


if __name__ == "__main__":
    main()
