"""torch, imported with its threads capped, and the choice of device and dtype.

The one place that imports torch first, shared by the embedding model and the local chat model.
Knows nothing of either.
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
    """CPU threads for torch: GESTALT_THREADS, else one per core that this process may use, at most 8."""
    return get_settings().threads or min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)


@cache
def load_torch() -> Any:
    """torch, with threads capped before its first use (it takes about two seconds to import)."""
    # OpenMP threads that spin while they wait cost nine times the CPU as soon as another process computes;
    # libgomp reads this once, when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("OMP_NUM_THREADS", str(thread_count()))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # torch and oneDNN compile a program for each number of rows that they meet, and keep a thousand of a megabyte each.
    os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    import torch

    torch.set_num_threads(thread_count())
    return torch


def choose_device(wanted: str = "auto") -> str:
    """The device to compute on: `wanted`, or for `auto` the best there is: cuda, mps, else cpu.

    Raises:
        ConfigurationError: `wanted` is not there.
    """
    torch = load_torch()
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(wanted.split(":")[0], False):
        raise ConfigurationError(
            f"The device {wanted} is not available on this machine.", "Set GESTALT_DEVICE to auto or cpu."
        )
    return wanted


def choose_dtype(device: str) -> torch.dtype:
    """bf16 where the device computes in it natively, fp32 elsewhere."""
    torch = load_torch()
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        native = False
    return torch.bfloat16 if native else torch.float32
