"""One turn: a question in, events out (`rag.schema.Event`). Nothing is stored here.

The sources come before the model speaks, so that a model that is down still leaves the passages. Cancelling the task
that runs it, or closing the generator, ends the backend's work, even before the first token.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from itertools import zip_longest
from typing import TypeVar, cast

from langchain_core.callbacks import AsyncCallbackManager, AsyncCallbackManagerForChainRun
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
from rag.chat.answer import Answer, fold
from rag.chat.citations import Checker
from rag.chat.loops import loop_end
from rag.chat.prompts import LeasedModel, Prompt
from rag.chat.question import AnswerProvider, Pipeline, Question
from rag.db import clean, new_id, now
from rag.index.passages import retrieval_of
from rag.schema import Event, Finish, Message, Passage, Role, Usage

log = logging.getLogger(__name__)
T = TypeVar("T")

CANNOT_START = BackendUnavailable, BackendBusy, AuthenticationFailed, ModelNotFound, ConfigurationError
"""Errors after which another backend may do better; what is wrong with the question itself is not among them."""
SENTENCE_ENDS = frozenset(".!?:\n。！？")
LOOK_EVERY = 120
"""Characters after which an answer is searched for a loop."""
CHARACTERS_PER_TOKEN = 4
"""An answer is cut at this many characters for each of its `max_new_tokens`, whatever the server sends."""


async def answer(question: Question, pipeline: Pipeline) -> Message:
    """The answer to a question outside of any conversation."""
    answer = new_answer(question, pipeline, Message("", "", Role.ASSISTANT, "", now(), Finish.RUNNING))
    async for event in run(question, pipeline):
        answer = fold(answer, event)
    return answer.message


def new_answer(question: Question, pipeline: Pipeline, message: Message) -> Answer:
    """The answer before the first event."""
    options = question.options.model_dump(mode="json", exclude={"collection_ids"})
    return Answer(message, record={"question": question.text, **options, **pipeline.record})


async def run(
    question: Question,
    pipeline: Pipeline,
    history: Sequence[Message] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[Event]:
    """Answer a question; whatever goes wrong, the last event says how it ended.

    `stopped` is looked at for every piece of the answer: a cancelled task goes on if a library swallows the
    cancellation, as `asyncio.wait_for` of Python 3.11 does when a piece is ready at that moment.
    """
    turn = _Run(question, pipeline, history, stopped)
    finish, error = Finish.COMPLETE, None
    try:
        async with aclosing(turn.events()) as events:
            async for event in events:
                yield event
    except AppError as caught:
        finish, error = Finish.FAILED, caught
    except asyncio.CancelledError:
        finish = Finish.STOPPED
    except Exception:
        reference = new_id()[:8]
        log.exception("Turn failed, reference %s", reference)
        error = AppError("Something went wrong inside Gestalt.", f"Try again; the log has it under {reference}.")
        finish = Finish.FAILED
    for event in turn.counted():
        yield event
    # The last sentence of a stopped or cut answer is not judged if it is unfinished.
    ended = (finish is Finish.COMPLETE and not turn.cut) or ends_sentence(turn.text)
    checked = await undisturbed(asyncio.to_thread(turn.check, ended=ended))
    yield checked or schema.Checked("")
    await undisturbed(turn.trace_end(error))
    yield schema.Ended(finish, error, turn.elapsed())


async def undisturbed(work: Awaitable[T]) -> T:
    """Wait for `work` to its end, however often this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


class _Run:
    """One run of a turn: what its steps share."""

    def __init__(
        self, question: Question, pipeline: Pipeline, history: Sequence[Message], stopped: Callable[[], bool]
    ) -> None:
        self.question, self.pipeline, self.history, self.stopped = question, pipeline, history, stopped
        self.text = ""
        self.cut = False
        """The answer reached one of its limits."""
        self.config: RunnableConfig = {}
        self._trace: AsyncCallbackManagerForChainRun | None = None
        self._checker: Checker | None = None
        self._sent: tuple[LeasedModel, Prompt] | None = None
        self._usage: UsageMetadata | None = None
        self._started = time.perf_counter()

    def elapsed(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    async def events(self) -> AsyncGenerator[Event]:
        options, asked = self.question.options, [m.text for m in self.history if m.role is Role.USER]
        await self._trace_start()
        if self.pipeline.ready:
            await self.pipeline.ready()
        rewritten = await self._condense() if options.condense and asked else ""
        self._go_on()
        # Opening it reads the database, and may open an embedding model.
        retriever = await asyncio.to_thread(self.pipeline.retriever, asked, rewritten)
        retrieval = retrieval_of(await retriever.ainvoke(self.question.text, self.config))
        self._go_on()
        yield schema.Retrieved(retrieval, self.elapsed(), tuple(asked), rewritten)
        if retrieval.abstained and options.strict:
            yield self._said(prompts.not_found(self.pipeline.searched, retrieval.passages))
            return
        if retrieval.abstained:
            yield schema.Noted("Your documents do not answer this: the answer comes from the model alone.")
            speech = self._speak(())
        else:
            if retrieval.passages:
                self._checker = Checker(retrieval.passages, self.question.text, self.pipeline.entails)
            speech = self._checked(self._speak(retrieval.passages))
        async with aclosing(speech):
            async for event in speech:
                yield event

    def _go_on(self) -> None:
        """Raise `CancelledError` if the turn was stopped: the cancellation of its task may have been lost."""
        if self.stopped():
            raise asyncio.CancelledError

    async def _condense(self) -> str:
        """The question as its model rewrites it; empty if it cannot: the turn continues without it."""
        # Errors are reported by whoever answers, which may be another backend.
        with suppress(AppError, TimeoutError):
            async with asyncio.timeout(self.pipeline.seconds), self.pipeline.providers[0].lease() as model:
                if not model.window.small:
                    messages = prompts.condense(self.question.text, self.history)
                    return prompts.first_line((await model.chat.ainvoke(messages, self.config)).text)
        return ""

    def _said(self, text: str) -> schema.Delta:
        text = clean(text)
        self.text += text
        return schema.Delta(text, self.elapsed())

    async def _speak(self, passages: Sequence[Passage]) -> AsyncGenerator[Event]:
        """The answer of the first provider that starts one."""
        providers = self.pipeline.providers
        for provider, other in zip_longest(providers, providers[1:]):
            try:
                async with aclosing(self._answer(provider, passages)) as events:
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

    async def _answer(self, provider: AnswerProvider, passages: Sequence[Passage]) -> AsyncGenerator[Event]:
        options = self.question.options
        async with provider.lease() as model:
            template = prompts.choose(passages, small=model.window.small, instructions=options.instructions)
            limit = options.generation.max_new_tokens
            prompt = await asyncio.to_thread(
                prompts.fit, template, self.question.text, self.history, passages, model.window, limit
            )
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
        if not self.text.strip():
            raise BackendError("The model returned an empty answer.", "Ask again, or choose another model.")

    async def _bounded(self, stream: AsyncIterator[AIMessageChunk], max_new_tokens: int) -> AsyncGenerator[Event]:
        """The pieces of an answer, as many as it may have, however long the server goes on."""
        limit = CHARACTERS_PER_TOKEN * max_new_tokens
        deadline = asyncio.get_running_loop().time() + self.pipeline.seconds
        while True:
            try:
                async with asyncio.timeout_at(deadline) as bound:
                    chunk = await anext(stream, None)
            except TimeoutError:
                if not bound.expired():
                    raise
                self.cut = True
                note = f"The model took more than {self.pipeline.seconds:,.0f} seconds and was stopped."
                yield schema.Noted(note)
                return
            if chunk is None:
                return
            self._go_on()
            if usage := getattr(chunk, "usage_metadata", None):
                self._usage = add_usage(self._usage, usage)
            piece = chunk.text[: limit - len(self.text)]
            if piece:
                yield self._said(piece)
            if chunk.response_metadata.get("finish_reason") == "length":
                self.cut = True
                yield schema.Noted("The answer reached its limit of tokens and was cut there.")
            if len(piece) < len(chunk.text):
                self.cut = True
                yield schema.Noted(f"The answer was longer than {limit:,} characters and was cut there.")
                return

    def counted(self) -> Iterator[Event]:
        """The usage as the backend reported it, or counted here, and whether the prompt was cut."""
        if not self._sent:
            return
        model, prompt = self._sent
        if self._usage:
            usage = Usage(self._usage["input_tokens"], self._usage["output_tokens"])
            yield schema.Counted(usage)
            if prompt.was_cut(usage.input_tokens):
                yield schema.Noted(
                    f"The server read {usage.input_tokens} tokens of about {prompt.input_tokens}: it cut the prompt. "
                    "Give it a larger context window, or ask for fewer passages."
                )
        elif self.text:
            try:
                tokens = model.window.count(self.text)
            except Exception:
                log.info("The answer could not be counted: its model may be gone", exc_info=True)
            else:
                yield schema.Counted(Usage(prompt.input_tokens, tokens, estimated=True))

    async def _checked(self, speech: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """`speech`, its sentences checked in threads while the model writes."""
        check: asyncio.Task[schema.Checked | None] | None = None
        sentence_ended, known = False, 0
        async with aclosing(speech):
            async for event in speech:
                yield event
                if not isinstance(event, schema.Delta):
                    continue
                if check is not None and check.done():
                    checked = check.result()
                    if checked and len(checked.checks) > known:
                        known = len(checked.checks)
                        yield checked
                    check = None
                # Once the next sentence has begun: the last one of a text is never taken for complete.
                if sentence_ended and check is None:
                    check, sentence_ended = asyncio.create_task(asyncio.to_thread(self.check, ended=False)), False
                sentence_ended |= not SENTENCE_ENDS.isdisjoint(event.text)

    def check(self, *, ended: bool) -> schema.Checked | None:
        """The sentences so far, checked; None if there is nothing to check with, or that went wrong."""
        try:
            return self._checker.check(self.text, ended=ended) if self._checker else None
        except Exception:
            log.exception("The answer could not be checked")
            self._checker = None
            return None

    async def _trace_start(self) -> None:
        manager = AsyncCallbackManager.configure(inheritable_callbacks=list(self.pipeline.callbacks))
        self._trace = await manager.on_chain_start({}, {"question": self.question.text}, name="answer")
        self.config = {"callbacks": self._trace.get_child()}

    async def trace_end(self, error: BaseException | None) -> None:
        """Tell callbacks how the run ended."""
        try:
            if self._trace and error:
                await self._trace.on_chain_error(error)
            elif self._trace:
                await self._trace.on_chain_end({"answer": self.text})
        except Exception:
            log.exception("A callback failed")


def ends_sentence(text: str) -> bool:
    """Whether a text ends with a whole sentence."""
    return text.rstrip(" \n\"'”’)]*_")[-1:] in SENTENCE_ENDS
