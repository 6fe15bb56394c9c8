"""Recognise a question for all of something, and what it asks for, by its form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rag.chat.lists.bound import Bound, take_bound
from rag.chat.lists.values import MONTH
from rag.chat.lists.words import is_generic, words


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be listed or counted, in lower-case words."""

    subject: tuple[str, ...] = ()
    """“fault codes”."""
    rest: tuple[str, ...] = ()
    """What qualifies it: “rack r20” of the parts in rack R20."""
    bound: Bound | None = None
    mention: str = ""
    """The word or phrase every mention of which is wanted; the other fields are empty then."""
    counts: bool = False
    """Whether a number was asked for."""
    measure: str = ""
    """“total”, “average”, “largest” or “smallest”, if one number of all is wanted."""
    is_spent: bool = False
    """Whether the question says that it is money that was spent."""
    either: tuple[Request, ...] = ()
    """Both halves of “nurses and porters”, which may be listed apart."""

    @property
    def head(self) -> str:
        """The word of the subject that says what is listed."""
        return next((word for word in reversed(self.subject) if not is_generic(word)), "".join(self.subject[-1:]))

    @property
    def words(self) -> tuple[str, ...]:
        """All words."""
        return self.subject + self.rest


_ALL = r"(?:all|every|each|(?:an?|the) (?:full |complete |whole )?list of(?: all)?)(?: of)?"
_FRENCH = "(?:liste[rz]?|[ée]num[èé]re[rz]?|donne[rz]?|montre[rz]?|affiche[rz]?|cite[rz]?|nomme[rz]?)"
_SPANISH = "(?:listar?|enumera[r]?|enumere|mu[ée]stra(?:me)?|dame|da|nombra|indica|dime)"
_OPENERS = rf"""
    (?:list|enumerate)(?!\ price)(?:\ out)?(?:\ me)?(?:\ {_ALL})?
    (?:show|name|give|tell|find|get|write|print|display|extract|(?:i\ )?(?:want|need))(?:\ me|\ us)?\ {_ALL}
    (?:what|who|which)\ are\ {_ALL}
    {_ALL}
    (?:full\ |complete\ )?list\ of(?:\ all)?
    (?:liste|z[äa]hle)\ (?:bitte\ )?die
    (?:liste|z[äa]hle|nenne?|zeige?|gib)(?:\ mir|\ uns)?(?:\ bitte)?\ (?:alle[rn]?|s[äa]mtliche|jede[nrs]?)
    (?:nenne?|zeige?|gib)(?:\ mir|\ uns)?(?:\ bitte)?\ eine\ liste\ (?:aller|der|von)
    (?:welche[sr]?\ sind\ )?alle
    (?:eine\ |die\ )?liste\ (?:aller|der|von)
    {_FRENCH}(?:[ -]moi)?\ (?:la\ liste\ (?:compl[èe]te\ )?)?(?:(?:de\ )?tou(?:te)?s\ (?:les|mes)|les|des|de)
    (?:quel(?:le)?s\ sont\ )?tou(?:te)?s\ les
    {_SPANISH}\ (?:la\ lista\ (?:completa\ )?de\ )?(?:tod[oa]s(?:\ l[oa]s)?|l[oa]s)
    (?:cu[áa]les\ son\ )?tod[oa]s\ l[oa]s
"""
_COUNTERS = r"""
    how\ many(?:\ of\ the|\ different)?
    (?:what\ is\ |give\ me\ |tell\ me\ )?(?:the\ )?(?:total\ )?number\ of
    count(?:\ up)?(?:\ all|\ every)?
    wie\ ?viele
    (?:die\ )?anzahl\ (?:der|aller|von)
    combien\ (?:de\ |d['’])
    cu[áa]nt[oa]s
"""


def _one_of(lines: str, end: str) -> re.Pattern[str]:
    choices = "|".join(line.strip() for line in lines.strip().splitlines())
    return re.compile(rf"(?:{choices}){end}", re.IGNORECASE)


_LIST = _one_of(_OPENERS, r"\ +(?:(?:the|my|our|different)\ )?(?P<body>.+)")
_COUNT = _one_of(_COUNTERS, r"\s*(?:the\ )?(?P<body>.+)")
_PLURAL = r"(?:[^\W\d_][\w-]*[ ]){0,3}?(?:[^\W\d_][\w-]*[^s\W]s|people|men|women|children|staff)"
_PREDICATE = (
    r"(?:are|were|have|had|cost|weigh|live|work|contain|include|come|belong|start|end|begin|earn|hold|need|require|use"
    r"|apply|expire|run|take|made|\w+ed|in|on|of|with|from|under|over|below|above|at|by|for|that|whose)"
)
_HOLDS = "list|contain|include|show|display|define|cover|mention|describe"
_WHICH = re.compile(
    rf"which (?:of the )?(?P<body>{_PLURAL} {_PREDICATE}\b.+)"
    rf"|(?:which|what) (?P<there>{_PLURAL} (?:are|were) (?:there|listed|mentioned|defined|described|available|given"
    r"|needed|required|included|possible)\b.*)"
    rf"|(?:which|what) (?P<has>{_PLURAL}) d(?:o|oes|id) (?P<owner>.+) (?:have|offer|sell|make|claim|{_HOLDS})"
    rf"(?P<when>(?: (?:in|during) (?:\d{{4}}|{MONTH}(?: \d{{4}})?))?)"
    r"|(?:welche|was f[üu]r) (?P<welche>\S.+?) (?:gibt es|sind|kosten|wiegen|haben|liegen|wohnen|arbeiten)(?P<rest>.*)"
    r"|quel(?:le)?s (?P<quels>\S.+? (?:y a[- ]t[- ]il|existent|co[ûu]tent|sont|p[èe]sent|ont).*)"
    r"|(?:qu[ée]|cu[áa]les) (?P<que>\S.+? (?:hay|existen|cuestan|pesan|tienen|est[áa]n|son).*)",
    re.IGNORECASE,
)
_MENTION = re.compile(
    r"(?:(?:list|show|find|give|count)(?: me)? )?(?:the |all |every |each |any |how many |number of |the number of )+"
    r"(?:(?:mention|occurrence|reference)s? (?:of|to)"
    r"|(?:sentence|passage|place|row|line)s? (?:(?:that|which|where) )?"
    r"(?:mention(?:s|ing)?|(?:contain(?:s|ing)?|with) the word)) (?P<a>.+)"
    r"|(?:where|how often|how many times|(?:in )?which (?:documents?|files?)) (?:is|are|was|were|does|do) (?P<b>.+?) "
    r"(?:mentioned|referred to|cited|appear|come up)\b.*"
    r"|(?:how often|how many times) does (?P<word>the (?:word|term|phrase|name) .+?) occur\b.*"
    r"|which (?:documents|files) mention (?P<files>.+)"
    r"|(?:wo|wie oft|wie h[äa]ufig) (?:wird|werden|kommt|kommen|steht) (?P<c>.+?) (?:erw[äa]hnt|genannt|vor)\b.*"
    r"|(?:.* )?alle (?:erw[äa]hnungen|stellen|vorkommen) (?:von|mit|zu) (?P<d>.+)"
    r"|(?:o[ùu]|combien de fois)(?: est| sont)?(?:[ -](?:mentionn|cit)[ée]+s?| appara[îi]t) (?P<e>.+)"
    r"|combien de fois (?P<f>.+) (?:appara[îi]t|est (?:mentionn|cit)[ée]+)\b.*"
    r"|(?:.* )?toutes les (?:mentions|occurrences) (?:de |du |des |d['’])(?P<g>.+)"
    r"|(?:d[óo]nde|cu[áa]ntas veces) (?:se (?:menciona|cita|nombra)n?|aparecen?) (?P<h>.+)"
    r"|(?:.* )?todas las (?:menciones|apariciones) (?:de |del )(?P<i>.+)",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"(?:please|can you|could you|would you|bitte|s'il (?:te|vous) pla[îi]t|por favor)[ ,]+", re.IGNORECASE
)
_IN_ALL = re.compile(
    r",? (?:in|from|across|of|among) (?:all |the |my |these |your |our )*"
    r"(?:documents?|files?|texts?|collections?|library|uploads?|database)\b.*"
    r"|,? (?:and|with|together with|along with|including|plus)"
    r" (?:what|how|their|its|where|when|who|say|tell|count|the page)\b.*"
    r"|,? (?:in|as) (?:a|one) (?:table|list)\b|,? in (?:total|all|alphabetical order)\b"
    r"|,? (?:in|aus) (?:allen|den|meinen) (?:dokumenten|dateien)\b.*| please$| bitte$| auf$",
    re.IGNORECASE,
)
_NOT_ALL = re.compile(
    r"\b(?:not|no|never|without|except|don['’]?t|doesn['’]?t|nicht|keine?[nr]?|ohne|sauf|sans|sin|excepto"
    r"|most|least (?!\d)|top|average|mean|total (?:cost|price|weight)|sum|median|first (?:two|three|\w+ \d|\d)"
    r"|(?:cheap|dear|large|small|bigg|high|low|heavi|light|long|short|old|young|new|lat|earli|fast)e?st"
    r"|(?:key|main) (?:points?|ideas?|facts?)|takeaways?|summary|highlights?|overview|information|everything"
    r"|differences?|zusammenfassung|kernpunkte|résumé|points clés|resumen|puntos clave)\b",
    re.IGNORECASE,
)
_FACT = re.compile(
    r"(?:of )?(?:the )?(?:part|item|article|product) \S*\d|of (?:part|item|article|product)\b"
    r"|(?:\w+ )??(?:days?|hours?|minutes?|seconds?|weeks?|months?|years?|kg|kilos?|kilograms?|grams?|tonnes?|tons?"
    r"|lit(?:re|er)s?|met(?:re|er)s?|km|miles?|watts?|volts?|amps?|degrees?|euros?|dollars?|pounds?|crowns?|per ?cent"
    r"|times|documents?|files?"
    r"|tage|stunden|minuten|wochen|monate|jahre|grad|prozent|mal|dokumente|dateien|jours|heures|semaines|mois|ans|ann[ée]es"
    r"|fois|fichiers|d[íi]as|horas|minutos|semanas|meses|a[ñn]os|veces|documentos|archivos)\b",
    re.IGNORECASE,
)
_VERB = re.compile(r" (?:do|does|did|has|can|could|should|must|may|will|would|am)\b", re.IGNORECASE)
_OWNED = re.compile(
    rf"(?P<body>.+) d(?:o|oes|id) (?P<owner>.+) (?:have|make|claim|{_HOLDS})"
    rf"(?P<when>(?: (?:in|during) (?:\d{{4}}|{MONTH}(?: \d{{4}})?))?)",
    re.IGNORECASE,
)
_EITHER = re.compile(r"([\w-]+),? (?:and|or|und|oder|et|ou|y|o) ([\w-]+)", re.IGNORECASE)
_QUALIFIER = re.compile(
    r" (?:in|of|on|at|for|from|with|by|to|under|near|that|which|who|whose|are|is|were|was|have|cost|weigh|made"
    r"|belonging|about|im|von|der|des|aus|mit|für|auf|sind|haben|kosten|de|du|des|dans|sur|sont|en|del|con|para|son|"
    r"gibt|hay|y|there|living|working|needed|required)(?= |$)",
    re.IGNORECASE,
)


_EXTREMES = {
    "largest": "most expensive|dearest|costliest|highest|largest|biggest",
    "smallest": "cheapest|least expensive|lowest|smallest",
}
_ASKS = r"(?:(?:what(?:'s| is| was| are| were)?|tell me|give me|show me|calculate|compute|add up) )?"
_ALTOGETHER = r"(?:in total|altogether|all together|in all|overall)"
_TOGETHER = re.compile(rf"\b{_ALTOGETHER}$")
_WE = frozenset("we i they you our my their your spent spend paid pay company".split())
_MEASURES = [
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in [
        ("total", rf"{_ASKS}(?:the |our |my )?(?:grand |overall )?(?:total|sum)(?: of)? (?P<of>.+)"),
        ("total", r"how much (?:did|have|has|do|does) (?P<of>.+) (?P<spent>spen[dt]|pa(?:y|id))\b(?P<on>.*)"),
        ("total", r"how much (?:money )?(?:was|were|is|has been) (?P<spent>spent|paid)\b(?P<of>.*)"),
        ("total", r"what did (?P<of>.+) (?P<spent>spend)\b(?P<on>.*)"),
        ("total", rf"(?:how much|what) (?:did|do|does|are|were|is|was) (?P<of>.+ )(?:cost )?{_ALTOGETHER}"),
        ("average", rf"{_ASKS}(?:the |our )?(?:average|mean) (?P<of>.+)"),
        *(
            (name, rf"(?:what|which) (?P<of>.*?)(?:is|was|are|were) (?:the |our )?(?:{words}) ?(?P<on>.*)")
            for name, words in _EXTREMES.items()
        ),
    ]
]
_COMPARES = re.compile(r"\b(?:compared|than|differences?|versus|vs|not|without|except|excluding)\b", re.IGNORECASE)


def _measured(text: str) -> Request | None:
    """A question for a total, an average or an extreme."""
    for name, pattern in _MEASURES:
        if (match := pattern.fullmatch(text)) and not _COMPARES.search(text):
            groups = match.groupdict()
            bound, body = take_bound(f"{groups['of'] or ''} {groups.get('on') or ''}".strip())
            body = _TOGETHER.sub("", body)
            if bound and not bound.is_date:
                return None
            asked = tuple(word for word in words(body) if word not in _WE)
            return Request(asked, bound=bound, measure=name, is_spent=bool(groups.get("spent")))
    return None


def wanted(question: str) -> Request | None:
    """What a question wants all of, or None if it does not ask for all of something. Reads no document."""
    text = " ".join(question.split()).strip(" ?.!¿¡")
    text = _POLITE.sub("", text, count=1) if _POLITE.match(text) else text
    if len(text) > 300:
        return None
    if match := _MENTION.fullmatch(text):
        phrase = _phrase(next(filter(None, match.groups())))
        return Request(mention=phrase) if phrase else None
    if measured := _measured(text):
        return measured
    counts = False
    bodies: Iterator[str] = iter(())
    if match := _COUNT.fullmatch(text):
        counts, bodies = True, _counted(match["body"])
    elif match := _LIST.fullmatch(text):
        bodies = iter((match["body"],))
    elif match := _WHICH.fullmatch(text):
        when = match["when"] or ""
        bodies = iter((" of ".join(part for part in match.groups() if part and part != when) + when,))
    body = next(bodies, "")
    return _request(_IN_ALL.sub("", body), counts=counts) if body else None


def _counted(body: str) -> Iterator[str]:
    """What is counted, unless it is a quantity that a document states."""
    if _FACT.match(body):
        return
    if owned := _OWNED.fullmatch(body):
        yield f"{owned['body']} of {owned['owner']}{owned['when']}"
    elif not _VERB.search(body):
        yield body


def _request(body: str, *, counts: bool) -> Request | None:
    bound, body = take_bound(body)
    if _NOT_ALL.search(body):
        return None
    halves = _EITHER.search(body)
    parts = (
        [body, *(body[: halves.start()] + half + body[halves.end() :] for half in halves.groups())]
        if halves
        else [body]
    )
    whole, *either = [_of(part, bound, counts=counts) for part in parts]
    return replace(whole, either=tuple(either)) if whole.words or bound else None


def _of(body: str, bound: Bound | None, *, counts: bool) -> Request:
    split = _QUALIFIER.search(body)
    subject = tuple(words(body[: split.start()] if split else body))
    rest = tuple(words(body[split.start() :])) if split else ()
    return Request(subject, rest, bound, counts=counts)


def _phrase(text: str) -> str:
    text = re.sub(
        r"(?:the |der |le |la |el )?(?:words?|terms?|phrases?|name|wort|begriff|mot|palabra) ",
        "",
        _IN_ALL.sub("", text),
        count=1,
    )
    text = re.sub(r"^(?:the|a|an|der|die|das|le|la|les|el|los|las) ", "", text.strip(), flags=re.IGNORECASE)
    return text.strip(" \"'“”„«»‘’?.!")
