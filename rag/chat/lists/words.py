"""Words of questions for all of something, and of what is listed: which mean the same, and which mean nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from functools import lru_cache

from rag.chat.claims import stem
from rag.index.lexical import STOP_WORDS

_FUNCTION_WORDS = (STOP_WORDS - {"no"}) | frozenset(
    """whose us also please there's upon per via within without der die das den dem des ein eine einen einer eines im am
    zum zur auf von vom aus mit für bei nach über unter sind ist war waren wird werden gibt es und oder als haben hat
    le la les un une de du d l en dans sur sous avec pour par est sont y a t il qui que et ou ont au aux plus el los las
    una del al con por se es son hay tienen tiene sin está están
    there total altogether overall exist exists listed given mentioned available defined described shown insgesamt
    aufgeführt aufgelistet existent existen""".split()
)
GENERIC = frozenset(
    """all every each various different item entry entries thing element detail kind type sort row line record one
    point rule step task topic title value
    made make located stored kept based live living lives work working works employed belong come comes called have has
    having found placed situated hold holds contain contains include includes be use used lie lies stand stands apply
    eintrag einträge name namen zeile zeilen punkt punkte regel regeln schritt schritte ligne entrée étape nom regla
    paso nombre fila bestehen liegen wohnen arbeiten habitent travaillent""".split()
)
"""Words that need not be in what is listed."""

_GROUPS = [
    frozenset(line.split())
    for line in """
    cost price fee charge expensive cheaper dearer amount total sum value kosten preis betrag teurer billiger \
    coûtent prix montant precio importe cuestan
    weigh weight mass heavy heavier light lighter wiegen gewicht schwerer leichter poids pesar pesan peso pèsent
    earn salary wage pay paid income gehalt lohn verdienen salaire gagnent salario ganan
    old older young younger age alter âge edad älter jünger
    long longer length short shorter länge longueur
    tall taller high higher height höhe hauteur
    wide wider width breite
    stock quantity qty inventory units lager bestand menge
    power watt watts wattage draw draws
    hold holds capacity seats carry
    join joined start started begin began hired hire since eintritt
    number no nr num code id nummer numéro número
    telephone phone tel mobile telefon teléfono téléphone
    error fault failure fehler störung fehlercode fehlercodes erreur erreurs error errores
    part parts teil teile pièce pièces pieza piezas
    article articles item items product products artikel produkt produit produits artículo artículos producto
    """.replace("\\\n", "")
    .strip()
    .splitlines()
]
_ANYONE = frozenset(
    """everyone everybody people person persons member members personen person leute mitglied mitglieder
    personnes personne membres membre personas persona miembros""".split()
)
"""Words for any people, also for those that have a word of their own."""
_OWN = [
    frozenset(line.split())
    for line in """
    staff personnel employee employees worker workers colleague colleagues mitarbeiter angestellte angestellten employé
    crew besatzung mannschaft équipage tripulación
    team teams
    guest guests gäste invités
    participant participants attendee attendees teilnehmer
    """.strip().splitlines()
]
_OWN[0] |= {"employés", "empleado", "empleados", "personal"}
_GROUPS += [group | _ANYONE for group in _OWN]
_PEOPLE = _ANYONE.union(*_OWN)
_EXPENSES = frozenset({"expense", "expenses"})
"""They have an amount or a price, and what has one need not be an expense; their stem is that of “expensive”."""
_CURRENCIES = frozenset("eur usd gbp chf sek nok dkk jpy euro dollar pound franc krone kroner krona yen".split())
_MONEY = frozenset(map(stem, _CURRENCIES | {"money", "paid", "spent", "net", "gross"}))
_WORD = re.compile(r"[^\W_]+")
_LETTERS = frozenset("ABCDEFGHJKLMNOPQRSTUVWXYZ")
_CAPITAL = "A-ZÀ-ÖØ-ÞŁŚŠŽČŞİ"
PERSON = re.compile(
    r"(?!(?:The|A|An|This|That|These|Our|Your|All|Der|Die|Das|Le|La|Les|El|Los) )"
    rf"(?:(?:Dr|Prof|Mrs?|Ms|Sir|Herr|Frau)\.? )*[{_CAPITAL}][\w'’-]*\.?"
    rf"(?: (?:van|von|de|da|di|del|der|den|la|le|bin|al))*(?: [{_CAPITAL}][\w'’-]*\.?){{1,3}}(?!\w)"
)
"""A name of at least two words."""


def root(word: str) -> str:
    """The stem of a word in lower case; codes and numbers have none."""
    return stem(word) if word.isalpha() else word


def words(text: str) -> list[str]:
    """The words of a text in lower case, without those that have no meaning of their own."""
    found = []
    for match in _WORD.finditer(text):
        word = match[0].casefold()
        # The A of “Ward A” is no article.
        if word not in _FUNCTION_WORDS or (match.start() and match[0].isupper() and match[0] in _LETTERS):
            found.append(word)
    return found


@lru_cache(maxsize=20_000)
def stems(text: str) -> frozenset[str]:
    """The stems of those words."""
    return frozenset(map(root, words(text)))


@lru_cache(maxsize=2000)
def synonyms(word: str) -> frozenset[str]:
    """A word and those that name the same thing."""
    if word in _ANYONE:
        return _PEOPLE
    if word in _EXPENSES:
        return _EXPENSES
    wanted = root(word)
    return frozenset({word}).union(*(group for group in _GROUPS if any(root(each) == wanted for each in group)))


@lru_cache(maxsize=2000)
def forms(word: str) -> frozenset[str]:
    """The stems of a word and its synonyms."""
    return frozenset(map(root, synonyms(word)))


def is_money(name: str) -> bool:
    """Whether a column's name says that it has amounts of money."""
    return not stems(name).isdisjoint(forms("amount") | _MONEY)


def is_currency(word: str) -> bool:
    """Whether a word names a currency."""
    return word in _CURRENCIES or (word.endswith("s") and word[:-1] in _CURRENCIES)


def is_generic(word: str) -> bool:
    """Whether a word need not be in what is listed."""
    return word in GENERIC or (word.endswith("s") and word[:-1] in GENERIC)


def is_person(word: str) -> bool:
    """Whether a word stands for people."""
    return word in _PEOPLE


def is_anyone(word: str) -> bool:
    """Whether it stands for any people, whatever they are called."""
    return word in _ANYONE


def uncovered(asked: Iterable[str], text: Set[str]) -> list[str]:
    """Those of the words `asked` that are not among the stems `text`, nor are their synonyms."""
    return [word for word in asked if text.isdisjoint(forms(word))]
