"""Questions for all of something: which they are, and what reading every document finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rag.chat.listing import Listing, find, wanted
from rag.chat.lists.found import LIMIT
from rag.index.contents import Contents
from rag.schema import Passage
from tests.small_library import SmallLibrary, small_library

STAFF = """name | role | department | city | salary | joined
name: Nora Feld | role: nurse | department: Ward A | city: Oslo | salary: 41,200 | joined: 2019-03-01
name: Jakub Brandt | role: surgeon | department: Theatre | city: Bergen | salary: 98,500 | joined: 2015-08-17
name: Priya Nair | role: nurse | department: Ward B | city: Oslo | salary: 43,900 | joined: 2021-01-11
name: Samuel Osei | role: porter | department: Logistics. Deliveries | city: Oslo | salary: 33,000 | joined: 2022-05-02
name: Tom Adeyemi | role: nurse | department: Ward A | city: Bergen | salary: 42,300 | joined: 2020-09-14"""
PRICES = """# Price list

## Seeds

| Article | Weight | Price |
|---|---|---|
| Poppy | 250 g | €3.20 |
| Sunflower | 1,000 g | €2.95 |

## Tools

| Article | Weight | Price |
|---|---|---|
| Spade | 2,100 g | €34.00 |
| Hand rake | 650 g | €12.50 |"""
MANUAL = """# Oven KX-12 manual

## Tools needed

You need a hex key, a torch and a soft brush.

## Error codes

### F01

The door is open. Close it and press K9.

### F02

The fan is blocked.

## Programmes

**Bread** bakes at 220 degrees.

**Pizza** bakes at 280 degrees.

**Drying** runs at 60 degrees for four hours.

## Safety

Never leave the oven alone. Do not pour water on hot fat."""
CONTRACT = """# Cleaning contract

The contractor provides the following services:

- daily cleaning of all wards
- cleaning of the windows
- removal of waste

The fee is 4,800 euros a month. Late payment costs 2.5 % interest. A deposit of 1,200 euros is held.

## Obligations of the client

1. give access to all rooms
2. provide water"""
CREW = """# Crew of the Halcyon

Maren Holt is the engineer of the Halcyon. Maren lives in cabin 13.

Tobias Grau is the cook of the Halcyon. Tobias lives in cabin 14.

Ines Coelho is the captain of the Halcyon. Ines lives in cabin 14.

The Halcyon carries 240 passengers."""
MINUTES = """Minutes of the board

Held on 12 March 2025 in Bergen.
Present: Nora Feld, Jakub Brandt, Lena Haugen and Greta Solheim
Apologies: Tom Adeyemi

Questions to board@feld.example or +47 55 12 34 56. The next meeting is on 9 April 2025."""
FIRE = """If alarm A-11 sounds, leave by the east door. Alarm A-12 means that the east door is blocked.

The pump P3 starts by itself when alarm A-11 sounds."""
DOCUMENTS = {
    "contract": CONTRACT,
    "crew": CREW,
    "fire": FIRE,
    "manual": MANUAL,
    "minutes": MINUTES,
    "prices": PRICES,
    "staff": STAFF,
}


def contents_of(library: SmallLibrary) -> Contents:
    return Contents("me", ("c",), None, library.database, library.lexical)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contents]:
    with small_library(tmp_path_factory.mktemp("listing")) as library:
        for name, text in DOCUMENTS.items():
            library.add("c", name, ["\n" + text])
        yield contents_of(library)


def listed(question: str, contents: Contents) -> Listing | None:
    request = wanted(question)
    return find(request, contents) if request else None


def names(question: str, contents: Contents) -> list[str]:
    found = listed(question, contents)
    assert found, question
    assert found.count == len(found.items)
    assert found.scanned == len(DOCUMENTS)
    return [item.name for item in found.items]


@pytest.mark.parametrize(
    "question",
    [
        "How many passengers does the ferry carry?",
        "How many days of holiday do I get?",
        "How many of part DZ-7116 are in stock?",
        "How many documents are there?",
        "How much is the fee?",
        "Give me the key points of the contract.",
        "Show me the contract",
        "Which machine has no filter?",
        "which machine weighs 74,5 kg",
        "Which articles are not sold?",
        "List the three most expensive articles",
        "List price of the spade",
        "Who is the captain?",
        "Hello",
        "",
        "?",
        "list " + "very " * 100 + "long things",
    ],
)
def test_other_questions_are_none_for_all_of_something(question: str) -> None:
    assert wanted(question) is None


@pytest.mark.parametrize(
    ("question", "subject", "rest", "counts"),
    [
        ("List all fault codes.", "fault codes", "", False),
        ("Please give me a complete list of the fault codes", "fault codes", "", False),
        ("What fault codes are there?", "fault codes", "", False),
        ("Which fault codes does the oven have?", "fault codes", "oven", False),
        ("How many people are in the crew?", "people", "crew", True),
        ("number of people in the crew", "people", "crew", True),
        ("List the codes in my documents and what they mean", "codes", "", False),
        ("Liste bitte alle Fehlercodes auf", "fehlercodes", "", False),
        ("Welche Fehlercodes gibt es?", "fehlercodes", "", False),
        ("Wie viele Mitarbeiter gibt es?", "mitarbeiter", "", True),
        ("Quels codes y a-t-il ?", "codes", "", False),
        ("Donne-moi la liste des codes", "codes", "", False),
        ("Combien d'employés y a-t-il ?", "employés", "", True),
        ("¿Cuántos empleados hay?", "empleados", "", True),
        ("Enumera todos los códigos", "códigos", "", False),
    ],
)
def test_questions_for_all_of_something(question: str, subject: str, rest: str, counts: bool) -> None:
    request = wanted(question)
    assert request
    assert (" ".join(request.subject), " ".join(request.rest), request.counts) == (subject, rest, counts)


@pytest.mark.parametrize(
    ("question", "phrase"),
    [
        ("every mention of “aft deck”", "aft deck"),
        ("Where is the aft deck mentioned?", "aft deck"),
        ("How often does the word relay appear in the documents?", "relay"),
        ("Which documents mention Lena Haugen?", "Lena Haugen"),
        ("Wo wird die Kaution erwähnt?", "Kaution"),
        ("Combien de fois le relais est mentionné ?", "relais"),
        ("¿Dónde se menciona el relé?", "relé"),
    ],
)
def test_questions_for_every_mention(question: str, phrase: str) -> None:
    request = wanted(question)
    assert request
    assert request.mention == phrase


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        # rows with a value
        ("List all nurses.", "Nora Feld, Priya Nair, Tom Adeyemi"),
        ("How many employees work in Oslo?", "Nora Feld, Priya Nair, Samuel Osei"),
        ("Which nurses work in Ward A?", "Nora Feld, Tom Adeyemi"),
        ("How many porters live in Oslo?", "Samuel Osei"),
        ("list all porters and surgeons", "Jakub Brandt, Samuel Osei"),
        ("Wie viele Mitarbeiter arbeiten in Bergen?", "Jakub Brandt, Tom Adeyemi"),
        # numbers and dates in a range
        ("Which employees earn more than 43,000 euros?", "Jakub Brandt, Priya Nair"),
        ("Combien d'employés gagnent plus de 43 000 euros ?", "Jakub Brandt, Priya Nair"),
        ("Which nurses earn less than 42,300?", "Nora Feld"),
        ("Which nurses earn at most 42,300?", "Nora Feld, Tom Adeyemi"),
        ("Which employees joined after 2020?", "Priya Nair, Samuel Osei"),
        ("How many people joined between 2019 and 2020?", "Nora Feld, Tom Adeyemi"),
        ("How many employees joined before 1 March 2019?", "Jakub Brandt"),
        ("Which articles cost less than €12.50?", "Poppy, Sunflower"),
        ("How many articles weigh more than 1 kg?", "Spade"),
        ("Which articles weigh between 500 g and 1 kg?", "Sunflower, Hand rake"),
        ("Which fees are above 1,000 euros?", "The fee is 4,800 euros a month."),
        ("How many articles cost more than 1,000 euros?", ""),
        # a column, a table
        ("List all departments", "Ward A, Theatre, Ward B, Logistics. Deliveries"),
        ("How many cities are there?", "Oslo, Bergen"),
        ("How many employees are there?", "Nora Feld, Jakub Brandt, Priya Nair, Samuel Osei, Tom Adeyemi"),
        ("List all seeds", "Poppy, Sunflower"),
        # headings, lists, paragraphs, sentences and enumerations
        ("List all error codes of the oven", "F01, F02"),
        ("Welche Fehlercodes gibt es?", "F01, F02"),
        ("What are all the obligations of the client?", "give access to all rooms, provide water"),
        ("How many services are there?", "daily cleaning of all wards, cleaning of the windows, removal of waste"),
        ("List all safety rules", "Never leave the oven alone., Do not pour water on hot fat."),
        ("What tools are needed?", "a hex key, a torch, a soft brush"),
        ("How many people were present?", "Nora Feld, Jakub Brandt, Lena Haugen, Greta Solheim"),
        # people
        ("How many people are in the crew?", "Maren Holt, Tobias Grau, Ines Coelho"),
        ("How many people live in cabin 14?", "Tobias, Ines"),
        # forms
        ("List all alarm codes", "A-11, A-12"),
        ("List all alarms", "alarm A-11, Alarm A-12"),
        ("List all e-mail addresses", "board@feld.example"),
        ("List all telephone numbers", "+47 55 12 34 56"),
        ("List all dates in the minutes", "12 March 2025, 9 April 2025"),
        ("List all percentages", "2.5 %"),
        ("List all amounts of money in the contract", "4,800 euros, 1,200 euros"),
    ],
)
def test_what_is_listed(question: str, expected: str, contents: Contents) -> None:
    assert ", ".join(names(question, contents)) == expected


@pytest.mark.parametrize(
    "question",
    [
        "List all unicorns",
        "How many rooms are there?",
        "How many passengers are there?",
        "How many cars are on the Halcyon?",
        "Which machines weigh more than 70 kg?",
        "List all invoices",
        "How many parts made of titanium are there?",
        "List all entries",
    ],
)
def test_what_reading_cannot_tell_is_left_to_retrieval(question: str, contents: Contents) -> None:
    assert listed(question, contents) is None


def test_a_number_in_a_cell_is_a_fact_and_no_list(tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "trips", ["trip | guests | boat\nT-086 | 31 | Tern\nT-087 | 12 | Gull"])
        contents = contents_of(library)
        assert listed("How many guests were on trip T-087?", contents) is None
        trips = listed("List all trips", contents)
        assert trips
        assert [item.name for item in trips.items] == ["T-086", "T-087"]


STOCK = """
# Stock

item | qty | unit price | supplier
lamp oil | 12 | 4.50 | Moe & Sons
rope | 3 | 18.00 | Nordtau
candles | 240 | 0.35 | Moe & Sons

# Suppliers

supplier | city
Moe & Sons | Bergen
Nordtau | Oslo

# House rules

- No smoking.
- No dogs.

## Keys

- front door
- shed"""


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many suppliers are there?", "Moe & Sons, Nordtau"),
        ("How many items come from Moe & Sons?", "lamp oil, candles"),
        ("Which suppliers are in Oslo?", "Nordtau"),
        ("Which items have a quantity of more than 10?", "lamp oil, candles"),
        ("List all house rules", "No smoking., No dogs."),
        ("How many candles are in stock?", None),
    ],
)
def test_several_tables_and_lists_of_a_document_are_told_apart(
    tmp_path: Path, question: str, expected: str | None
) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "house", [STOCK])
        found = listed(question, contents_of(library))
        assert (", ".join(item.name for item in found.items) if found else None) == expected


def test_each_item_is_a_readable_whole_with_its_place(contents: Contents) -> None:
    for question, texts in {
        "List all error codes": ["F01\n\nThe door is open.", "F02\n\nThe fan is blocked."],
        "List all porters": [line for line in STAFF.splitlines() if "Osei" in line],
        "What are all the obligations of the client?": ["1. give access to all rooms", "2. provide water"],
        "every mention of the deposit": ["A deposit of 1,200 euros is held."],
    }.items():
        found = listed(question, contents)
        assert found
        assert [item.passage.text[item.start : item.end] for item in found.items] == texts
        assert all(item.passage.page == 1 for item in found.items)


@pytest.mark.parametrize(
    ("question", "what"),
    [
        ("List all error codes", "headings under “Error codes”"),
        ("List all nurses", "rows whose role is nurse"),
        ("Wie viele Artikel kosten mehr als 10 Euro?", "rows whose Price is more than 10"),
        ("List all departments", "values of “department”"),
        ("How many employees are there?", "rows of staff.pdf"),
        ("every mention of the oven", "sentences, headings and rows with “oven”"),
        ("List all percentages", "percentage"),
    ],
)
def test_it_says_what_was_looked_for(question: str, what: str, contents: Contents) -> None:
    found = listed(question, contents)
    assert found
    assert found.what == what


def test_mentions_in_any_inflection_of_the_whole_phrase(contents: Contents) -> None:
    assert len(names("every mention of east doors", contents)) == 2
    assert names("every mention of west door", contents) == []
    assert names("where is the Oven KX-12 mentioned?", contents) == ["Oven KX-12 manual"]


def test_documents_are_grouped_and_nothing_is_listed_twice(tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "b", ["\n# Fault codes\n\n## E-2\n\nThe belt is worn.\n\n## E-1\n\nThe door is open."])
        library.add("c", "a", ["\n# Fault codes\n\n## E-1\n\nThe door is open.\n\n## E-3\n\nThe fan is blocked."])
        found = listed("List all fault codes", contents_of(library))
        assert found
        assert [(item.passage.document, item.name) for item in found.items] == [
            ("a.pdf", "E-1"),
            ("a.pdf", "E-3"),
            ("b.pdf", "E-2"),
        ]


def test_a_section_goes_on_over_pages_and_long_lists_are_counted(tmp_path: Path) -> None:
    pages = [
        "\n# Manual\n\n## Fault codes\n\n" + _codes(0, 150),
        "\n" + _codes(150, 300) + "\n\n## Spare parts\n\n### K9\n\nA relay.",
    ]
    with small_library(tmp_path) as library:
        library.add("c", "m", pages)
        found = listed("How many fault codes are there?", contents_of(library))
        assert found
        assert (found.count, len(found.items)) == (300, LIMIT)
        assert found.items[-1].name == "E-199"
        assert found.items[-1].passage.page == 2


def _codes(first: int, last: int) -> str:
    return "\n\n".join(f"### E-{number}\n\nValve {number} is stuck." for number in range(first, last))


def test_only_documents_with_the_words_are_read(contents: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    pages = Contents.pages

    def recorded(self: Contents, ids: Sequence[str]) -> Iterator[Passage]:
        read.extend(ids)
        return pages(self, ids)

    monkeypatch.setattr(Contents, "pages", recorded)
    assert names("List all nurses", contents)
    assert read == ["staff"]


EXPENSES = """Date | Description | Category | Employee | Amount
Date: 2024-03-02 | Description: Train to Voss | Category: Travel | Employee: Ada Lund | Amount: 62.50
Date: 2024-03-09 | Description: Lunch | Category: Meals | Employee: Ben Roy | Amount: 31
Date: 2024-06-11 | Description: Flight to Rome | Category: Travel | Employee: Ben Roy | Amount: 240.25
Date: 2024-06-20 | Description: Coffee | Category: Meals | Employee: Ada Lund | Amount: 8.25"""
SPARE_PARTS = """# Pump manual

## Spare parts

| Part | Price |
|---|---|
| Board | 129.00 EUR |
| Seal | 18.20 EUR |"""


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contents]:
    with small_library(tmp_path_factory.mktemp("accounts")) as library:
        library.add("c", "expenses-2024", ["\n" + EXPENSES])
        library.add("c", "pump", ["\n" + SPARE_PARTS])
        yield contents_of(library)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which expenses are over 100?", "2024-06-11 Flight to Rome"),
        ("Which expenses are above 1,000?", ""),
        ("How many expenses are more than 50 euros?", "2024-03-02 Train to Voss, 2024-06-11 Flight to Rome"),
        ("Which travel expenses are under 100?", "2024-03-02 Train to Voss"),
        ("Which spare parts cost more than 100?", "Board"),
        ("How many expenses did Ada Lund have?", "2024-03-02 Train to Voss, 2024-06-20 Coffee"),
        ("List the expenses of June 2024", "2024-06-11 Flight to Rome, 2024-06-20 Coffee"),
        ("Which expenses did Ben Roy have in March?", "2024-03-09 Lunch"),
        ("How many expenses did Ben Roy have in June 2024?", "2024-06-11 Flight to Rome"),
        ("Which salaries are over 100?", None),
        ("Which expenses in Norway are over 5?", None),
        ("Which expenses did Carl Nes have in March?", None),
    ],
)
def test_the_subject_of_a_question_chooses_the_table(question: str, expected: str | None, accounts: Contents) -> None:
    found = listed(question, accounts)
    assert (", ".join(item.name for item in found.items) if found else None) == expected


def test_rows_of_something_else_are_not_listed(tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "pump", [SPARE_PARTS])
        for question in ("Which expenses are over 100?", "How many expenses are over 500?"):
            assert listed(question, contents_of(library)) is None


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is the total of all expenses?", "342.00 in total (Amount of 4 rows)"),
        ("How much did we spend on travel?", "302.75 in total (Amount of 2 rows whose Category is Travel)"),
        (
            "How much was spent on meals in March 2024?",
            "31 in total (Amount of 1 row whose Category is Meals in March 2024)",
        ),
        ("How much was spent on lunch?", "31 in total (Amount of 1 row whose Description is Lunch)"),
        (
            "How much did Ada Lund spend on travel?",
            "62.50 in total (Amount of 1 row whose Category is Travel and Employee is Ada Lund)",
        ),
        ("What did we spend in June 2024?", "248.50 in total (Amount of 2 rows in June 2024)"),
        ("How much did the meals cost altogether?", "39.25 in total (Amount of 2 rows whose Category is Meals)"),
        ("What is the average price of the expenses?", "85.50 on average (Amount of 4 rows)"),
        ("What was the most expensive item in the expenses?", "240.25 is the largest Amount of 4 rows"),
        ("Which expense was the cheapest?", "8.25 is the smallest Amount of 4 rows"),
        ("What is the total cost of the spare parts?", "147.20 EUR in total (Price of 2 rows)"),
        ("What is the total of the invoices?", None),
        ("How much did we spend on taxis?", None),
        ("What is the largest planet?", None),
    ],
)
def test_totals_averages_and_extremes(question: str, expected: str | None, accounts: Contents) -> None:
    found = listed(question, accounts)
    assert (found.result if found else None) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["rope | 3.50", "lamp | 4", "Total | 7.50"], "7.50 in total (Price of 2 rows)"),
        (["rope | €3.50", "lamp | €4.00"], "7.50 € in total (Price of 2 rows)"),
        (["rope | €3.50", "lamp | $4.00"], None),
        (["rope | €3.50", "lamp | 4.00"], None),
        (["rope | 3.50", "lamp | 4.00", "oil | on request"], None),
        (["rope | 1.250", "lamp | 62,50"], None),
        (["rope | 5 %", "lamp | 4 %"], None),
    ],
)
def test_no_total_of_what_cannot_be_added(rows: list[str], expected: str | None, tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "purchases", ["Item | Price\n" + "\n".join(rows)])
        found = listed("What is the total of the purchases?", contents_of(library))
        assert (found.result if found else None) == expected


def test_no_total_where_documents_have_the_same_rows(tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "expenses-a", [EXPENSES])
        library.add("c", "expenses-b", [EXPENSES])
        assert listed("What is the total of all expenses?", contents_of(library)) is None


def test_one_is_not_said_in_the_plural(accounts: Contents) -> None:
    for question, what in {
        "Which expenses are over 100?": "row whose Amount is more than 100",
        "every mention of Rome": "sentence, heading or row with “Rome”",
    }.items():
        found = listed(question, accounts)
        assert found
        assert (found.count, found.what) == (1, what)


LETTER = """
Moss & Partner
3 Mill Lane
12 March 2026
Dear Ms Pocock,

Thank you for the meeting of 3 March.

The fence was put up in August 2025. The survey costs £650.

Please answer by 27 March 2026. Mr Abbs can come on 9 April. Four markers stand there."""


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "Which dates are mentioned in the letter from Moss & Partner?",
            "12 March 2026, 3 March, August 2025, 27 March 2026, 9 April",
        ),
        ("List all amounts in the letter to Ms Pocock", "£650"),
        ("Which dates are mentioned in the letter from Reed & Co?", None),
    ],
)
def test_a_document_is_named_by_its_sender(question: str, expected: str | None, tmp_path: Path) -> None:
    with small_library(tmp_path) as library:
        library.add("c", "a7", [LETTER])
        library.add(
            "c",
            "b2",
            [
                "Nothing new was said. " * 20
                + "On 5 May 2025 the bill of £70 was sent to Ms Pocock by Moss, its partner."
            ],
        )
        found = listed(question, contents_of(library))
        assert (", ".join(item.name for item in found.items) if found else None) == expected
