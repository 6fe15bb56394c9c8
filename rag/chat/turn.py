"""One turn: a question in, events out (`rag.schema.Event`). Nothing is stored here.

The sources come before the model speaks, so that a model that is down still leaves the passages. Cancelling the task
that runs it, or closing the generator, ends the backend's work, even before the first token.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from langchain_core.callbacks import AsyncCallbackManager, AsyncCallbackManagerForChainRun

from errors import AppError
from options import Answers
from rag import schema
from rag.chat import prompts, replies, summary
from rag.chat.answer import Answer, fold
from rag.chat.citations import Checker
from rag.chat.extract import cited_only
from rag.chat.follow_up import with_measures
from rag.chat.question import Pipeline, Question
from rag.chat.replies import Reply, Side
from rag.chat.router import Routing, Subject, route
from rag.chat.writer import CANNOT_START, SmallModelError, Writer
from rag.db import new_id, now
from rag.index.passages import merged, retrieval_of
from rag.schema import Event, Finish, Message, Mode, Passage, Retrieval, Role, Route, Verdict

log = logging.getLogger(__name__)
T = TypeVar("T")

UNLIKELY = 0.15
"""Score of a sentence that is hardly supported."""
SENTENCE_ENDS = frozenset(".!?:\n。！？")


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
    for event in turn.writer.counted():
        yield event
    # The last sentence of a stopped or cut answer is not judged if it is unfinished.
    ended = (finish is Finish.COMPLETE and not turn.writer.cut) or ends_sentence(turn.text)
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
        self.writer = Writer(question, pipeline.providers, history, pipeline.seconds, self._go_on, self.elapsed)
        self._trace: AsyncCallbackManagerForChainRun | None = None
        self._checker: Checker | None = None
        self._composed: schema.Checked | None = None
        """The check of an answer that was put together from the documents."""
        self._instead: Callable[[str], Awaitable[Reply]] | None = None
        """`(why)` -> what is shown where a model cannot answer, or writes what the passages do not support."""
        self._started = time.perf_counter()

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._composed.text if self._composed else self.writer.text

    def elapsed(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    async def events(self) -> AsyncGenerator[Event]:
        await self._trace_start()
        if self.pipeline.ready:
            await self.pipeline.ready()
        rewritten = await self.writer.condense() if self.question.options.condense and self._asked else ""
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
        return route(self.question.text, contents.documents(), self._asked, mode=mode, titles=contents.titles)

    def _reply(self, routing: Routing) -> Reply | None:
        """The answer, if no model writes it and no passages are searched for it."""
        contents = self.pipeline.contents
        assert contents
        match routing.mode:
            case Mode.LIBRARY if routing.unread:
                return replies.unreadable(routing)
            case Mode.LIBRARY:
                return replies.about_library(routing, contents.documents())
            case Mode.LIST:
                return replies.all_of_it(routing, contents)
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
        self._composed = reply.checked
        yield schema.Routed(reply.route)
        retrieval = Retrieval(reply.passages, abstained=False, confidence=1.0, seconds=self.elapsed())
        yield schema.Retrieved(retrieval, self.elapsed(), tuple(self._asked))
        yield schema.Given(reply.checked.text, self.elapsed())
        for note in reply.notes:
            yield schema.Noted(note)

    async def _from_passages(self, routing: Routing, rewritten: str) -> AsyncGenerator[Event]:
        """The answer from retrieved passages, quoted or written."""
        sides, retrieval = await self._retrieve(routing, rewritten)
        if retrieval.abstained and await asyncio.to_thread(self._quotable, sides):
            retrieval = replace(retrieval, abstained=False)
        self._go_on()
        yield schema.Retrieved(retrieval, self.elapsed(), tuple(self._asked), rewritten)
        for document in routing.unread:
            yield schema.Noted(replies.unread_note(document))
        for term in retrieval.absent:
            yield schema.Noted(f"“{term}” does not stand in what was searched.")
        if retrieval.abstained and self.question.options.strict:
            yield schema.Routed(Route(Mode.ABSTAINED, "Nothing that was searched seems to answer it."))
            said = prompts.not_found(self.pipeline.searched, retrieval.passages)
            self._composed = schema.Checked(said)
            yield schema.Given(said, self.elapsed())
            return
        if retrieval.abstained:
            yield schema.Routed(Route(Mode.WRITTEN, "Nothing that was searched seems to answer it."))
            yield schema.Noted("Your documents do not answer this: the answer comes from the model alone.")
            answer = self._written(())
        elif self._quotes():
            reply = await self._quoted(sides, f"{routing.why} {self._why_quoted()}")
            for event in self._given(reply):
                yield event
            return
        else:
            yield schema.Routed(Route(Mode.WRITTEN, f"{routing.why} The model writes the answer from passages."))
            self._instead = partial(self._quoted, sides)
            answer = self._checked(self._written(retrieval.passages))
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
            found.append(retrieval_of(await retriever.ainvoke(subject.question, self.writer.config)))
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

    def _quotable(self, sides: Sequence[Side]) -> bool:
        """Whether a sentence of the passages answers the question so well that it is in scope after all."""
        return any(replies.is_sure(side, self.pipeline.similarity, self._context) for side in sides)

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
        async with aclosing(self._written(parts, whole=True)) as answer:
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

    async def _written(self, passages: Sequence[Passage], *, whole: bool = False) -> AsyncGenerator[Event]:
        """What a model writes, or the documents' own words where it cannot, or where the passages do not support it."""
        instead, options = self._instead, self.question.options
        automatic = self.question.mode is None and options.answers is Answers.AUTOMATIC
        if passages:
            self._checker = Checker(passages, self.question.text, self.pipeline.entails)
        try:
            async with aclosing(self.writer.write(passages, whole=whole, small=not (automatic and instead))) as events:
                async for event in events:
                    yield event
        except SmallModelError:
            why = self._why_quoted()
        except CANNOT_START as error:
            if self.writer.text or not (instead and self.pipeline.stands_in):
                raise
            who = self.pipeline.providers[-1].label
            note = f"{who} could not answer: {error.message} {error.hint} The documents are quoted instead."
            yield schema.Retrying(note)
            why = "No model could answer, so the documents are quoted."
        else:
            if not instead or not await asyncio.to_thread(self._is_unsupported):
                return
            yield schema.Folded()
            why = "The passages do not support what the model wrote, so they are quoted."
        assert instead
        for event in self._given(await instead(why)):
            yield event

    def _is_unsupported(self) -> bool:
        """Whether the passages support less than half of what the model claims."""
        checked = self.check(ended=not self.writer.cut)
        claims = [check for check in checked.checks if check.verdict is not Verdict.NO_CLAIM] if checked else []
        failed = [check for check in claims if check.verdict is Verdict.UNSUPPORTED]
        # The check misses a fifth of what is supported: one sentence in other words is not folded.
        return 2 * len(failed) > len(claims) and any(check.missing or check.score < UNLIKELY for check in failed)

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
        self.writer.config = {"callbacks": self._trace.get_child()}

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
