"""What stands under a heading, in a list or in an enumeration that a question names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rag.chat.headings import Heading
from rag.chat.lists.found import Found, Items, Part, path_stems
from rag.chat.lists.patterns import kind_of
from rag.chat.lists.request import Request
from rag.chat.lists.words import PERSON, forms, is_anyone, is_generic, is_person, stems, uncovered
from rag.chat.units import Unit

SENTENCES = 30
"""Most sentences of a section without lists that are a list themselves."""

PARALLEL = 3
"""Fewest paragraphs of the same form, or names in a sentence, that are a list."""
NAME = 60
"""Characters of the longest name in a sentence that lists names."""

Path = tuple[str, ...]

_MARK = re.compile(r"^(?:[*•‣◦▪●–—\-+]|\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)])\s+")
_LABEL = re.compile(r"([^\W\d_][^:|]{1,40}):\s+\S.*", re.DOTALL)
_SHAPE = re.compile(r"(\*\*|__)|[A-ZÀ-Þ][\w'’-]+(?: [A-ZÀ-Þ][\w'’.-]*)* ([a-zà-ÿ]+ [a-zà-ÿ]+)")
_ENUMERATION = re.compile(
    r"(?:[*•–\-]\s+)?(?P<label>[^:|.,]{2,60}?)"
    r"(?P<link>:| (?:are|were|includes?|comprises?|consists? of|needs?|requires?|offers?|sind|sont|son)"
    r"(?: as follows)?:?)\s+(?P<list>[^:]+)",
    re.DOTALL,
)
_SEPARATOR = re.compile(r"\s*(?:[,;]\s*(?:(?:and|und|et|y|or|e|ou|o)\s)?|\s(?:and|und|et|y|or|oder|ou)\s)\s*")


@dataclass(slots=True)
class _Section:
    """What stands below a heading, by kind."""

    title: str
    headings: Items
    items: Items
    deeper: Items
    """Those below further headings."""
    names: Items
    labels: Items
    sentences: Items
    paragraphs: dict[str, Items]
    """By their shape: “is the”."""

    @classmethod
    def named(cls, title: str) -> _Section:
        """An empty one."""
        headings, items, deeper, names, labels, sentences = (
            Items(f"{kind} under “{title}”")
            for kind in ("headings", "list items", "list items", "names", "entries", "sentences")
        )
        return cls(title, headings, items, deeper, names, labels, sentences, {})

    def parallel(self) -> Items:
        """Paragraphs that say the same of different things: “X is the Y of Z”; none if fewer than three do."""
        most = max(self.paragraphs.values(), key=len, default=Items(""))
        return most if len(most) >= PARALLEL else Items("")


class Sections:
    """Finds headings, lists and enumerations page by page of one document."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.people = any(map(is_person, request.words))
        self.kind = kind_of(request.subject)
        optional = set(self.kind.words) if self.kind else set()
        telling = [word for word in request.words if not is_generic(word)]
        self.asked = [word for word in telling if word not in optional] or telling
        self.head = request.head
        self._sections: dict[Path, _Section] = {}
        self._enumerated: list[Items] = []
        self._titles: dict[Path, Found] = {}

    def read(self, part: Part) -> None:
        """Read a page."""
        for unit in part.units:
            path = part.path(unit)
            for depth, heading in enumerate(unit.headings, 1):
                self._titles.setdefault(path[: depth + 1], part.below(heading, unit))
            if unit.lead and unit.kind == "item":
                path = (*path, part.passage.text[slice(*unit.lead)].strip(" :#*"))
            for depth in range(1, len(path) + 1):
                if self._is_about(path[:depth]):
                    section = self._sections.setdefault(path[:depth], _Section.named(path[depth - 1]))
                    self._add(section, part, unit, unit.headings[depth - 1 :])
            if unit.kind != "row":
                self._enumerate(part, unit, path)

    def _is_about(self, path: Path) -> bool:
        """Whether the last heading of a path is what is asked for, with those above it."""
        missing = uncovered(self.asked, path_stems(path))
        if any(not is_anyone(word) for word in missing) or not self.request.words:
            return False
        own = path_stems(path[-1:])
        named = [word for word in self.asked if word not in missing and word not in uncovered([word], own)]
        if missing and len(missing) == len(self.asked):
            return False
        if self.head in self.asked and self.head not in missing:
            return self.head in named
        return bool(named)

    def _add(self, section: _Section, part: Part, unit: Unit, below: Sequence[Heading]) -> None:
        if below:
            section.headings.add(part.below(below[0], unit))
        text = unit.text
        if unit.kind == "item":
            (section.deeper if below else section.items).add(part.place(unit, _MARK.sub("", text)))
        elif unit.kind == "sentence" and not below:
            if label := _LABEL.fullmatch(text):
                section.labels.add(part.place(unit, text), label[1])
            section.sentences.add(part.place(unit, text))
            if (shape := _shape(text)) and unit.start == unit.block[0]:
                same = section.paragraphs.setdefault(shape, Items(f"paragraphs under “{section.title}”"))
                same.add(part.place(unit, text))
        if self.people and (name := PERSON.match(_MARK.sub("", text))):
            section.names.add(part.place(unit, name[0]))

    def _enumerate(self, part: Part, unit: Unit, path: Path) -> None:
        match = _ENUMERATION.match(unit.text)
        if not match:
            return
        other = stems(match["label"]).difference(*map(forms, self.asked))
        by_label = len(other) < 2 and self._is_about((*path, match["label"]))
        if not by_label and (":" in match["link"] or len(path) == 1 or not self._is_about(path)):
            return
        names = [name.strip(" .") for name in _SEPARATOR.split(match["list"]) if name.strip(" .")]
        fewest = 2 if ":" in match["link"] else PARALLEL
        if len(names) >= fewest and max(map(len, names)) <= NAME:
            items = Items(
                f"what is listed {'after' if by_label else 'under'} “{match['label'] if by_label else path[-1]}”"
            )
            for name in names:
                items.add(part.place(unit, name))
            self._enumerated.append(items)

    # --- the result ---

    def strong(self) -> list[Items]:
        """The lists, each from the section or sentence that names it most closely."""
        found = {path: items for path, section in self._sections.items() if (items := self._of(section))}
        innermost = [path for path in found if not any(other[: len(path)] == path != other for other in found)]
        if len(self._sections) > 1 and not innermost:
            return self._siblings()
        return [found[path] for path in innermost] or self._enumerated or self._siblings()

    def _of(self, section: _Section) -> Items | None:
        kinds = [section.headings, section.items, section.labels, section.deeper]
        if self.people:
            kinds = [section.names]
        elif self.kind:
            kinds = [self._of_kind(items) for items in kinds]
        else:
            kinds.append(section.parallel())
        if best := next((items for items in kinds if len(items) > 1), None):
            return best
        sentences = section.sentences
        if self.people or self.kind or self.request.counts or uncovered(self.asked, stems(section.title)):
            return None
        return sentences if 1 < len(sentences) <= SENTENCES else None

    def _of_kind(self, items: Items) -> Items:
        """Those whose names are codes if codes are asked for; all if none is."""
        assert self.kind
        pattern = self.kind.pattern
        kept = {key: item for key, item in items.found.items() if item is None or pattern.search(item.name)}
        return Items(items.what, kept)

    def _siblings(self) -> list[Items]:
        """Headings next to each other that are what is asked for: “Rule 1”, “Rule 2”."""
        parents = Counter(path[:-1] for path in self._sections if len(path) > 1 and path in self._titles)
        for parent, count in parents.most_common(1):
            if count > 1:
                items = Items(f"headings with “{self.head}”")
                for path in self._sections:
                    if path[:-1] == parent and path in self._titles:
                        items.add(self._titles[path])
                return [items]
        return []


def _shape(text: str) -> str:
    """What paragraphs have in common that say the same of different things: their first verb, or a term in bold."""
    match = _SHAPE.match(text)
    return (match[1] or match[2]) if match else ""
