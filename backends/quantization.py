"""Variants of a model: quantized by bitsandbytes while it is loaded, where its name ends in `@8-bit` or `@4-bit`.

Knows names, devices and bitsandbytes, which is imported when such a model is loaded; nothing of files or of generation.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

from errors import ConfigurationError

VARIANTS = "8-bit", "4-bit"


def split(model: str) -> tuple[str, str | None]:
    """A model's name as name and variant; None where it names no variant."""
    name, _, variant = model.rpartition("@")
    return (name, variant) if name and variant in VARIANTS else (model, None)


def require(name: str, variant: str, device: str) -> None:
    """Return where a model can be quantized on `device`.

    Raises:
        ConfigurationError: it cannot, or bitsandbytes is missing.
    """
    if device.split(":")[0] not in ("cuda", "cpu"):
        raise ConfigurationError(
            f"A model cannot be loaded in {variant} on {device}.",
            f"Choose {name} without @{variant}, or set GESTALT_DEVICE to cuda or cpu.",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigurationError(
            f"Loading a model in {variant} takes the package bitsandbytes, which is not installed.",
            f"Run: pip install bitsandbytes, or choose {name} without @{variant}.",
        )


def require_full_precision(name: str, variant: str, config: Any) -> None:
    """Return where a model's files hold weights that are not quantized yet.

    Raises:
        ConfigurationError: they are quantized.
    """
    if getattr(config, "quantization_config", None):
        raise ConfigurationError(f"{name} is quantized already.", f"Choose it without @{variant}.")


def make_config(variant: str, dtype: Any) -> Any:
    """What transformers takes as `quantization_config`; `dtype` is the one that 4-bit weights are computed in."""
    from transformers import BitsAndBytesConfig

    # It logs a line for every matrix of every token.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if variant == "8-bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=True,
    )


def avoid_packing(model: Any) -> None:
    """Keep bitsandbytes from a layout of 4-bit weights for CPUs, where it would fail on a matrix of this shape."""
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False) and (
            module.in_features % 64 or module.out_features % 32
        ):
            module.support_avx512bf16_for_cpu = False
