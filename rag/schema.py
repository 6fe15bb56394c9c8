"""The nouns of the library and of a conversation, as plain frozen data.

Character offsets (`start`, `end`) count into the text of one page; a format without pages is one page without a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from errors import AppError
from options import AnswerOptions

LOCAL_OWNER = "local"
"""Who owns everything where there is no login."""


# --- documents: the way in ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """The text of one page as a loader read it."""

    text: str
    number: int | None = None
    """1-based; None where the format has no pages."""
    label: str = ""
    """What a person calls it: “page iv” of a PDF, “Slide 3”, the name of a sheet, the title of a chapter."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one page, short enough for the embedding model: `page.text[start:end]`."""

    position: int
    """0-based, over the whole document."""
    text: str
    start: int
    end: int
    page: int | None = None
    heading: str = ""
    """The headings above it, outermost first: “Guests › Arrival”."""
    label: str = ""
    """What a person calls the page: “page iv”, “Slide 3”; empty where the number says it."""


def place(document: str, page: int | None, label: str) -> str:
    """Where something stands, as a person reads it: “report.pdf, page 4”."""
    where = label or (f"page {page}" if page else "")
    return f"{document}, {where}" if where else document


class DocumentState(StrEnum):
    """Where a document is on its way in."""

    PENDING = "pending"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"

    @property
    def is_open(self) -> bool:
        """It waits for the worker, or is being read."""
        return self in (DocumentState.PENDING, DocumentState.INDEXING)


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document of the library as a page or the command line shows it."""

    id: str
    collection_id: str
    name: str
    sha256: str
    size: int
    """Bytes."""
    state: DocumentState
    pages: int
    chunks: int
    seconds: float
    reason: str
    """Why it failed, in a sentence; empty otherwise."""
    progress: float
    """0 to 1 while it is being indexed."""
    created: datetime
    path: str = ""
    """Relative to what was named when it was added."""
    version: int = 1
    """Counts the contents that came under the same path and are kept beside each other."""
    replaces: str | None = None
    reason_type: str = ""
    """Class of the error behind the reason: `PasswordRequired`, say."""
    warnings: tuple[str, ...] = ()
    """Sentences about what was not read, of a document that is ready."""
    attempts: int = 0
    next_try: datetime | None = None

    @property
    def title(self) -> str:
        """Its name, with the version where it is not the first."""
        return f"{self.name} (version {self.version})" if self.version > 1 else self.name


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A named set of documents, indexed by one embedding model."""

    id: str
    name: str
    fingerprint: str
    """Identity of the embedding model; empty until the first document is indexed."""


# --- retrieval: where the ways meet ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that was retrieved for a question."""

    chunk_id: str
    document_id: str
    document: str
    """The document's file name."""
    page: int | None
    text: str
    start: int
    end: int
    score: float
    """The fused score; higher is better, comparable within one question only."""
    dense: float
    """Cosine similarity of question and chunk, -1 to 1."""
    lexical: float
    """BM25 score, 0 where no word of the question is in the chunk."""
    heading: str = ""
    label: str = ""
    dense_rank: int = 0
    """Its place in the search by vectors, 1 for the nearest; 0 where that did not find it."""
    lexical_rank: int = 0
    """Its place in the search by words; 0 where that did not find it."""
    reranked: float | None = None
    """What the reranker made of it; higher is better. None where there is none."""
    chunk_start: int = 0
    chunk_end: int = 0
    """Of the chunk that was found, on the page, where others were joined to it; 0 and 0 where none was."""

    @property
    def place(self) -> str:
        """File and page, as a person reads them."""
        return place(self.document, self.page, self.label)

    @property
    def found_text(self) -> str:
        """The text of the chunk that was found, without what was joined to it."""
        return self.text[self.chunk_start - self.start : self.chunk_end - self.start] if self.chunk_end else self.text


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was found for a question, best first."""

    passages: tuple[Passage, ...]
    abstained: bool
    """Nothing found is close enough to the question: the documents do not answer it."""
    confidence: float
    """0 to 1: how likely the documents are about the question at all."""
    seconds: float


# --- a turn: the way out -----------------------------------------------------------------------------------------


class Role(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"


class Finish(StrEnum):
    """How an answer ended."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Citation:
    """A span of a passage that supports the answer."""

    n: int
    """Number of the passage among the sources of the answer, from 1."""
    document_id: str
    document: str
    page: int | None
    quote: str
    start: int
    end: int
    answer_end: int = 0
    """Where in the answer's text the supported sentence ends."""
    label: str = ""

    @property
    def place(self) -> str:
        """File and page, as a person reads them."""
        return place(self.document, self.page, self.label)


class Verdict(StrEnum):
    """What became of a sentence of an answer when it was held against the passages."""

    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    NO_CLAIM = "no claim"
    """It says nothing that could be checked: a greeting, or that the documents do not say it."""


@dataclass(frozen=True, slots=True)
class Check:
    """A sentence of an answer, held against the passages."""

    start: int
    end: int
    """`answer.text[start:end]`; the model's own citation numbers are not in the text any more."""
    verdict: Verdict
    score: float
    """0 to 1: how likely the passages support it."""
    citation: int | None = None
    """Index into the message's citations of the span that supports it."""
    missing: tuple[str, ...] = ()
    """Numbers and names of it that stand in no passage."""
    cited: tuple[int, ...] = ()
    """The passages that the model itself named for it."""


class Part(StrEnum):
    """What a window of a model is filled with."""

    SYSTEM = "instructions"
    HISTORY = "earlier questions"
    PASSAGE = "passage"
    QUESTION = "question"
    ANSWER = "room for the answer"


@dataclass(frozen=True, slots=True)
class Share:
    """Tokens that one part of a prompt takes, or would have taken."""

    part: Part
    tokens: int
    kept: bool = True
    label: str = ""
    """Which passage, which earlier question."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a model's window was filled with, and what was left out of it."""

    shares: tuple[Share, ...] = ()
    window: int | None = None
    """Tokens that prompt and answer may take together; None where nobody knows."""
    exact: bool = False
    """Counted in the model's own tokens; otherwise an estimate."""

    @property
    def used(self) -> int:
        """Tokens of what was kept, the room for the answer with it."""
        return sum(share.tokens for share in self.shares if share.kept)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person thinks of an answer."""

    good: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the backend counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    """The backend did not say: counted here."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds since the question was asked."""

    retrieve_s: float = 0.0
    first_token_s: float | None = None
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    id: str
    conversation_id: str
    role: Role
    text: str
    created: datetime
    finish: Finish = Finish.COMPLETE
    backend: str = ""
    model: str = ""
    passages: tuple[Passage, ...] = ()
    citations: tuple[Citation, ...] = ()
    usage: Usage = Usage()
    timings: Timings = Timings()
    abstained: bool = False
    error: dict[str, Any] | None = None
    """`{"type", "message", "hint"}` of what failed."""
    notes: tuple[str, ...] = ()
    """What a person should know of this answer: what was left out of the prompt, or that it was cut."""
    checks: tuple[Check, ...] = ()
    """Its sentences, held against the passages."""
    ledger: Ledger = Ledger()
    feedback: Feedback | None = None
    parent_id: str | None = None
    """The message before it; None for the first of a conversation."""
    versions: tuple[str, ...] = ()
    """Ids of the messages that stand in the same place, itself among them, oldest first; none where it is alone."""


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation in the list."""

    id: str
    title: str
    updated: datetime
    pinned: bool = False
    found: str = ""
    """Where a search found it by its messages: some words around what was searched."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Answer options by name."""

    name: str
    options: AnswerOptions
    is_default: bool = False
    """New chats start with it."""


# --- the events of a turn, in order; `seconds` count from the start of the turn ----------------------------------


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The sources are known; comes before the first token."""

    retrieval: Retrieval
    seconds: float = 0.0
    earlier_questions: tuple[str, ...] = ()
    rewritten: str = ""
    """The question as a model rewrote it; empty if none did."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt was sent to a model."""

    backend: str
    model: str
    ledger: Ledger
    notes: tuple[str, ...]
    facts: Mapping[str, Any]
    """For the record of the answer: the prompt, device, revision."""


@dataclass(frozen=True, slots=True)
class Retrying:
    """The model that was prompted did not start; another one answers instead."""

    note: str


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of the answer."""

    text: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cut:
    """The text so far, shortened: the model repeated itself, or wrote more than it may."""

    text: str
    note: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the user should know about this answer."""

    note: str


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens of prompt and answer are known."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Checked:
    """Another sentence of the answer was checked against the passages."""

    text: str
    """The answer up to there, without the model's own citation numbers."""
    citations: tuple[Citation, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The turn is over; nothing is stored yet."""

    finish: Finish
    error: AppError | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event that a follower sees: the message as it is stored."""

    message: Message
    error: AppError | None = None


Event = Retrieved | Prompted | Retrying | Delta | Cut | Noted | Counted | Checked | Ended | Finished
