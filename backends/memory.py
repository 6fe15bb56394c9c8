"""Memory that a model uses on its devices, and releasing it. torch is imported when needed."""

from __future__ import annotations

import ctypes
import gc
import shutil
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from accelerator import load_torch


def devices(model: Any) -> list[str]:
    """Return where the model's weights are: “cuda:0”, “cpu”, or several if it is spread."""
    torch = load_torch()
    device_map = getattr(model, "hf_device_map", None) or {"": model.device}
    return sorted({device if device == "disk" else str(torch.device(device)) for device in device_map.values()})


def memory_in_use(devices: Collection[str]) -> int:
    """Return the bytes that this process uses on `devices`: as torch counts them on a GPU, resident memory on a CPU."""
    torch = load_torch()
    total = 0
    for device in devices:
        if device.startswith("cuda"):
            total += torch.cuda.memory_allocated(device)
        elif device.startswith("mps"):
            total += torch.mps.current_allocated_memory()
        elif device == "cpu":
            total += psutil.Process().memory_info().rss
    return total


def memory_free(device: str) -> int:
    """Return the free bytes of a device; of the machine if that is not a GPU with memory of its own."""
    torch = load_torch()
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return int(psutil.virtual_memory().available)


def disk_free(folder: Path) -> int:
    """Return the free bytes of the disk that a folder is on, or would be."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free


def release_memory() -> None:
    """Return unreferenced memory to the device and to the system."""
    torch = load_torch()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
    # glibc keeps freed memory until malloc_trim is called; other libcs do not have it.
    if sys.platform == "linux":
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
