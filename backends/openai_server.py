"""Any other server that speaks OpenAI's protocol, which a user adds on the Models page."""

from __future__ import annotations

from typing import ClassVar

from backends.base import Capabilities
from backends.openai_compatible import OpenAICompatibleBackend, OpenAISettings


class OpenAIServerBackend(OpenAICompatibleBackend):
    """The models of such a server."""

    name = "openai"
    label = "OpenAI-compatible"
    capabilities: ClassVar[Capabilities] = Capabilities(free_model_name=True)
    start_hint = "Start it, or correct its address on the Models page."
    settings_class = OpenAISettings
