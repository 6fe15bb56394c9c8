"""Quotes: the units of a passage, which of them answer a question, and what is bold in them."""

from __future__ import annotations

from itertools import count

import pytest

from rag.chat.quotes import Quotes, choose
from rag.chat.units import read_units
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


def test_cosines_decide_between_sentences() -> None:
    text = "The hall is cold. The hall is red. The hall is grey."

    def first(wanted: str) -> str:
        found = choose(
            "What of the hall?", [passage(text)], lambda _, sentences: [wanted in each for each in sentences]
        )
        return text[found.quotes[0].start : found.quotes[0].end]

    assert [first("red"), first("grey")] == ["The hall is red.", "The hall is grey."]


def test_a_question_about_something_else_is_doubtful() -> None:
    text = "The deposit is 300 euros. The rent is due on the third day of each month."
    assert not choose("How much is the deposit?", [passage(text)]).doubtful
    assert choose("Which team won the football cup?", [passage(text)]).doubtful


def test_several_items_of_a_list_are_shown_as_one_quote() -> None:
    text = "Learn these:\n- The code word for fire is Snapdragon.\n- The code word for illness is Foxglove.\nPage 4"
    assert shown("What are the code words?", passage(text)) == [text.removesuffix("\nPage 4")]


@pytest.mark.parametrize(
    "letter",
    [
        "Mr\nDesmond Tull\n9 Quarry Road\nOtterbury OT1 4AB\n\nOtterbury, 12 March 2026\n\nBoundary\n\nDear Mr Tull",
        "Invoice 5518\nHarrow & Finch\n14 Mill Lane\nOT3 9PL\n\n12 March 2026\n\nTotal 372",
        "Herrn\nStefan Köhler\nAm Mühlbach 3\n79117 Freiburg\n\nFreiburg, den 19. Januar 2026\n\nNebenkosten",
    ],
)
def test_an_address_and_the_lines_below_it_are_no_table(letter: str) -> None:
    passage = Passage("a:0", "a", "letter.txt", None, letter, 0, len(letter))
    units = read_units(1, passage)
    assert all("\n\n" not in letter[unit.start : unit.end] for unit in units)
    assert choose("When was it written?", [passage]).quotes


def test_a_sentence_comes_with_the_next_one_that_decides_or_turns_it() -> None:
    minutes = (
        "Sunita proposed banning hosepipes in summer. After discussion the proposal was rejected by three votes. "
        "The hall is cold."
    )
    assert shown("hosepipe ban", passage(minutes)) == [minutes.removesuffix(" The hall is cold.")]
    balcony = "Das Grillen mit Holzkohle ist auf dem Balkon verboten. Elektrogrills sind erlaubt. Die Miete ist hoch."
    assert shown("Darf ich auf dem Balkon grillen?", passage(balcony)) == [balcony.removesuffix(" Die Miete ist hoch.")]
    fee = "The fee is 12 euros. However, members pay nothing. Bring a torch."
    assert shown("How much is the fee?", passage(fee)) == [fee.removesuffix(" Bring a torch.")]
    apart = "Sunita proposed banning hosepipes in summer.\n\nThe other proposal was rejected."
    assert shown("hosepipe ban", passage(apart)) == ["Sunita proposed banning hosepipes in summer."]


CONTRACT = """TENANCY AGREEMENT
between Ann Moss and Noor Haddad
2. Rent
2.1 The rent is 940 pounds a month, payable on the first day of
each month.
2.2 The landlord may raise the rent of the tenancy once a year after the first
anniversary.
6.
Pets
6.1 No dog may be kept in the house without written consent.
6.2 Up to two cats live here.
7. End
7.1 The tenancy ends with two months' notice."""


def test_numbered_headings_stand_above_their_clauses() -> None:
    units = {unit.text: [heading.title for heading in unit.headings] for unit in read_units(1, passage(CONTRACT))}
    assert units["6.1 No dog may be kept in the house without written consent."] == ["6. Pets"]
    assert not {"2. Rent", "6.", "Pets", "6. Pets", "7. End"} & units.keys()
    pets = CONTRACT[CONTRACT.index("6.1") : CONTRACT.index("\n7.")]
    for question in ("pets?", "What does the contract say about pets?"):
        assert shown(question, passage(CONTRACT)) == [pets]
        assert not choose(question, [passage(CONTRACT)]).doubtful
    assert shown("When is the rent payable?", passage(CONTRACT))[0].startswith("2.1 The rent is")


def test_a_numbered_list_has_no_headings() -> None:
    text = "To start:\n1. Open the valve\n2. Light the burner\n3. Close the door\n\nThen wait."
    assert [unit.kind for unit in read_units(1, passage(text))] == ["sentence", "item", "item", "item", "sentence"]


def test_the_number_of_a_clause_is_not_bold() -> None:
    assert bold("How much is the rent?", "2.1 The rent of the tenancy is 940 pounds.") == ["940 pounds"]
    assert bold("How many cats may be kept?", "6. Up to two cats may be kept.") == ["two cats"]


def test_the_name_of_the_document_tells_none_of_its_sentences_from_another() -> None:
    found = shown("What does the tenancy agreement say about pets?", passage(CONTRACT, "tenancy-agreement.pdf"))
    assert found[0].startswith("6.1 No dog")
    assert not any("tenancy ends" in quote or "rent" in quote for quote in found)


MACHINE = """## Parts

| Part | Number | Price |
|---|---|---|
| Drain pump | DP-11 | 58 euros |
| Door seal | DS-2 | 14 euros |
| Heater | HT-7 | 52 euros |

## Data

| Property | Value |
| --- | --- |
| Weight | 48 kg |
| Width | 60 cm |"""


def test_the_rows_that_are_asked_for() -> None:
    machine = passage(MACHINE, "dishwasher.md")
    both = " ".join(shown("Which is cheaper, the drain pump or the heater?", machine))
    assert "Drain pump" in both
    assert "Heater" in both
    assert shown("How heavy is the dishwasher?", machine) == ["| Property | Value | / | Weight | 48 kg |"]
    assert not choose("How heavy is the dishwasher?", [machine]).doubtful
    assert shown("Price of the door seal", machine)[0] == "| Part | Number | Price | / | Door seal | DS-2 | 14 euros |"


def test_the_header_of_a_table_is_no_row_of_it() -> None:
    twice = "| Part | Price |\n|---|---|\n| Part | Price |\n| Heater | 52 euros |\n| Pump | 58 euros |"
    assert [unit.text for unit in read_units(1, passage(twice))].count("| Part | Price |") == 1
    lone = "The price of a part is on the list.\n\n| Part | Price |\n|---|---|"
    assert shown("price of a part", passage(lone)) == ["The price of a part is on the list."]


def test_salutations_and_addresses_answer_nothing() -> None:
    letter = (
        "From: Harriet Lowe <h.lowe@pennant.example>\n\nFlat 3, Tannery House\nOtterbury OT1 4AB\n\n"
        "Dear Mrs Pocock,\n\nThe boiler was serviced on 4 May. The lift is out of order.\n\nYours,\nHarriet Lowe"
    )
    for question in ("Is there a lift in Tannery House?", "Is the lift working, Mrs Pocock?"):
        found = " ".join(shown(question, passage(letter, "letter.txt")))
        assert "The lift is out of order." in found
        assert not any(word in found for word in ("Tannery", "Dear", "Lowe", "Yours"))
    german = "Sehr geehrter Herr Köhler,\n\ndie Nachzahlung beträgt 212 Euro.\n\nMit freundlichen Grüßen\nAnn Berg"
    assert shown("Nachzahlung von Herrn Köhler", passage(german)) == ["die Nachzahlung beträgt 212 Euro."]
    assert shown("Was muss Herr Köhler zahlen?", passage(german)) == ["die Nachzahlung beträgt 212 Euro."]
    assert shown("Who is Mrs Pocock?", passage("Dear Mrs Pocock,")) == ["Dear Mrs Pocock,"]
    assert bold("Who is Mrs Pocock?", "Dear Mrs Pocock,") == []
    assert choose("Who is Mrs Pocock?", [passage("Dear Mrs Pocock,")]).doubtful
    assert not any(unit.bare for unit in read_units(1, passage("Капитан парома Анна\n\nThe fair is off. Cancelled.")))
    assert shown("Who wrote it?", passage("Ann Berg\n\nIt rains.", "letter.txt"))


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Dear Mr. Tull,", True),
        ("Kind regards,", True),
        ("Mit freundlichen Grüßen", True),
        ("Warm milk helps", False),
        ("Best before the end of May", False),
        ("Madame Bovary lived in the second house of the long street", False),
    ],
)
def test_salutations_are_told_from_sentences(text: str, bare: bool) -> None:
    assert [unit.bare for unit in read_units(1, passage(f"It rains.\n\n{text}"))] == [False, bare]


def test_an_empty_passage_has_no_units() -> None:
    assert read_units(1, passage("")) == []
