"""Sampling for the local model with a separate random generator: torch's global one is shared with other threads.

Greedy decoding over scores with Gumbel noise picks each token with the same probability as sampling (the Gumbel-max
trick, https://arxiv.org/abs/1611.01144), so a logits processor adds the noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from options import GenerationOptions

if TYPE_CHECKING:
    import torch

NEVER = -1e30
"""Score of tokens excluded by top_k or top_p. Finite, because drafting from the prompt treats tokens with an infinite
score as forbidden."""


class Sampler:
    """Applies temperature, top_k and top_p, and draws: the drawn token gets the highest score."""

    def __init__(self, options: GenerationOptions) -> None:
        self.options = options
        self._random: torch.Generator | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (1, vocabulary), excluded or with noise."""
        import torch

        if self._random is None:
            self._random = torch.Generator(device=scores.device)
            if self.options.seed is None:
                self._random.seed()
            else:
                self._random.manual_seed(self.options.seed)
        best, ids = (scores.float() / self.options.temperature).topk(min(self.options.top_k, scores.shape[-1]))
        probabilities = best.softmax(-1)
        # A token is kept while those before it have not reached top_p, so the first one always is.
        beyond = probabilities.cumsum(-1) - probabilities >= self.options.top_p
        noise = -torch.empty_like(best).exponential_(generator=self._random).log()
        drawn = (best + noise).masked_fill(beyond, NEVER).to(scores.dtype)
        return torch.full_like(scores, NEVER).scatter(-1, ids, drawn)
