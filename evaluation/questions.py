"""Questions with gold answers, and whether a passage or an answer contains these.

Gold is tied to words and document names, never to chunks: it survives another index and new versions of files.
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
    """As written in the documents; one of them is enough."""
    documents: tuple[str, ...] = ()
    """File names that the answer has to come from; any document if empty."""
    use: bool = True
    """Whether runs ask it; False while the answer is still to be filled in."""

    @property
    def out_of_scope(self) -> bool:
        """Whether the documents do not answer it."""
        return not (self.answers or self.documents)

    @property
    def key(self) -> str:
        """Identifies the question; ignores case, spacing and outer punctuation."""
        return folded(self.question)


def folded(text: str) -> str:
    """Normalise a text: NFKC, case folded, single spaces, plain quotes, no outer punctuation."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(_SAME).casefold())
    return " ".join(plain.split()).strip(_AT_ENDS)


def from_row(row: Mapping[str, Any]) -> GoldQuestion:
    """Parse the cells of a table row or the keys of an object. Raises ValueError with what is wrong, as a clause."""
    question = row.get("question")
    if not isinstance(question, str) or not folded(question):
        raise ValueError("it has no question")
    if len(question) > LONGEST:
        raise ValueError(f"the question has more than {LONGEST:,} characters")
    answers = _strings(row, "answers", "answer")
    documents = _strings(row, "documents", "document")
    if any(not folded(answer) for answer in answers):
        raise ValueError("an answer has no letter or digit")
    if _boolean(row.get("out_of_scope"), False) and (answers or documents):
        raise ValueError("it is marked out of scope, but has an answer or a document")
    return GoldQuestion(" ".join(question.split()), answers, documents, _boolean(row.get("use"), True))


def _strings(row: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    found = next((row[name] for name in names if row.get(name) is not None), ())
    values = [found] if isinstance(found, str | int | float) else found
    if not isinstance(values, Sequence) or any(not isinstance(value, str | int | float) for value in values):
        raise ValueError(f"its {names[0]} are not a list of texts")
    stripped = (" ".join(str(value).split()) for value in values)
    return tuple(dict.fromkeys(value for value in stripped if value))


def _boolean(value: Any, default: bool) -> bool:
    if value is None or value == "":
        return default
    return value.strip().casefold() in ("true", "yes", "1", "x") if isinstance(value, str) else bool(value)


def as_row(question: GoldQuestion) -> dict[str, Any]:
    """Serialise a question, for `from_row`."""
    row = {"question": question.question, "answers": list(question.answers), "documents": list(question.documents)}
    return row if question.use else row | {"use": False}


def distinct(questions: Iterable[GoldQuestion]) -> tuple[GoldQuestion, ...]:
    """Remove duplicate questions, keeping the first of each."""
    first: dict[str, GoldQuestion] = {}
    for question in questions:
        first.setdefault(question.key, question)
    return tuple(first.values())


def holds(text: str, answers: Iterable[str]) -> bool:
    """Whether `text` contains one of the answers as whole words; in scripts without spaces, anywhere."""
    plain = folded(text)
    return any(_pattern(folded(answer)).search(plain) for answer in answers)


def _pattern(answer: str) -> re.Pattern[str]:
    before = "" if _is_unspaced(answer[0]) else r"(?<!\w)(?<!\d[.,])" if answer[0].isalnum() else ""
    after = "" if _is_unspaced(answer[-1]) else r"(?!\w|[.,]\d)" if answer[-1].isalnum() else ""
    return re.compile(before + re.escape(answer) + after)


def _is_unspaced(character: str) -> bool:
    """Whether its script joins words or endings without spaces: Chinese, Japanese, Korean, Thai, Lao, Khmer ..."""
    blocks = ("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff")
    unspaced = any(first <= character <= last for first, last in blocks)
    return unspaced or unicodedata.east_asian_width(character) in ("W", "F")


def judge(question: GoldQuestion, passages: Sequence[Passage]) -> tuple[tuple[bool, ...], int]:
    """Return which passages are relevant, and how many could be.

    A passage is relevant if it contains an answer and comes from one of the named documents; either condition is waived
    if the question has no answers or no documents. Repetitions of a better passage do not count, as in alpha-nDCG with
    alpha = 1 (Clarke et al. 2008): there is one answer to find, or one passage of each document.
    """
    documents = {file_name(document) for document in question.documents}
    seen: set[str] = set()
    relevant = []
    for passage in passages:
        found = "" if question.answers else file_name(passage.document)
        right = not question.out_of_scope and (not documents or file_name(passage.document) in documents)
        right = right and found not in seen and (not question.answers or holds(passage.text, question.answers))
        relevant.append(right)
        if right:
            seen.add(found)
    return tuple(relevant), 1 if question.answers else len(documents)


def file_name(document: str) -> str:
    """Normalise the name of a document, without its folders."""
    return unicodedata.normalize("NFC", PurePosixPath(document).name).casefold()
