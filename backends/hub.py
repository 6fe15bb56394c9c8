"""Models that are not embedded: a folder, the Hugging Face cache, or a download from the Hub.

Finds the folder that a model's files are in, and never waits long for a Hub that cannot be reached. Safetensors only:
other formats of weights can run code. Knows files; nothing of torch or of generation.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backends.base import ModelInfo, Progress, Report
from errors import AuthenticationFailed, ModelNotFound

FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
TIMEOUT = 5.0
"""Seconds to wait for the Hub's first answer."""


def find(model: str, report: Report) -> Path:
    """The folder of `model`: a path, or the id of a Hub repository, taken from the cache or else downloaded.

    Raises:
        ModelNotFound: no such folder or repository, or it is not cached and the Hub cannot be reached.
        AuthenticationFailed: the repository asks for an account with access.
    """
    if (folder := Path(model).expanduser()).is_dir():
        return folder
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=FILES, local_files_only=True))
    except HFValidationError:
        raise ModelNotFound(f"There is no model folder {model}.", "Give a folder or a Hugging Face id.") from None
    except LocalEntryNotFoundError:
        report(Progress(f"Asking the Hugging Face Hub for {model}"))
    try:
        info = HfApi().model_info(model, timeout=TIMEOUT, files_metadata=True)
        size = sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith(".safetensors"))
        report(Progress(f"Downloading {model} ({size / 1e9:.1f} GB)"))
        return Path(snapshot_download(model, allow_patterns=FILES, etag_timeout=TIMEOUT))
    except GatedRepoError:
        raise AuthenticationFailed(
            f"{model} asks for an account with access to it.", "Accept its terms on the Hub and set HF_TOKEN."
        ) from None
    except HfHubHTTPError as error:
        raise ModelNotFound(f"The Hugging Face Hub has no model {model}.", "Check its name.") from error
    except Exception as error:
        # Whatever the connection fails with: there are a dozen, from four libraries.
        raise ModelNotFound(
            f"{model} is not on this machine, and the Hugging Face Hub cannot be reached.",
            "Connect to the internet, or give the folder of a model.",
        ) from error


def cached_chat_models() -> list[ModelInfo]:
    """Models in the Hugging Face cache that can hold a conversation, by name."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    found = []
    for repository in sorted(repositories, key=lambda each: each.repo_id):
        newest = max(repository.revisions, key=lambda each: each.last_modified, default=None)
        if newest and repository.repo_type == "model" and (chat := _read_config(newest.snapshot_path)):
            window = chat.get("max_position_embeddings")
            name = repository.repo_id
            found.append(ModelInfo(name, name, context_window=window, size_bytes=repository.size_on_disk))
    return found


def _read_config(folder: Path) -> dict[str, Any] | None:
    """The configuration of the chat model in `folder`; None if there is no such model, whole and in safetensors."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    chats = tokenizer.get("chat_template") or (folder / "chat_template.jinja").exists()
    generates = any(str(name).endswith("ForCausalLM") for name in config.get("architectures") or [])
    return config if chats and generates and any(folder.glob("*.safetensors")) else None
