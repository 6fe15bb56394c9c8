"""What vLLM and InstructLab share: a server that speaks OpenAI's protocol.

Models from `/v1/models`, answers from `/v1/chat/completions`, streamed with their usage. Knows the protocol's fields,
among them those that vLLM and llama.cpp add to it; langchain-openai is imported when a chat model is made.
"""

from __future__ import annotations

from pathlib import PureWindowsPath
from threading import Lock
from typing import Annotated, Any

import httpx
from langchain_core.language_models import BaseChatModel
from pydantic import Field, SecretStr

from backends.base import ModelInfo
from backends.server import CONNECT_S, LOOK_S, ONE_REQUEST, ServerBackend, ServerSettings, tls
from options import GenerationOptions


class OpenAISettings(ServerSettings):
    """Settings of a server that speaks OpenAI's protocol."""

    context_window: Annotated[int | None, Field(ge=256)] = None
    """Tokens that prompt and answer may take together, where the server does not tell."""


class OpenAICompatibleBackend(ServerBackend):
    """A server that speaks OpenAI's protocol."""

    server: OpenAISettings
    gate: Lock | None = None
    """Held while the server answers, where it answers one request at a time."""

    def list_models(self) -> list[ModelInfo]:
        """What `/v1/models` lists, in the server's order."""
        timeout = httpx.Timeout(LOOK_S, connect=CONNECT_S)
        answer = httpx.get(f"{self.url}/v1/models", auth=self.auth, headers=ONE_REQUEST, timeout=timeout, verify=tls())
        answer.raise_for_status()
        with self.understood():
            return [self._info(model) for model in answer.json()["data"]]

    def _info(self, model: dict[str, Any]) -> ModelInfo:
        name = model["id"]
        meta = model.get("meta") or {}
        window = model.get("max_model_len") or meta.get("n_ctx") or self.server.context_window
        # InstructLab names a model by the path of its file, on any system.
        label = PureWindowsPath(name).name if name.startswith(("/", "~", ".")) or "\\" in name else name
        return ModelInfo(name, label, context_window=window, size_bytes=meta.get("size"), in_memory=True)

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """A ChatOpenAI. What OpenAI's protocol has no field for goes as vLLM and llama.cpp name it."""
        from openai import DefaultAsyncHttpxClient, DefaultHttpxClient, Timeout

        from backends.openai_chat_model import OpenAIChatModel

        return OpenAIChatModel(
            model=model,
            base_url=f"{self.url}/v1",
            # The client wants a key, also for a server that asks for none.
            api_key=self.server.api_key or SecretStr("none"),
            default_headers=ONE_REQUEST,
            http_client=DefaultHttpxClient(auth=self.login, verify=tls()),
            http_async_client=DefaultAsyncHttpxClient(auth=self.login, verify=tls()),
            temperature=options.temperature,
            top_p=options.top_p,
            # llama.cpp's Python server knows only the older name of `max_completion_tokens`.
            extra_body={"top_k": options.top_k, "max_tokens": options.max_new_tokens},
            stop_sequences=list(options.stop) or None,
            seed=options.seed,
            timeout=Timeout(self.server.timeout, connect=CONNECT_S),
            stream_chunk_timeout=self.server.timeout,
            max_retries=self.server.max_retries,
            stream_usage=True,
            # So that a whole answer comes by the same path.
            streaming=True,
            use_responses_api=False,
            gate=self.gate,
        )
