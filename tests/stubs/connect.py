"""The server backends, each with the stub of its protocol, isolated from the environment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import pytest

import settings
from backends import backend_class
from backends.server import ServerBackend
from settings import Settings
from tests.stubs.gemini_server import GeminiStub
from tests.stubs.ollama_server import OllamaStub
from tests.stubs.openai_server import OpenAIStub
from tests.stubs.wire import WireStub

GGUF = "/home/someone/models/granite.gguf"

STUBS: dict[str, Callable[[], WireStub]] = {
    "ollama": OllamaStub,
    "vllm": OpenAIStub,
    # Like llama-cpp-python.
    "instructlab": partial(OpenAIStub, models=(GGUF,), usage=False, checks=False, max_model_len=None),
    "gemini": GeminiStub,
}
MODELS = {"ollama": "tiny", "vllm": "tiny", "instructlab": GGUF, "gemini": "gemini-2.5-flash"}


def connect(name: str, server: WireStub | str, **options: object) -> ServerBackend:
    """Return a backend connected to a stub, with its key, or to an address; None omits one of the other settings."""
    known = {"base_url": server.url, "api_key": server.key} if isinstance(server, WireStub) else {"base_url": server}
    options = known | options
    backend = cast("type[ServerBackend]", backend_class(name))
    settings_class = backend.settings_class
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "SECRETS", None)
        patch.setitem(settings_class.model_config, "env_file", None)
        for field, info in settings_class.model_fields.items():
            value = options.pop(field, None)
            patch.setenv(str(info.validation_alias), "" if value is None else str(value))
        assert not options
        return backend(Settings())
