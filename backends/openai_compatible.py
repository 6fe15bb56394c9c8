"""Common base of vLLM and InstructLab: OpenAI's protocol, including the fields that vLLM and llama.cpp add to it."""

from __future__ import annotations

from pathlib import PureWindowsPath
from threading import Lock
from typing import Annotated, Any

import httpx
from langchain_core.language_models import BaseChatModel
from pydantic import Field, SecretStr

from backends.base import ModelInfo
from backends.server import CLOSE_CONNECTION, CONNECT_TIMEOUT_S, LIST_TIMEOUT_S, ServerBackend, ServerSettings, tls
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

    def list_models(self) -> list[ModelInfo]:
        """Return the models of `/v1/models`, in the server's order."""
        response = httpx.get(f"{self.url}/v1/models", **self.http_options(LIST_TIMEOUT_S))
        response.raise_for_status()
        with self.reading_response():
            return [self._info(model) for model in response.json()["data"]]

    def _info(self, model: dict[str, Any]) -> ModelInfo:
        name = model["id"]
        meta = model.get("meta") or {}
        window = model.get("max_model_len") or meta.get("n_ctx") or self.server.context_window
        # InstructLab names models by the path of their file, on any operating system.
        label = PureWindowsPath(name).name if name.startswith(("/", "~", ".")) or "\\" in name else name
        return ModelInfo(name, label, context_window=window, size_bytes=meta.get("size"), in_memory=True)

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """Return a ChatOpenAI. Options that OpenAI's protocol lacks are sent under vLLM's and llama.cpp's names."""
        from openai import DefaultAsyncHttpxClient, DefaultHttpxClient, Timeout

        from backends.openai_chat_model import OpenAIChatModel

        return OpenAIChatModel(
            model=model,
            base_url=f"{self.url}/v1",
            # The client requires a key even if the server does not.
            api_key=self.server.api_key or SecretStr("none"),
            default_headers=CLOSE_CONNECTION,
            http_client=DefaultHttpxClient(auth=self.login, verify=tls()),
            http_async_client=DefaultAsyncHttpxClient(auth=self.login, verify=tls()),
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
