"""Sampling for the local model, as a logits processor with a random generator of its own.

`generate` samples from torch's global generator: a seed would have to be set for the whole process, and another
thread's draw would change the answer. Greedy decoding over scores with Gumbel noise picks every token with the very
probability that sampling would (the Gumbel-max trick, https://arxiv.org/abs/1611.01144), so the noise comes from here
and the global generator is never touched. Knows tensors only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from options import GenerationOptions

if TYPE_CHECKING:
    import torch

NEVER = -1e30
"""The score of a token that top_k or top_p rules out. Finite, because drafting from the prompt tries its tokens on
made-up scores and takes an infinite one for a forbidden token."""


class Sampler:
    """Temperature, top_k, top_p and a draw: the token that it picks has the highest score."""

    def __init__(self, options: GenerationOptions) -> None:
        self.options = options
        self._random: torch.Generator | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (1, vocabulary) -> scores of the same shape, ruled out or with noise."""
        import torch

        if self._random is None:
            self._random = torch.Generator(device=scores.device)
            if self.options.seed is None:
                self._random.seed()
            else:
                self._random.manual_seed(self.options.seed)
        size = min(self.options.top_k or scores.shape[-1], scores.shape[-1])
        best, ids = (scores.float() / self.options.temperature).topk(size)
        probabilities = best.softmax(-1)
        # A token stays while those before it have not reached top_p: the first one always does.
        beyond = probabilities.cumsum(-1) - probabilities >= self.options.top_p
        noise = -torch.empty_like(best).exponential_(generator=self._random).log()
        return torch.full_like(scores, NEVER).scatter(
            -1, ids, (best + noise).masked_fill(beyond, NEVER).to(scores.dtype)
        )
