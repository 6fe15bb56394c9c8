"""Models that are not embedded: a folder, the Hugging Face cache, or a download from the Hub.

Only safetensors are accepted: other formats of weights can run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from backends.base import ModelInfo, Progress, Report
from errors import AuthenticationFailed, ModelNotFound

SUGGESTED = (
    ModelInfo("Qwen/Qwen3-0.6B", "Qwen3 0.6B", "Apache 2.0", 32_768, 1_500_000_000, thinks=True),
    ModelInfo("HuggingFaceTB/SmolLM2-1.7B-Instruct", "SmolLM2 1.7B", "Apache 2.0", 8_192, 3_420_000_000),
    ModelInfo("Qwen/Qwen3-1.7B", "Qwen3 1.7B", "Apache 2.0", 32_768, 4_060_000_000, thinks=True),
    ModelInfo("ibm-granite/granite-3.3-2b-instruct", "Granite 3.3 2B", "Apache 2.0", 131_072, 5_070_000_000),
    ModelInfo("HuggingFaceTB/SmolLM3-3B", "SmolLM3 3B", "Apache 2.0", 65_536, 6_150_000_000, thinks=True),
    ModelInfo("microsoft/Phi-4-mini-instruct", "Phi-4 mini", "MIT", 131_072, 7_670_000_000),
    ModelInfo("Qwen/Qwen3-4B-Instruct-2507", "Qwen3 4B", "Apache 2.0", 262_144, 8_050_000_000),
)
"""Good small models on the Hub, with their licences; sizes are those of their weights in 16 bits."""
FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]


def model_folder(model: str, report: Report, token: str | None = None, timeout: float = 5) -> Path:
    """Return the folder of a model (a path or a Hub id), downloading it if it is neither a folder nor cached.

    Raises ModelNotFound, also if the Hub does not answer within `timeout` seconds, and AuthenticationFailed.
    """
    if (folder := Path(model).expanduser()).is_dir():
        return folder
    from huggingface_hub import errors as hub_errors
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=FILES, local_files_only=True))
    except hub_errors.HFValidationError:
        raise ModelNotFound(f"There is no model folder {model}.", "Give a folder or a Hugging Face id.") from None
    except hub_errors.LocalEntryNotFoundError:
        pass
    with _told(model):
        return _download(model, report, token, timeout)


@contextmanager
def _told(model: str) -> Iterator[None]:
    """Raise ModelNotFound or AuthenticationFailed for what the Hub refuses, or if it cannot be reached."""
    from huggingface_hub import errors as hub_errors

    try:
        yield
    except hub_errors.GatedRepoError:
        hint = "Accept its terms on the Hub and set HUGGING_FACE_HUB_TOKEN."
        raise AuthenticationFailed(f"{model} asks for an account with access to it.", hint) from None
    except hub_errors.RepositoryNotFoundError as error:
        hint = "Check its name; a private model needs HUGGING_FACE_HUB_TOKEN."
        raise ModelNotFound(f"The Hugging Face Hub has no model {model}.", hint) from error
    except Exception as error:
        # Connections fail with a dozen exceptions from four libraries.
        if isinstance(error, hub_errors.HfHubHTTPError) and error.response.status_code in (401, 403):
            hint = "Correct HUGGING_FACE_HUB_TOKEN."
            raise AuthenticationFailed("The Hugging Face Hub refused the token.", hint) from error
        message = f"{model} is not on this machine, and the Hugging Face Hub cannot be reached."
        raise ModelNotFound(message, "Connect to the internet, or give the folder of a model.") from error


def size_of(model: str, token: str | None = None, timeout: float = 5) -> tuple[int, bool, str]:
    """Return the bytes of a model, whether it is on this machine, and the licence that the Hub names.

    Raises like `model_folder`.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub import errors as hub_errors

    folder = Path(model).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(model, allow_patterns=FILES, local_files_only=True))
        except hub_errors.LocalEntryNotFoundError:
            with _told(model):
                info = HfApi(token=token).model_info(model, timeout=timeout, files_metadata=True)
            licence = getattr(info.card_data, "license", None) or ""
            return sum(file.size or 0 for file in _wanted(info)), False, str(licence)
        except hub_errors.HFValidationError:
            raise ModelNotFound(f"There is no model folder {model}.", "Give a folder or a Hugging Face id.") from None
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")), True, ""


def _wanted(info: Any) -> list[Any]:
    """Return the files of a repository that are downloaded."""
    from huggingface_hub.utils._paths import filter_repo_objects

    return list(filter_repo_objects(info.siblings or [], allow_patterns=FILES, key=lambda file: file.rfilename))


def _download(model: str, report: Report, token: str | None, timeout: float) -> Path:
    """Download in a separate thread, because a network read cannot be interrupted."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils.tqdm import tqdm

    cancelled = Event()
    bars: list[Any] = []
    sizes: list[int] = []
    done: Future[Path] = Future()

    class Bar(tqdm):
        """Counts bytes, draws nothing, and ends a cancelled download."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]
            if kwargs.get("unit") == "B":
                bars.append(self)

        def update(self, n: float | None = 1) -> None:
            if cancelled.is_set():
                raise CancelledError
            self.n += n or 0

    def fetch() -> None:
        try:
            info = HfApi(token=token).model_info(model, timeout=timeout, files_metadata=True)
            sizes.extend(file.size or 0 for file in _wanted(info))
            folder = snapshot_download(model, allow_patterns=FILES, etag_timeout=timeout, token=token, tqdm_class=Bar)
            done.set_result(Path(folder))
        except BaseException as error:  # noqa: BLE001 - raised by done.result()
            done.set_exception(error)

    report(Progress(f"Asking the Hugging Face Hub for {model}"))
    Thread(target=fetch, name=f"download {model}", daemon=True).start()
    try:
        while not done.done():
            received, size = max((bar.n for bar in bars), default=0), sum(sizes)
            fraction = min(1.0, received / size) if size else None
            what = "Downloading" if size else "Asking the Hugging Face Hub for"
            report(Progress(f"{what} {model}", fraction))
            wait([done], timeout=0.1)
    finally:
        cancelled.set()
    return done.result()


def cached_chat_models() -> list[ModelInfo]:
    """Return the chat models in the Hugging Face cache, by name."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    models = []
    for repository in sorted(repositories, key=lambda each: each.repo_id):
        newest = max(repository.revisions, key=lambda each: each.last_modified, default=None)
        if newest and repository.repo_type == "model" and (config := _chat_config(newest.snapshot_path)):
            name, family = repository.repo_id, _family(newest.snapshot_path, config)
            window, size = config.get("max_position_embeddings"), repository.size_on_disk
            models.append(ModelInfo(name, name, context_window=window, size_bytes=size, family=family))
    return models


def _chat_config(folder: Path) -> dict[str, Any] | None:
    """Return the configuration of the chat model in `folder`; None if there is none, complete and in safetensors."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    chats = tokenizer.get("chat_template") or (folder / "chat_template.jinja").exists()
    generates = any(str(name).endswith("ForCausalLM") for name in config.get("architectures") or [])
    return config if chats and generates and any(folder.glob("*.safetensors")) else None


def _family(folder: Path, config: dict[str, Any]) -> str:
    """Return architecture and number of parameters, “llama 8.0B”, or only the architecture if that is all we know."""
    from huggingface_hub import get_local_safetensors_metadata
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    count = 0
    # Quantized weights are packed: their shapes do not give the number of parameters.
    if "quantization_config" not in config:
        with suppress(OSError, ValueError, NotASafetensorsRepoError, SafetensorsParsingError):
            count = sum(get_local_safetensors_metadata(folder).parameter_count.values())
    size = f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.0f}M" if count >= 1e6 else ""
    return f"{config.get('model_type', '')} {size}".strip()
