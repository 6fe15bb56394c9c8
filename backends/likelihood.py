"""How likely a question is after each of some sentences, by a model in memory.

A small model that writes poorly still tells well which sentence a question is about
(query likelihood, https://arxiv.org/abs/2204.07496).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from threading import Event as Flag
from typing import Any

from backends.generation import Runtime, checked_layers
from errors import BackendBusy, BackendUnavailable

PATIENCE_S = 2.0
"""How long to wait for the model, which may be answering somebody else."""
SENTENCE_TOKENS, QUESTION_TOKENS = 128, 64
"""Read at most of each."""
BEFORE, AFTER = "Passage: ", "\nQuestion answered by this passage:"


class Scoring:
    """One batch of sentences; submit it to a Runtime, in whose thread it is computed."""

    def __init__(self, question: str, sentences: Sequence[str]) -> None:
        self.question, self.sentences = question, sentences
        self.done: Future[list[float]] = Future()
        self._cancelled = Flag()

    def cancel(self) -> None:
        """Stop it, before its turn or between two layers. Idempotent."""
        self._cancelled.set()

    def run(self, runtime: Runtime) -> None:
        """Compute. Errors are set on `done`."""

        def check() -> None:
            if self._cancelled.is_set() or runtime.closing.is_set():
                raise BackendUnavailable("The sentences were not compared: the model was stopped.", "Ask again.")

        try:
            check()
            with checked_layers(runtime.model, check):
                self.done.set_result(self._means(runtime.model, runtime.tokenizer))
        except BaseException as error:  # noqa: BLE001 - the thread has other work
            self.done.set_exception(error)

    def _means(self, model: Any, tokenizer: Any) -> list[float]:
        import torch

        def ids(text: str, most: int) -> list[int]:
            found: list[int] = tokenizer.encode(text, add_special_tokens=False)[:most]
            return found

        before, after = ids(BEFORE, SENTENCE_TOKENS), ids(AFTER, SENTENCE_TOKENS)
        question = ids(f" {self.question.strip()}", QUESTION_TOKENS)
        rows = [[*before, *ids(sentence, SENTENCE_TOKENS), *after, *question] for sentence in self.sentences]
        # Padded on the left, so that the question stands at the same places in all rows.
        width = max(map(len, rows))
        padded = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
        output = model(
            input_ids=padded,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            logits_to_keep=len(question) + 1,
            use_cache=False,
        )
        scores = output.logits[:, -len(question) - 1 : -1].float().log_softmax(-1)
        means: list[float] = scores.gather(-1, padded[:, -len(question) :, None])[..., 0].mean(-1).tolist()
        return means


def likelihood(runtime: Runtime, question: str, sentences: Sequence[str]) -> list[float]:
    """The mean log-probability of the question's tokens after each sentence.

    Raises BackendBusy if the model does not get to it within `PATIENCE_S`, BackendUnavailable if it is unloaded.
    """
    if not sentences or not question.strip():
        return [0.0] * len(sentences)
    scoring = Scoring(question, sentences)
    runtime.submit(scoring)
    try:
        return scoring.done.result(PATIENCE_S)
    except TimeoutError:
        raise BackendBusy("The model is busy.", "Try again in a moment.") from None
    finally:
        scoring.cancel()
