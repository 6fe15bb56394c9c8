"""What a model takes of its devices, as these report it, and giving it back.

torch is imported when it is asked.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import psutil

from accelerator import load_torch


def devices(model: Any) -> list[str]:
    """Where its weights are: “cuda:0”, “cpu”, or several of them where it is spread."""
    torch = load_torch()
    spread = getattr(model, "hf_device_map", None) or {"": model.device}
    return sorted({place if place == "disk" else str(torch.device(place)) for place in spread.values()})


def memory_in_use(places: Collection[str]) -> int:
    """Bytes that this process holds on these devices: as torch counts them on a GPU, resident memory on the CPU."""
    torch = load_torch()
    total = 0
    for place in places:
        if place.startswith("cuda"):
            total += torch.cuda.memory_allocated(place)
        elif place.startswith("mps"):
            total += torch.mps.current_allocated_memory()
        elif place == "cpu":
            total += psutil.Process().memory_info().rss
    return total


def release_memory() -> None:
    """Give memory that nothing refers to back to the device and to the system."""
    torch = load_torch()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
    # glibc keeps what was freed for itself until it is told otherwise; another libc has no such function.
    if sys.platform == "linux":
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
