"""InstructLab (`ilab model serve`) through OpenAI's protocol.

Its llama.cpp server reports no usage while streaming and rejects a second request while it answers one, so requests
wait here. It accepts any key and any model name, so names are checked against its list.
"""

from __future__ import annotations

from threading import Lock
from typing import ClassVar

from backends.base import Capabilities
from backends.openai_compatible import OpenAICompatibleBackend, OpenAISettings
from backends.server import Address, StoredServer
from settings import Settings, prefixed


class InstructLabSettings(OpenAISettings):
    """Settings of the InstructLab backend."""

    model_config = prefixed("INSTRUCTLAB")

    base_url: Address = "http://localhost:8000"
    context_window: int | None = 4096
    """Default of `ilab model serve --max-ctx-size`; its server does not report it."""


class InstructLabBackend(OpenAICompatibleBackend):
    """The model of an InstructLab server."""

    name = "instructlab"
    label = "InstructLab"
    capabilities: ClassVar[Capabilities] = Capabilities(free_model_name=True, reports_usage=False)
    start_hint = "Start it with: ilab model serve, or correct its address on the Models page."
    settings_class = InstructLabSettings

    def __init__(self, settings: Settings, stored: StoredServer | None = None) -> None:
        super().__init__(settings, stored)
        self.gate = Lock()
