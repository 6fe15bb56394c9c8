"""Who answers: the default model of a backend, and the lease of a model for one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from backends.base import Loaded
from backends.manager import ModelManager
from backends.translate import translate
from errors import ConfigurationError
from options import AnswerOptions, GenerationOptions
from rag.chat.conversations import Conversations
from rag.chat.prompts import LeasedModel, Window


class Models:
    """The manager's models as a turn needs them."""

    def __init__(self, defaults: AnswerOptions, manager: ModelManager, conversations: Conversations) -> None:
        self._defaults, self._manager, self._conversations = defaults, manager, conversations

    @asynccontextmanager
    async def lease(self, owner: str, name: str, model: str, options: GenerationOptions) -> AsyncIterator[LeasedModel]:
        """A model for the length of one answer, loaded if need be; the backend's default one if `model` is empty.

        Raises BackendError if the backend cannot be asked or the model cannot be loaded, ConfigurationError if there is
        no such backend, or no model to choose.
        """
        model = model or await asyncio.to_thread(self.default, owner, name)
        async with self._manager.use(name, model, options) as chat:
            loaded = self._manager.status(name, model).loaded or Loaded()
            facts = {name: getattr(loaded, name) for name in ("revision", "device", "dtype", "quantization")}
            left_out = partial(self._manager.backend(name).left_out, model)
            yield LeasedModel(name, model, chat, self._window(name, model, loaded), facts, left_out)

    def default(self, owner: str, backend: str, listed: Sequence[str] | None = None) -> str:
        """The model for a user who chose none: the one of the settings, else the last that answered, else the first.

        Without `listed`, the names of its models, the backend is asked, which may take seconds. Raises BackendError if
        it cannot be asked, ConfigurationError if it lists no model.
        """
        if self.is_set(backend):
            return self._defaults.model
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
        return backend == self._defaults.backend and bool(self._defaults.model)

    def is_small(self, backend: str, model: str) -> bool:
        """Whether a model is known to be small, before it is loaded too."""
        loaded = self._manager.status(backend, model).loaded
        return loaded.is_small if loaded else self._manager.backend(backend).is_small(model)

    def window(self, backend: str, model: str) -> Window | None:
        """The window of a loaded model; None if it is not loaded."""
        loaded = self._manager.status(backend, model).loaded
        return self._window(backend, model, loaded) if loaded else None

    def _window(self, name: str, model: str, loaded: Loaded) -> Window:
        backend = self._manager.backend(name)
        return Window(
            partial(backend.count_tokens, model),
            exact=backend.capabilities.counts_tokens,
            counts_cached=backend.capabilities.counts_cached,
            size=loaded.context_window,
            prompt_limit=loaded.prompt_limit,
            small=loaded.is_small,
        )
