"""An answer, built from the events of its turn by a pure function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from errors import AppError
from rag import schema
from rag.chat.statements import strip_citations
from rag.schema import Event, Ledger, Message, Verdict


@dataclass(frozen=True, slots=True)
class Answer:
    """The message of a turn so far. `message.text` is set by `stored` and when the turn ends."""

    message: Message
    raw: str = ""
    """The text as the model writes it, with its own citation numbers."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What made the answer."""
    error: AppError | None = None
    prompt_notes: tuple[str, ...] = ()
    verbatim: bool = False
    """The text has no citation numbers of a model."""

    @property
    def stored(self) -> Message:
        """The message with its text so far, without the model's own citation numbers."""
        return replace(self.message, text=self.raw if self.verbatim else strip_citations(self.raw).text)


def fold(answer: Answer, event: Event) -> Answer:  # noqa: C901 - a case for each event
    """The answer after an event."""
    message = answer.message
    match event:
        case schema.Delta():
            if not answer.raw:
                message = replace(message, timings=replace(message.timings, first_token_s=event.seconds))
            return replace(answer, message=message, raw=answer.raw + event.text)
        case schema.Thought():
            return _thought(answer, event)
        case schema.Given():
            timings = message.timings if answer.raw else replace(message.timings, first_token_s=event.seconds)
            return replace(answer, message=replace(message, timings=timings), raw=event.text, verbatim=True)
        case schema.Routed():
            return replace(answer, message=replace(message, route=event.route))
        case schema.Retrieved():
            return _retrieved(answer, event)
        case schema.Prompted():
            message = replace(message, backend=event.backend, model=event.model, ledger=event.ledger)
            record = {**answer.record, "backend": event.backend, "model": event.model, **event.facts}
            answer = replace(answer, record=record, prompt_notes=event.notes)
            return replace(answer, message=replace(message, notes=(*message.notes, *event.notes)))
        case schema.Retrying():
            kept = tuple(note for note in message.notes if note not in answer.prompt_notes)
            return replace(answer, message=replace(message, notes=(*kept, event.note), ledger=Ledger()))
        case schema.Cut() | schema.Noted():
            raw = event.text if isinstance(event, schema.Cut) else answer.raw
            return replace(answer, raw=raw, message=replace(message, notes=(*message.notes, event.note)))
        case schema.Folded():
            written, raw = answer.stored.text, ""
            return replace(answer, raw=raw, message=replace(message, folded=written, citations=(), checks=()))
        case schema.Counted():
            record = {**answer.record, **event.facts}
            return replace(answer, record=record, message=replace(message, usage=event.usage))
        case schema.Checked():
            return replace(answer, message=replace(message, citations=event.citations, checks=event.checks))
        case schema.Ended():
            return _ended(answer, event)
        case schema.Finished() | schema.Working():
            return answer


def _thought(answer: Answer, event: schema.Thought) -> Answer:
    message = answer.message
    timings = replace(message.timings, thought_s=round(event.seconds - event.since, 3))
    message = replace(message, thoughts=message.thoughts + event.text, timings=timings)
    if not event.all_so_far:
        return replace(answer, message=message)
    thoughts = answer.raw + message.thoughts
    return replace(answer, raw="", message=replace(message, thoughts=thoughts, checks=(), citations=()))


def _retrieved(answer: Answer, event: schema.Retrieved) -> Answer:
    found, message = event.retrieval, answer.message
    timings = replace(message.timings, retrieve_s=event.seconds)
    message = replace(message, passages=found.passages, abstained=found.abstained, timings=timings)
    hashes = [
        {"passage": p.place, "id": p.chunk_id, "sha256": sha256(p.text.encode("utf-8", "replace")).hexdigest()}
        for p in found.passages
    ]
    record = {
        "earlier_questions": list(event.earlier_questions),
        "rewritten": event.rewritten,
        "passages": hashes,
        "confidence": round(found.confidence, 4),
        "abstained": found.abstained,
    }
    return replace(answer, message=message, record={**answer.record, **record})


def _ended(answer: Answer, event: schema.Ended) -> Answer:
    message, error = answer.stored, event.error
    notes = message.notes
    if message.citations and not any(citation.answer_end for citation in message.citations):
        claims = any(check.verdict is Verdict.UNSUPPORTED for check in message.checks)
        why = "No passage supports this answer" if claims else "This answer says nothing that could be checked"
        notes = (*notes, f"{why}; the place that fits the question best is cited.")
    described = {"type": type(error).__name__, "message": error.message, "hint": error.hint} if error else None
    timings = replace(message.timings, total_s=event.seconds)
    message = replace(message, finish=event.finish, error=described, timings=timings, notes=notes)
    return replace(answer, message=message, error=error)
