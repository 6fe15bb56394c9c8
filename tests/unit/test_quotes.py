"""Quotes: the units of a passage, which of them answer a question, and what is bold in them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from errors import BackendBusy
from rag.chat.quotes import Likelihood, Quotes, Similarity, choose
from rag.schema import Passage

_ids = count()


def passage(text: str, document: str = "notes.md", heading: str = "") -> Passage:
    return Passage(f"d:{next(_ids)}", document, document, None, text, 0, len(text), heading=heading)


def shown(question: str, *passages: Passage, earlier: tuple[str, ...] = ()) -> list[str]:
    """The quotes, each after the line that introduces it."""
    found = choose(question, passages, earlier=earlier)
    return [
        (f"{text[slice(*quote.lead)]} / " if quote.lead else "") + text[quote.start : quote.end]
        for quote in found.quotes
        for text in [passages[quote.number - 1].text]
    ]


def test_nothing_to_quote() -> None:
    assert choose("What?", []) == Quotes(())
    assert choose("What?", [passage("# Only a heading")]) == Quotes(())


def test_the_sentence_with_the_words_of_the_question() -> None:
    text = "The hall opens at nine. The deposit is 300 euros. Bring a torch."
    assert shown("How much is the deposit?", passage(text)) == ["The deposit is 300 euros."]


def test_misspelt_words_find_the_nearest_ones() -> None:
    text = "Peter Lamb is the treasurer. Ann Moss is the secretary."
    assert shown("Who is the tresurer?", passage(text)) == ["Peter Lamb is the treasurer."]
    assert shown("Who is the secertary?", passage(text)) == ["Ann Moss is the secretary."]


def test_what_something_is_called_is_its_name() -> None:
    cat = "Staff number 44 is a cat. Her name is Pickle, and she lives in the ticket office at Penderby."
    book = "You can book at the ticket office, where the cat will supervise."
    assert shown("What is the cat in the ticket office called?", passage(cat), passage(book))[0] == cat
    mast = "The rope that holds the mast from the front is named the forestay. Nobody called."
    assert shown("What is the rope in front of the mast called?", passage(mast)) == [mast.partition(" Nobody")[0]]


RULES = """# Boathouse rules

## Keys

The tenant must:

- return the key by noon
- tell the warden of any damage. Photographs help.
- never lend the key

Keys hang in the office.

## Prices

| Boat | Hour | Day |
| --- | --- | --- |
| Canoe | 6 euros | 30 euros |
| Dinghy | 9 euros | 45 euros |

## Lost property

Things that are found go to the office. They are kept for 60 days.
After that they are sold."""


def test_a_heading_is_never_quoted_but_its_words_count() -> None:
    assert shown("What are the rules about lost property?", passage(RULES)) == [
        "Things that are found go to the office. They are kept for 60 days.\nAfter that they are sold."
    ]


def test_a_fact_below_a_heading_is_one_sentence_with_its_subject() -> None:
    assert shown("How long is lost property kept?", passage(RULES))[0] == (
        "Things that are found go to the office. They are kept for 60 days."
    )


def test_a_list_that_is_asked_for_is_shown_whole() -> None:
    assert shown("What must the tenant do?", passage(RULES)) == [
        RULES[RULES.index("The tenant") : RULES.index("\n\nKeys")]
    ]


def test_an_item_comes_with_the_line_that_introduces_it() -> None:
    assert shown("When must the key be returned, by noon?", passage(RULES))[0] == (
        "The tenant must: / - return the key by noon"
    )


def test_items_without_marks_after_a_colon() -> None:
    text = "Learn these:\nThe word for fire is Snapdragon.\nThe word for illness is Foxglove.\n\nThen sign the list."
    assert shown("Which word means illness?", passage(text)) == ["Learn these: / The word for illness is Foxglove."]
    assert shown("What must I learn?", passage(text)) == [text.partition("\n\n")[0]]


def test_a_row_comes_with_the_header_of_its_table() -> None:
    first = shown("What does a dinghy cost for a day?", passage(RULES))[0]
    assert first == "| Boat | Hour | Day | / | Dinghy | 9 euros | 45 euros |"


def test_a_row_with_names_needs_no_header() -> None:
    text = "part | stock | rack\npart: AX-1 | stock: 14 | rack: R2\npart: BX-2 | stock: 7 | rack: R9"
    found = choose("How many of part BX-2 are in stock?", [passage(text)]).quotes[0]
    assert text[found.start : found.end] == "part: BX-2 | stock: 7 | rack: R9"
    assert [text[start:end] for start, end in found.bold] == ["7"]
    assert bold("stock of AX-1", text) == ["14"]


def test_short_rows_of_a_long_table() -> None:
    text = "Station | Depth | Flow\n" + "\n".join(f"Station {n} | {3 * n} | {5 * n}" for n in range(1, 60))
    assert shown("What is the flow at station 47?", passage(text))[0] == (
        "Station | Depth | Flow / Station 47 | 141 | 235"
    )


def test_cells_of_a_pdf_are_joined_into_rows() -> None:
    text = "The fleet in numbers is below.\nShip\nBuilt\nCars\nMarigold\n2011\n24\nJuniper\n1998\n0\nHeron\n1970\n3"
    assert shown("When was the Juniper built?", passage(text))[0].endswith("Juniper\n1998\n0")


def test_wrapped_lines_are_one_sentence() -> None:
    text = (
        "The harbour was dredged in the spring and in the\nwinter of 2018 by a very experienced firm from\n"
        "Stennick. It cost a fortune."
    )
    assert shown("When was the harbour dredged?", passage(text)) == [text.partition(" It")[0]]


def test_a_short_line_above_text_is_a_heading() -> None:
    text = "Opening hours\nThe shop is closed on Sundays. On other days it opens at eight.\n\nPets\nCats are welcome."
    assert shown("Pets?", passage(text)) == ["Cats are welcome."]


def test_a_sentence_that_is_cut_off_gives_way_to_the_whole_one() -> None:
    cut = passage("of the ferry is Ines Coelho. Dinner is at six.")
    whole = passage("The captain of the ferry is Ines Coelho. Dinner is at six.")
    assert shown("Who is the captain of the ferry?", cut, whole) == ["The captain of the ferry is Ines Coelho."]


def test_one_word_finds_what_every_document_says_about_it() -> None:
    one = passage("The WX-90 is loud. The warranty runs for 36 months.", "wx90.md")
    two = passage("The WX-70 is quiet. The warranty runs for 24 months.", "wx70.md")
    assert shown("warranty", one, two) == ["The warranty runs for 36 months.", "The warranty runs for 24 months."]


def test_the_same_sentence_is_shown_once() -> None:
    text = "The deposit is 300 euros."
    assert shown("deposit", passage(text), passage(f"{text} Bring a torch.")) == [text]


def test_codes_in_any_spelling() -> None:
    text = "ERR-4012 means that the relay is shut. ERR-4021 means that the fuse is open."
    for question in ("ERR-4021", "ERR4021", "err 4021", "What is ERR\u20114021?"):
        assert shown(question, passage(text))[0] == "ERR-4021 means that the fuse is open."


def test_numbers_dates_and_emoji_in_any_notation() -> None:
    text = "Dogs may travel. It weighs 74.5 kg. The pump draws 2,150 W at most. Tobias joined on 14 July 2021."
    assert shown("which one weighs 74,5 kg", passage(text))[0].endswith("74.5 kg.")
    assert shown("2150 watts", passage(text)) == ["The pump draws 2,150 W at most."]
    assert shown("Who joined on 2021-07-14?", passage(text)) == ["Tobias joined on 14 July 2021."]
    assert shown("🐕?", passage(text)) == ["Dogs may travel."]


def test_what_is_not_allowed() -> None:
    text = "Reading is allowed. Smoking is forbidden. Tea is served at four."
    assert shown("What is not allowed?", passage(text)) == ["Smoking is forbidden."]


def test_follow_ups_use_the_words_of_earlier_questions() -> None:
    text = "The rent is 900 euros. The tenant pays a deposit of 300 euros. The tenant repairs the windows."
    assert shown("and the deposit?", passage(text), earlier=("What rent does the tenant pay?",))[0] == (
        "The tenant pays a deposit of 300 euros."
    )
    machines = "The WX-90 weighs 74 kg. The WX-70 weighs 61 kg."
    assert shown("And the other one?", passage(machines), earlier=("How much does the WX-90 weigh?",)) == [
        "The WX-70 weighs 61 kg."
    ]


def test_other_scripts_are_split_and_compared() -> None:
    german = "Die Miete beträgt 900 Euro. Über die Kaution entscheidet am 3. Mai der Rat. Öfen sind verboten."
    assert shown("Wer entscheidet über die Kaution?", passage(german)) == [
        "Über die Kaution entscheidet am 3. Mai der Rat."
    ]
    assert shown("船长是谁？", passage("厨师在厨房。船长是王芳。")) == ["船长是王芳。"]


def bold(question: str, text: str) -> list[str]:
    return [text[start:end] for start, end in choose(question, [passage(text)]).quotes[0].bold]


def test_the_likeliest_answer_is_bold() -> None:
    assert bold("When was the mill built?", "The mill was built on 3 May 1904 by two brothers.") == ["3 May 1904"]
    assert bold("How many sheep graze there?", "In 1990 two farmers let 140 sheep graze there.") == ["140 sheep"]
    assert bold("How long is the warranty?", "The warranty of the 12 kg model is 24 months.") == ["24 months"]
    assert bold("What percentage was lost?", "Of 300 boxes 12 % was lost.") == ["12 %"]
    assert bold("Who designed the hall?", "The hall in Leeds was designed by Noor Haddad.") == ["Noor Haddad"]


def test_nothing_is_bold_where_the_answer_cannot_be_told() -> None:
    assert bold("Why was the mill built?", "The mill was built in 1904 because Ann Moss wanted flour.") == []
    assert bold("Who was there?", "Ann Moss, Peter Lamb and Noor Haddad were there.") == []


def test_cosines_and_likelihoods_decide_between_sentences() -> None:
    text = "The hall is cold. The hall is red. The hall is grey."

    def prefers(wanted: str, by: float = 1.0) -> Similarity:
        return lambda question, sentences: [by * (wanted in sentence) for sentence in sentences]

    def first(similarity: Similarity | None, likelihood: Likelihood | None) -> str:
        quote = choose("What of the hall?", [passage(text)], similarity, likelihood).quotes[0]
        return text[quote.start : quote.end]

    assert first(prefers("red"), None) == "The hall is red."
    assert first(prefers("red"), prefers("grey", 3.0)) == "The hall is grey."


def test_a_model_that_is_gone_is_done_without() -> None:
    def gone(question: str, sentences: Sequence[str]) -> list[float]:
        raise BackendBusy("The model is busy.")

    assert choose("deposit", [passage("The deposit is 300 euros.")], None, gone).quotes


def test_a_question_about_something_else_is_doubtful() -> None:
    text = "The deposit is 300 euros. The rent is due on the third day of each month."
    assert not choose("How much is the deposit?", [passage(text)]).doubtful
    assert choose("Which team won the football cup?", [passage(text)]).doubtful


def test_several_items_of_a_list_are_shown_as_one_quote() -> None:
    text = "Learn these:\n- The code word for fire is Snapdragon.\n- The code word for illness is Foxglove.\nPage 4"
    assert shown("What are the code words?", passage(text)) == [text.removesuffix("\nPage 4")]
