"""The message of a turn as it grows, and its row.

Counts what the model was sent and said, notes what a person should know of it, and stores the message every second.
Knows LangChain's chunks; nothing of how a turn runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage

from errors import AppError
from rag.chat import citations
from rag.chat.conversations import Conversations
from rag.chat.prompts import Prompt
from rag.index.sentences import sentences
from rag.schema import Finish, Ledger, Message, Retrieval, Usage

SAVE_EVERY = 1.0
"""Seconds between two savings of a running answer: what a kill can cost."""


@dataclass(frozen=True, slots=True)
class LeasedModel:
    """A chat model that is ready for the length of one answer."""

    backend: str
    model: str
    chat: BaseChatModel
    window: int | None
    """Tokens that prompt and answer may take together; None where nobody knows."""
    prompt_limit: int | None
    """Tokens of the longest prompt that it answers well from; None where only the window limits it."""
    count_tokens: Callable[[str], int]
    """In the model's own tokens, or an estimate where it has no tokenizer here."""
    exact: bool
    """`count_tokens` is no estimate."""
    small: bool = False
    """It follows the shortest instructions only."""


def without_loop(answer: str) -> str:
    """`answer` up to the first sentence that it said before."""
    said: set[str] = set()
    for start, end in sentences(answer):
        if answer[start:end] in said:
            return answer[:start].rstrip()
        said.add(answer[start:end])
    return answer


class Writer:
    """The message of a turn as it grows, and its row."""

    def __init__(self, owner: str, message: Message, question: str, conversations: Conversations) -> None:
        self.message = message
        self._owner, self._question, self._conversations = owner, question, conversations
        self._parts: list[str] = []
        self._usage: UsageMetadata | None = None
        self._sent: tuple[LeasedModel, Prompt] | None = None
        self._notes: tuple[str, ...] = ()
        self._started = self._saved = time.perf_counter()

    def _set(self, **values: object) -> None:
        self.message = replace(self.message, **values)  # type: ignore[arg-type]

    def _elapsed(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    def retrieved(self, retrieval: Retrieval) -> None:
        """The passages are known."""
        timings = replace(self.message.timings, retrieve_s=self._elapsed())
        self._set(passages=retrieval.passages, refused=retrieval.refused, timings=timings)

    def begin(self, model: LeasedModel, prompt: Prompt) -> None:
        """The prompt goes out."""
        self._set(backend=model.backend, model=model.model, ledger=prompt.ledger)
        self._sent, self._notes = (model, prompt), self.message.notes
        for note in prompt.notes:
            self.note(note)

    def begin_again(self, note: str) -> None:
        """Nothing came: another answers, and what was noted of the first one's prompt does not hold for it."""
        self._set(notes=self._notes if self._sent else self.message.notes, ledger=Ledger())
        self._usage = self._sent = None
        self.note(note)

    def write(self, text: str) -> None:
        """A piece of the answer came; stored with the others once a second."""
        if not self._parts:
            self._set(timings=replace(self.message.timings, first_token_s=self._elapsed()))
        self._parts.append(text)
        if time.perf_counter() - self._saved > SAVE_EVERY:
            self._set(text=self.text)
            self.save()
            self._saved = time.perf_counter()

    def account(self, chunk: AIMessageChunk) -> None:
        """Take what a chunk says of usage and of how the answer ended."""
        if chunk.usage_metadata:
            self._usage = add_usage(self._usage, chunk.usage_metadata)
        match chunk.response_metadata.get("finish_reason"):
            case "length":
                self.note("The answer reached its limit of tokens and was cut there.")
            case "repetition":
                self.note("The model began to repeat itself; the answer ends where it did.")
                self._parts = [without_loop(self.text)]

    def count(self) -> None:
        """Set the usage as the backend reported it or as it is counted here, and note where a prompt was cut."""
        if not self._sent:
            return
        model, prompt = self._sent
        usage = Usage()
        if self._usage:
            usage = Usage(self._usage["input_tokens"], self._usage["output_tokens"])
            if prompt.was_cut(usage.input_tokens):
                self.note(
                    f"The server read {usage.input_tokens} tokens of about {prompt.input_tokens}: it cut the prompt. "
                    "Give it a larger context window, or ask for fewer passages."
                )
        elif self._parts:
            with suppress(AppError):  # the model may be gone
                usage = Usage(prompt.input_tokens, model.count_tokens(self.text), estimated=True)
        self._set(usage=usage)

    def note(self, text: str) -> None:
        """Something that a person should know of this answer."""
        self._set(notes=(*self.message.notes, text))

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._parts)

    def finish(self, finish: Finish) -> None:
        """Settle text, citations and timings."""
        passages = () if self.message.refused else self.message.passages
        text = citations.without_markers(self.text, len(passages)).strip()
        cited = citations.resolve(text, passages, self._question) if text else ()
        if cited and not any(citation.answer_end for citation in cited):
            self.note("No passage supports this answer word for word; the place that fits the question best is cited.")
        self._set(
            text=text,
            finish=finish,
            citations=cited,
            timings=replace(self.message.timings, total_s=self._elapsed()),
        )

    def fail(self, error: AppError) -> None:
        """Settle what came, and what went wrong."""
        self.finish(Finish.FAILED)
        self._set(error={"type": type(error).__name__, "message": error.message, "hint": error.hint})

    def save(self) -> None:
        """Store the message as it is."""
        self._conversations.save(self._owner, self.message)
