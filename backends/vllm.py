"""vLLM, a server for models on GPUs, through OpenAI's protocol."""

from __future__ import annotations

from typing import ClassVar

from backends.base import Capabilities
from backends.openai_compatible import OpenAICompatibleBackend, OpenAISettings
from backends.server import Address
from settings import prefixed


class VllmSettings(OpenAISettings):
    """Settings of the vLLM backend."""

    model_config = prefixed("VLLM")

    base_url: Address = "http://localhost:8000"


class VllmBackend(OpenAICompatibleBackend):
    """The models of a vLLM server."""

    name = "vllm"
    label = "vLLM"
    capabilities: ClassVar[Capabilities] = Capabilities(free_model_name=True)
    start_hint = "Start it with: vllm serve MODEL --port 8000, or correct its address on the Models page."
    settings_class = VllmSettings
