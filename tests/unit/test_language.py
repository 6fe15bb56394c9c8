"""Which language a text is clearly in."""

from __future__ import annotations

import pytest

from rag.index.language import is_foreign, is_in_other_language, is_other_language, is_other_script, languages

ENGLISH = (
    "The harbour of Lund is closed in winter. Boats are moved to the northern quay, where the crew looks after them."
)
GERMAN = (
    "Der Hafen von Lund ist im Winter geschlossen. Die Boote werden zum Nordkai gebracht, wo die Besatzung sie pflegt."
)
OTHERS = {
    "German": GERMAN,
    "French": ("Le port de Lund est fermé en hiver. Les bateaux sont amenés au quai nord, où l'équipage s'en occupe."),
    "Spanish": (
        "El puerto de Lund está cerrado en invierno. Los barcos se llevan al "
        "muelle norte, donde la tripulación los cuida."
    ),
    "Turkish": "Lund limanı kışın kapalıdır. Tekneler kuzey rıhtımına götürülür ve mürettebat onlara orada bakar.",
    "Vietnamese": (
        "Cảng Lund đóng cửa vào mùa đông. Các thuyền được đưa đến bến phía bắc, nơi thủy thủ đoàn chăm sóc chúng."
    ),
    "Romanian": (
        "Portul din Lund este închis iarna. Bărcile sunt duse la cheiul de nord, unde echipajul are grijă de ele."
    ),
    "Finnish": (
        "Lundin satama on talvella suljettu. Veneet siirretään pohjoiselle laiturille, jossa miehistö hoitaa niitä."
    ),
    "Polish": (
        "Port w Lund jest zimą zamknięty. Łodzie są przenoszone na północne nabrzeże, gdzie załoga się nimi opiekuje."
    ),
    "Russian": "Гавань Лунда зимой закрыта. Лодки переводят к северному причалу, где за ними ухаживает команда.",
    "Greek": "Το λιμάνι του Λουντ είναι κλειστό τον χειμώνα. Τα σκάφη μεταφέρονται στη βόρεια προβλήτα.",
    "Hindi": "लुंड का बंदरगाह सर्दियों में बंद रहता है। नावें उत्तरी घाट पर ले जाई जाती हैं।",
    "Arabic": "ميناء لوند مغلق في الشتاء. تنقل القوارب إلى الرصيف الشمالي.",
    "Thai": "ท่าเรือลุนด์ปิดในฤดูหนาว เรือจะถูกย้ายไปยังท่าเรือทางเหนือ",
    "Chinese": "隆德港冬季关闭。船只被移到北码头，由船员照看。",
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_other_languages_are_recognised(text: str) -> None:
    assert is_other_language(text)
    assert is_in_other_language([text])
    assert is_foreign(text, [ENGLISH])
    assert is_foreign("Where are the boats in winter?", [text])
    assert not is_foreign(text, [text])


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH,
        "",
        "?",
        "ERR-4012 ERR-4013\nE-401 E-402",
        "name,town,price\nJürgen Müller,Köln,12.50\nJosé Pérez,Málaga,13.00\nAnaïs Lefèvre,Orléans,9.75",
        "part,stock\nLA-20,4\nDE-31,7\nEL-07,12\nDER-9,3",
        "def run(self, de, la):\n    return [de for la in self.los if la is not de]",
        "The angle α and the length λ, with Δ = 0.4 µm.",
        "He sang “La vie en rose” at the café, and the crème brûlée was good.",
        "annual rainfall Bergen harbour 2019",
        "Los Angeles population",
    ],
)
def test_english_and_what_is_no_language_is_no_other_one(text: str) -> None:
    assert not is_in_other_language([text])


@pytest.mark.parametrize(
    "question",
    [
        "Wer ist der Kapitän?",
        "Was war die Ursache?",
        "Qui est le capitaine ?",
        "¿Cuánto pesa?",
        "Kim bu kaptan?",
        "谁？",
    ],
)
def test_short_questions_in_another_language(question: str) -> None:
    assert is_other_language(question)


@pytest.mark.parametrize(
    "question",
    [
        "Who wrote Der Tod in Venedig?",
        "Was the man in the hat?",
        "What does the word “über” mean?",
        "Where is Los Alamos?",
        "WX-90",
        "deposit boathouse",
    ],
)
def test_english_questions_with_foreign_words(question: str) -> None:
    assert not is_other_language(question)
    assert not is_foreign(question, [ENGLISH])


def test_a_mixture_is_in_another_language() -> None:
    assert is_in_other_language([ENGLISH * 3, GERMAN * 3])
    assert is_in_other_language([f"{GERMAN * 3}\n{ENGLISH * 6}"])
    assert not is_in_other_language([*[ENGLISH * 3] * 30, GERMAN])  # a quotation
    # A page whose last piece has more Greek letters than English words.
    assert not is_in_other_language([f"{ENGLISH * 8:.900} The word pharmakeia (φαρμακεία) is from φάρμακον, a drug."])
    assert not is_in_other_language([f"{ENGLISH * 8:.900}Φαρμακεία"])


def test_passages_in_two_languages_are_foreign_to_neither() -> None:
    assert not is_foreign("Wo sind die Boote im Winter?", [ENGLISH, GERMAN])
    assert not is_foreign("Where are the boats in winter?", [ENGLISH, GERMAN])


def test_keywords_are_foreign_to_another_script_only() -> None:
    assert is_foreign("Lund harbour", [OTHERS["Chinese"]])
    assert not is_foreign("Lund harbour", [GERMAN])
    assert not is_foreign("4012", [OTHERS["Chinese"]])


def test_languages_that_look_alike_are_all_possible() -> None:
    assert languages(ENGLISH) == {"English"}
    assert "German" in languages(GERMAN)
    assert languages("隆德港") == {"CJK"}


@pytest.mark.parametrize(
    ("question", "other"),
    [
        ("日本の首都はどこですか", True),
        ("Lotharingia 和 Weimar 在哪里？", True),
        ("Где находится Париж?", True),
        ("What does the letter α mean in physics?", False),
        ("¿Dónde está la llave?", False),
        ("42?", False),
    ],
)
def test_the_script_of_a_question(question: str, other: bool) -> None:
    assert is_other_script(question) is other
