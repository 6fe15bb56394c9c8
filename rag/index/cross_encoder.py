"""Loads a sentence-transformers CrossEncoder, with safetensors weights only."""

from __future__ import annotations

from typing import Any

from accelerator import choose_device, load_torch
from errors import ConfigurationError
from rag.index.embedding_models import model_folder


def load(name: str, device: str, *, setting: str, hint: str) -> Any:
    """Load a model by id or folder. Raises a ConfigurationError with `setting`, which names the model, or `hint`."""
    folder = model_folder(name, setting)
    load_torch()
    device = choose_device(device)
    from sentence_transformers import CrossEncoder

    try:
        return CrossEncoder(
            str(folder),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ConfigurationError(f"The model {name} cannot be loaded: {reason}", hint) from error
