"""The table of backends: the one place where a backend is registered. Its class is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from errors import ConfigurationError

if TYPE_CHECKING:
    from backends.base import Backend

BACKENDS: dict[str, str] = {
    "local": "backends.huggingface:HuggingFaceBackend",
    "ollama": "backends.ollama:OllamaBackend",
    "vllm": "backends.vllm:VllmBackend",
    "instructlab": "backends.instructlab:InstructLabBackend",
    "gemini": "backends.gemini:GeminiBackend",
}
"""name -> module:class, in display order."""
KINDS: dict[str, str] = {**BACKENDS, "openai": "backends.openai_server:OpenAIServerBackend"}
"""The same, with what has no address before a user adds one."""


def backend_class(name: str) -> type[Backend]:
    """Return the class of a backend. Raises ConfigurationError, which lists the existing ones."""
    if name not in KINDS:
        hint = f"Choose one of {', '.join(BACKENDS)} (LLM_BACKEND_TYPE)."
        raise ConfigurationError(f"There is no backend {name!r}.", hint)
    module, _, attribute = KINDS[name].partition(":")
    backend: type[Backend] = getattr(import_module(module), attribute)
    return backend
