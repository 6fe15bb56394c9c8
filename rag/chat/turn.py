"""One turn: a question in, events out.

    Retrieved   the sources, before the model speaks, so that a model that is down still leaves the passages
    Delta ...   the answer as it comes
    Checked ... its sentences so far, held against the passages, whenever another one is finished
    Finished    the message as it is stored: complete, stopped or failed

Cancelling the task that runs it, or closing the generator, ends the backend's work, also before the first token.
It knows LangChain's types only: what answers is handed in as a context manager over a chat model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any

from langchain_core.messages import AIMessageChunk

from errors import (
    AppError,
    AuthenticationFailed,
    BackendBusy,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    ModelNotFound,
)
from rag.chat import prompts
from rag.chat.citations import Embed, Entails
from rag.chat.conversations import Conversations
from rag.chat.writer import LeasedModel, Writer
from rag.db import new_id
from rag.schema import Delta, Event, Finish, Finished, Message, Passage, Retrieval, Retrieved, Role

log = logging.getLogger(__name__)

CANNOT_BEGIN = BackendUnavailable, BackendBusy, AuthenticationFailed, ModelNotFound, ConfigurationError
"""What another backend may do better. What is wrong with the question itself is not among these."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """A backend that may answer."""

    label: str
    """As a person knows it."""
    lease: Callable[[], AbstractAsyncContextManager[LeasedModel]]
    """Leases its chat model; loads it first where that is needed, and translates its exceptions."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, of whom, and how it is to be answered."""

    owner: str
    conversation_id: str | None
    """None begins a new conversation."""
    text: str
    searched: str
    """What is looked through, as a person reads it: “12 documents in My documents”."""
    retrieve: Callable[[str, Sequence[str], str], Retrieval]
    """`(question, earlier questions, the question as the model put it)` -> passages. Blocks."""
    answerers: Sequence[Answerer]
    """The one that was chosen, then those that answer where it cannot begin to."""
    max_new_tokens: int
    backend: str
    model: str
    """Of the first answerer."""
    instead_of: str | None = None
    """A message of the conversation in whose place this comes: a question that was put otherwise, or an answer that
    is given again, to the same question."""
    strict: bool = True
    """Answer from the documents only."""
    wishes: str = ""
    """A person's own instructions to the model."""
    asked_with: Mapping[str, Any] = field(default_factory=dict)
    """What else made the answer, for its record: settings, steps of retrieval, collections."""
    condense: bool = False
    """Let the model put a follow-up so that it stands for itself; both are searched. Small models are not asked."""
    title: str | None = None
    """Of a new conversation; the question's own words where it is not given."""
    embed: Embed | None = None
    """Texts -> unit vectors of the embedded model, for the check of the answer; words alone decide without."""
    entails: Entails | None = None
    """A model that judges what follows from what, for the check of the answer, where there is one."""


async def run(
    question: Question, answer: Message, history: Sequence[Message], conversations: Conversations
) -> AsyncGenerator[Event]:
    """Answer `question` into the stored, still empty message `answer`; `history` is what came before both.

    Never raises for what goes wrong on the way: the last event says how it ended.
    """
    writer = Writer(question.owner, answer, question.text, conversations, question.embed, question.entails)
    writer.remember(**question.asked_with, strict=question.strict, wishes=question.wishes, question=question.text)
    finish, error = Finish.COMPLETE, None
    try:
        asked = [message.text for message in history if message.role is Role.USER]
        rewritten = await _condense(question, history) if question.condense and asked else ""
        writer.remember(earlier_questions=asked, rewritten=rewritten)
        retrieval = await asyncio.to_thread(question.retrieve, question.text, asked, rewritten)
        writer.retrieved(retrieval)
        yield Retrieved(retrieval)
        # Beside the model, which reads its prompt meanwhile.
        check = asyncio.create_task(asyncio.to_thread(writer.prepare))
        async with aclosing(_speak(question, history, retrieval, writer)) as speech:
            async for text in speech:
                writer.write(text)
                yield Delta(text)
                if check.done():
                    if (checked := check.result()) and writer.take(checked):
                        yield checked
                    if writer.sentence_ended():
                        check = asyncio.create_task(asyncio.to_thread(writer.check))
    except AppError as caught:
        finish, error = Finish.FAILED, caught
    except (asyncio.CancelledError, GeneratorExit) as end:
        finish = Finish.STOPPED
        if isinstance(end, GeneratorExit):
            raise
    except Exception:
        reference = new_id()[:8]
        log.exception("Turn failed, reference %s", reference)
        error = AppError("Something went wrong inside Gestalt.", f"Try again; the log has it under {reference}.")
        finish = Finish.FAILED
    finally:
        await _undisturbed(partial(writer.finish, finish, error))
        writer.save()
    yield Finished(writer.message, error)


async def _condense(question: Question, history: Sequence[Message]) -> str:
    """The question as its model puts it; empty where it cannot, which costs nothing but that."""
    try:
        async with question.answerers[0].lease() as model:
            if model.small:
                return ""
            said = await model.chat.ainvoke(prompts.condense(question.text, history))
    except AppError as error:
        # Who answers says it again, and may be another.
        log.info("The question could not be condensed: %s", error.message)
        return ""
    return prompts.first_line(said.text)


async def _undisturbed(work: Callable[[], None]) -> None:
    """Do what blocks in a thread, to its end, however often this task is cancelled meanwhile."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


async def _speak(
    question: Question, history: Sequence[Message], retrieval: Retrieval, writer: Writer
) -> AsyncGenerator[str]:
    if retrieval.abstained and question.strict:
        yield prompts.not_found(question.searched, retrieval.passages)
        return
    if retrieval.abstained:
        writer.note("Your documents do not answer this: the answer comes from the model alone.")
    passages = () if retrieval.abstained else retrieval.passages
    for answerer, other in zip_longest(question.answerers, question.answerers[1:]):
        try:
            async with aclosing(_answer(answerer, question, history, passages, writer)) as answer:
                async for text in answer:
                    yield text
            break
        except CANNOT_BEGIN as error:
            # Never two models in one text.
            if other is None or writer.text:
                raise
            writer.begin_again(f"{answerer.label} could not answer: {error.message} {other.label} answered instead.")


async def _answer(
    answerer: Answerer,
    question: Question,
    history: Sequence[Message],
    passages: Sequence[Passage],
    writer: Writer,
) -> AsyncGenerator[str]:
    async with answerer.lease() as model:
        room = prompts.Room(
            count=model.count_tokens,
            exact=model.exact,
            window=model.window,
            prompt_limit=model.prompt_limit,
            answer=question.max_new_tokens,
            small=model.small,
        )
        prompt = prompts.choose(passages, small=model.small, wishes=question.wishes)
        fitted = await asyncio.to_thread(prompts.fit, prompt, question.text, history, passages, room)
        writer.begin(model, fitted)
        try:
            async for chunk in model.chat.astream(fitted.messages):
                if isinstance(chunk, AIMessageChunk):
                    writer.account(chunk)
                if chunk.text:
                    yield chunk.text
        finally:
            writer.count()
    if not writer.text.strip():
        raise BackendError("The model returned an empty answer.", "Ask again, or choose another model.")
