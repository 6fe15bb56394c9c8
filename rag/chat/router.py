"""Chooses how a question is answered, by rules on its words: no model is asked.

A greeting is answered by the application, a summary from whole documents, “list all …” by reading everything, and all
else from retrieved passages, of named documents only if the question names them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.chat import listing, small_talk
from rag.chat.follow_up import the_other
from rag.index.contents import ListedDocument
from rag.index.exact import ExactTerm, exact_terms
from rag.index.lexical import STOP_WORDS, phrase
from rag.schema import Mode, Passage

_DOCUMENT = (
    r"(?:document|file|pdf|text|paper|attachment|upload|doc|letter|contract|agreement|report|manual|article|book|page"
    r"|spreadsheet|table|presentation|e-?mail|dokument|datei|anhang|vertrag|bericht|brief|fichier|pièce jointe|texte"
    r"|documento|archivo|fichero|adjunto|allegato|arquivo|anexo|bestand|bijlage|文档|文件|附件|文章)s?"
)
_THIS = re.compile(
    r"\b(?:this|these|the attached|my attached|the uploaded|the enclosed|attached|diese[rsmn]?|die angehängte"
    rf"|ce|cet|cette|ces|este|esta|estos|questo|questa|dit|deze) {_DOCUMENT}\b"
    r"|\b(?:the|my) attachments?\b|(?:这个?|该|本|此)(?:文档|文件|附件|文章)|\battached\b|\bim anhang\b",
    re.IGNORECASE,
)
_SUMMARY = re.compile(
    r"\b(?:summari[sz]e|summari[sz]ing|summary|sum (?:it|this|that|them|everything|all)?\s?up|tl;?dr|gist|recap"
    r"|synopsis"
    r"|(?:key|main|most important|central|essential) (?:points|ideas|takeaways|messages|facts|findings|topics|things)"
    r"|takeaways|overview|outline|in a nutshell|brief me)\b"
    r"|\b(?:zusammenfassung|zusammenfassen|überblick|kernpunkte|hauptpunkte|kurzfassung)\b|\bfass\w*\b.*\bzusammen\b"
    r"|\brésum(?:é|er|e|ez)\b|\b(?:points (?:clés|principaux|essentiels)|synthèse)\b"
    r"|\b(?:resum(?:e|en|ir|a|o|ido)|resúm\w+|puntos (?:clave|principales)|síntesis)\b"
    r"|\b(?:riassum\w+|riassunto|sintesi|punti (?:chiave|principali))\b|\bpontos[- ](?:chave|principais)\b"
    r"|\b(?:samenvat\w+|kernpunten|hoofdpunten)\b|\bvat\b.*\bsamen\b|总结|概括|摘要|概述|要点",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"^\W*(?:so,? |please,? |and )?(?:"
    + "|".join(
        rf"(?:{form})".replace("_", f"(?P<x{number}>.+?)")
        for number, form in enumerate(
            (
                "what(?:['’]s| is| are| does| do) _ (?:all |mainly )?(?:about|say|contain|cover|deal with|describe)",
                "what(?:['’]s| is) (?:written |said )?in _",
                "tell me (?:more )?about _",
                "describe _",
                "(?:was steht in|worum geht es in|wovon handelt) _",
                "(?:de quoi parle|que dit|que contient) _",
                "(?:de qué trata|qué dice|qué contiene) _",
                "(?:di cosa parla|cosa dice) _",
                "_(?:讲了什么|说了什么|讲的是什么|是关于什么的)",
            )
        )
    )
    + r")\W*$",
    re.IGNORECASE,
)
_EVERYTHING = re.compile(
    rf"\b(?:everything|all (?:of )?(?:it|this|that|them|(?:the |my |our )?{_DOCUMENT})|all i (?:have )?uploaded"
    rf"|the (?:whole |entire )?(?:library|collection)|(?:my|our|alle|tous les|todos los|tutti i) {_DOCUMENT}"
    r"|the (?:documents|files|pdfs|papers)|it|alles|tout|todo|tutto)\b|所有|全部",
    re.IGNORECASE,
)
_COMPARE = re.compile(
    r"\b(?:compare|contrast|vergleiche?|comparez?|compara)\b (?P<a>.+?)"
    r" (?:and|with|to|against|versus|vs\.?|und|mit|et|avec|y|con|e) (?P<b>.+)"
    r"|\bdifferences? (?:is there |are there )?between (?P<c>.+?) and (?P<d>.+)"
    r"|(?P<e>\S.*?) (?:versus|vs\.?) (?P<f>.+)"
    r"|\bwh(?:ich|at|o)\b[^,?]*\w(?:er|re \w+)\b[^,?]*[,:] (?P<g>.+?) or (?P<h>.+)"
    r"|\b(?:is|are|was|were) (?P<i>.+?) \w+er than (?P<j>.+)",
    re.IGNORECASE,
)
_VERBS = re.compile(_SUMMARY.pattern.replace(r"\b.*\bzusammen", "").replace(r"\b.*\bsamen", ""), re.IGNORECASE)
"""As above, without what stands between the two parts of a verb."""
_WORD = re.compile(r"[^\W_]+")
_FILLER = STOP_WORDS | frozenset(
    """please give make write short brief quick concise provide want need would like could tell show summary summarise
    summarize key main points point important overview outline gist document file pdf text attached attachment whole
    entire one bullet bullets few words sentences paragraph content contents document's says about
    一下 请 请你 帮我 这个 这 的 内容 bitte mir das dokument ce document le la el los il
    der die den dem des von zusammen du of samen het de""".split()
)


@dataclass(frozen=True, slots=True)
class Subject:
    """One of the things that a question compares."""

    question: str
    """What is asked about it alone."""
    documents: tuple[ListedDocument, ...] = ()
    """The documents that it names."""
    other_than: tuple[ExactTerm, ...] = ()
    """What it is not about: “the other one”."""

    def without(self, passages: tuple[Passage, ...]) -> tuple[Passage, ...]:
        """The passages that do not name what it is not about; all if each one does."""
        forms = [f" {form} " for term in self.other_than for form in term.phrases]
        kept = tuple(p for p in passages if not any(form in f" {phrase(p.text)} " for form in forms))
        return kept or passages


@dataclass(frozen=True, slots=True)
class Routing:
    """How to answer a question."""

    mode: Mode | None
    """None: from retrieved passages."""
    why: str
    """A sentence for users."""
    documents: tuple[ListedDocument, ...] = ()
    """The only documents to read; empty for all."""
    topic: tuple[small_talk.Topic, str] | None = None
    """What the application answers, and in which language."""
    request: listing.Request | None = None
    """What to list."""
    subjects: tuple[Subject, ...] = ()
    """What to compare: each is searched by itself."""
    unread: tuple[ListedDocument, ...] = ()
    """Attached files that the question is about, and that could not be read."""


def route(
    question: str,
    documents: Sequence[ListedDocument],
    earlier: Sequence[str] = (),
    *,
    mode: Mode | None = None,
    titles: Callable[[], dict[str, str]] = dict,
) -> Routing:
    """Choose; `mode` is what the user chose, and `titles` reads the first heading of each document, by its id."""
    topic = small_talk.topic_of(question)
    if topic and mode is None:
        return Routing(Mode.LIBRARY, f"This is {_ARTICLE[topic[0]]}, which Gestalt answers itself.", topic=topic)
    named = _Named(question, documents, titles)
    if named.is_unreadable:
        return Routing(Mode.LIBRARY, "It asks about an attached file that could not be read.", unread=named.unread)
    wants_summary = mode is Mode.SUMMARY or (mode is None and _asks_for_summary(question))
    if wants_summary and (found := named.whole(certain=mode is Mode.SUMMARY)):
        return Routing(Mode.SUMMARY, f"It asks about all of {_names(found)}.", found, unread=named.unread)
    only = named.documents
    if mode in (None, Mode.LIST) and (request := listing.wanted(question)):
        return Routing(Mode.LIST, "It asks for all of something.", only, request=request, unread=named.unread)
    if sides := _sides(question):
        subjects = tuple(
            Subject(_without(question, other, side), named.of(side)) for side, other in (sides, sides[::-1])
        )
        return Routing(None, f"It compares {sides[0]} with {sides[1]}.", only, subjects=subjects, unread=named.unread)
    if other := the_other(question, earlier):
        text, named_before = other
        subject = Subject(text, only, tuple(named_before))
        return Routing(
            None, f"It asks of another one what was asked of {named_before[0].text}.", only, subjects=(subject,)
        )
    if only:
        return Routing(None, f"It asks about {_names(only)}.", only, unread=named.unread)
    return Routing(None, "It asks for something that passages may answer.", unread=named.unread)


_ARTICLE = {
    small_talk.Topic.GREETING: "a greeting",
    small_talk.Topic.THANKS: "a word of thanks",
    small_talk.Topic.FAREWELL: "a farewell",
    small_talk.Topic.IDENTITY: "a question about Gestalt",
    small_talk.Topic.HELP: "a question about what Gestalt can do",
    small_talk.Topic.DOCUMENTS: "a question about the library",
    small_talk.Topic.NOTHING: "a message without words",
}


def _names(documents: Sequence[ListedDocument]) -> str:
    names = [document.name for document in documents]
    return names[0] if len(names) == 1 else f"{len(names)} documents"


def _asks_for_summary(question: str) -> bool:
    return bool(_SUMMARY.search(question) or _ABOUT.match(question))


def _sides(question: str) -> tuple[str, ...]:
    """The two things that a question compares, without the article."""
    match = _COMPARE.search(question)
    found = [side for side in match.groups() if side] if match else []
    sides = [
        re.sub(r"^(?:the|a|an|der|die|das|le|la|el) ", "", side.strip(' ?.!"“”'), flags=re.IGNORECASE) for side in found
    ]
    return tuple(sides) if len(sides) == 2 and all(sides) else ()


def _without(question: str, other: str, side: str) -> str:
    """The question without one of the two things that it compares, of which only the codes go if there are any."""
    gone = [term.text for term in exact_terms(other) if term.is_code] or [other]
    kept = {term.text for term in exact_terms(side)}
    for text in gone:
        question = question.replace(text, " ") if text not in kept else question
    return " ".join(question.split())


def _with_names_in(text: str, documents: Sequence[ListedDocument]) -> list[ListedDocument]:
    """The documents whose name a text has, with its extension, or without it if it does not look like a word."""
    text = unicodedata.normalize("NFC", text).casefold()

    def has(document: ListedDocument) -> bool:
        stem = document.stem.casefold()
        if stem not in text:  # as nearly always
            return False
        forms = [document.name.casefold(), *([] if stem.isalpha() or len(stem) < 4 else [stem])]
        return any(re.search(rf"(?<![\w.-]){re.escape(form)}(?![\w-]|\.\w)", text) for form in forms)

    return list(filter(has, documents))


class _Named:
    """The documents that a question names or points to."""

    def __init__(
        self, question: str, documents: Sequence[ListedDocument], titles: Callable[[], dict[str, str]]
    ) -> None:
        self._question, self._titles = question, titles
        self._ready = [document for document in documents if document.is_ready]
        self._attached = [document for document in documents if document.attached]
        self._this = bool(_THIS.search(question))
        self._by_file = _with_names_in(question, documents)

    def of(self, side: str) -> tuple[ListedDocument, ...]:
        """The documents that a part of the question names."""
        by_file = tuple(document for document in _with_names_in(side, self._by_file) if document.is_ready)
        words = {word for word in _WORD.findall(side.casefold()) if word not in _FILLER}
        return by_file or (self._by_words(words) if words and not exact_terms(side) else ())

    @property
    def documents(self) -> tuple[ListedDocument, ...]:
        """The only ready documents that the question is about; empty if it names none."""
        named = [document for document in self._by_file if document.is_ready]
        if named:
            return tuple(named)
        attached = [document for document in self._attached if document.is_ready]
        if self._this and attached:
            return tuple(attached)
        return tuple(self._ready) if self._this and len(self._ready) == 1 else ()

    @property
    def unread(self) -> tuple[ListedDocument, ...]:
        """The attached files that could not be read, if the question is about attached files or these."""
        failed = [document for document in self._attached if not document.is_ready]
        return tuple(d for d in failed if d in self._by_file or not self._by_file)

    @property
    def is_unreadable(self) -> bool:
        """Whether the question points to attached files, none of which could be read."""
        points = self._this or any(document in self._by_file for document in self.unread)
        return points and bool(self.unread) and not any(document.is_ready for document in self._attached)

    def whole(self, *, certain: bool) -> tuple[ListedDocument, ...]:
        """The documents to be read whole; empty if the question asks about a subject instead.

        If it is `certain` that whole documents are meant, all of them are where none is named.
        """
        if self.documents:
            return self.documents
        subject = self._subject()
        if subject and (found := self._by_words(subject)):
            return found
        if subject and not certain and not self._this and not _EVERYTHING.search(self._question):
            return ()
        attached = tuple(document for document in self._attached if document.is_ready)
        return attached or tuple(self._ready)

    def _subject(self) -> set[str]:
        """The words that say what is to be summarised."""
        if match := _ABOUT.match(self._question):
            text = next(group for group in match.groups() if group)
        else:
            text = _VERBS.sub(" ", self._question)
        return {
            word for word in _WORD.findall(text.casefold()) if word not in _FILLER and not _EVERYTHING.fullmatch(word)
        }

    def _by_words(self, subject: set[str]) -> tuple[ListedDocument, ...]:
        """The documents whose names, or else titles, have all words of the subject, or whose names are all in it."""
        names, titles = {document.id: document.stem for document in self._ready}, self._titles()
        for texts, whole in ((names, False), (titles, False), (names, True)):
            words = {id_: set(_WORD.findall(text.casefold())) for id_, text in texts.items()}
            found = [
                document
                for document in self._ready
                if (own := words.get(document.id, set())) and (_has_words(own, subject) if whole else subject <= own)
            ]
            if found:
                return tuple(found)
        return ()


def _has_words(name: set[str], subject: set[str]) -> bool:
    """Whether a subject has all words of a document's name; “minutes-2026-02” is “the minutes of the meeting”."""
    words = {word for word in name if word.isalpha()}
    return words <= subject and any(len(word) > 3 for word in words)
