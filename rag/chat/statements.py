"""Split an answer into sentences and clauses, strip the model's citation numbers, and recognise what claims nothing."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from rag.index.lexical import STOP_WORDS
from rag.index.sentences import sentences

SHORTEST = 4
"""Words of the shortest clause that is judged separately."""

_ENUMERATOR = re.compile(r"[^\w|]{0,3}(?:(\d{1,2})[.)])?[^\w|]{0,3}")
_ROW = re.compile(r"^.* \| .*$", re.MULTILINE)
_NOWHERE = (sys.maxsize, sys.maxsize)
_NEW_ITEM = re.compile(
    r"[#|*•–—\-+>]|\d{1,2}[.)]\s|\d{1,2}(?:\.\d{1,2})+\.?\s+[^\W\d_a-zß-ÿ]|[^\n|]* \| |\w[\w ]{0,30}: "
)
"""A list item, a numbered clause, a row of a table, a key with its value."""


def statements(text: str) -> list[tuple[int, int]]:
    """The `(start, end)` of each sentence or list item of `text`, with wrapped lines joined.

    Text from a PDF keeps the line breaks of the page, and small models copy them.
    """
    width = max((len(line) for line in text.splitlines()), default=0)
    rows = (match.span() for match in _ROW.finditer(text))
    row = next(rows, _NOWHERE)
    found: list[tuple[int, int]] = []
    item, lone = 0, False
    for start, end in sentences(text):
        while row[1] <= start:
            row = next(rows, _NOWHERE)
        if found and row[0] <= found[-1][0]:  # another sentence of the same table row
            found[-1] = (found[-1][0], end)
            continue
        near = bool(found) and text[found[-1][1] : start].count("\n") <= 1 and start < row[0]
        if near and (lone or _is_wrapped(text, found[-1], start, width)):
            found[-1], lone = (found[-1][0], end), False
            continue
        found.append((start, end))
        # A list marker is alone if a capital follows it; its number is 1 or follows the previous one.
        mark = _ENUMERATOR.fullmatch(text, start, end)
        lone = bool(mark and (not mark[1] or int(mark[1]) in (1, item + 1)))
        item = int(mark[1]) if lone and mark and mark[1] else item
    return [(start, end) for start, end in found if any(map(str.isalnum, text[start:end]))]


def _is_wrapped(text: str, before: tuple[int, int], start: int, width: int) -> bool:
    """Whether the line that begins at `start` continues the sentence before it."""
    if (
        "\n" not in text[before[1] : start]
        or text[before[1] - 1] in ".!?:;|"
        or " | " in text[slice(*before)]
        or _NEW_ITEM.match(text, start)
    ):
        return False
    line = before[1] - (text.rfind("\n", 0, before[1]) + 1)
    return text[start].islower() or (line >= 40 and line >= 0.7 * width)


_CLAUSE = re.compile(
    r"[,;] (?:and|but|while|whereas) (?=(?:the|a|an|its?|she|he|they|their|her|his|this|these|there) |[A-Z])"
    r"|(?<=\w) and (?=(?:it|she|he|they|there) )|; "
)


def clauses(sentence: str) -> list[str]:
    """The clauses of a sentence that have their own subjects; the whole sentence if there is only one."""
    parts = [part.strip() for part in _CLAUSE.split(sentence)]
    return parts if len(parts) > 1 and all(len(part.split()) >= SHORTEST for part in parts) else [sentence]


# --- citation numbers ---

_NUMBERS = r"\d{1,2}(?:\s*(?:,|;|-|–|and)\s*(?:passages? |sources? )?\d{1,2})*"
_BRACKETS = rf"\[\^?(?:passages? |sources? )?({_NUMBERS})\](?!\()"
_MARKER = re.compile(
    # Right after a word it is an index, as in code; at the start of a line the space after it is removed too.
    rf"^[ \t]*{_BRACKETS}[ \t]*|(?:[ \t]+|(?<!\w)){_BRACKETS}",
    re.IGNORECASE | re.MULTILINE,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StrippedText:
    """An answer without the model's citation numbers, and where these were."""

    text: str
    marks: tuple[tuple[int, tuple[int, ...]], ...]
    """`(position in the text, numbers)`."""


def strip_citations(answer: str) -> StrippedText:
    """Remove the citation numbers from an answer, whether or not such passages exist; code keeps its brackets."""
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


# --- sentences without a claim ---

_SOURCE = r"(?:passages?|documents?|texts?|context|sources?|information|reports?|excerpts?|sections?|pages?)"
_NOT = r"(?: not|n['’]t)"
_CANNOT = rf"(?:can ?not|can['’]t|could{_NOT}|am{_NOT} able to|(?:am|was) unable to|will{_NOT})"
_SAY = (
    "(?:say|mention|contain|provide|specify|state|give|tell|include|answer|describe|explain|name|indicate|discuss"
    "|address|offer|cover|reveal|list)"
)
_SAID = (
    "(?:clear|given|provided|available|mentioned|stated|specified|enough|sufficient|said|named|found|described"
    "|discussed)"
)
_FIND = (
    "(?:find|answer|say|tell|determine|see|provide|give|help|assist|fulfil+|access|offer|locate|identify|comply"
    "|confirm|verify|know|discuss|infer)"
)
_KNOWN = "(?:information|mention|answer|data|details?|access|knowledge|idea)"
_THESE = "(?:the|these|this|your|any|my)"
_UNKNOWABLE = (
    rf"\b(?:{_CANNOT}|(?:is|was)(?:{_NOT} possible| impossible) to) (?:be )?(?:found|{_FIND}(?:e?d|red)?)"
    rf" (?:\w+ ){{0,6}}?(?:from|in|with|by|based on) {_THESE} (?:\w+ )?{_SOURCE}\b"
)
_ABSENT = re.compile(
    "|".join(
        (
            rf"\b{_SOURCE} (?:\w+ ){{0,4}}?(?:does|do|did){_NOT} (?:\w+ ){{0,2}}?{_SAY}\b",
            rf"\b{_SOURCE} (?:is|are|was|were){_NOT} (?:\w+ )?{_SAID}\b",
            rf"\bi {_CANNOT} (?:\w+ )?{_FIND}\b",
            rf"^i do{_NOT} (?:\w+ )?(?:know|have|see|find)\b|^i have no (?:\w+ )?{_KNOWN}\b",
            rf"^there (?:is|are|was|were)(?: no| not enough|n['’]t (?:any|enough)) (?:\w+ )?{_KNOWN}\b",
            rf"^(?:no|not enough|insufficient) (?:\w+ )?{_KNOWN}\b|^not {_SAID}\b",
            rf"\bnot {_SAID} (?:\w+ )?(?:in|by|from) {_THESE} ",
            _UNKNOWABLE,
        )
    ),
    re.IGNORECASE,
)
_APOLOGY = re.compile(
    r"(?:(?:i(?: am|['’]m) (?:\w+ )?(?:sorry|afraid)|sorry|i apologi[sz]e|my apologies|unfortunately|as an ai)"
    r"(?: (?:\w+ ){0,4}(?:model|assistant|inconvenience))?[,.]? (?:but |that )?)+",
    re.IGNORECASE,
)
_FILE_NAME = re.compile(
    r"(?:the )?\S+\.(?:pdf|docx?|md|txt|html?|csv|xlsx?|pptx?|epub|eml|mbox|json)\b\W*", re.IGNORECASE
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
    """Whether a sentence claims nothing: a question, heading, lead-in, courtesy, refusal, or the name of a file."""
    text = sentence.strip()
    if text.endswith(("?", ":", "？", "：")) or text.startswith("#") or _BOLD_LINE.fullmatch(text):
        return True
    words = re.findall(r"\w+", text.casefold())
    if words[:1] != ["no"] and STOP_WORDS.issuperset(words):
        return True
    if _COURTESY.fullmatch(text) and not _BUT.search(text):
        return True
    bare = text[match.end() :] if (match := _APOLOGY.match(text)) else text
    return bool(_FILE_NAME.fullmatch(text) or (_ABSENT.search(bare) and not _BUT.search(bare)))
