"""The message of a turn as it grows, and its row.

Counts what the model was sent and said, notes what a person should know of it, has its sentences checked, and stores
the message every second. Knows LangChain's chunks; nothing of how a turn runs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage

from errors import AppError
from rag.chat.citations import Checker, Embed, Entails
from rag.chat.conversations import Conversations
from rag.chat.prompts import Prompt
from rag.chat.statements import strip_citations
from rag.index.sentences import sentences
from rag.schema import Checked, Finish, Ledger, Message, Retrieval, Usage, Verdict

log = logging.getLogger(__name__)

ENDS = frozenset(".!?:\n。！？")
"""With which a sentence ends."""
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
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known of it, for the record of an answer: revision, device, dtype, options of the generation."""


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

    def __init__(
        self,
        owner: str,
        message: Message,
        question: str,
        conversations: Conversations,
        embed: Embed | None = None,
        entails: Entails | None = None,
    ) -> None:
        self.message = message
        self._owner, self._question, self._conversations = owner, question, conversations
        self._embed, self._entails = embed, entails
        self._checker: Checker | None = None
        self._sentence_ended = False
        self._parts: list[str] = []
        self._usage: UsageMetadata | None = None
        self._sent: tuple[LeasedModel, Prompt] | None = None
        self._notes: tuple[str, ...] = ()
        self._record: dict[str, Any] = {}
        self._started = self._saved = time.perf_counter()

    def _set(self, **values: object) -> None:
        self.message = replace(self.message, **values)  # type: ignore[arg-type]

    def _elapsed(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    def remember(self, **values: Any) -> None:
        """Something that made the answer: it is kept beside it."""
        self._record |= values

    def retrieved(self, retrieval: Retrieval) -> None:
        """The passages are known."""
        hashes = [{"passage": p.place, "id": p.chunk_id, "sha256": _hash(p.text)} for p in retrieval.passages]
        self.remember(passages=hashes, confidence=round(retrieval.confidence, 4), abstained=retrieval.abstained)
        timings = replace(self.message.timings, retrieve_s=self._elapsed())
        self._set(passages=retrieval.passages, abstained=retrieval.abstained, timings=timings)
        if retrieval.passages and not retrieval.abstained:
            self._checker = Checker(retrieval.passages, self._question, self._embed, self._entails)

    def begin(self, model: LeasedModel, prompt: Prompt) -> None:
        """The prompt goes out."""
        self._set(backend=model.backend, model=model.model, ledger=prompt.ledger)
        said = [{"role": message.type, "text": message.text} for message in prompt.messages]
        self.remember(backend=model.backend, model=model.model, prompt=said, **model.facts)
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
        self._sentence_ended |= not ENDS.isdisjoint(text)
        if time.perf_counter() - self._saved > SAVE_EVERY:
            self._set(text=strip_citations(self.text).text)
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

    # --- the check: blocks, so in a thread; what it finds is taken over where the message is written ---

    def prepare(self) -> Checked | None:
        """Read the passages that the answer is going to be held against."""
        with self._unharmed():
            if self._checker:
                self._checker.prepare()
        return None

    def sentence_ended(self) -> bool:
        """Whether a sentence may have ended since this was last asked."""
        ended, self._sentence_ended = self._sentence_ended, False
        return ended and self._checker is not None

    def check(self, *, ended: bool = False) -> Checked | None:
        """The sentences so far, held against the passages; None where that cannot be done."""
        with self._unharmed():
            if self._checker:
                return self._checker.check(self.text, ended=ended)
        return None

    @contextmanager
    def _unharmed(self) -> Iterator[None]:
        """Whatever goes wrong with a check, the answer does not."""
        try:
            yield
        except Exception:
            log.exception("The answer could not be checked")
            self._checker = None

    def take(self, checked: Checked) -> bool:
        """Take over what a check found; whether it says something new."""
        new = len(checked.checks) > len(self.message.checks)
        self._set(citations=checked.citations, checks=checked.checks)
        return new

    def finish(self, finish: Finish, error: AppError | None = None) -> None:
        """Settle text, checks, citations and timings, and what went wrong. Blocks."""
        self._set(finish=finish, timings=replace(self.message.timings, total_s=self._elapsed()))
        if error:
            self._set(error={"type": type(error).__name__, "message": error.message, "hint": error.hint})
        checked = self.check(ended=True) or Checked(strip_citations(self.text).text)
        self.take(checked)
        self._set(text=checked.text)
        if checked.citations and not any(citation.answer_end for citation in checked.citations):
            claims = any(check.verdict is Verdict.UNSUPPORTED for check in checked.checks)
            why = "No passage supports this answer" if claims else "This answer says nothing that could be checked"
            self.note(f"{why}; the place that fits the question best is cited.")

    def save(self) -> None:
        """Store the message as it is."""
        self._conversations.save(self._owner, self.message)
        if self.message.finish is not Finish.RUNNING:
            self._conversations.save_record(self._owner, self.message.id, self._record)


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()
