"""What the application itself answers: greetings, what it is and can do, and which documents there are."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from rag.index.contents import ListedDocument

LISTED = 30
"""Documents named in an answer."""
EXAMPLE = "lease.pdf"
"""Named where there is no document yet."""


class Topic(StrEnum):
    """What such a question is about; the names are those in `small_talk.toml`."""

    GREETING = "greeting"
    THANKS = "thanks"
    FAREWELL = "farewell"
    IDENTITY = "identity"
    HELP = "help"
    DOCUMENTS = "documents"
    NOTHING = "nothing"


_OPENING = r"(?:(?:so|ok|okay|please|well|und|et|y)[,.!]? )?"
_CLOSING = r"(?:[,!. ]+(?:gestalt|please|bitte|today|now|here|then))*"
_END = re.compile(r"[\s.!?,:;…。！？，؟]+$")
_PART = re.compile(r"(?<=[.!?。！？])\s*|(?<=[,，])\s+")


@cache
def _languages() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


@cache
def _patterns() -> list[tuple[Topic, str, re.Pattern[str]]]:
    return [
        (Topic(topic), language, re.compile(f"{_OPENING}(?:{'|'.join(forms)}){_CLOSING}"))
        for language, texts in _languages().items()
        for topic, forms in texts["questions"].items()
    ]


def topic_of(question: str) -> tuple[Topic, str] | None:
    """What the application itself is to answer, and in which language; None if the question is about documents."""
    if not any(map(_has_meaning, question)):
        return Topic.NOTHING, "en"
    text = unicodedata.normalize("NFKC", question)
    whole = _topic(text)
    if whole:
        return whole
    # Of “Hi! Who are you?” the last part counts; “Hi, how long is the pier?” is about documents.
    parts = [_topic(part) for part in _PART.split(text) if any(map(_has_meaning, part))]
    return parts[-1] if all(parts) else None


def _has_meaning(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character) == "So"


def _topic(text: str) -> tuple[Topic, str] | None:
    form = _END.sub("", " ".join(text.casefold().split())).lstrip("¡¿ ")
    return next(((topic, language) for topic, language, pattern in _patterns() if pattern.fullmatch(form)), None)


def reply(topic: Topic, language: str, documents: Sequence[ListedDocument]) -> str:
    """The answer, in the language of the question if it is known there."""
    texts = _languages()[language]
    ready = [document.name for document in documents if document.is_ready]
    names = ready[:LISTED]
    if len(ready) > LISTED:
        names.append(texts["counts"]["more"].format(n=f"{len(ready) - LISTED:,}"))
    form = texts["counts"]["none" if not ready else "one" if len(ready) == 1 else "several"]
    counted = form.format(n=f"{len(ready):,}", names=", ".join(names))
    return str(texts["answers"][topic]).format(documents=counted, example=ready[0] if ready else EXAMPLE)
