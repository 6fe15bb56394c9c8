"""The table of backends: the one place where a backend is registered.

A name that settings, the command line and the pages use, and the class behind it. The class is imported when it is
asked for: importing this package costs nothing, and a person who uses one backend does not pay for the others.
"""

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
"""name -> module:class, in the order in which they are shown."""


def backend_class(name: str) -> type[Backend]:
    """The class behind a name of the table.

    Raises:
        ConfigurationError: no such backend; names those there are.
    """
    if name not in BACKENDS:
        raise ConfigurationError(
            f"There is no backend {name!r}.", f"Choose one of {', '.join(BACKENDS)} (LLM_BACKEND_TYPE)."
        )
    module, _, attribute = BACKENDS[name].partition(":")
    found: type[Backend] = getattr(import_module(module), attribute)
    return found
