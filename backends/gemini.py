"""Google Gemini, by langchain-google-genai, with a key of one's own.

google-genai and langchain-google-genai are imported when they are needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.language_models import BaseChatModel

from backends.base import Capabilities, Loaded, ModelInfo, Progress, Report
from backends.server import LOOK_S, ONE_REQUEST, Address, ServerBackend, ServerSettings, tls
from errors import ConfigurationError
from options import GenerationOptions
from settings import prefixed

if TYPE_CHECKING:
    from google.genai import Client

NOT_FOR_CHAT = re.compile(r"embedding|image|imagen|veo|tts|audio|live|aqa|robotics|computer-use")
"""In the names of models that take prompts, but do not answer them with text alone."""


class GeminiSettings(ServerSettings):
    """Settings of the Gemini backend."""

    model_config = prefixed("GOOGLE")

    base_url: Address = "https://generativelanguage.googleapis.com"
    """Another one for a proxy."""


class GeminiBackend(ServerBackend):
    """The chat models of Google's Gemini API."""

    name: ClassVar[str] = "gemini"
    label: ClassVar[str] = "Google Gemini"
    capabilities: ClassVar[Capabilities] = Capabilities(free_model_name=True)
    start_hint: ClassVar[str] = "Connect to the internet, or correct GOOGLE_BASE_URL."
    kind = GeminiSettings

    def list_models(self) -> list[ModelInfo]:
        """Models that answer with text, those of Gemini first; none where a proxy lists none.

        Raises:
            ConfigurationError: there is no key.
        """
        client = self._client()
        from google.genai.errors import ClientError

        try:
            with self.understood():
                listed = list(client.models.list(config={"page_size": 1000}))
        except ClientError as error:
            if error.code == 404 and "base_url" in self.server.model_fields_set:
                return []
            raise
        finally:
            client.close()
        found = []
        for model in listed:
            name = (model.name or "").removeprefix("models/")
            if "generateContent" in (model.supported_actions or []) and not NOT_FOR_CHAT.search(name):
                found.append(ModelInfo(name, model.display_name or name, context_window=model.input_token_limit))
        return sorted(found, key=lambda info: not info.name.startswith("gemini"))

    def load(self, model: str, report: Report) -> Loaded:
        """Check key and model; a proxy that lists no models is believed."""
        report(Progress(f"Asking {self.place}"))
        return Loaded(context_window=self.find(model).context_window) if self.list_models() else Loaded()

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """A ChatGoogleGenerativeAI that raises AnswerBlocked where Google holds an answer back."""
        from backends.gemini_chat_model import GeminiChatModel

        # By the names of the fields: their aliases are what the type checker would want.
        fields: dict[str, Any] = {
            "model": model,
            "google_api_key": self._key(),
            "base_url": self.url,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "top_k": max(1, options.top_k),
            "max_output_tokens": options.max_new_tokens,
            "stop": list(options.stop) or None,
            "seed": options.seed,
            "timeout": self.server.timeout,
            # It counts tries, not retries.
            "max_retries": self.server.max_retries + 1,
            "client_args": {"verify": tls()},
        }
        chat = GeminiChatModel(**fields)
        chat.client = self._client()
        return chat

    def _client(self) -> Client:
        key = self._key()
        import httpx
        from google.genai import Client
        from google.genai.types import HttpOptions, HttpRetryOptions

        return Client(
            # Whatever GOOGLE_GENAI_USE_VERTEXAI says: that is another API, which takes no such key.
            vertexai=False,
            api_key=key,
            http_options=HttpOptions(
                base_url=self.url,
                headers=ONE_REQUEST,
                # In milliseconds. A chat model gives its own with each request.
                timeout=int(LOOK_S * 1000),
                retry_options=HttpRetryOptions(attempts=1),
                client_args={"auth": self.login, "verify": tls()},
                # Without a transport it would take aiohttp where that is installed, which fails in other words.
                async_client_args={"auth": self.login, "transport": httpx.AsyncHTTPTransport(verify=tls())},
            ),
        )

    def _key(self) -> str:
        if not self.server.key:
            raise ConfigurationError(
                "GOOGLE_API_KEY is not set.",
                "Put it into the environment, .env or .streamlit/secrets.toml, then start Gestalt again.",
            )
        return self.server.key
