"""temporary"""

from __future__ import annotations

from dataclasses import dataclass

from rag.index.contents import Contents
from rag.schema import Passage


@dataclass(frozen=True, slots=True)
class Request:
    words: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    passage: Passage
    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class Listing:
    items: tuple[Found, ...]
    count: int
    what: str
    scanned: int


def wanted(question: str) -> Request | None:
    return None


def find(request: Request, contents: Contents) -> Listing | None:
    return None
