"""The local backend: a model in this process's memory, on one GPU or several, or on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from langchain_core.language_models import BaseChatModel
from pydantic import Field, SecretStr

from accelerator import choose_device, choose_dtype, load_torch
from backends import cpu_attention, embedded_model, hub, load_progress, quantization
from backends.base import Backend, Capabilities, Loaded, ModelInfo, Needs, Progress, Released, Report
from backends.generation import Runtime
from backends.likelihood import likelihood
from backends.local_chat_model import LocalChatModel
from backends.memory import devices, disk_free, memory_free, memory_in_use, release_memory
from conversion import INSTALL
from errors import BackendUnavailable, ConfigurationError
from options import GenerationOptions
from settings import EnvironmentSettings, Settings, read_settings


class LocalSettings(EnvironmentSettings):
    """Settings of the local backend; device and threads are in the application's settings."""

    dtype: Annotated[Literal["auto", "bfloat16", "float16", "float32"], Field(validation_alias="LOCAL_DTYPE")] = "auto"
    """auto: bfloat16 if the device supports it natively, else float32."""
    device_map: Literal["", "auto", "balanced", "sequential"] = Field("", validation_alias="LOCAL_DEVICE_MAP")
    """How accelerate spreads a model over GPUs and CPU; empty for the whole model on GESTALT_DEVICE."""
    token: Annotated[SecretStr | None, Field(validation_alias="HUGGING_FACE_HUB_TOKEN")] = None
    hub_timeout: Annotated[float, Field(validation_alias="LOCAL_HUB_TIMEOUT", gt=0)] = 5
    """Seconds to wait for the Hub's first response."""


IN_MEMORY = {"8-bit": 0.55, "4-bit": 0.35}
"""Of a model's 16-bit weights; a part of them is not quantized."""
OVERHEAD = 1.2
"""Memory that an answer takes, with the weights."""


class HuggingFaceBackend(Backend):
    """Hugging Face models, loaded into this process. Thread-safe."""

    name = "local"
    label = "Local (Hugging Face)"
    capabilities: ClassVar[Capabilities] = Capabilities(
        loads_weights=True, unloads=True, free_model_name=True, variants=quantization.VARIANTS, counts_tokens=True
    )
    start_hint = INSTALL

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.local = read_settings(LocalSettings)
        self._runtimes: dict[str, Runtime] = {}

    def list_models(self) -> list[ModelInfo]:
        """Return the embedded model, then the chat models in the Hugging Face cache."""
        note = "Small: it finds facts in passages, but does not cite them, and answers even if they hold no answer."
        converted = embedded_model.folder(self.settings.data_dir)
        if embedded_model.find_gguf() is None and not embedded_model.is_complete(converted):
            note = f"Not installed: {INSTALL}"
        name, label, window = embedded_model.NAME, "SmolLM2 135M, embedded", 8192
        return [ModelInfo(name, label, note, window, embedded_model.SIZE, "llama 135M"), *hub.cached_chat_models()]

    def suggestions(self) -> list[ModelInfo]:
        """Return good small models of the Hub, unless this process is told to stay off it."""
        from huggingface_hub import constants

        listed = {info.name for info in self.list_models()}
        return [] if constants.HF_HUB_OFFLINE else [info for info in hub.SUGGESTED if info.name not in listed]

    def needs(self, model: str) -> Needs | None:
        """Return what a model takes: asks the Hub if it is not on this machine. Raises BackendError."""
        from huggingface_hub import constants

        name, variant = quantization.split(model)
        if name == embedded_model.NAME:
            return None
        size, is_here, licence = hub.size_of(name, self._token(), self.local.hub_timeout)
        device = choose_device(self.settings.device)
        # Weights are stored in 16 bits.
        is_wide = self.local.dtype == "float32" or (self.local.dtype == "auto" and choose_dtype(device).itemsize == 4)
        share = IN_MEMORY[variant] if variant else 2.0 if is_wide else 1.0
        return Needs(
            download_bytes=0 if is_here else size,
            disk_free_bytes=disk_free(Path(constants.HF_HUB_CACHE)),
            memory_bytes=round(OVERHEAD * share * size),
            memory_free_bytes=memory_free(device),
            device=device,
            licence=licence,
        )

    def _token(self) -> str | None:
        return self.local.token.get_secret_value() if self.local.token else None

    def check(self) -> None:
        """Raise ConfigurationError unless torch and transformers are installed."""
        for package in ("torch", "transformers"):
            if importlib.util.find_spec(package) is None:
                message = f"The package {package} is not installed."
                raise ConfigurationError(message, "Run: pip install -r requirements.txt")

    def load(self, model: str, report: Report) -> Loaded:
        """Load the embedded model, a folder, or a Hub model, which is downloaded if it is not cached.

        A load that fails or is cancelled leaves nothing in memory. Raises ModelNotFound, AuthenticationFailed,
        BackendUnavailable (the files need their own code, or have no chat template) and ConfigurationError.
        """
        report(Progress("Starting torch"))
        load_torch()
        device = choose_device(self.settings.device)
        name, variant = quantization.split(model)
        if variant:
            quantization.check_supported(name, variant, device)
        if name == embedded_model.NAME:
            folder = embedded_model.ensure(self.settings.data_dir, report)
        else:
            folder = hub.model_folder(name, report, self._token(), self.local.hub_timeout)
        try:
            runtime = self._read(model, folder, device, report)
        except BaseException as error:
            load_progress.clear_frames(error)
            raise
        finally:
            # Reading and quantizing leave much garbage.
            release_memory()
        self._runtimes[model] = runtime
        weights = runtime.model
        on_disk = getattr(weights.config, "quantization_config", None)
        return Loaded(
            context_window=runtime.context_window,
            prompt_limit=embedded_model.PROMPT_LIMIT if name == embedded_model.NAME else None,
            device=", ".join(devices(weights)),
            dtype=str(weights.dtype).removeprefix("torch."),
            quantization=variant or (str(on_disk.quant_method.value) if on_disk else None),
            size_bytes=weights.get_memory_footprint(),
            parameters=weights.num_parameters(),
            # The Hub's cache names folders by commit.
            revision=folder.name if folder.parent.name == "snapshots" else None,
        )

    def _read(self, model: str, folder: Path, device: str, report: Report) -> Runtime:
        torch = load_torch()
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        # On the CPU, weights are first mapped, then read.
        share = 0.5 if device == "cpu" else 1.0

        def show(fraction: float) -> None:
            report(Progress(f"Loading {model}", fraction))

        show(0)
        name, variant = quantization.split(model)
        dtype = choose_dtype(device) if self.local.dtype == "auto" else getattr(torch, self.local.dtype)
        try:
            local = {"local_files_only": True, "trust_remote_code": False}
            config = AutoConfig.from_pretrained(folder, **local)
            if variant and getattr(config, "quantization_config", None):
                raise ConfigurationError(f"{name} is quantized already.", f"Choose it without @{variant}.")
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            if not tokenizer.chat_template:
                message = f"{model} has no chat template: it was not trained for conversation."
                raise BackendUnavailable(message, "Choose a model whose name ends in Instruct or Chat.")
            with load_progress.intercept_bars(lambda done: show(share * done)):
                weights = AutoModelForCausalLM.from_pretrained(
                    folder,
                    **local,
                    use_safetensors=True,
                    dtype=dtype,
                    device_map=self.local.device_map or device,
                    quantization_config=quantization.make_config(variant, dtype) if variant else None,
                )
        except torch.OutOfMemoryError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise BackendUnavailable(f"{model} cannot be loaded: {reason}", "Choose another model.") from error
        weights.eval()
        if devices(weights) == ["cpu"]:
            parameters = list(weights.parameters())
            for parameter in load_progress.track(parameters, lambda done: show(share + (1 - share) * done)):
                # Copy it out of the mapped file. Otherwise the first answer waits for the disk, the model's memory
                # cannot be measured, and a quantized model keeps the pages of its original weights.
                if type(parameter) is torch.nn.Parameter:
                    parameter.data = parameter.data.clone()
            quantization.avoid_packing(weights)
            if weights.config._attn_implementation == "sdpa":
                weights.set_attn_implementation(cpu_attention.register())
        return Runtime(model, weights, tokenizer)

    def unload(self, model: str) -> Released | None:
        """Stop its generations and release its memory; None if it is not loaded."""
        runtime = self._runtimes.pop(model, None)
        if runtime is None:
            return None
        used, size = devices(runtime.model), runtime.model.get_memory_footprint()
        # Otherwise garbage of the last answer counts as the model's memory.
        release_memory()
        before = memory_in_use(used)
        runtime.close()
        release_memory()
        return Released(", ".join(used), size, max(0, before - memory_in_use(used)))

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """Return a chat model for a loaded model, else raise BackendUnavailable."""
        return LocalChatModel(model_name=model, options=options, runtime=self._runtime(model))

    def is_small(self, model: str) -> bool:
        """Whether it is the embedded model."""
        return quantization.split(model)[0] == embedded_model.NAME

    def count_tokens(self, model: str, text: str) -> int:
        """Return the exact count for a loaded model, else raise BackendUnavailable."""
        return self._runtime(model).count_tokens(text)

    def likelihood(self, model: str, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Return the mean log-probability of a question after each text, computed in the model's thread."""
        return likelihood(self._runtime(model), question, texts)

    def _runtime(self, model: str) -> Runtime:
        if model not in self._runtimes:
            raise BackendUnavailable(f"{model} is not loaded.", "Load it first.")
        return self._runtimes[model]
