"""The local backend: a model in this process's memory, on a GPU or on the CPU.

    embedded_model.py    the model that ships with Gestalt
    hub.py               the others: a folder, the Hugging Face cache, a download
    generation.py        one answer after another, each of which can be ended at any moment
    local_chat_model.py  the LangChain face

Knows how a model comes into memory and leaves it. torch and transformers are imported when a model is loaded.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from langchain_core.language_models import BaseChatModel
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from accelerator import choose_device, choose_dtype, load_torch
from backends import cpu_attention, embedded_model, hub
from backends.base import Backend, Capabilities, GenerationOptions, Loaded, ModelInfo, Progress, Report
from backends.chat_format import require_chat_template
from backends.generation import Runtime
from backends.local_chat_model import LocalChatModel
from errors import BackendUnavailable, ConfigurationError
from settings import ROOT, Settings, read_settings


class LocalSettings(BaseSettings):
    """Settings of the local backend; its device and threads are the application's."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    dtype: Annotated[Literal["auto", "bfloat16", "float16", "float32"], Field(validation_alias="LOCAL_DTYPE")] = "auto"
    """auto: bfloat16 where the device computes in it natively, float32 elsewhere."""


class HuggingFaceBackend(Backend):
    """Models of the Hugging Face kind, loaded here. Its methods may be called from any thread."""

    name: ClassVar[str] = "local"
    label: ClassVar[str] = "Local (Hugging Face)"
    capabilities: ClassVar[Capabilities] = Capabilities(loads_weights=True, free_model_name=True)
    start_hint: ClassVar[str] = embedded_model.INSTALL

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.local = read_settings(LocalSettings)
        self._runtimes: dict[str, Runtime] = {}

    def list_models(self) -> list[ModelInfo]:
        """The embedded model, then the chat models in the Hugging Face cache."""
        note = "Small: it finds facts in passages, but cannot cite by itself, or refuse where they hold no answer."
        if embedded_model.find_gguf() is None and not embedded_model.is_complete(
            embedded_model.folder(self.settings.data_dir)
        ):
            note = f"Not installed: {embedded_model.INSTALL}"
        embedded = ModelInfo(
            embedded_model.NAME,
            "SmolLM2 135M, embedded",
            note,
            context_window=8192,
            size_bytes=embedded_model.SIZE,
        )
        return [embedded, *hub.cached_chat_models()]

    def check(self) -> None:
        """Whether torch and transformers are installed.

        Raises:
            ConfigurationError: one is missing.
        """
        for package in ("torch", "transformers"):
            if importlib.util.find_spec(package) is None:
                raise ConfigurationError(
                    f"The package {package} is not installed.", "Run: pip install -r requirements.txt"
                )

    def load(self, model: str, report: Report) -> Loaded:
        """Load the embedded model, a folder, or a model of the Hugging Face Hub by its id, downloading it if need be.

        Raises:
            ModelNotFound: no such folder, cached model or repository, or the Hub cannot be reached.
            BackendUnavailable: its files cannot be used: they need code of their own, or have no chat template.
            ConfigurationError: the embedded model or the device is not there.
        """
        report(Progress("Starting torch"))
        load_torch()
        device = choose_device(self.settings.device)
        if model == embedded_model.NAME:
            folder = embedded_model.ensure(self.settings.data_dir, report)
        else:
            folder = hub.find(model, report)
        report(Progress(f"Loading {model}"))
        runtime = self._runtimes[model] = self._read(model, folder, device)
        weights = runtime.model
        quantization = getattr(weights.config, "quantization_config", None)
        return Loaded(
            context_window=runtime.context_window,
            prompt_limit=embedded_model.PROMPT_LIMIT if model == embedded_model.NAME else None,
            device=device,
            dtype=str(weights.dtype).removeprefix("torch."),
            quantization=str(quantization.quant_method.value) if quantization else None,
            size_bytes=weights.get_memory_footprint(),
        )

    def _read(self, model: str, folder: Path, device: str) -> Runtime:
        torch = load_torch()
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        dtype = choose_dtype(device) if self.local.dtype == "auto" else getattr(torch, self.local.dtype)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            require_chat_template(model, tokenizer)
            weights = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                device_map=device,
            )
        except (OSError, ValueError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise BackendUnavailable(f"{model} cannot be loaded: {reason}", "Choose another model.") from error
        weights.eval()
        if device == "cpu" and weights.config._attn_implementation == "sdpa":
            weights.set_attn_implementation(cpu_attention.register())
        return Runtime(model, weights, tokenizer)

    def unload(self, model: str) -> None:
        """End its generations and give its memory back to the system. Nothing where it is not loaded."""
        if runtime := self._runtimes.pop(model, None):
            runtime.close()
            release_memory()

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """A chat model for a loaded model.

        Raises:
            BackendUnavailable: it is not loaded.
        """
        return LocalChatModel(model_name=model, options=options, runtime=self._runtime(model))

    def count_tokens(self, model: str, text: str) -> int:
        """In the model's own tokens.

        Raises:
            BackendUnavailable: it is not loaded.
        """
        return self._runtime(model).count_tokens(text)

    def _runtime(self, model: str) -> Runtime:
        if model not in self._runtimes:
            raise BackendUnavailable(f"{model} is not loaded.", "Load it first.")
        return self._runtimes[model]


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
