"""What is asked, and what answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.retrievers import BaseRetriever

from options import AnswerOptions
from rag.chat.citations import Entails
from rag.chat.prompts import LeasedModel
from rag.chat.quotes import Similarity
from rag.index.contents import Contents
from rag.schema import Mode


@dataclass(frozen=True, slots=True)
class AnswerProvider:
    """A backend that may answer."""

    label: str
    lease: Callable[[], AbstractAsyncContextManager[LeasedModel]]
    """Lease its chat model, loading it first if need be; other libraries' exceptions are translated."""
    is_small: Callable[[], bool] = lambda: False
    """Whether its model is known to be small: it reads better than it writes."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how it is to be answered."""

    text: str
    options: AnswerOptions = field(default_factory=AnswerOptions)
    conversation_id: str | None = None
    """None starts a new conversation."""
    instead_of: str | None = None
    """A message of the conversation to replace on a new branch: a question, or an answer to be given again."""
    title: str | None = None
    """Of a new conversation; by default the question's own words."""
    preset: str | None = None
    """Name of the preset that the options came from."""
    mode: Mode | None = None
    """How to answer; None leaves it to the router."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What answers a question."""

    retriever: Callable[[Sequence[str], str, Sequence[str]], BaseRetriever]
    """`(earlier questions, rewritten question or "", ids of the only documents to search, or none)` -> a retriever for
    this question."""
    providers: Sequence[AnswerProvider]
    """The backend that was chosen, then those that answer if it cannot start to."""
    searched: str
    """What is searched, for people: “12 documents in My documents”."""
    contents: Contents | None = None
    """The documents that are searched, for questions about whole ones; without it all questions are answered from
    passages."""
    stands_in: bool = True
    """Whether the documents are quoted where no model can answer; otherwise the turn fails."""
    similarity: Similarity | None = None
    """Cosines of a question with sentences."""
    ready: Callable[[], Awaitable[None]] | None = None
    """Waits for attached files to be read."""
    entails: Entails | None = None
    """An NLI model for the sentence check."""
    callbacks: Sequence[BaseCallbackHandler] = ()
    seconds: float = 600.0
    """How long a model may go on writing."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What else the record of the answer should say."""
