"""Variants of a model: quantized by bitsandbytes while loading, if its name ends in `@8-bit` or `@4-bit`."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

from errors import ConfigurationError

VARIANTS = "8-bit", "4-bit"


def split(model: str) -> tuple[str, str | None]:
    """Split a model's name into name and variant; the variant is None if there is none."""
    name, _, variant = model.rpartition("@")
    return (name, variant) if name and variant in VARIANTS else (model, None)


def check_supported(name: str, variant: str, device: str) -> None:
    """Raise ConfigurationError if models cannot be quantized on `device`, or bitsandbytes is missing."""
    if device.split(":")[0] not in ("cuda", "cpu"):
        hint = f"Choose {name} without @{variant}, or set GESTALT_DEVICE to cuda or cpu."
        raise ConfigurationError(f"A model cannot be loaded in {variant} on {device}.", hint)
    if importlib.util.find_spec("bitsandbytes") is None:
        message = f"Loading a model in {variant} needs the package bitsandbytes, which is not installed."
        raise ConfigurationError(message, f"Run: pip install bitsandbytes, or choose {name} without @{variant}.")


def make_config(variant: str, dtype: Any) -> Any:
    """Return the `quantization_config` for transformers; 4-bit weights are computed in `dtype`."""
    from transformers import BitsAndBytesConfig

    # It logs a line per matrix and token.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if variant == "8-bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    )


def avoid_packing(model: Any) -> None:
    """Disable bitsandbytes' CPU layout of 4-bit weights for matrices whose shape it does not support."""
    for module in model.modules():
        packs = getattr(module, "support_avx512bf16_for_cpu", False)
        if packs and (module.in_features % 64 or module.out_features % 32):
            module.support_avx512bf16_for_cpu = False
