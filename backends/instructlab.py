"""InstructLab: `ilab model serve`, by OpenAI's protocol.

Its llama.cpp server reports no usage while it streams, refuses a second request while it answers one, so that it has
to wait here, and says nothing of a wrong key or of a model that it does not have: the name is checked against its list.
"""

from __future__ import annotations

from threading import Lock
from typing import ClassVar

from backends.base import Capabilities
from backends.openai_compatible import OpenAICompatibleBackend, OpenAISettings
from backends.server import Address
from settings import Settings, prefixed


class InstructLabSettings(OpenAISettings):
    """Settings of the InstructLab backend."""

    model_config = prefixed("INSTRUCTLAB")

    base_url: Address = "http://localhost:8000"
    context_window: int | None = 4096
    """The default of `ilab model serve --max-ctx-size`; its server does not tell."""


class InstructLabBackend(OpenAICompatibleBackend):
    """The model of an InstructLab server."""

    name: ClassVar[str] = "instructlab"
    label: ClassVar[str] = "InstructLab"
    capabilities: ClassVar[Capabilities] = Capabilities(reports_usage=False)
    start_hint: ClassVar[str] = "Start it with: ilab model serve, or correct INSTRUCTLAB_BASE_URL."
    kind = InstructLabSettings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.gate = Lock()
