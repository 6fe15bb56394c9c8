"""How likely a question is after each of some texts, by a model in memory.

A small model that writes poorly still tells well which text a question is about
(query likelihood, https://arxiv.org/abs/2204.07496).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from backends.generation import Runtime, checked_layers
from errors import BackendUnavailable

TEXT_TOKENS, QUESTION_TOKENS = 256, 64
"""Read at most of each."""
BEFORE, AFTER = "Passage: ", "\nQuestion answered by this passage:"


class Scoring:
    """One batch of texts; submit it to a Runtime, in whose thread it is computed."""

    def __init__(self, question: str, texts: Sequence[str]) -> None:
        self.question, self.texts = question, texts
        self.done: Future[list[float]] = Future()

    def run(self, runtime: Runtime) -> None:
        """Compute. Errors are set on `done`."""

        def check() -> None:
            if runtime.closing.is_set():
                raise BackendUnavailable("The passages were not compared: the model was unloaded.", "Ask again.")

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

        before, after = ids(BEFORE, TEXT_TOKENS), ids(AFTER, TEXT_TOKENS)
        question = ids(f" {self.question.strip()}", QUESTION_TOKENS)
        rows = [[*before, *ids(text, TEXT_TOKENS), *after, *question] for text in self.texts]
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


def likelihood(runtime: Runtime, question: str, texts: Sequence[str]) -> list[float]:
    """The mean log-probability of the question's tokens after each text; waits for the jobs before it.

    Raises BackendUnavailable if the model is unloaded.
    """
    if not texts or not question.strip():
        return [0.0] * len(texts)
    scoring = Scoring(question, texts)
    runtime.submit(scoring)
    return scoring.done.result()
