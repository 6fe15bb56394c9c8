"""What an answer is made of: its sentences and clauses, the model's citation numbers among them, what claims nothing.

Knows nothing of passages or of support.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rag.index.lexical import STOP_WORDS
from rag.index.sentences import sentences

SHORTEST = 4
"""Words of a clause that is judged by itself."""

# --- sentences ---

_ENUMERATOR = re.compile(r"[^\w|]{0,3}(?:(\d{1,2})[.)])?[^\w|]{0,3}")
_NEW_ITEM = re.compile(r"[#|*•–—\-+>]|\d{1,2}[.)]\s")


def statements(text: str) -> list[tuple[int, int]]:
    """The `(start, end)` of each sentence or item of `text`; lines that were only wrapped are one again.

    The text of a PDF has the line breaks of its page, and a small model copies them.
    """
    width = max((len(line) for line in text.splitlines()), default=0)
    found: list[tuple[int, int]] = []
    item, lone = 0, False
    for start, end in sentences(text):
        if found and text[found[-1][1] : start].count("\n") <= 1 and (lone or _goes_on(text, found[-1], start, width)):
            found[-1], lone = (found[-1][0], end), False
            continue
        found.append((start, end))
        # The mark of an item stands alone where a capital follows it; its number follows the last one, or is 1.
        mark = _ENUMERATOR.fullmatch(text, start, end)
        lone = bool(mark and (not mark[1] or int(mark[1]) in (1, item + 1)))
        item = int(mark[1]) if lone and mark and mark[1] else item
    return [(start, end) for start, end in found if any(map(str.isalnum, text[start:end]))]


def _goes_on(text: str, before: tuple[int, int], start: int, width: int) -> bool:
    """Whether the line that begins at `start` was only wrapped there."""
    if "\n" not in text[before[1] : start] or text[before[1] - 1] in ".!?:;|" or _NEW_ITEM.match(text, start):
        return False
    line = before[1] - (text.rfind("\n", 0, before[1]) + 1)
    return text[start].islower() or (line >= 40 and line >= 0.7 * width)


_CLAUSE = re.compile(
    r"[,;] (?:and|but|while|whereas) (?=(?:the|a|an|its?|she|he|they|their|her|his|this|these|there) |[A-Z])"
    r"|(?<=\w) and (?=(?:it|she|he|they|there) )|; "
)


def clauses(sentence: str) -> list[str]:
    """The clauses of a sentence that have subjects of their own; the sentence alone where there are not several."""
    parts = [part.strip() for part in _CLAUSE.split(sentence)]
    return parts if len(parts) > 1 and all(len(part.split()) >= SHORTEST for part in parts) else [sentence]


# --- citation numbers ---

_NUMBERS = r"\d{1,2}(?:\s*(?:,|;|-|–|and)\s*(?:passages? |sources? )?\d{1,2})*"
_BRACKETS = rf"\[\^?(?:passages? |sources? )?({_NUMBERS})\](?!\()"
_MARKER = re.compile(
    # Glued to a word it is an index, as in code; at the head of a line the space after it goes as well.
    rf"^[ \t]*{_BRACKETS}[ \t]*|(?:[ \t]+|(?<!\w)){_BRACKETS}",
    re.IGNORECASE | re.MULTILINE,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StrippedText:
    """An answer without the citation numbers of its model, and where they stood."""

    text: str
    marks: tuple[tuple[int, tuple[int, ...]], ...]
    """`(position in the text, numbers)`."""


def strip_citations(answer: str) -> StrippedText:
    """Take the citation numbers out of an answer, whether there are such passages or not; code keeps its brackets."""
    code = [match.span() for match in _CODE.finditer(answer)]
    parts, marks, length, last = list[str](), list[tuple[int, tuple[int, ...]]](), 0, 0
    for match in _MARKER.finditer(answer):
        if any(start <= match.start() < end for start, end in code):
            continue
        parts.append(answer[last : match.start()])
        length, last = length + len(parts[-1]), match.end()
        marks.append((length, tuple(int(number) for number in re.findall(r"\d+", match[1] or match[2]))))
    text = "".join(parts) + answer[last:]
    shift = len(text) - len(text.lstrip())
    return StrippedText(text.strip(), tuple((max(0, at - shift), numbers) for at, numbers in marks))


# --- what claims nothing ---

_SOURCE = r"(?:passages?|documents?|texts?|context|sources?|information|reports?|excerpts?|sections?|pages?)"
_NOT = r"(?: not|n['’]t)"
_ABSENT = re.compile(
    rf"\b{_SOURCE} (?:\w+ ){{0,4}}?(?:does|do|did){_NOT} (?:\w+ )?"
    r"(?:say|mention|contain|provide|specify|state|give|tell|include|answer|describe|explain|name|indicate)\b"
    rf"|\bi (?:could{_NOT}|can ?not|can['’]t|am unable to|was unable to) (?:find|answer|say|tell|determine|see)\b"
    rf"|^i do{_NOT} (?:know|have)\b|^there is no (?:information|mention|answer)\b|^no {_SOURCE} "
    r"|\bnot (?:mentioned|specified|stated|provided|given|said|named) (?:anywhere )?in (?:the|these|your|any) ",
    re.IGNORECASE,
)
_BUT = re.compile(r"\b(?:but|however|although|though|yet|instead)\b", re.IGNORECASE)
_COURTESY = re.compile(
    r"(?:hello|hi|hey|sure|certainly|of course|absolutely|(?:good|great) question|thanks|thank you|sorry)"
    r"(?: \w+){0,2}[!.,]*|you['’]re welcome\b.*"
    r"|(?:please )?(?:let me know|feel free)\b.*|i hope (?:this|that)\b.*|i(?: am|['’]m) (?:glad|happy|sorry)\b.*"
    r"|as an ai\b.*|if you (?:have|need) (?:any|more|other|further)\b.*|(?:is|was) there anything else\b.*"
    r"|here (?:is|are) (?:the|a|an|some|my|your) (?:\w+ )?(?:answer|list|summary|information|details|overview)\b.*",
    re.IGNORECASE,
)
_BOLD_LINE = re.compile(r"(\*\*|__).+\1:?")


def is_non_claim(sentence: str) -> bool:
    """Whether a sentence says nothing that could be checked.

    A question, a heading, what leads in to a list, a courtesy, or that the passages do not say it.
    """
    said = sentence.strip()
    if said.endswith(("?", ":", "？", "：")) or said.startswith("#") or _BOLD_LINE.fullmatch(said):
        return True
    words = re.findall(r"\w+", said.casefold())
    if words[:1] != ["no"] and STOP_WORDS.issuperset(words):
        return True
    return bool(_COURTESY.fullmatch(said) or _ABSENT.search(said)) and not _BUT.search(said)
