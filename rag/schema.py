"""The records of the library and of conversations, as frozen dataclasses.

Character offsets (`start`, `end`) are relative to the text of one page; a format without pages is one page without a
number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from errors import AppError

if TYPE_CHECKING:
    # Parser processes read this module too, and need no pydantic.
    from options import AnswerOptions

Span = tuple[int, int]  # start and end in a text

LOCAL_OWNER = "local"  # the owner of everything, since there is no login


# --- documents ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """The text of one page."""

    text: str
    number: int | None = None  # 1-based; None if the format has no pages
    label: str = ""  # its name for users: “page iv” of a PDF, “Slide 3”, a sheet's name, a chapter's title


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one page, short enough for the embedding model: `page.text[start:end]`."""

    position: int  # 0-based, over the whole document
    text: str
    start: int
    end: int
    page: int | None = None
    heading: str = ""  # the headings above it, outermost first
    label: str = ""  # the page's name for users; empty if it is only a number


def place(document: str, page: int | None, label: str) -> str:
    """Where something is, for users: “report.pdf, page 4”."""
    where = label or (f"page {page}" if page else "")
    return f"{document}, {where}" if where else document


class DocumentState(StrEnum):
    """The state of a document."""

    PENDING = "pending"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"

    @property
    def is_open(self) -> bool:
        """Whether it is waiting for the worker or being read."""
        return self in (DocumentState.PENDING, DocumentState.INDEXING)


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document of the library."""

    id: str
    collection_id: str
    name: str
    sha256: str
    size: int  # bytes
    state: DocumentState
    pages: int
    chunks: int
    seconds: float
    reason: str  # a sentence about why it failed; empty otherwise
    progress: float  # 0 to 1, while it is being indexed
    created: datetime
    path: str = ""  # relative to the folder that was added
    version: int = 1  # counts the contents that were added under the same path and kept
    replaces: str | None = None
    reason_type: str = ""  # the class of the error, e.g. `PasswordRequired`
    warnings: tuple[str, ...] = ()  # sentences about what could not be read of a document that is ready
    attempts: int = 0
    next_try: datetime | None = None

    @property
    def title(self) -> str:
        """Its name, with the version if it is not the first."""
        return f"{self.name} (version {self.version})" if self.version > 1 else self.name


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A named set of documents, indexed by one embedding model."""

    id: str
    name: str
    fingerprint: str  # identity of the embedding model; empty until the first document is indexed


# --- retrieval ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that was retrieved for a question."""

    chunk_id: str
    document_id: str
    document: str  # the document's file name
    page: int | None
    text: str
    start: int
    end: int
    score: float = 0.0  # the fused score; higher is better, comparable within one question only
    dense: float = 0.0  # cosine similarity of question and chunk, -1 to 1
    lexical: float = 0.0  # BM25 score; 0 if the chunk has no word of the question
    heading: str = ""
    label: str = ""
    dense_rank: int = 0  # its rank in the dense search, from 1; 0 if not found there
    lexical_rank: int = 0  # its rank in the lexical search, from 1; 0 if not found there
    codes: int = 0  # codes and quoted phrases of the question that it has; such chunks come first
    reranked: float | None = None  # the reranker's score, if there is one; higher is better
    chunk_start: int = 0
    chunk_end: int = 0  # the span of the retrieved chunk if others were merged into it; otherwise 0 and 0

    @property
    def final_score(self) -> float:
        """The score that ranks it: the reranker's if there is one, else the fused one."""
        return self.score if self.reranked is None else self.reranked

    @property
    def place(self) -> str:
        """File and page, for users."""
        return place(self.document, self.page, self.label)

    @property
    def found_text(self) -> str:
        """The text of the retrieved chunk, without what was merged into it."""
        return self.text[self.chunk_start - self.start : self.chunk_end - self.start] if self.chunk_end else self.text


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The passages for a question, best first."""

    passages: tuple[Passage, ...]
    abstained: bool  # the question is out of scope: the documents do not answer it
    confidence: float  # 0 to 1: how likely the question is in scope
    seconds: float
    absent: tuple[str, ...] = ()  # codes and quoted phrases of the question that stand nowhere in what was searched


# --- messages ----------------------------------------------------------------------------------------------------


class Role(StrEnum):
    """The author of a message."""

    USER = "user"
    ASSISTANT = "assistant"


class Finish(StrEnum):
    """How an answer ended."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


class Mode(StrEnum):
    """How a question is answered."""

    QUOTED = "quoted"  # with sentences of the passages
    WRITTEN = "written"  # by a model, from the passages
    SUMMARY = "summary"  # of whole documents
    LIST = "list"  # everything of a kind, found by reading all documents
    LIBRARY = "library"  # about the application and its library
    ABSTAINED = "abstained"  # not: the documents do not answer it


@dataclass(frozen=True, slots=True)
class Route:
    """How a question is answered, and why."""

    mode: Mode
    why: str  # a sentence for users
    count: int | None = None  # how many a list has
    verbatim: bool = False  # in the words of the documents and the application: no model wrote it


@dataclass(frozen=True, slots=True)
class Citation:
    """A span of a passage that supports the answer."""

    n: int  # the number of the passage among the sources, from 1
    document_id: str
    document: str
    page: int | None
    quote: str
    start: int
    end: int
    answer_end: int = 0  # the end of the supported sentence in the answer
    label: str = ""
    bold: tuple[tuple[int, int], ...] = ()  # spans of the quote that answer the question, relative to it

    @property
    def place(self) -> str:
        """File and page, for users."""
        return place(self.document, self.page, self.label)


class Verdict(StrEnum):
    """The result of checking a sentence of an answer against the passages."""

    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    NO_CLAIM = "no claim"  # nothing to check: a greeting, or a statement that the documents do not answer


@dataclass(frozen=True, slots=True)
class Check:
    """A sentence of an answer, checked against the passages."""

    start: int
    end: int  # `answer.text[start:end]`, without the model's own citation numbers
    verdict: Verdict
    score: float  # 0 to 1: how likely the passages support it
    citation: int | None = None  # index into the message's citations
    missing: tuple[str, ...] = ()  # its numbers and names that occur in no passage
    cited: tuple[int, ...] = ()  # the passages that the model itself cited for it


class Part(StrEnum):
    """A part of a prompt."""

    SYSTEM = "instructions"
    HISTORY = "earlier questions"
    PASSAGE = "passage"
    QUESTION = "question"
    ANSWER = "room for the answer"


@dataclass(frozen=True, slots=True)
class Share:
    """The tokens of one part of a prompt, or of what was left out."""

    part: Part
    tokens: int
    kept: bool = True
    label: str = ""  # which passage or earlier question


@dataclass(frozen=True, slots=True)
class Ledger:
    """How the tokens of a model's window were used, and what was left out."""

    shares: tuple[Share, ...] = ()
    window: int | None = None  # the most tokens of prompt and answer together; None if unknown
    exact: bool = False  # counted with the model's tokenizer; otherwise estimated
    prompt_limit: int | None = None  # the longest prompt the model answers well from, if that left something out

    @property
    def used(self) -> int:
        """Tokens of what was kept, including the room for the answer."""
        return sum(share.tokens for share in self.shares if share.kept)


@dataclass(frozen=True, slots=True)
class Feedback:
    """The user's rating of an answer."""

    good: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the backend counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    thought_tokens: int = 0  # of the output, those of its thoughts, if the backend tells them apart
    estimated: bool = False  # counted here, because the backend did not report them


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds since the question was asked."""

    retrieve_s: float = 0.0
    first_token_s: float | None = None
    thought_s: float = 0.0  # from the first to the last thought
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
    error: dict[str, Any] | None = None  # `{"type", "message", "hint"}` of what failed
    notes: tuple[str, ...] = ()  # what the user should know about it, e.g. what was left out of the prompt
    checks: tuple[Check, ...] = ()  # its sentences, checked against the passages
    ledger: Ledger = Ledger()
    route: Route | None = None  # None if a version without routes stored it
    thoughts: str = ""  # what the model thought before it answered: never checked, cited, or sent to a model again
    folded: str = ""  # what the model wrote, if quotes are shown instead because the passages do not support it
    feedback: Feedback | None = None
    parent_id: str | None = None  # the message before it; None for the first of a conversation
    versions: tuple[str, ...] = ()  # ids of all versions of it, oldest first; empty if it is the only one

    @property
    def mode(self) -> Mode:
        """How it was answered."""
        if self.route:
            return self.route.mode
        return Mode.ABSTAINED if self.abstained else Mode.WRITTEN


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """A conversation in the list."""

    id: str
    title: str
    updated: datetime
    pinned: bool = False
    found: str = ""  # the words around a match in its messages


@dataclass(frozen=True, slots=True)
class Preset:
    """Answer options by name."""

    name: str
    options: AnswerOptions
    is_default: bool = False  # used for new chats


# --- the events of a turn, in order; `seconds` count from the start of the turn ----------------------------------


@dataclass(frozen=True, slots=True)
class Routed:
    """How the question is answered; a later one replaces it."""

    route: Route


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The sources are known; comes before the first token."""

    retrieval: Retrieval
    seconds: float = 0.0
    earlier_questions: tuple[str, ...] = ()
    rewritten: str = ""  # the question as a model rewrote it; empty if none did


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt was sent to a model."""

    backend: str
    model: str
    ledger: Ledger
    notes: tuple[str, ...]
    facts: Mapping[str, Any]  # for the record of the answer: the prompt, device, revision


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
class Thought:
    """More of what the model thinks before it answers."""

    text: str
    seconds: float = 0.0
    since: float = 0.0  # when it began to think
    all_so_far: bool = False  # and so was all of the answer up to here


@dataclass(frozen=True, slots=True)
class Given:
    """The whole answer, in the words of the documents or the application: a model's citation numbers are not in it."""

    text: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cut:
    """The text so far, shortened: the model repeated itself, or wrote more than it may."""

    text: str
    note: str


@dataclass(frozen=True, slots=True)
class Folded:
    """The text so far is not the answer, because the passages do not support it; quotes follow."""


@dataclass(frozen=True, slots=True)
class Working:
    """What takes its time before the first token."""

    text: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the user should know about this answer."""

    note: str


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens of prompt and answer are known."""

    usage: Usage
    facts: Mapping[str, Any] = field(default_factory=dict)  # for the record: what was learned from the server


@dataclass(frozen=True, slots=True)
class Checked:
    """Another sentence of the answer was checked against the passages."""

    text: str  # the answer up to there, without the model's own citation numbers
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


Event = (
    Routed
    | Retrieved
    | Prompted
    | Retrying
    | Working
    | Delta
    | Thought
    | Given
    | Cut
    | Folded
    | Noted
    | Counted
    | Checked
    | Ended
    | Finished
)
