"""Who answers: the model that a person gets who chose none, and its lease for the length of one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial

from backends.base import GenerationOptions, Loaded
from backends.manager import ModelManager
from backends.translate import translate
from errors import ConfigurationError
from rag.chat.conversations import Conversations
from rag.chat.prompts import Room
from rag.chat.writer import LeasedModel
from settings import Settings


class Models:
    """The manager's models as a turn wants them."""

    def __init__(self, settings: Settings, manager: ModelManager, conversations: Conversations) -> None:
        self._settings, self._manager, self._conversations = settings, manager, conversations

    @asynccontextmanager
    async def lease(self, owner: str, name: str, model: str, options: GenerationOptions) -> AsyncIterator[LeasedModel]:
        """A model for the length of one answer, loaded where it is not; the default one where `model` is empty.

        Raises:
            BackendError: the backend cannot be asked, or the model not be loaded.
            ConfigurationError: there is no such backend, or no model to choose.
        """
        model = model or await asyncio.to_thread(self.default, owner, name)
        async with self._manager.use(name, model, options) as chat:
            loaded = self._manager.status(name, model).loaded or Loaded()
            backend = self._manager.backend(name)
            yield LeasedModel(
                backend=name,
                model=model,
                chat=chat,
                window=loaded.context_window,
                prompt_limit=loaded.prompt_limit,
                count_tokens=partial(backend.count_tokens, model),
                exact=backend.capabilities.counts_tokens,
                small=loaded.is_small,
                facts={
                    "revision": loaded.revision,
                    "device": loaded.device,
                    "dtype": loaded.dtype,
                    "quantization": loaded.quantization,
                    "options": asdict(options),
                },
            )

    def default(self, owner: str, backend: str, listed: Sequence[str] | None = None) -> str:
        """The model that a person who chose none gets.

        The setting for the default backend, else the last one that answered, else the first that is listed.

        Args:
            owner: who asks.
            backend: name of the backend.
            listed: names of its models; asked for where they are not given, which may take seconds.

        Raises:
            BackendError: the backend cannot be asked.
            ConfigurationError: it lists none.
        """
        if self.is_set(backend):
            return str(self._settings.model)
        who = self._manager.backend(backend)
        if listed is None:
            try:
                listed = [model.name for model in who.list_models()]
            except Exception as error:
                if translated := translate(error, who.location, who.start_hint):
                    raise translated from error
                raise
        last = self._conversations.last_model(owner, backend)
        if last and last in listed:
            return last
        if not listed:
            raise ConfigurationError(f"{who.label} lists no model.", "Type a model's name, or add a model to it.")
        return listed[0]

    def is_set(self, backend: str) -> bool:
        """Whether the settings name a model of that backend."""
        return backend == self._settings.backend and bool(self._settings.model)

    def options(self) -> GenerationOptions:
        """Generation options as the settings have them."""
        settings = self._settings
        return GenerationOptions(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_new_tokens=settings.max_new_tokens,
        )

    def room(self, backend: str, model: str) -> Room | None:
        """The window of a model that is loaded, and how it counts; None where it is not."""
        loaded = self._manager.status(backend, model).loaded
        if not loaded:
            return None
        return Room(
            partial(self._manager.backend(backend).count_tokens, model),
            window=loaded.context_window,
            prompt_limit=loaded.prompt_limit,
            answer=self._settings.max_new_tokens,
            small=loaded.is_small,
        )
