"""Imports torch with its threads capped, and chooses device and dtype.

The only place that imports torch first; shared by the embedding model and the local chat model.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from errors import ConfigurationError
from settings import get_settings

if TYPE_CHECKING:
    import torch


def thread_count() -> int:
    """Return the CPU threads for torch: GESTALT_THREADS, else one per core available to this process, at most 8."""
    return get_settings().threads or min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)


@cache
def load_torch() -> Any:
    """Import torch, which takes about two seconds, and cap its threads before first use."""
    # OpenMP threads that spin while waiting use nine times the CPU as soon as another process computes;
    # libgomp reads this once, when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("OMP_NUM_THREADS", str(thread_count()))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # torch and oneDNN compile a program for every number of rows, and cache a thousand of a megabyte each.
    os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    import torch

    torch.set_num_threads(thread_count())
    return torch


def choose_device(requested: str = "auto") -> str:
    """Return `requested`, for `auto` the best of cuda, mps and cpu, else raise ConfigurationError."""
    torch = load_torch()
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if requested == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(requested.split(":")[0], False):
        message = f"The device {requested} is not available on this machine."
        raise ConfigurationError(message, "Set GESTALT_DEVICE to auto or cpu.")
    return requested


def choose_dtype(device: str) -> torch.dtype:
    """Return bf16 if the device supports it natively, else fp32."""
    torch = load_torch()
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if native else torch.float32
