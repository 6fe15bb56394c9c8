"""One turn: a question in, events out.

    Retrieved   the sources, before the model speaks, so that a model that is down still leaves the passages
    Delta ...   the answer as it comes
    Finished    the message as it is stored: complete, stopped or failed

Cancelling the task that runs it, or closing the generator, ends the backend's work, also before the first token.
It knows LangChain's types only: what answers is handed in as a context manager over a chat model.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage

from errors import AppError, BackendError
from rag.chat import citations, prompts
from rag.chat.conversations import Conversations
from rag.db import new_id
from rag.index.sentences import sentences
from rag.schema import Delta, Event, Finish, Finished, Message, Retrieval, Retrieved, Role, Usage

log = logging.getLogger(__name__)

SAVE_EVERY = 1.0
"""Seconds between two savings of a running answer: what a kill can cost."""


@dataclass(frozen=True, slots=True)
class LeasedModel:
    """A chat model that is ready for the length of one answer."""

    chat: BaseChatModel
    window: int | None
    """Tokens that prompt and answer may take together; None where nobody knows."""
    prompt_limit: int | None
    """Tokens of the longest prompt that it answers well from; None where only the window limits it."""
    count_tokens: Callable[[str], int]
    """In the model's own tokens, or an estimate where it has no tokenizer here."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, of whom, and how it is to be answered."""

    owner: str
    conversation_id: str | None
    """None begins a new conversation."""
    text: str
    searched: str
    """What is looked through, as a person reads it: “12 documents in My documents”."""
    retrieve: Callable[[str, Sequence[str]], Retrieval]
    """`(question, earlier questions)` -> passages. Blocks."""
    answering: Callable[[], AbstractAsyncContextManager[LeasedModel]]
    """Leases the chat model; loads it first where that is needed, and translates its exceptions."""
    backend: str
    model: str
    max_new_tokens: int
    strict: bool = True
    """Answer from the documents only."""


async def run(
    question: Question, answer: Message, history: Sequence[Message], conversations: Conversations
) -> AsyncGenerator[Event]:
    """Answer `question` into the stored, still empty message `answer`; `history` is what came before both.

    Never raises for what goes wrong on the way: the last event says how it ended.
    """
    writer = _Writer(question, answer, conversations)
    error: AppError | None = None
    try:
        asked = [message.text for message in history if message.role is Role.USER]
        retrieval = await asyncio.to_thread(question.retrieve, question.text, asked)
        writer.retrieved(retrieval)
        yield Retrieved(retrieval)
        async with aclosing(_speak(question, history, retrieval, writer)) as speech:
            async for text in speech:
                writer.write(text)
                yield Delta(text)
        writer.finish(Finish.COMPLETE)
    except AppError as caught:
        error = caught
        writer.fail(error)
    except (asyncio.CancelledError, GeneratorExit) as end:
        writer.finish(Finish.STOPPED)
        if isinstance(end, GeneratorExit):
            raise
    except Exception:
        reference = new_id()[:8]
        log.exception("Turn failed, reference %s", reference)
        error = AppError("Something went wrong inside Gestalt.", f"Try again; the log has it under {reference}.")
        writer.fail(error)
    finally:
        writer.save()
    yield Finished(writer.message, error)


async def _speak(
    question: Question, history: Sequence[Message], retrieval: Retrieval, writer: _Writer
) -> AsyncGenerator[str]:
    if retrieval.refused and question.strict:
        yield prompts.not_found(question.searched, retrieval.passages)
        return
    prompt = prompts.FROM_THE_MODEL if retrieval.refused else prompts.FROM_DOCUMENTS
    if retrieval.refused:
        writer.note("Your documents do not answer this: the answer comes from the model alone.")
    async with question.answering() as model:
        ledger = await asyncio.to_thread(
            prompts.fit,
            prompt,
            question.text,
            history,
            () if retrieval.refused else retrieval.passages,
            room=_room(model, question.max_new_tokens),
            count=model.count_tokens,
        )
        for note in ledger.notes:
            writer.note(note)
        async for chunk in model.chat.astream(ledger.messages):
            if isinstance(chunk, AIMessageChunk):
                writer.account(chunk)
            if chunk.text:
                yield chunk.text
    if not writer.text.strip():
        raise BackendError("The model returned an empty answer.", "Ask again, or choose another model.")


def _room(model: LeasedModel, max_new_tokens: int) -> int | None:
    """Tokens that the prompt may take: the answer keeps its share of the window, at most a quarter."""
    limits = [model.prompt_limit] if model.prompt_limit else []
    if model.window:
        limits.append(model.window - min(max_new_tokens, model.window // 4))
    return min(limits, default=None)


def without_loop(answer: str) -> str:
    """`answer` up to the first sentence that it said before."""
    said: set[str] = set()
    for start, end in sentences(answer):
        if answer[start:end] in said:
            return answer[:start].rstrip()
        said.add(answer[start:end])
    return answer


class _Writer:
    """The message of a turn as it grows, and its row."""

    def __init__(self, question: Question, message: Message, conversations: Conversations) -> None:
        self.message = replace(message, backend=question.backend, model=question.model)
        self._question = question
        self._conversations = conversations
        self._parts: list[str] = []
        self._usage: UsageMetadata | None = None
        self._started = self._saved = time.perf_counter()

    def _set(self, **values: object) -> None:
        self.message = replace(self.message, **values)  # type: ignore[arg-type]

    def _elapsed(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    def retrieved(self, retrieval: Retrieval) -> None:
        timings = replace(self.message.timings, retrieve_s=self._elapsed())
        self._set(passages=retrieval.passages, refused=retrieval.refused, timings=timings)

    def write(self, text: str) -> None:
        if not self._parts:
            self._set(timings=replace(self.message.timings, first_token_s=self._elapsed()))
        self._parts.append(text)
        if time.perf_counter() - self._saved > SAVE_EVERY:
            self._set(text=self.text)
            self.save()
            self._saved = time.perf_counter()

    def account(self, chunk: AIMessageChunk) -> None:
        if chunk.usage_metadata:
            self._usage = add_usage(self._usage, chunk.usage_metadata)
        match chunk.response_metadata.get("finish_reason"):
            case "length":
                self.note("The answer reached its limit of tokens and was cut there.")
            case "repetition":
                self.note("The model began to repeat itself; the answer ends where it did.")
                self._parts = [without_loop(self.text)]

    def note(self, text: str) -> None:
        self._set(notes=(*self.message.notes, text))

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def finish(self, finish: Finish) -> None:
        passages = () if self.message.refused else self.message.passages
        text = citations.without_markers(self.text, len(passages)).strip()
        cited = citations.resolve(text, passages, self._question.text) if text else ()
        if cited and not any(citation.answer_end for citation in cited):
            self.note("No passage supports this answer word for word; the place that fits the question best is cited.")
        usage = Usage(self._usage["input_tokens"], self._usage["output_tokens"]) if self._usage else Usage()
        self._set(
            text=text,
            finish=finish,
            citations=cited,
            usage=usage,
            timings=replace(self.message.timings, total_s=self._elapsed()),
        )

    def fail(self, error: AppError) -> None:
        self.finish(Finish.FAILED)
        self._set(error={"type": type(error).__name__, "message": error.message, "hint": error.hint})

    def save(self) -> None:
        self._conversations.save(self._question.owner, self.message)
