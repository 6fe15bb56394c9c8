"""Common base of vLLM and InstructLab: OpenAI's protocol, including the fields that vLLM and llama.cpp add to it."""

from __future__ import annotations

from pathlib import PureWindowsPath
from threading import Lock
from typing import Annotated, Any

import httpx
from langchain_core.language_models import BaseChatModel
from pydantic import Field, SecretStr
from typing_extensions import override

from backends.base import Loaded, ModelInfo, Progress, Report
from backends.openai_wire import OpenAIWire
from backends.server import CLOSE_CONNECTION, CONNECT_TIMEOUT_S, LIST_TIMEOUT_S, ServerBackend, ServerSettings
from options import GenerationOptions


class OpenAISettings(ServerSettings):
    """Settings of a server that speaks OpenAI's protocol."""

    context_window: Annotated[int | None, Field(ge=256)] = None
    """Tokens of prompt and answer together, if the server does not report them."""


class OpenAICompatibleBackend(ServerBackend):
    """A server that speaks OpenAI's protocol."""

    server: OpenAISettings
    gate: Lock | None = None
    """Held while the server answers, if it can only answer one request at a time."""

    wire: OpenAIWire

    @override
    def make_wire(self) -> OpenAIWire:
        return OpenAIWire(self.url, self.label)

    def list_models(self) -> list[ModelInfo]:
        """Return the models in the server's order; none if it has no list."""
        with httpx.Client(transport=self.transport(), **self.http_options(LIST_TIMEOUT_S)) as client:
            response = client.get(f"{self.url}/models")
        if response.status_code == 404:
            return []
        response.raise_for_status()
        with self.reading_response():
            found = response.json()
            # Some send the bare list; an empty one may be anything.
            listed = found if isinstance(found, list) and found else found["data"]
            models = [self._info(model) for model in listed or ()]
        self.wire.found()
        return models

    def load(self, model: str, report: Report) -> Loaded:
        """Check server, key and model; nothing of the model if the server has no list."""
        report(Progress(f"Asking {self.location}"))
        listed = self.list_models()
        return Loaded(context_window=self.model_info(model).context_window if listed else self.server.context_window)

    def left_out(self, model: str) -> tuple[str, ...]:
        """What the server refused for a model, and is no longer sent."""
        return self.wire.left_out(model)

    def _info(self, model: dict[str, Any]) -> ModelInfo:
        name = model["id"]
        meta = model.get("meta") or {}
        window = model.get("max_model_len") or meta.get("n_ctx") or model.get("context_length")
        sees = "image" in ((model.get("architecture") or {}).get("input_modalities") or ())
        thinks = "reasoning" in (model.get("supported_parameters") or ())
        # InstructLab names models by the path of their file, on any operating system.
        label = PureWindowsPath(name).name if name.startswith(("/", "~", ".")) or "\\" in name else name
        return ModelInfo(
            name,
            label,
            context_window=window or self.server.context_window,
            size_bytes=meta.get("size"),
            in_memory=True,
            thinks=thinks,
            sees=sees,
            price=_price(model.get("pricing")),
        )

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """Return a ChatOpenAI. Options that OpenAI's protocol lacks are sent under vLLM's and llama.cpp's names."""
        from openai import Timeout

        from backends.openai_chat_model import OpenAIChatModel

        return OpenAIChatModel(
            model=model,
            base_url=self.url,
            # The client requires a key even if the server does not.
            api_key=self.server.api_key or SecretStr("none"),
            default_headers=CLOSE_CONNECTION,
            http_client=httpx.Client(auth=self.login, transport=self.transport()),
            http_async_client=httpx.AsyncClient(auth=self.login, transport=self.transport()),
            temperature=options.temperature,
            top_p=options.top_p,
            # llama.cpp's Python server only knows the old name of `max_completion_tokens`.
            extra_body={"top_k": options.top_k, "max_tokens": options.max_new_tokens},
            stop_sequences=list(options.stop) or None,
            seed=options.seed,
            timeout=Timeout(self.server.timeout, connect=CONNECT_TIMEOUT_S),
            stream_chunk_timeout=self.server.timeout,
            max_retries=self.server.max_retries,
            stream_usage=True,
            # So that whole answers take the same path.
            streaming=True,
            use_responses_api=False,
            gate=self.gate,
        )


def _price(pricing: Any) -> tuple[float, float] | None:
    """Dollars for a million tokens, as OpenRouter and servers after its example tell them: for one, as text."""
    try:
        return 1e6 * float(pricing["prompt"]), 1e6 * float(pricing["completion"])
    except (TypeError, KeyError, ValueError):
        return None
