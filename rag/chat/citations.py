"""From the sentences of an answer to the spans of the passages that support them, whatever the model cites.

The model's own citation numbers are taken out of the text and kept beside it (`Check.cited`); which span supports a
sentence is found here, for any model, also one that cannot cite. A number or a name that stands in no passage is named,
and its sentence is never supported. How a sentence is judged, and what that cannot see, `support.py` says.

Knows nothing of turns; what embeds texts is handed in.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from rag.chat import support
from rag.chat.claims import statements
from rag.chat.evidence import Evidence, Span
from rag.schema import Check, Checked, Citation, Passage, Verdict

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[list[str]], Sequence[Sequence[float]]]
"""Texts -> unit vectors of the embedded MiniLM: the weights of `support.py` know its cosines."""
Entails = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""Pairs of a premise and a conclusion -> how likely the one follows from the other, 0 to 1."""

ENTAILED = 0.5
RANK_STEP = 0.2
"""What a passage loses by each rank in the search for the span that fits the question best: retrieval also knows
meaning, this only words."""
STATEMENT = 4
"""Words of a span that is more than a heading."""
LATIN = 0.5
"""Share of the passages' letters below which words alone decide: the embedding model reads Latin letters."""

_NUMBERS = r"\d{1,2}(?:\s*(?:,|;|-|–|and)\s*(?:passages? |sources? )?\d{1,2})*"
_BRACKETS = rf"\[\^?(?:passages? |sources? )?({_NUMBERS})\](?!\()"
_MARKER = re.compile(
    # Glued to a word it is an index, as in code; at the head of a line the space after it goes as well.
    rf"^[ \t]*{_BRACKETS}[ \t]*|(?:[ \t]+|(?<!\w)){_BRACKETS}",
    re.IGNORECASE | re.MULTILINE,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)

_ABSENT = re.compile(
    r"\b(?:passages?|documents?|texts?|context|sources?|information|it) (?:\w+ ){0,4}?(?:does|do|did)(?: not|n['’]t) "
    r"(?:\w+ )?(?:say|mention|contain|provide|specify|state|give|tell|include|answer|describe|explain|name|indicate|show)"
    r"|^(?:i['’]?m |i am )?(?:sorry\b.{0,40}?)?\bi (?:could not|couldn['’]t|can ?not|can['’]t|am unable to|was unable to) "
    r"(?:find|answer|say|tell|determine|provide|see|locate)"
    r"|^i (?:do not|don['’]t) (?:know|have)|^there is no (?:information|mention|answer|data|evidence)\b"
    r"|\bnot (?:mentioned|specified|stated|provided|given|said|named|described) (?:anywhere )?in (?:the|these|your|any) ",
    re.IGNORECASE,
)
_BUT = re.compile(r"\b(?:but|however|although|though|yet|instead)\b", re.IGNORECASE)
_POLITE = re.compile(
    r"(?:hello|hi|dear|sure|certainly|of course|absolutely|great|good|thanks?|you['’]re welcome|let me|please (?:ask|let|note)"
    r"|i hope|i['’]?m (?:glad|happy|sorry)|feel free|here (?:is|are)|here['’]s|as an ai|if you (?:have|need|want)|do you)\b",
    re.IGNORECASE,
)
_BOLD_LINE = re.compile(r"(\*\*|__).+\1:?")
POLITE_WORDS = 14


@dataclass(frozen=True, slots=True)
class Unmarked:
    """An answer without the citation numbers of its model, and where they stood."""

    text: str
    marks: tuple[tuple[int, tuple[int, ...]], ...]
    """`(position in the text, numbers)`."""


def unmark(answer: str) -> Unmarked:
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
    return Unmarked(text.strip(), tuple((max(0, at - shift), numbers) for at, numbers in marks))


def claims_nothing(sentence: str) -> bool:
    """Whether a sentence says nothing that could be checked.

    A question, a heading, what leads in to a list, a courtesy, or that the passages do not say it.
    """
    said = sentence.strip()
    if said.endswith(("?", ":", "：", "？")) or said.startswith("#") or _BOLD_LINE.fullmatch(said):
        return True
    if not any(map(str.isalnum, said)):
        return True
    if _ABSENT.search(said) and not _BUT.search(said):
        return True
    return bool(_POLITE.match(said)) and len(said.split()) <= POLITE_WORDS and not re.search(r"\d", said)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What became of a sentence."""

    score: float
    spans: tuple[Span, ...] = ()
    """What supports it, one for each of its clauses where they were judged apart."""
    missing: tuple[str, ...] = ()
    verdict: Verdict = Verdict.NO_CLAIM


class Checker:
    """Holds the answer to a question against its passages, also while it grows. Threads may share it."""

    def __init__(
        self, passages: Sequence[Passage], question: str, embed: Embed | None = None, entails: Entails | None = None
    ) -> None:
        """Constructing costs nothing.

        Args:
            passages: as they are numbered.
            question: as it was asked.
            embed: texts -> unit vectors; words alone decide where there is none.
            entails: judges in place of the weights, where a person has such a model.
        """
        self._passages, self._question = passages, question
        self._embed, self._entails = embed, entails
        self._evidence: Evidence | None = None
        self._vectors: np.ndarray[Any, np.dtype[np.float32]] | None = None
        self._judged: dict[str, _Judged] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Read and embed the passages, once; the first check does it where nobody did before. Blocks."""
        with self._lock:
            self._prepared()

    def check(self, answer: str, *, ended: bool = True) -> Checked:
        """Hold every sentence of an answer against the passages; those that were checked before cost nothing. Blocks.

        Args:
            answer: as the model writes it.
            ended: no more will come; the last sentence is left out otherwise.
        """
        unmarked = unmark(answer)
        text = unmarked.text
        places = statements(text)
        if not ended:
            places = places[:-1]
            text = text[: places[-1][1]] if places else ""
        with self._lock:
            evidence = self._prepared()
            judged = self._judge(evidence, [text[start:end] for start, end in places])
        return self._checked(evidence, text, places, judged, unmarked)

    def _prepared(self) -> Evidence:
        if self._evidence is None:
            evidence = Evidence(self._passages, self._question)
            if self._embed and evidence.spans and _is_latin(span.text for span in evidence.spans):
                self._vectors = _matrix(self._embed([span.text for span in evidence.spans]))
            self._evidence = evidence
        return self._evidence

    # --- sentences ---

    def _judge(self, evidence: Evidence, sentences: Sequence[str]) -> list[_Judged]:
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._judged]
        claims: dict[str, list[support.Claim]] = {}
        for sentence in new:
            if claims_nothing(sentence) or not evidence.spans:
                self._judged[sentence] = _Judged(0.0)
                continue
            parts = support.clauses(sentence)
            claims[sentence] = [support.read_claim(evidence, said) for said in ([sentence, *parts] if parts[1:] else parts)]
        cosines = self._cosines([claim.text for claim in chain.from_iterable(claims.values())])
        for sentence, (whole, *parts) in claims.items():
            missing = evidence.missing(whole.words)
            scores = [(*support.judge(evidence, claim, cosines(claim.text)), claim) for claim in (whole, *parts)]
            score, spans = scores[0][0], (evidence.spans[scores[0][1]],)
            if parts and (least := min(part[0] for part in scores[1:])) > score:
                score, spans = least, tuple(dict.fromkeys(evidence.spans[part[1]] for part in scores[1:]))
            limit = support.THRESHOLD
            if self._entails:
                [score], limit = self._entails([(evidence.context(spans), whole.text)]), ENTAILED
            supported = score >= limit and not missing
            verdict = Verdict.SUPPORTED if supported else Verdict.UNSUPPORTED
            self._judged[sentence] = _Judged(0.0 if missing else round(score, 4), spans, missing, verdict)
        return [self._judged[sentence] for sentence in sentences]

    def _cosines(self, texts: Sequence[str]) -> Callable[[str], Sequence[float] | None]:
        """Gives the cosines of one of `texts` and all spans; all are embedded at once."""
        texts = list(dict.fromkeys(texts))
        if self._vectors is None or not self._embed or not texts:
            return lambda text: None
        found = dict(zip(texts, (_matrix(self._embed(texts)) @ self._vectors.T).tolist(), strict=True))
        return found.__getitem__

    # --- citations ---

    def _checked(
        self,
        evidence: Evidence,
        text: str,
        places: Sequence[tuple[int, int]],
        judged: Sequence[_Judged],
        unmarked: Unmarked,
    ) -> Checked:
        cited = _cited(places, unmarked.marks)
        citations: dict[tuple[str, int | None, int], int] = {}
        found: list[Citation] = []

        def cite(span: Span, answer_end: int) -> int:
            citation = self._citation(span, answer_end)
            key = citation.document_id, citation.page, citation.start
            if key not in citations:
                citations[key] = len(found)
                found.append(citation)
            return citations[key]

        checks = []
        for (start, end), each, numbers in zip(places, judged, cited, strict=True):
            supports = [cite(span, end) for span in each.spans] if each.verdict is Verdict.SUPPORTED else [None]
            checks.append(Check(start, end, each.verdict, each.score, supports[0], each.missing, numbers))
        unsupported = any(each.verdict is Verdict.UNSUPPORTED for each in judged) or not found
        if places and unsupported and (span := _nearest(evidence, found)):
            cite(span, 0)
        return Checked(text, tuple(found), tuple(checks))

    def _citation(self, span: Span, answer_end: int) -> Citation:
        passage = self._passages[span.number - 1]
        return Citation(
            n=span.number,
            document_id=passage.document_id,
            document=passage.document,
            page=passage.page,
            quote=passage.text[span.start : span.end],
            start=passage.start + span.start,
            end=passage.start + span.end,
            answer_end=answer_end,
            label=passage.label,
        )


def _cited(
    places: Sequence[tuple[int, int]], marks: Sequence[tuple[int, tuple[int, ...]]]
) -> list[tuple[int, ...]]:
    """For each sentence the numbers that stand in it, right behind it or, at the head of a line, right before it."""
    found: list[list[int]] = [[] for _ in places]
    for at, numbers in marks:
        before = [n for n, (start, _) in enumerate(places) if start < at]
        after = [n for n, (start, _) in enumerate(places) if start == at]
        if after or before:
            found[(after or before)[-1]] += [number for number in numbers]
    return [tuple(dict.fromkeys(numbers)) for numbers in found]


def _nearest(evidence: Evidence, taken: Sequence[Citation]) -> Span | None:
    """The span that speaks most of what was asked and is not taken; lower ranked passages count less."""
    quotes = {(citation.n, citation.quote) for citation in taken}

    def fit(span: Span) -> float:
        return evidence.answers(span) - RANK_STEP * span.number

    passages = evidence.passages
    free = [s for s in evidence.spans if (s.number, passages[s.number - 1].text[s.start : s.end]) not in quotes]
    free = [span for span in free if evidence.answers(span) > 0]
    return max([s for s in free if len(s.words.sequence) >= STATEMENT] or free, key=fit, default=None)


def _is_latin(texts: Iterable[str]) -> bool:
    letters = [character for text in texts for character in text if character.isalpha()]
    return sum(character < "\u0250" for character in letters) >= LATIN * len(letters)


def _matrix(vectors: Sequence[Sequence[float]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    import numpy as np

    return np.asarray(vectors, dtype=np.float32)
