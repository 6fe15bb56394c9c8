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
from dataclasses import replace
from functools import partial
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
from options import Answers
from rag import schema
from rag.chat import prompts, replies, summary
from rag.chat.answer import Answer, fold
from rag.chat.citations import Checker
from rag.chat.extract import cited_only
from rag.chat.follow_up import with_measures
from rag.chat.loops import loop_end
from rag.chat.prompts import LeasedModel, Prompt
from rag.chat.question import AnswerProvider, Pipeline, Question
from rag.chat.replies import Reply, Side
from rag.chat.router import Routing, Subject, route
from rag.db import clean, new_id, now
from rag.index.passages import merged, retrieval_of
from rag.schema import Event, Finish, Message, Mode, Passage, Retrieval, Role, Route, Usage, Verdict

log = logging.getLogger(__name__)
T = TypeVar("T")

CANNOT_START = BackendUnavailable, BackendBusy, AuthenticationFailed, ModelNotFound, ConfigurationError
"""Errors after which another backend may do better; what is wrong with the question itself is not among them."""
SENTENCE_ENDS = frozenset(".!?:\n。！？")
LOOK_EVERY = 120
"""Characters after which an answer is searched for a loop."""
CHARACTERS_PER_TOKEN = 4
"""An answer is cut at this many characters for each of its `max_new_tokens`, whatever the server sends."""


async def answer(question: Question, pipeline: Pipeline, history: Sequence[Message] = ()) -> Message:
    """The answer to a question outside of any conversation."""
    options = question.options
    empty = Message("", "", Role.ASSISTANT, "", now(), Finish.RUNNING, options.backend, options.model)
    answer = new_answer(question, pipeline, empty)
    async for event in run(question, pipeline, history):
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
        self._asked = [message.text for message in history if message.role is Role.USER]
        self._context = with_measures(question.text, self._asked)
        """The earlier questions, and what a short question leaves out."""
        self.text = ""
        self.cut = False
        """The answer reached one of its limits."""
        self.config: RunnableConfig = {}
        self._trace: AsyncCallbackManagerForChainRun | None = None
        self._checker: Checker | None = None
        self._digested: Sequence[Passage] = ()
        """What the model is shown of a whole text."""
        self._composed: schema.Checked | None = None
        """The check of an answer that was put together from the documents."""
        self._instead: Callable[[str], Awaitable[Reply]] | None = None
        """`(why)` -> what is shown where a model cannot answer, or writes what the passages do not support."""
        self._sent: tuple[LeasedModel, Prompt] | None = None
        self._usage: UsageMetadata | None = None
        self._started = time.perf_counter()

    def elapsed(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    async def events(self) -> AsyncGenerator[Event]:
        await self._trace_start()
        if self.pipeline.ready:
            await self.pipeline.ready()
        rewritten = await self._condense() if self.question.options.condense and self._asked else ""
        self._go_on()
        routing = await asyncio.to_thread(self._route)
        self._go_on()
        if routing.mode:
            yield schema.Routed(Route(routing.mode, routing.why))
            reply = await asyncio.to_thread(self._reply, routing)
            self._go_on()
            if reply:
                for event in self._given(reply):
                    yield event
                return
        answer = self._summary(routing) if routing.mode is Mode.SUMMARY else self._from_passages(routing, rewritten)
        async with aclosing(answer):
            async for event in answer:
                yield event

    def _route(self) -> Routing:
        contents, mode = self.pipeline.contents, self.question.mode
        if contents is None:
            return Routing(None, "")
        documents = contents.documents()
        text, asked = self.question.text, self._asked
        return route(text, documents, asked, mode=mode, titles=lambda: replies.titles(contents, documents))

    def _reply(self, routing: Routing) -> Reply | None:
        """The answer, if no model writes it and no passages are searched for it."""
        contents = self.pipeline.contents
        assert contents
        match routing.mode:
            case Mode.LIBRARY:
                return replies.about_library(routing, contents.documents())
            case Mode.LIST:
                return replies.all_of_it(routing, contents)
            case Mode.SUMMARY if not routing.documents:
                return replies.unreadable(routing)
            case Mode.SUMMARY if self._quotes():
                return replies.summarise(routing, replies.whole_documents(routing, contents))
        return None

    def _quotes(self) -> bool:
        """Whether the documents are quoted rather than a model asked to write."""
        if self.question.mode in (Mode.QUOTED, Mode.WRITTEN):
            return self.question.mode is Mode.QUOTED
        answers = self.question.options.answers
        return self.pipeline.providers[0].is_small() if answers is Answers.AUTOMATIC else answers is Answers.QUOTED

    def _why_quoted(self) -> str:
        automatic = self.question.mode is None and self.question.options.answers is Answers.AUTOMATIC
        return "The model is small, so the documents are quoted." if automatic else "Quotes were chosen."

    def _given(self, reply: Reply) -> Iterator[Event]:
        """An answer that is there as a whole."""
        self._composed, self.text = reply.checked, reply.checked.text
        yield schema.Routed(reply.route)
        retrieval = Retrieval(reply.passages, abstained=False, confidence=1.0, seconds=self.elapsed())
        yield schema.Retrieved(retrieval, self.elapsed(), tuple(self._asked))
        yield schema.Given(self.text, self.elapsed())
        for note in reply.notes:
            yield schema.Noted(note)

    async def _from_passages(self, routing: Routing, rewritten: str) -> AsyncGenerator[Event]:
        """The answer from retrieved passages, quoted or written."""
        sides, retrieval = await self._retrieve(routing, rewritten)
        self._go_on()
        yield schema.Retrieved(retrieval, self.elapsed(), tuple(self._asked), rewritten)
        for document in routing.unread:
            yield schema.Noted(replies.unread_note(document))
        for term in retrieval.absent:
            yield schema.Noted(f"“{term}” does not stand in what was searched.")
        if retrieval.abstained and self.question.options.strict:
            yield schema.Routed(Route(Mode.ABSTAINED, "Nothing that was searched seems to answer it."))
            yield self._said(prompts.not_found(self.pipeline.searched, retrieval.passages))
            return
        if retrieval.abstained:
            yield schema.Routed(Route(Mode.WRITTEN, "Nothing that was searched seems to answer it."))
            yield schema.Noted("Your documents do not answer this: the answer comes from the model alone.")
            answer = self._speak(())
        elif self._quotes():
            reply = await self._quoted(sides, f"{routing.why} {self._why_quoted()}")
            for event in self._given(reply):
                yield event
            return
        else:
            yield schema.Routed(Route(Mode.WRITTEN, f"{routing.why} The model writes the answer from passages."))
            self._instead = partial(self._quoted, sides)
            answer = self._checked(self._speak(retrieval.passages))
        async with aclosing(answer):
            async for event in answer:
                yield event

    async def _retrieve(self, routing: Routing, rewritten: str) -> tuple[list[Side], Retrieval]:
        """The passages for each thing that the question compares, or for the question, and all of them."""
        asked = routing.subjects or (Subject(self.question.text, routing.documents),)
        found = list[Retrieval]()
        for subject in asked:
            only = [document.id for document in subject.documents]
            earlier = [] if subject.other_than else self._context
            # Opening it reads the database, and may open an embedding model.
            retriever = await asyncio.to_thread(self.pipeline.retriever, earlier, rewritten, only)
            found.append(retrieval_of(await retriever.ainvoke(subject.question, self.config)))
            self._go_on()
        if len(found) == 1:
            passages = subject.without(found[0].passages)
            return [Side(subject.question, passages)], replace(found[0], passages=passages)
        share = max(2, self.question.options.k // len(found))
        sides = []
        for subject, each in zip(asked, found, strict=True):
            # Of a thing that has a code, the passages that have it.
            exact = [passage for passage in each.passages if passage.codes]
            sides.append(Side(subject.question, (exact or each.passages)[:share], compared=True))
        passages = tuple(passage for side in sides for passage in side.passages)
        return sides, replace(merged(found), passages=passages)

    async def _quoted(self, sides: Sequence[Side], why: str) -> Reply:
        """Quotes of the passages."""
        route = Route(Mode.QUOTED, why, verbatim=True)
        return await asyncio.to_thread(replies.quotes, sides, route, self.pipeline.similarity, self._context)

    async def _summary(self, routing: Routing) -> AsyncGenerator[Event]:
        """A summary that the model writes, of a text that may be longer than its window."""
        contents = self.pipeline.contents
        assert contents
        texts = await asyncio.to_thread(replies.whole_documents, routing, contents)
        parts = summary.parts(texts)
        for document in routing.unread:
            yield schema.Noted(replies.unread_note(document))
        for note in replies.left_out(routing):
            yield schema.Noted(note)
        self._instead = lambda why: asyncio.to_thread(replies.summarise, replace(routing, why=why), texts)
        async with aclosing(self._speak(parts, whole=True)) as answer:
            async for event in answer:
                yield event
        if self._composed:
            return
        # Of the whole text, the passages that are cited are kept.
        self._composed = await asyncio.to_thread(self.check, ended=True)
        if self._composed:
            cited, self._composed = cited_only(parts, self._composed)
            yield schema.Retrieved(Retrieval(cited, abstained=False, confidence=1.0, seconds=0.0), self.elapsed())

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

    async def _speak(self, passages: Sequence[Passage], *, whole: bool = False) -> AsyncGenerator[Event]:
        """The answer of the first provider that starts one; what the passages say themselves if none does.

        If it is about the `whole` of the passages, it is a summary.
        """
        if passages:
            self._checker = Checker(passages, self.question.text, self.pipeline.entails)
        providers = self.pipeline.providers
        for provider, other in zip_longest(providers, providers[1:]):
            try:
                async with aclosing(self._answer(provider, passages, whole=whole)) as events:
                    async for event in events:
                        yield event
            except CANNOT_START as error:
                # Never two models in one text.
                if self.text or not (other or self._stands_in):
                    raise
                self._sent = self._usage = None
                failed = f"{provider.label} could not answer: {error.message}"
                if other:
                    yield schema.Retrying(f"{failed} {other.label} answered instead.")
                    continue
                yield schema.Retrying(f"{failed} {error.hint} The documents are quoted instead.")
                for event in await self._quotes_instead("No model could answer, so the documents are quoted."):
                    yield event
            break
        async for event in self._fold():
            yield event

    @property
    def _stands_in(self) -> bool:
        return self.pipeline.stands_in and self._instead is not None

    async def _quotes_instead(self, why: str) -> Iterator[Event]:
        """What is shown in place of a model's answer."""
        assert self._instead
        return self._given(await self._instead(why))

    async def _fold(self) -> AsyncGenerator[Event]:
        """Quotes in place of what the model wrote, if the passages do not support that."""
        if self._instead and not self._composed and await asyncio.to_thread(self._is_unsupported):
            yield schema.Folded()
            why = "The passages do not support what the model wrote, so they are quoted."
            for event in await self._quotes_instead(why):
                yield event

    def _is_unsupported(self) -> bool:
        """Whether the passages support less than half of what the model claims."""
        checked = self.check(ended=not self.cut)
        verdicts = [check.verdict for check in checked.checks] if checked else []
        return verdicts.count(Verdict.UNSUPPORTED) > verdicts.count(Verdict.SUPPORTED)

    async def _answer(
        self, provider: AnswerProvider, passages: Sequence[Passage], *, whole: bool
    ) -> AsyncGenerator[Event]:
        options = self.question.options
        async with provider.lease() as model:
            automatic = self.question.mode is None and options.answers is Answers.AUTOMATIC
            if model.window.small and automatic and self._instead:
                # Its size was not known before it was loaded.
                for event in await self._quotes_instead(self._why_quoted()):
                    yield event
                return
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
                said = await model.chat.ainvoke(prompts.part(group), self.config)
                self._go_on()
                first = group[0]
                notes.append(replace(first, text=said.text, page=None, label=f"part {number} of {len(groups)}"))
            if sum(len(note.text) for note in notes) >= sum(len(part.text) for part in self._digested):
                raise BackendError("The model did not shorten the text.", "Choose another model, or quoted answers.")
            self._digested = notes

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
        if self._composed:
            return self._composed
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
