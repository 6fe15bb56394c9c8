"""A question with what would be a right answer to it, and when a passage or an answer holds that.

Gold is tied to words and to names of documents, never to chunks: it outlives another splitter, another embedding model
and another file of the same name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from rag.schema import Passage

LONGEST = 4000
"""Characters of a question, as in a chat."""
_SAME = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "“": '"', "”": '"', "‐": "-", "–": "-", "—": "-", "\u00ad": None})
_AT_ENDS = " .,;:!?…·'\"«»‹›()[]{}<>。、「」『』【】"


@dataclass(frozen=True, slots=True)
class GoldQuestion:
    """A question of a set. Without answers and documents it is out of scope: Gestalt should abstain."""

    question: str
    answers: tuple[str, ...] = ()
    """As they may stand in a document; one of them is enough."""
    documents: tuple[str, ...] = ()
    """File names that the answer has to come from; any where there are none."""
    use: bool = True
    """Whether runs ask it; not while a person has still to fill in what is right."""

    @property
    def out_of_scope(self) -> bool:
        """The documents do not answer it, and a good search says so."""
        return not (self.answers or self.documents)

    @property
    def key(self) -> str:
        """Tells questions apart: case, spaces and punctuation at the ends make no other question."""
        return folded(self.question)


def folded(text: str) -> str:
    """`text` in one form: NFKC, without case, with single spaces and plain quotes, no punctuation at the ends."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(_SAME).casefold())
    return " ".join(plain.split()).strip(_AT_ENDS)


def from_row(row: Mapping[str, Any]) -> GoldQuestion:
    """A question from the cells of a table or the keys of an object.

    Raises:
        ValueError: what is wrong with it, as a clause.
    """
    question = row.get("question")
    if not isinstance(question, str) or not folded(question):
        raise ValueError("it has no question")
    if len(question) > LONGEST:
        raise ValueError(f"the question has more than {LONGEST:,} characters")
    answers = _strings(row, "answers", "answer")
    documents = _strings(row, "documents", "document")
    if any(not folded(answer) for answer in answers):
        raise ValueError("an answer has no letter or digit in it")
    if _truth(row.get("out_of_scope"), False) and (answers or documents):
        raise ValueError("it is called out of scope, yet has an answer or a document")
    return GoldQuestion(" ".join(question.split()), answers, documents, _truth(row.get("use"), True))


def _strings(row: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    found = next((row[name] for name in names if row.get(name) is not None), ())
    values = [found] if isinstance(found, str | int | float) else found
    if not isinstance(values, Sequence) or any(not isinstance(value, str | int | float) for value in values):
        raise ValueError(f"its {names[0]} are no list of texts")
    stripped = (" ".join(str(value).split()) for value in values)
    return tuple(dict.fromkeys(value for value in stripped if value))


def _truth(value: Any, otherwise: bool) -> bool:
    if value is None or value == "":
        return otherwise
    return value.strip().casefold() in ("true", "yes", "1", "x") if isinstance(value, str) else bool(value)


def as_row(question: GoldQuestion) -> dict[str, Any]:
    """The question as it is stored and exported; `from_row` reads it again."""
    row: dict[str, Any] = {
        "question": question.question,
        "answers": list(question.answers),
        "documents": list(question.documents),
    }
    return row if question.use else row | {"use": False}


def distinct(questions: Iterable[GoldQuestion]) -> tuple[GoldQuestion, ...]:
    """The questions, each only where it comes first."""
    first: dict[str, GoldQuestion] = {}
    for question in questions:
        first.setdefault(question.key, question)
    return tuple(first.values())


# --- gold and what was found -------------------------------------------------------------------------------------


def holds(text: str, answers: Iterable[str]) -> bool:
    """Whether `text` has one of the answers in it as whole words.

    In scripts that put no spaces between words any place counts.
    """
    plain = folded(text)
    return any(_pattern(folded(answer)).search(plain) for answer in answers)


def _pattern(answer: str) -> re.Pattern[str]:
    before = "" if _runs_on(answer[0]) else r"(?<!\w)(?<!\d[.,])" if answer[0].isalnum() else ""
    after = "" if _runs_on(answer[-1]) else r"(?!\w|[.,]\d)" if answer[-1].isalnum() else ""
    return re.compile(before + re.escape(answer) + after)


def _runs_on(character: str) -> bool:
    """It is of a script that glues words or their endings together: Chinese, Japanese, Korean, Thai, Lao, Khmer ..."""
    blocks = ("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff")
    unspaced = any(first <= character <= last for first, last in blocks)
    return unspaced or unicodedata.east_asian_width(character) in ("W", "F")


def judge(question: GoldQuestion, passages: Sequence[Passage]) -> tuple[tuple[bool, ...], int]:
    """Which passages are relevant, and how many there could be.

    A passage is relevant where it holds an answer and comes from a document that is named; without answers, where it
    comes from a document that is named. What only repeats a better passage is not counted again, as in alpha-nDCG
    with alpha = 1 (Clarke et al. 2008): there is one answer to be found, or one passage of each document.
    """
    documents = {file_name(document) for document in question.documents}
    seen: set[str] = set()
    relevant = []
    for passage in passages:
        told = "" if question.answers else file_name(passage.document)
        right = not question.out_of_scope and (not documents or file_name(passage.document) in documents)
        right = right and told not in seen and (not question.answers or holds(passage.text, question.answers))
        relevant.append(right)
        if right:
            seen.add(told)
    return tuple(relevant), 1 if question.answers else len(documents)


def file_name(document: str) -> str:
    """The name of a document in one form, without its folders: names are the same where these are."""
    return unicodedata.normalize("NFC", PurePosixPath(document).name).casefold()
