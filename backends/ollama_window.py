"""How large a window Ollama can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MIN_WINDOW = 2048
DEFAULT_WINDOW = 4096
"""Tokens of the window if the model's own is unknown."""


def largest_window(model_info: Mapping[str, Any], budget: int) -> int:
    """Return the tokens of the largest window whose cache fits into `budget` bytes: for `/api/show`, with GGUF's keys.

    Per token, the cache has a key and a value for each head and layer, two bytes per number. The window is a multiple
    of 1024 and at least 2048, unless the model's own is smaller.
    """
    own_window = context_length(model_info)
    if own_window is None:
        return DEFAULT_WINDOW
    arch = model_info.get("general.architecture", "")
    layers, width = model_info.get(f"{arch}.block_count"), model_info.get(f"{arch}.embedding_length")
    heads, kv_heads, key, value = (
        model_info.get(f"{arch}.attention.{name}")
        for name in "head_count head_count_kv key_length value_length".split()
    )
    if not (layers and heads and width):
        return min(own_window, DEFAULT_WINDOW)
    # Some models list the heads of each layer.
    heads, kv_heads = (max(count) if isinstance(count, list) else count for count in (heads, kv_heads or heads))
    bytes_per_token = 2 * layers * kv_heads * ((key or width // heads) + (value or width // heads))
    affordable = budget // bytes_per_token // 1024 * 1024
    return int(min(own_window, max(affordable, MIN_WINDOW)))


def context_length(model_info: Mapping[str, Any]) -> int | None:
    """Return the tokens of a model's own window, if it is known."""
    length = model_info.get(f"{model_info.get('general.architecture', '')}.context_length")
    return length if isinstance(length, int) else None
