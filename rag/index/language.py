"""Whether a text is clearly in another language than English, by its script and by the commonest words of languages.

Codes, numbers, names and lists of keywords have neither, so they are no other language.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from rag.index.lexical import STOP_WORDS

PIECE, PIECES = 300, 200  # characters judged at a time, and how many pieces of a document, evenly spread
OTHER_PIECES = 0.2  # share of their text that makes a document one in another language
COMMON = 0.12  # share of different words of a text that are its language's commonest, or have accents
_WORD = re.compile(r"[^\W\d_]{2,}|¿")  # single letters are more often labels than words
_OTHER_LETTER = re.compile(r"(?![A-Za-zªµºÀ-ɏḀ-ỿﬀ-ﬆＡ-Ｚａ-ｚ])[^\W\d_]")
_OTHER_WORD = re.compile(rf"[฀-໿ក-៿぀-ヿ㐀-鿿가-힣]|(?:{_OTHER_LETTER.pattern})+")  # a letter where words are not spaced

_SHARED = frozenset("die den man war hat men fut son come par van over pour us mi sur net plus on".split())
# Languages in Latin script; some of these words are English too.
_WORDS = {
    "German": """der die das den dem des und ist war nicht ein eine einen einem einer mit für auf von vom zu zum zur in
        im an am was wer wie wo wann warum wem wen wessen welche welcher welches welchen welchem kann bei nach aus oder
        durch sich auch wird werden wurde wurden sind hat haben ich sie wir es gibt man über""",
    "French": """le les des du une un est et dans pour qui que qu quoi quel quelle quels quelles où quand comment
        combien pourquoi sont avec ce cette ces au aux sur ne pas ou par il elle nous vous se été peut fait leur la
        de en plus""",
    "Spanish": """¿ el los las del una un es en para que qué quién quiénes cuál cuáles cómo cuándo cuánto cuánta
        cuántos cuántas dónde por con su sus se al como fue son está lo más pero la de hay no""",
    "Italian": """il lo gli della delle dell dei del di che chi un una nel nella nell per con sono quale quali
        quando dove quanto quanti quante perché cosa come si da al alla non più questo la in""",
    "Portuguese": """os as um uma da do das dos em para que quem qual quais quando onde quanto quantos quantas
        como por com não se ao são foi no na pelo pela mais seu sua de""",
    "Dutch": """de het een en van voor met niet zijn is in wat wie waar wanneer hoe waarom welke naar door wordt werd
        was bij ook aan dat deze uit te op er kan worden hoeveel ik over om""",
    "Swedish": """och att det som en ett är var av för med på den inte till om har de vad vem när hur varför vilken
        vilka eller från kan ska blir man""",
    "Danish": """og at det som en et er var af av for med på den ikke til har de hvad hvem hvor hvornår hvordan
        hvorfor hvilken hvilke eller fra kan skal blev meget hva når""",
    "Finnish": """ja on ei se että oli mikä mitä kuka missä milloin miten miksi kuinka paljon tai kun myös ovat hän
        sen mutta joka kanssa ole""",
    "Polish": """na jest się nie do że co kto gdzie kiedy jak dlaczego ile który która które jaki jaka jakie
        od przez dla oraz są po za lub być""",
    "Czech": """na je se že do co kdo kde kdy jak proč kolik který která které jaký jaká jaké pro od jsou
        nebo ale by po ve""",
    "Hungarian": """az és hogy nem egy is ki mi hol mikor hogyan miért mennyi hány melyik van volt mint vagy meg csak
        ez milyen""",
    "Romanian": """și în la este un cu pe din care ce cine unde când cum cât câți câte nu de al ale sunt pentru mai
        prin sau fost au fi""",
    "Turkish": """ve bir bu da de ne kim nerede nasıl neden kaç hangi için ile mi mı olarak olan daha çok gibi kadar
        zaman değil nedir kimdir var""",
    "Vietnamese": """là và của có không được trong cho một các những này khi với người ai gì nào đâu bao nhiêu tại sao
        như thế đã để từ ở""",
    "Indonesian": """yang dan di dari untuk dengan ini itu pada adalah tidak apa siapa dimana mana kapan bagaimana
        mengapa berapa oleh atau ke dalam""",
    "Croatian": """je na se da za od su što tko gdje kada kako zašto koliko koji koja koje ne ili po iz bio sam šta""",
    "Catalan": """el els les de la és en per que qui què quin quina on com quant del al amb un una són no es dels""",
}
_COMMONEST = {name: frozenset(words.split()) for name, words in _WORDS.items()}


def is_other_script(text: str) -> bool:
    """Whether a text has more words of other scripts, or letters where words are not spaced, than in Latin script.

    Not letters: a Chinese question may contain a name in Latin script, which has more letters than the rest.
    """
    words = re.findall(r"[^\W\d_]+", _OTHER_LETTER.sub(" ", text))
    return len(_OTHER_WORD.findall(text)) > len(words)


def is_other_language(text: str) -> bool:
    """Whether a question or a short text is clearly in another language than English."""
    return not languages(text) <= {"English"}


def is_foreign(question: str, passages: Sequence[str]) -> bool:
    """Whether a question is clearly in another language than all the passages."""
    asked, found = languages(question), frozenset[str]().union(*map(languages, passages))
    if not asked and any(map(str.isalpha, question)):  # some words in Latin script
        asked = frozenset({"English", *_COMMONEST})
    return bool(asked and found) and asked.isdisjoint(found)


def languages(text: str) -> frozenset[str]:
    """The languages that a text may be in, or the script of its letters if it is not Latin; empty if none is clear."""
    if is_other_script(text):
        return frozenset(unicodedata.name(letter, "").split()[0] for letter in _OTHER_LETTER.findall(text))
    # Names, which are written alike in all languages, begin with a capital.
    accented = {word for word in _WORD.findall(text) if word.islower() and word.isalpha() and not word.isascii()}
    words = Counter(word.lower() for word in _WORD.findall(text) if not word.isupper())  # capitals are codes
    enough = max(2, COMMON * words.total())  # one word may be part of a name: “Los Angeles”

    def has(language: str) -> bool:
        common = _COMMONEST[language]
        found = words.keys() & (common | accented)
        english = sum(words[word] for word in words.keys() & STOP_WORDS - common)
        own = found - STOP_WORDS - _SHARED or (len(found) > 2 and not english)
        return bool(own) and len(found) >= enough and sum(words[word] for word in found) > 2 * english

    if found := frozenset(filter(has, _COMMONEST)):
        return found
    return frozenset({"English"} if len(words.keys() & STOP_WORDS) >= enough else ())


def is_in_other_language(texts: Iterable[str]) -> bool:
    """Whether a document, given by its pages, is at least partly in another language than English."""
    pieces = [text[at : at + PIECE] for text in texts for at in range(0, len(text), PIECE)]
    judged = pieces[:: -(-len(pieces) // PIECES)] if pieces else []
    # The last piece of a page may be a few words.
    return sum(map(len, filter(is_other_language, judged))) > OTHER_PIECES * sum(map(len, judged))
