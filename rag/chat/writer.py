"""Has a model write an answer from passages, within its limits of window, tokens and time, and without loops.

Closing what it streams ends the backend's work, even before the first token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import cast

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables import RunnableConfig

from errors import (
    AppError,
    AuthenticationFailed,
    BackendBusy,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    ModelNotFound,
)
from rag import schema
from rag.chat import prompts
from rag.chat.loops import loop_end
from rag.chat.prompts import LeasedModel, Prompt
from rag.chat.question import AnswerProvider, Question
from rag.chat.thinking import Spoken, Thoughts, without_thoughts
from rag.db import clean
from rag.schema import Event, Message, Passage, Usage

log = logging.getLogger(__name__)

CANNOT_START = BackendUnavailable, BackendBusy, AuthenticationFailed, ModelNotFound, ConfigurationError
"""Errors after which another backend may do better; what is wrong with the question itself is not among them."""
LOOK_EVERY = 80
"""Characters after which an answer is searched for a loop."""
CHARACTERS_PER_TOKEN = 4
"""An answer is cut at this many characters for each of its `max_new_tokens`, whatever the server sends."""


class SmallModelError(Exception):
    """The model turned out to be small when it was loaded, and nothing was written."""


class Writer:
    """One answer of a model: what its steps share."""

    def __init__(
        self,
        question: Question,
        providers: Sequence[AnswerProvider],
        history: Sequence[Message],
        seconds: float,
        go_on: Callable[[], None],
        elapsed: Callable[[], float],
    ) -> None:
        """`go_on` raises if the turn was stopped, `elapsed` is the time since it began, in seconds."""
        self.question, self.providers, self.history, self.seconds = question, providers, history, seconds
        self._go_on, self._elapsed = go_on, elapsed
        self.config: RunnableConfig = {}
        self.text = ""
        self.thoughts = ""
        """What the model thought before it answered."""
        self.cut = False
        """The answer reached one of its limits."""
        self._digested: Sequence[Passage] = ()
        """What the model is shown of a whole text."""
        self._began = 0.0
        """When the first piece came, in seconds: thoughts come first."""
        self._too_long = ""
        """What exceeded its limit of characters."""
        self._sent: tuple[LeasedModel, Prompt] | None = None
        self._usage: UsageMetadata | None = None

    async def condense(self) -> str:
        """The question as its model rewrites it; empty if it cannot: the turn continues without it."""
        # Errors are reported by whoever answers, which may be another backend.
        with suppress(AppError, TimeoutError):
            async with asyncio.timeout(self.seconds), self.providers[0].lease() as model:
                if not model.window.small:
                    messages = prompts.condense(self.question.text, self.history)
                    said = (await model.chat.ainvoke(messages, self.config)).text
                    return prompts.first_line(without_thoughts(said))
        return ""

    async def write(
        self, passages: Sequence[Passage], *, whole: bool = False, small: bool = True
    ) -> AsyncGenerator[Event]:
        """The answer of the first provider that starts one.

        If it is about the `whole` of the passages, it is a summary. Raises the error of the last provider, one of
        `CANNOT_START` if nothing was written, and SmallModelError if a `small` model is not to write.
        """
        for provider, other in zip_longest(self.providers, self.providers[1:]):
            try:
                async with aclosing(self._answer(provider, passages, whole=whole, small=small)) as events:
                    async for event in events:
                        yield event
            except CANNOT_START as error:
                # Never two models in one text.
                if other is None or self.text:
                    raise
                self._sent = self._usage = None
                note = f"{provider.label} could not answer: {error.message} {other.label} answered instead."
                yield schema.Retrying(note)
            else:
                return

    async def _answer(
        self, provider: AnswerProvider, passages: Sequence[Passage], *, whole: bool, small: bool
    ) -> AsyncGenerator[Event]:
        options = self.question.options
        async with provider.lease() as model:
            if model.window.small and not small:
                raise SmallModelError
            if whole:
                async for working in self._digest(model, passages):
                    yield working
                passages, template = self._digested, prompts.FROM_WHOLE_TEXT
            else:
                template = prompts.choose(passages, small=model.window.small, instructions=options.instructions)
            limit = options.generation.max_new_tokens
            history = () if whole else self.history
            fit = partial(prompts.fit, template, self.question.text, history, passages, model.window, limit)
            prompt = await asyncio.to_thread(fit, best_last=not whole)
            self._sent = model, prompt
            sent = [{"role": message.type, "text": message.text} for message in prompt.messages]
            facts = {"prompt": sent, **model.facts}
            yield schema.Prompted(model.backend, model.model, prompt.ledger, prompt.notes, facts)
            stream = cast("AsyncGenerator[AIMessageChunk]", model.chat.astream(prompt.messages, self.config))
            async with aclosing(stream), aclosing(self._bounded(stream, limit)) as events:
                looked = 0
                async for event in events:
                    yield event
                    if len(self.text) - looked >= LOOK_EVERY:
                        looked = len(self.text)
                        if loop_end(self.text) is not None:
                            break
            if (end := loop_end(self.text)) is not None:
                self.text = self.text[:end]
                yield schema.Cut(self.text, "The model began to repeat itself; the answer ends there.")
        if not self.text.strip() and self.thoughts:
            why = "reached its limit of tokens while it was thinking" if self.cut else "thought, but did not answer"
            raise BackendError(
                f"The model {why}.", "Raise the limit of tokens in the options, or choose another model."
            )
        if not self.text.strip():
            raise BackendError("The model returned an empty answer.", "Ask again, or choose another model.")

    async def _digest(self, model: LeasedModel, parts: Sequence[Passage]) -> AsyncGenerator[Event]:
        """Summarise the parts of a text group by group until they fit the model's window together."""
        self._digested = parts
        limit = self.question.options.generation.max_new_tokens
        while True:
            groups = await asyncio.to_thread(prompts.groups, self._digested, model.window, limit)
            if len(groups) == 1:
                return
            notes = []
            for number, group in enumerate(groups, 1):
                yield schema.Working(f"Reading part {number} of {len(groups)} …")
                async with asyncio.timeout(self.seconds):
                    said = await model.chat.ainvoke(prompts.part(group), self.config)
                self._go_on()
                first = group[0]
                notes.append(
                    replace(first, text=without_thoughts(said.text), page=None, label=f"part {number} of {len(groups)}")
                )
            if sum(len(note.text) for note in notes) >= sum(len(part.text) for part in self._digested):
                raise BackendError("The model did not shorten the text.", "Choose another model, or quoted answers.")
            self._digested = notes

    async def _bounded(self, stream: AsyncIterator[AIMessageChunk], max_new_tokens: int) -> AsyncGenerator[Event]:
        """The pieces of an answer, as many as it may have, however long the server goes on."""
        limit = CHARACTERS_PER_TOKEN * max_new_tokens
        thoughts = Thoughts()
        deadline = asyncio.get_running_loop().time() + self.seconds
        while True:
            try:
                async with asyncio.timeout_at(deadline) as bound:
                    chunk = await anext(stream, None)
            except TimeoutError:
                if not bound.expired():
                    raise
                self.cut = True
                note = f"The model took more than {self.seconds:,.0f} seconds and was stopped."
                yield schema.Noted(note)
                return
            if chunk is None:
                for event in self._spoken(thoughts.end(), limit):
                    yield event
                return
            self._go_on()
            for event in self._taken(chunk, thoughts, limit):
                yield event
            if self._too_long:
                self.cut = True
                yield schema.Noted(f"The {self._too_long} longer than {limit:,} characters and was cut there.")
                return

    def _taken(self, chunk: AIMessageChunk, thoughts: Thoughts, limit: int) -> Iterator[Event]:
        """What a piece of the stream adds."""
        self._began = self._began or self._elapsed()
        if usage := getattr(chunk, "usage_metadata", None):
            self._usage = add_usage(self._usage, usage)
        spoken = thoughts.read(chunk.text)
        # Servers that tell thoughts apart send them as such.
        told = chunk.additional_kwargs.get("reasoning_content") or ""
        yield from self._spoken(replace(spoken, thought=told + spoken.thought), limit)
        if chunk.response_metadata.get("finish_reason") == "length":
            self.cut = True
            yield schema.Noted("The answer reached its limit of tokens and was cut there.")

    def _spoken(self, spoken: Spoken, limit: int) -> Iterator[Event]:
        """What a piece of the answer adds to text and thoughts, which may each have `limit` characters."""
        thought = clean(spoken.thought)
        if thought or spoken.all_was_thought:
            if not self.thoughts:
                yield schema.Working("Thinking …")
            self.thoughts += (self.text if spoken.all_was_thought else "") + thought
            self.text = "" if spoken.all_was_thought else self.text
            yield schema.Thought(thought, self._elapsed(), self._began, spoken.all_was_thought)
        room = limit - len(self.text)
        if len(self.thoughts) > limit:
            self._too_long = "reasoning of the model was"
        if len(spoken.said) > room:
            self._too_long = "answer was"
        if said := clean(spoken.said[:room]):
            self.text += said
            yield schema.Delta(said, self._elapsed())

    def counted(self) -> Iterator[Event]:
        """The usage as the backend reported it, or counted here, and whether the prompt was cut."""
        if not self._sent:
            return
        model, prompt = self._sent
        facts = {"left_out": list(left_out)} if (left_out := model.left_out()) else {}
        if self._usage:
            thought = (self._usage.get("output_token_details") or {}).get("reasoning") or 0
            read, written = self._usage["input_tokens"], self._usage["output_tokens"]
            counts_cached = model.window.counts_cached
            is_cached = not counts_cached and not prompt.was_read(read)
            usage = Usage(prompt.input_tokens if is_cached else read, written, thought, estimated=is_cached)
            yield schema.Counted(usage, facts)
            if prompt.was_cut(read, counts_cached=counts_cached):
                yield schema.Noted(
                    f"The server read {read} tokens of about {prompt.input_tokens}: it cut the prompt. "
                    "Give it a larger context window, or ask for fewer passages."
                )
        elif self.text or self.thoughts:
            try:
                thought, tokens = model.window.count(self.thoughts), model.window.count(self.text)
            except Exception:
                log.info("The answer could not be counted: its model may be gone", exc_info=True)
            else:
                yield schema.Counted(Usage(prompt.input_tokens, thought + tokens, thought, estimated=True), facts)
