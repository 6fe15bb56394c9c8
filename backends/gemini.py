"""Google Gemini through langchain-google-genai, which is imported when needed, with the user's own key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.language_models import BaseChatModel
from typing_extensions import override

from backends.base import Capabilities, Loaded, ModelInfo, Progress, Report
from backends.gemini_wire import GeminiWire
from backends.server import CLOSE_CONNECTION, LIST_TIMEOUT_S, RootAddress, ServerBackend, ServerSettings
from errors import ConfigurationError
from options import GenerationOptions
from settings import prefixed

if TYPE_CHECKING:
    from google.genai import Client

NOT_FOR_CHAT = re.compile(r"embedding|image|imagen|veo|tts|audio|live|aqa|robotics|computer-use")
"""Names of models that accept prompts, but do not answer with text alone."""


class GeminiSettings(ServerSettings):
    """Settings of the Gemini backend."""

    model_config = prefixed("GOOGLE")

    base_url: RootAddress = "https://generativelanguage.googleapis.com"


class GeminiBackend(ServerBackend):
    """The chat models of Google's Gemini API."""

    name = "gemini"
    label = "Google Gemini"
    capabilities: ClassVar[Capabilities] = Capabilities(free_model_name=True)
    start_hint = "Connect to the internet, or correct its address on the Models page."
    settings_class = GeminiSettings

    @override
    def make_wire(self) -> GeminiWire:
        return GeminiWire()

    def list_models(self) -> list[ModelInfo]:
        """Return the models that answer with text, Gemini's first; none if a proxy has no list."""
        client = self._client()
        from google.genai.errors import ClientError

        try:
            with self.reading_response():
                listed = list(client.models.list(config={"page_size": 1000}))
        except ClientError as error:
            if error.code == 404 and "base_url" in self.server.model_fields_set:
                return []
            raise
        finally:
            client.close()
        models = []
        for model in listed:
            name = (model.name or "").removeprefix("models/")
            # A proxy may not tell what a model does.
            if "generateContent" in (model.supported_actions or ["generateContent"]) and not NOT_FOR_CHAT.search(name):
                label, window, thinks = model.display_name or name, model.input_token_limit, bool(model.thinking)
                models.append(ModelInfo(name, label, context_window=window, thinks=thinks, sees=True))
        return sorted(models, key=lambda info: not info.name.startswith("gemini"))

    def load(self, model: str, report: Report) -> Loaded:
        """Check key and model; only the key if a proxy lists no models."""
        report(Progress(f"Asking {self.location}"))
        return Loaded(context_window=self.model_info(model).context_window) if self.list_models() else Loaded()

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        """Return a ChatGoogleGenerativeAI that raises AnswerBlocked if Google blocks an answer."""
        from backends.gemini_chat_model import GeminiChatModel

        # A dictionary, because the type checker wants the aliases of these fields.
        fields: dict[str, Any] = {
            "model": model,
            "google_api_key": self._key(),
            "base_url": self.url,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "top_k": options.top_k,
            "max_output_tokens": options.max_new_tokens,
            "stop": list(options.stop) or None,
            "seed": options.seed,
            "timeout": self.server.timeout,
            # It counts attempts, not retries.
            "max_retries": self.server.max_retries + 1,
        }
        chat = GeminiChatModel(**fields)
        chat.client = self._client()
        return chat

    def _client(self) -> Client:
        key = self._key()
        from google.genai import Client
        from google.genai.types import HttpOptions, HttpRetryOptions

        return Client(
            # Overrides GOOGLE_GENAI_USE_VERTEXAI: that is another API, with other keys.
            vertexai=False,
            api_key=key,
            http_options=HttpOptions(
                base_url=self.url,
                headers=CLOSE_CONNECTION,
                # In milliseconds. A chat model sets its own with each request.
                timeout=int(LIST_TIMEOUT_S * 1000),
                retry_options=HttpRetryOptions(attempts=1),
                client_args={"auth": self.login, "transport": self.transport()},
                async_client_args={"auth": self.login, "transport": self.transport()},
            ),
        )

    def _key(self) -> str:
        if not self.server.key:
            hint = "Type it on the Models page, or set GOOGLE_API_KEY in the environment."
            raise ConfigurationError(f"{self.label} has no key.", hint)
        return self.server.key
