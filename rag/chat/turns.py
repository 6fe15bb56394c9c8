"""The running turns: an answer belongs to the server; the page that asked may go away and come back.

All turns run on one event loop in its own thread; what they produce is stored on another one, so that a busy database
never holds up an answer. When a turn is over, its message is in the database and the turn is gone from here.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from errors import AppError, RequestRejected, StoreError
from rag.chat.answer import Answer, fold
from rag.chat.conversations import Conversations
from rag.chat.question import Pipeline, Question
from rag.chat.turn import new_answer, run
from rag.db import clean
from rag.schema import (
    Checked,
    Delta,
    Ended,
    Event,
    Finish,
    Finished,
    Given,
    Message,
    Retrieval,
    Retrieved,
    Role,
    Working,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

SAVE_EVERY_S = 1.0
"""Between two saves of a running answer: what a kill can cost."""


class Turn:
    """A running turn as others see it; safe to read from any thread."""

    def __init__(self, owner: str, answer: Answer) -> None:
        self.owner, self.answer = owner, answer
        self.saved = answer
        self.stopped = False
        self.task: asyncio.Task[None] | None = None
        self._events: list[Event] = []
        self._changed = threading.Condition()

    @property
    def conversation_id(self) -> str:
        """The conversation it belongs to."""
        return self.answer.message.conversation_id

    def publish(self, event: Event) -> None:
        """Add an event and wake the followers."""
        with self._changed:
            self.answer = fold(self.answer, event)
            self._events.append(event)
            self._changed.notify_all()

    @property
    def retrieval(self) -> Retrieval | None:
        """The sources, once they are known."""
        return next((event.retrieval for event in reversed(self._events[:]) if isinstance(event, Retrieved)), None)

    @property
    def working(self) -> str:
        """What takes its time before the first token; empty once there is one, or if nothing does."""
        last = next((event for event in reversed(self._events[:]) if isinstance(event, Working | Delta | Given)), None)
        return last.text if isinstance(last, Working) else ""

    @property
    def text(self) -> str:
        """The answer so far, without the model's own citation numbers."""
        return self.answer.stored.text

    @property
    def checked(self) -> Checked:
        """The sentences of `text` checked so far, with their citations."""
        return next((event for event in reversed(self._events[:]) if isinstance(event, Checked)), Checked(""))

    def follow(self) -> Iterator[Event]:
        """All events from the first to `Finished`, waiting for those to come."""
        seen = 0
        event: Event | None = None
        while not isinstance(event, Finished):
            with self._changed:
                while len(self._events) == seen:
                    self._changed.wait()
                event = self._events[seen]
            seen += 1
            yield event


class Turns:
    """Starts, shows, stores and cancels turns."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._turns: dict[str, Turn] = {}
        self._starting: set[str] = set()
        self._lock = threading.Lock()
        self._ended = queue.SimpleQueue[Turn | None]()
        self._persister = threading.Thread(target=self._persist, name="persister", daemon=True)
        self._persister.start()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="turns", daemon=True)
        self._thread.start()

    def start(self, owner: str, question: Question, pipeline: Pipeline) -> tuple[Message, Turn]:
        """Store the question, start its answer, and return the answer's still empty message.

        Raises RequestRejected if the question is empty, or its conversation is gone or still being answered.
        """
        conversations, conversation_id = self._conversations, question.conversation_id
        if conversation_id is not None and conversations.get(owner, conversation_id) is None:
            raise RequestRejected("There is no such conversation.", "Start a new one.")
        replaced = self._replaced(owner, question)
        again = replaced if replaced and replaced.id != question.instead_of else None
        question = replace(question, text=again.text if again else clean(question.text).strip())
        if not question.text:
            raise RequestRejected("The question is empty.", "Type a question about your documents.")
        with self._reserved(conversation_id):
            conversation_id = conversation_id or conversations.create(owner, question.title or question.text)
            place = {"parent_id": replaced.parent_id} if replaced else {}
            asked = again or conversations.add(
                owner, conversation_id, Role.USER, question.text, Finish.COMPLETE, **place
            )
            history = conversations.up_to(owner, asked.parent_id)
            who = {"backend": question.options.backend, "model": question.options.model, "parent_id": asked.id}
            answer = conversations.add(owner, conversation_id, Role.ASSISTANT, "", Finish.RUNNING, **who)
            turn = Turn(owner, new_answer(question, pipeline, answer))
            with self._lock:
                self._turns[answer.id] = turn

        def begin() -> None:
            turn.task = self._loop.create_task(self._run(question, pipeline, history, turn))
            if turn.stopped:
                self._loop.call_soon(turn.task.cancel)

        self._loop.call_soon_threadsafe(begin)
        return answer, turn

    @contextmanager
    def _reserved(self, conversation_id: str | None) -> Iterator[None]:
        """Only one answer at a time in a conversation; the lock is not held while the database is written."""
        with self._lock:
            busy = self._starting | {turn.conversation_id for turn in self._turns.values()}
            if conversation_id in busy:
                why = "This conversation is still being answered."
                raise RequestRejected(why, "Wait for the answer, or stop it first.")
            self._starting |= {conversation_id} if conversation_id else set()
        try:
            yield
        finally:
            with self._lock:
                self._starting.discard(conversation_id or "")

    def _replaced(self, owner: str, question: Question) -> Message | None:
        """The question that this one replaces, or that is to be answered again."""
        if question.instead_of is None:
            return None
        found = self._conversations.message(owner, question.instead_of)
        if found and found.role is Role.ASSISTANT and found.parent_id:
            found = self._conversations.message(owner, found.parent_id)
        if found is None or found.role is not Role.USER or found.conversation_id != question.conversation_id:
            raise RequestRejected("This message is no longer in the conversation.", "Ask the question again.")
        return found

    async def _run(self, question: Question, pipeline: Pipeline, history: tuple[Message, ...], turn: Turn) -> None:
        try:
            async for event in run(question, pipeline, history, lambda: turn.stopped):
                turn.publish(event)
        except Exception:
            log.exception("A turn failed")
            error = AppError("Something went wrong inside Gestalt.", "Try again; the log has the reason.")
            turn.publish(Ended(Finish.FAILED, error))
        finally:
            self._ended.put(turn)

    def _persist(self) -> None:
        """Store turns when they end, and the running ones every now and then; on the persister's thread."""
        due = time.monotonic()
        while True:
            with suppress(queue.Empty):
                turn = self._ended.get(timeout=max(0.0, due - time.monotonic()))
                if turn is None:
                    return
                self._finish(turn)
            if time.monotonic() >= due:
                for turn in list(self._turns.values()):
                    self._save(turn)
                due = time.monotonic() + SAVE_EVERY_S

    def _save(self, turn: Turn) -> None:
        answer = turn.answer
        if answer is not turn.saved:
            try:
                self._conversations.save(turn.owner, answer.stored)
                turn.saved = answer
            except Exception:
                # Reported when the turn ends.
                log.warning("A running answer could not be saved", exc_info=True)

    def _finish(self, turn: Turn) -> None:
        """Store how a turn ended, and tell its followers."""
        answer = turn.answer
        end = Finished(answer.message, answer.error)
        try:
            self._conversations.save(turn.owner, answer.message, answer.record)
        except Exception:
            log.exception("A turn could not be stored")
            lost = StoreError("The answer could not be stored.", "Check that the data folder is writable and not full.")
            end = Finished(replace(answer.message, text="", passages=(), finish=Finish.FAILED), lost)
            with suppress(Exception):
                # The whole message may be what could not be stored: at least it should not stay “running”.
                self._conversations.fail(turn.owner, answer.message.id, lost)
        finally:
            # Removed before the last event: whoever sees the end may start the next turn at once.
            with self._lock:
                del self._turns[answer.message.id]
            turn.publish(end)

    def call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run what asks a model outside of a turn: providers keep connections that belong to one loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def __len__(self) -> int:
        """How many are running."""
        return len(self._turns)

    def get(self, owner: str, message_id: str) -> Turn | None:
        """The running turn that writes this message; None when it is over."""
        turn = self._turns.get(message_id)
        return turn if turn and turn.owner == owner else None

    def cancel(self, owner: str, message_id: str) -> None:
        """Stop a turn; what came so far is kept."""
        if turn := self.get(owner, message_id):
            self._cancel(turn)

    def cancel_all(self, owner: str, conversation_id: str) -> None:
        """Stop every turn of a conversation."""
        for turn in self._of(owner, conversation_id):
            self._cancel(turn)

    def running(self, owner: str, conversation_id: str) -> bool:
        """Whether a conversation is being answered."""
        return bool(self._of(owner, conversation_id))

    def _of(self, owner: str, conversation_id: str) -> list[Turn]:
        turns = list(self._turns.values())
        return [turn for turn in turns if (turn.owner, turn.conversation_id) == (owner, conversation_id)]

    def _cancel(self, turn: Turn) -> None:
        turn.stopped = True
        # A task that is cancelled before its first step never runs its `finally`: one more round of the loop
        # lets it take that step.
        self._loop.call_soon_threadsafe(self._loop.call_soon, lambda: turn.task and turn.task.cancel())

    def close(self) -> None:
        """Stop all turns, wait until they are stored, and end the loop."""
        running = list(self._turns.values())
        for turn in running:
            self._cancel(turn)
        for turn in running:
            for _ in turn.follow():
                pass
        asyncio.run_coroutine_threadsafe(_wait_for_other_tasks(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._ended.put(None)
        self._persister.join()


async def _wait_for_other_tasks() -> None:
    """Wait a moment for tasks of other libraries: providers' clients close themselves when they are collected."""
    if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks, timeout=1)
