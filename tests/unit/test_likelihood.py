"""The likelihood of a question after texts, by a model in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from backends.generation import Runtime
from backends.likelihood import AFTER, BEFORE, likelihood
from errors import BackendUnavailable
from tests.tiny_model import make_chat_model

SENTENCES = ["The deposit is due.", "It is a long day by the sea and the sun is warm.", "No."]


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    found: Runtime = make_chat_model().runtime
    yield found
    found.close()


def reference(runtime: Runtime, question: str, sentence: str) -> float:
    """The mean log-probability of the question, computed for one sentence without padding."""
    before, after = runtime.tokenizer.encode(f"{BEFORE}"), runtime.tokenizer.encode(AFTER)
    asked = runtime.tokenizer.encode(f" {question}")
    ids = [*before, *runtime.tokenizer.encode(sentence), *after, *asked]
    with torch.inference_mode():
        logits = runtime.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    start = len(ids) - len(asked)
    return sum(float(logits[start + n - 1, id_]) for n, id_ in enumerate(asked)) / len(asked)


def test_each_sentence_as_if_it_were_alone(runtime: Runtime) -> None:
    found = likelihood(runtime, "What is due?", SENTENCES)
    assert found == pytest.approx([reference(runtime, "What is due?", each) for each in SENTENCES], abs=1e-4)
    assert len(set(found)) == len(SENTENCES)


def test_nothing_to_compare(runtime: Runtime) -> None:
    assert likelihood(runtime, "What?", []) == []
    assert likelihood(runtime, " ", SENTENCES) == [0.0, 0.0, 0.0]


def test_an_unloaded_model_says_so(runtime: Runtime) -> None:
    runtime.close()
    with pytest.raises(BackendUnavailable):
        likelihood(runtime, "What?", SENTENCES)


def test_it_waits_for_its_turn(runtime: Runtime) -> None:
    order = []

    class Busy:
        def run(self, runtime: Runtime) -> None:
            time.sleep(0.2)
            order.append("busy")

    runtime.submit(Busy())
    assert likelihood(runtime, "What?", SENTENCES)
    assert order == ["busy"]


def test_an_unload_stops_it_between_layers(runtime: Runtime) -> None:
    passes = []

    def count(*_: object) -> None:
        passes.append(1)
        runtime.closing.set()

    for layer in runtime.model.model.layers:
        layer.register_forward_hook(count)
    with pytest.raises(BackendUnavailable):
        likelihood(runtime, "What is due?", SENTENCES)
    assert len(passes) == 1
