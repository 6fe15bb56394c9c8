"""The turns now running: an answer belongs to the server, not to the page that asked.

All turns run on one event loop in a thread of its own. A page (or the command line) looks at a running turn, may go
away and come back; when the turn is over, its message is in the database and the turn is gone from here.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from errors import RequestRejected, StoreError
from rag.chat.conversations import Conversations
from rag.chat.statements import strip_citations
from rag.chat.turn import Question, run
from rag.schema import Checked, Delta, Event, Finish, Finished, Message, Retrieval, Retrieved, Role

log = logging.getLogger(__name__)
T = TypeVar("T")


class Turn:
    """A running turn as others see it; safe to read from any thread."""

    def __init__(self, owner: str, conversation_id: str) -> None:
        self.owner = owner
        self.conversation_id = conversation_id
        self.task: asyncio.Task[None] | None = None
        self._events: list[Event] = []
        self._changed = threading.Condition()

    def publish(self, event: Event) -> None:
        """Add an event and wake those who follow."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    @property
    def retrieval(self) -> Retrieval | None:
        """The sources, once they are known."""
        return next((event.retrieval for event in self._events[:1] if isinstance(event, Retrieved)), None)

    @property
    def text(self) -> str:
        """The answer so far, without the model's own citation numbers."""
        return strip_citations("".join(event.text for event in self._events[:] if isinstance(event, Delta))).text

    @property
    def checked(self) -> Checked:
        """The sentences of `text` that were held against the passages so far, and what they are cited with."""
        found = (event for event in reversed(self._events[:]) if isinstance(event, Checked))
        return next(found, Checked(""))

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
    """Starts, shows and cancels turns."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._turns: dict[str, Turn] = {}
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="turns", daemon=True)
        self._thread.start()

    def start(self, question: Question) -> tuple[Message, Turn]:
        """Store the question, begin its answer, and return the answer's still empty message.

        Raises:
            RequestRejected: the question is empty, its conversation is gone, or is still being answered.
        """
        owner, conversation_id = question.owner, question.conversation_id
        if conversation_id is not None and self._conversations.get(owner, conversation_id) is None:
            raise RequestRejected("There is no such conversation.", "Begin a new one.")
        replaced = self._replaced(question)
        again = replaced if replaced and replaced.role is Role.USER and question.instead_of != replaced.id else None
        question = replace(question, text=again.text if again else question.text.strip())
        if not question.text:
            raise RequestRejected("The question is empty.", "Type a question about your documents.")
        with self._lock:
            if any(turn.conversation_id == conversation_id for turn in self._turns.values()):
                raise RequestRejected(
                    "This conversation is still being answered.", "Wait for the answer, or stop it first."
                )
            conversation_id = conversation_id or self._conversations.create(owner, question.title or question.text)
            asked = again or self._ask(question, conversation_id, replaced)
            history = self._conversations.up_to(owner, asked.parent_id)
            who = {"backend": question.backend, "model": question.model, "parent_id": asked.id}
            answer = self._conversations.add(owner, conversation_id, Role.ASSISTANT, "", Finish.RUNNING, **who)
            turn = self._turns[answer.id] = Turn(owner, conversation_id)

        def begin() -> None:
            turn.task = self._loop.create_task(self._run(question, answer, history, turn))

        self._loop.call_soon_threadsafe(begin)
        return answer, turn

    def _replaced(self, question: Question) -> Message | None:
        """The question in whose place this one comes, or that is to be answered again."""
        if question.instead_of is None:
            return None
        found = self._conversations.message(question.owner, question.instead_of)
        if found and found.role is Role.ASSISTANT and found.parent_id:
            found = self._conversations.message(question.owner, found.parent_id)
        if found is None or found.role is not Role.USER or found.conversation_id != question.conversation_id:
            raise RequestRejected("This message is not in the conversation any more.", "Ask the question again.")
        return found

    def _ask(self, question: Question, conversation_id: str, replaced: Message | None) -> Message:
        before = {"parent_id": replaced.parent_id} if replaced else {}
        return self._conversations.add(
            question.owner, conversation_id, Role.USER, question.text, Finish.COMPLETE, **before
        )

    async def _run(self, question: Question, answer: Message, history: tuple[Message, ...], turn: Turn) -> None:
        lost = StoreError("The answer could not be stored.", "Check that the data folder is writable and not full.")
        end = Finished(replace(answer, finish=Finish.FAILED), lost)
        try:
            async for event in run(question, answer, history, self._conversations):
                if isinstance(event, Finished):
                    end = event
                else:
                    turn.publish(event)
        except Exception:
            log.exception("A turn could not be stored")
            with suppress(Exception):
                # The whole message may be what could not be stored: at least it shall not stay “running”.
                self._conversations.save(question.owner, end.message)
        finally:
            # Out of the table before the last event: who sees the end may start the next turn at once.
            with self._lock:
                del self._turns[answer.id]
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
        """Stop what answers in a conversation."""
        for turn in list(self._turns.values()):
            if (turn.owner, turn.conversation_id) == (owner, conversation_id):
                self._cancel(turn)

    def running(self, owner: str, conversation_id: str) -> bool:
        """Whether something answers in a conversation."""
        return any((t.owner, t.conversation_id) == (owner, conversation_id) for t in list(self._turns.values()))

    def _cancel(self, turn: Turn) -> None:
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
        asyncio.run_coroutine_threadsafe(_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _others() -> None:
    """Wait a moment for tasks that are none of ours: providers' clients close themselves when they are collected."""
    if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks, timeout=1)
