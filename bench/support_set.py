"""Labelled sentences for the sentence check, built from SQuAD's questions and answers.

A question and its answer become sentences in several forms; each is then corrupted like a wrong answer: another number,
another name, other passages, a negation. Deterministic.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rag.index.lexical import STOP_WORDS
from rag.index.sentences import sentences
from rag.schema import Passage

PASSAGES = 4
OPEN = 0.4
"""Share of whole sentences that answer an open question."""
LONGEST_ANSWER = 8
"""Words of the longest answer put into a sentence; longer ones are mostly sentences themselves."""
KINDS = "supported", "swapped number", "swapped name", "swapped passage", "negated"
MORE = "swapped word", "swapped answer", "half"
"""Other errors of small models, built in addition (`_more`)."""
FORMS = "answer", "short", "declarative", "paraphrase", "extract", "cut"


@dataclass(frozen=True, slots=True)
class Sample:
    """A sentence as a model might write it, with the passages it was given."""

    article: str
    question: str
    sentence: str
    passages: tuple[Passage, ...]
    kind: str
    form: str

    @property
    def supported(self) -> bool:
        """The label."""
        return self.kind == "supported"


@dataclass(frozen=True, slots=True)
class Article:
    """Paragraphs and the questions about them."""

    title: str
    paragraphs: tuple[str, ...]
    asked: tuple[tuple[int, str, str], ...]
    """Paragraph, question, answer."""


def read_articles(path: Path) -> list[Article]:
    articles = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        paragraphs = article["paragraphs"]
        asked = tuple(
            (number, " ".join(qa["question"].split()), qa["answers"][0]["text"].strip(" ,.;"))
            for number, paragraph in enumerate(paragraphs)
            for qa in paragraph["qas"]
            if qa["answers"]
        )
        articles.append(Article(article["title"], tuple(p["context"] for p in paragraphs), asked))
    return articles


def build(articles: Sequence[Article], questions: int, seed: int = 5) -> Iterator[Sample]:
    """Build sentences from up to `questions` questions of each article, half of them supported."""
    for article in articles:
        rng, more = random.Random(f"{seed} {article.title}"), random.Random(f"{seed} more {article.title}")
        for number, question, answer in rng.sample(article.asked, min(questions, len(article.asked))):
            samples = list(_samples(article, number, question, answer, rng))
            for sample in [*samples, *_more(article, number, (question, answer), samples[0], more)]:
                whole = sample.form not in ("answer", "short")
                yield replace(sample, question=_open(article, more)) if whole and more.random() < OPEN else sample


# --- passages ---


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.casefold()) if word not in STOP_WORDS}


def _nearest(article: Article, question: str, answer: str, without: int) -> list[int]:
    """The other paragraphs, sorted by the words they share with the question."""
    asked = _words(question)
    others = [n for n in range(len(article.paragraphs)) if n != without and answer not in article.paragraphs[n]]
    return sorted(others, key=lambda n: len(asked & _words(article.paragraphs[n])), reverse=True)


def _passage(article: Article, number: int) -> Passage:
    text = article.paragraphs[number]
    name = f"{article.title}.txt"
    return Passage(f"{article.title}:{number}", article.title, name, None, text, 0, len(text), 1.0, 0.5, 1.0)


# --- sentences ---


def _samples(article: Article, number: int, question: str, answer: str, rng: random.Random) -> Iterator[Sample]:
    context = article.paragraphs[number]
    others = _nearest(article, question, answer, number)
    shown = [number, *others[: PASSAGES - 1]]
    rng.shuffle(shown)
    sample = Sample(article.title, question, "", tuple(_passage(article, n) for n in shown), "supported", "")
    forms = dict(_forms(context, question, answer, rng))
    chosen = rng.sample(sorted(forms), min(2, len(forms)))
    for form in chosen:
        yield replace(sample, sentence=forms[form], form=form)
    wrong = []
    for form in rng.sample(sorted(forms), len(forms)):
        sentence = forms[form]
        elsewhere = " ".join(article.paragraphs[n] for n in shown)
        wrong += [
            replace(sample, sentence=corrupted, form=form, kind=kind)
            for kind, corrupted in (
                ("swapped number", _swap_number(sentence, question, answer, elsewhere, rng)),
                ("swapped name", _swap_name(sentence, question, answer, elsewhere, article, rng)),
                ("negated", _negate(sentence) if form not in ("answer", "short") else ""),
            )
            if corrupted
        ]
        if len(others) >= PASSAGES:
            wrong.append(
                replace(
                    sample,
                    sentence=sentence,
                    form=form,
                    kind="swapped passage",
                    passages=tuple(_passage(article, n) for n in others[:PASSAGES]),
                )
            )
    by_kind = {kind: [each for each in wrong if each.kind == kind] for kind in KINDS[1:]}
    # Few sentences have a number: prefer these.
    kinds = sorted(filter(by_kind.get, KINDS[1:]), key=lambda kind: rng.random() - (kind == "swapped number"))
    for kind in kinds[: len(chosen)]:
        yield by_kind[kind][0]


def _open(article: Article, rng: random.Random) -> str:
    """An open question, which gives away no words of the sentence."""
    about = article.title.replace("_", " ")
    return rng.choice((f"Tell me about {about}.", f"What should I know about {about}?", "What do the documents say?"))


def _more(
    article: Article, number: int, question_of: tuple[str, str], sample: Sample, rng: random.Random
) -> Iterator[Sample]:
    """A swapped word, another answer, and an added clause that the passages do or do not support."""
    shown = " ".join(passage.text for passage in sample.passages)
    swapped = _swap_word(sample.sentence, shown, rng)
    if swapped:
        yield replace(sample, sentence=swapped, kind="swapped word")
    asked, right = question_of
    wrong = [
        a for n, _, a in article.asked if article.paragraphs[n] in shown and not _words(a) & _words(f"{asked} {right}")
    ]
    if wrong:
        answer = rng.choice(wrong)
        corrupted = dict(_forms("", asked, answer, rng))
        form = rng.choice(sorted(corrupted))
        yield replace(sample, sentence=corrupted[form], kind="swapped answer", form=form)
    inside = [(q, a) for n, q, a in article.asked if n == number and q != sample.question]
    outside = [(q, a) for n, q, a in article.asked if article.paragraphs[n] not in shown and a not in shown]
    for kind, pool in (("half", outside), ("supported", inside)):
        question, answer = rng.choice(pool or [("", "")])
        added = declare(question, answer) if question and len(answer.split()) <= LONGEST_ANSWER else ""
        if added and sample.form not in ("answer", "short"):
            first = added[0].lower() if added.split()[0] in ("The", "A", "An", "In", "There") else added[0]
            yield replace(
                sample, sentence=f"{sample.sentence.rstrip('.')}, and {first}{added[1:]}", kind=kind, form="joined"
            )


def _forms(context: str, question: str, answer: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield `(form, sentence)` with the answer of the paragraph."""
    stop = "" if answer[-1] in ".!?" else "."
    brief = len(answer.split()) <= LONGEST_ANSWER
    yield "answer", answer[0].upper() + answer[1:] + rng.choice(("", stop))
    if brief:
        yield (
            "short",
            rng.choice(("The answer is {}", "It is {}", "It was {}", "According to the passages, {}")).format(answer)
            + stop,
        )
    whole = declare(question, answer)
    if whole and brief:
        yield "declarative", whole
        yield "paraphrase", paraphrase(whole, rng)
    for start, end in sentences(context):
        extract = " ".join(context[start:end].split())
        if answer in extract and len(extract.split()) >= 6:
            yield "extract", extract
            cut = _cut(extract, answer)
            if cut != extract:
                yield "cut", paraphrase(cut, rng)
            break


_BE = r"is|are|was|were"
_WH = r"(?:what|which|who|whom|when|where|how many|how much|how long|how)"
_IRREGULAR = dict(
    pair.split(":")
    for pair in """begin:began become:became take:took make:made give:gave find:found lose:lost win:won build:built
    write:wrote come:came go:went have:had get:got hold:held lead:led leave:left say:said see:saw send:sent sell:sold
    rise:rose fall:fell bring:brought buy:bought think:thought teach:taught fight:fought meet:met choose:chose
    speak:spoke break:broke drive:drove grow:grew know:knew show:showed run:ran keep:kept pay:paid spend:spent
    feel:felt mean:meant stand:stood understand:understood put:put set:set cut:cut begin:began let:let hit:hit
    lie:lay sink:sank sign:signed""".split()
)
_VERBS = frozenset(
    """move join start end open close work live die marry serve found establish create develop introduce discover
    invent publish propose suggest claim state believe argue call name use produce increase decrease reach
    arrive return attack defeat invade conquer occupy control support oppose include contain cover join offer
    provide receive study attend graduate launch release announce agree sign cause help allow force require want
    need try plan decide refuse lift change replace remove add form belong settle travel visit capture destroy
    kill rule describe define refer represent consider show prove operate own sell rank host flow border connect
    carry transport export import gain achieve perform act play conduct experience suffer occur happen appear
    result lead end declare vote elect rename translate extend expand unify ban adopt ratify pass reform protest
    emigrate migrate convert practice teach""".split()
)


def _past(verb: str) -> str:
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if verb.endswith("y") and verb[-2] not in "aeou" else verb + "ed"


def _third(verb: str) -> str:
    return "has" if verb == "have" else verb + ("es" if verb.endswith(("s", "sh", "ch", "o")) else "s")


def _inflected(rest: str, aux: str) -> str:
    """Inflect the verb of a question with do, does or did."""
    words = rest.split()
    for n, word in enumerate(words[1:], 1):
        if word in _VERBS or word in _IRREGULAR:
            words[n] = {"did": _past, "does": _third}.get(aux, str)(word)
            return " ".join(words)
    return f"{words[0]} {aux} {' '.join(words[1:])}" if len(words) < 3 else rest


def _placed(rest: str, be: str) -> str:
    """Put `be` before the participle of `rest`, or at its end."""
    words = rest.split()
    for n, word in enumerate(words[1:], 1):
        if re.fullmatch(
            r"\w{2,}(?:ed|en|wn)|built|made|held|found|sold|lost|won|born|led|set|known|located|left", word
        ):
            return " ".join([*words[:n], be, *words[n:]])
    return f"{rest} {be}"


def _when(answer: str) -> str:
    if re.match(
        r"(?i)(?:in|on|at|by|from|since|until|during|between|before|after|around|about|late|early|the\b.*ies)\b", answer
    ):
        return answer
    months = "January February March April May June July August September October November December".split()
    first = answer.split()[0]
    if first in months:
        return ("on " if re.match(r"\w+ \d{1,2}\b(?!\d)", answer) else "in ") + answer
    return f"on {answer}" if re.match(r"\d{1,2} \w+ \d{4}", answer) else f"in {answer}"


def _where(answer: str) -> str:
    return answer if re.match(r"(?:in|on|at|near|by|from|to)\b", answer) else f"in {answer}"


def _what_is(match: re.Match[str], answer: str) -> str:
    be, rest = match[1], match[2]
    if re.search(r"(?:ed|en|wn|made|built|held|ing)$", rest.split()[0]):
        return f"{answer} {be} {rest}"
    return f"{_placed(rest, be)} {answer}"


def _counted(thing: str, answer: str) -> str:
    return answer if thing.split()[-1].casefold() in answer.casefold() else f"{answer} {thing}"


def _how_many(match: re.Match[str], answer: str) -> str:
    thing, verb, rest = _counted(match[1], answer), match[2], match[3]
    return f"there {verb} {thing}{rest[5:]}" if rest.startswith("there") else f"{thing} {verb} {rest}"


_TIME = r"(?:when|in what \w+|in which \w+|what year|during what \w+)"
_RULES: tuple[tuple[str, Callable[[re.Match[str], str], str]], ...] = (
    (rf"who ({_BE}) ((?:the|a|an|\w+'s)\b.*)", lambda m, a: f"{m[2]} {m[1]} {a}"),
    (r"(?:who|what) (did|do|does) (.+)", lambda m, a: f"{_inflected(m[2], m[1])} {a}"),
    (r"who (.+)", lambda m, a: f"{a} {m[1]}"),
    (rf"what ({_BE}) (.+)", _what_is),
    (rf"{_TIME} ({_BE}) (.+)", lambda m, a: f"{_placed(m[2], m[1])} {_when(a)}"),
    (rf"{_TIME} (did|do|does) (.+)", lambda m, a: f"{_inflected(m[2], m[1])} {_when(a)}"),
    (rf"where ({_BE}) (.+)", lambda m, a: f"{_placed(m[2], m[1])} {_where(a)}"),
    (r"where (did|do|does) (.+)", lambda m, a: f"{_inflected(m[2], m[1])} {_where(a)}"),
    (
        r"how (?:many|much) ([\w ]+?) (did|do|does) (.+)",
        lambda m, a: f"{_inflected(m[3], m[2])} {_counted(m[1], a)}",
    ),
    (rf"how (?:many|much) ([\w ]+?) ({_BE}|have|has|can|could|will|would) (.+)", _how_many),
    (rf"how long ({_BE}) (.+)", lambda m, a: f"{m[2]} {m[1]} {a}"),
    (r"(?:what|which) (?:[\w ]+?) (did|do|does) (.+)", lambda m, a: f"{_inflected(m[2], m[1])} {a}"),
    (rf"(?:what|which) [\w ]+? ((?:{_BE}|has|have|had|can|will) .+)", lambda m, a: f"{a} {m[1]}"),
    (r"(?:what|which) (?:\w+ )?(\w+(?:s|ed|ame|ed) .+)", lambda m, a: f"{a} {m[1]}"),
    (rf"(.*)\b{_WH}(?: \w+)?$", lambda m, a: f"{m[1]}{a}"),
)
"""Beginnings of questions, and how these become statements; the first match applies."""


def declare(question: str, answer: str) -> str:
    """Turn question and answer into a statement, sometimes a clumsy one; empty if no rule matches."""
    text = question.rstrip(" ?.")
    plain = text[0].lower() + text[1:]
    for pattern, statement in _RULES:
        if match := re.match(pattern, plain):
            text = " ".join(statement(match, answer).split())
            return f"{text[0].upper()}{text[1:]}."
    return ""


_OTHER_WORDS = (
    ("began", "started"), ("large", "big"), ("approximately", "about"), ("located", "situated"), ("founded", "set up"),
    ("built", "constructed"), ("created", "made"), ("many", "numerous"), ("children", "kids"), ("purchased", "bought"),
    ("bought", "acquired"), ("called", "named"), ("known as", "called"), ("died", "passed away"), ("however", "yet"),
    ("because", "since"), ("also", "as well"), ("often", "frequently"), ("ended", "finished"), ("area", "region"),
    ("people", "persons"), ("important", "significant"), ("several", "a number of"), ("in order to", "to"),
    ("large number of", "lot of"), ("established", "founded"), ("main", "principal"), ("usually", "generally"),
    ("discovered", "found"), ("received", "got"), ("wrote", "authored"), ("used", "employed"), ("during", "in"),
)  # fmt: skip
_LEADS = (
    "According to the passages, {}", "The passage says that {}", "The text states that {}", "In short, {}", "{}", "{}",
    "Based on the passages, {}", "The documents mention that {}",
)  # fmt: skip


def paraphrase(sentence: str, rng: random.Random) -> str:
    """Replace some words by synonyms and add a lead-in."""
    text = sentence
    for old, new in rng.sample(_OTHER_WORDS, len(_OTHER_WORDS)):
        text = re.sub(rf"\b{old}\b", new, text, count=1)
    lead = rng.choice(_LEADS)
    if lead != "{}":
        first, _, rest = text.partition(" ")
        text = lead.format(
            f"{first.lower() if first in ('The', 'A', 'An', 'In', 'It', 'There', 'This') else first} {rest}"
        )
    return text


def _cut(sentence: str, answer: str) -> str:
    """Keep the clause with the answer, without brackets."""
    bare = re.sub(r"\s*\([^)]*\)", "", sentence)
    bare = bare if answer in bare else sentence
    parts = re.split(r"(?:, (?:which|who|where|while|although|but|and)|;) ", bare)
    if len(parts) > 1:
        best = next((part for part in parts[:1] if answer in part), bare)
        return best.rstrip(" .,;") + "."
    return bare


# --- corruptions ---

_NUMBER = re.compile(r"(?<![\w.,])\d[\d,.]*\d|(?<![\w.,])\d(?![\w])")
_NAME = re.compile(r"(?<![.!?] )(?<!^)(?<!\w)[A-Z][a-zé]+(?: (?:of |de |the )?[A-Z][a-zé]+)*")

_NAME_FIRST = re.compile(r"(?!The |A |An |In |It |This |There |On |At |For )[A-Z][a-zé]+(?: [A-Z][a-zé]+)*")


def _swap_number(sentence: str, question: str, answer: str, elsewhere: str, rng: random.Random) -> str:
    """Replace a number, mostly by another of the passages."""
    there = [m for m in _NUMBER.finditer(sentence) if m.group() not in question] or list(_NUMBER.finditer(sentence))
    inside = [m for m in there if m.group() in answer] or there
    if not inside:
        return ""
    old = rng.choice(inside)
    value = old.group()
    same = {n for n in _NUMBER.findall(elsewhere) if (len(n) == 4) == (len(value) == 4)} - {value}
    same -= set(_NUMBER.findall(sentence + " " + question))
    if same and rng.random() < 0.7:
        new = rng.choice(sorted(same))
    else:
        digits = list(value)
        places = [n for n, digit in enumerate(digits) if digit.isdigit()]
        place = rng.choice(places)
        digits[place] = rng.choice([d for d in "123456789" if d != digits[place]])
        new = "".join(digits)
    return sentence[: old.start()] + new + sentence[old.end() :] if new != value else ""


def _swap_word(sentence: str, elsewhere: str, rng: random.Random) -> str:
    """Replace a word by another of the passages with the same ending."""
    places = [m for m in re.finditer(r"(?<![\w-])[a-z]{4,}(?![\w-])", sentence) if m.group() not in STOP_WORDS]
    if not places:
        return ""
    old = rng.choice(places)
    taken = {word[:4] for word in re.findall(r"\w+", sentence.casefold())}
    pool = {w for w in re.findall(r"(?<![\w-])[a-z]{4,}(?![\w-])", elsewhere) if w not in STOP_WORDS}
    alike = sorted(w for w in pool if w[-2:] == old.group()[-2:] and w[:4] not in taken)
    return sentence[: old.start()] + rng.choice(alike) + sentence[old.end() :] if alike else ""


def _swap_name(sentence: str, question: str, answer: str, elsewhere: str, article: Article, rng: random.Random) -> str:
    """Replace a name by another of the passages or of the article."""
    whole = _NAME.fullmatch(" " + answer, 1)
    there = [m.span() for m in _NAME.finditer(sentence)]
    if (m := _NAME_FIRST.match(sentence)) and f" {m.group()}" in elsewhere:
        there.append(m.span())
    if whole and answer in sentence:
        start = sentence.index(answer)
        there = [(start, start + len(answer))]
    new_in_answer = [(a, b) for a, b in there if sentence[a:b] not in question] or there
    if not new_in_answer:
        return ""
    start, end = rng.choice(new_in_answer)
    old = sentence[start:end]
    pool = elsewhere if rng.random() < 0.7 else " ".join(article.paragraphs)
    names = {n for n in _NAME.findall(pool) if len(n) > 3} - {old}
    taken = _words(sentence) | _words(question)
    names = {n for n in names if not _words(n) & taken}
    months = set("January February March April May June July August September October November December".split())
    names = {n for n in names if (n.split()[0] in months) == (old.split()[0] in months)}
    if not names:
        return ""
    new: str = rng.choice(sorted(names))
    return sentence[:start] + new + sentence[end:]


def _negate(sentence: str) -> str:
    """Add a negation, or remove the existing one."""
    if re.search(r"\b(?:not|never)\b", sentence):
        return re.sub(r"\b(?:not|never) ", "", sentence, count=1)
    if m := re.search(r"\b(?:is|are|was|were|can|could|will|would|has been|have been|had|must|should)\b", sentence):
        return f"{sentence[: m.end()]} not{sentence[m.end() :]}"
    for m in re.finditer(r"(?<=\s)[a-z]{2,}(?:ed|ew|ame)\b", sentence):
        return f"{sentence[: m.start()]}never {sentence[m.start() :]}"
    return ""
