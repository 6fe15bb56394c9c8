"""What is said of a list: one place once, and no name that the place says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.chat.replies import all_of_it
from rag.chat.router import route
from rag.index.contents import Contents
from tests.small_library import small_library

DOCUMENTS = {
    "expenses": "Date | Item | Amount\n"
    + "\n".join(f"Date: 2024-03-{day:02} | Item: Taxi | Amount: 10" for day in range(1, 26)),
    "offer": "\nA survey costs £650, while a claim costs £4,800.\n\n# Duties\n\n- keep the keys\n- lock the gate",
}


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "Which expenses are after 24 March 2024?",
            (
                "1 row whose Date is after 24 March 2024. All 2 documents were searched.\n\n**expenses.pdf**\n"
                "\n- Date: 2024-03-25 | Item: Taxi | Amount: 10"
            ),
        ),
        (
            "List all amounts in the offer",
            (
                "2 amounts of money with “offer”. All 2 documents were searched.\n\n**offer.pdf**\n"
                "\n- A survey costs £650, while a claim costs £4,800."
            ),
        ),
        (
            "List all duties",
            (
                "2 list items under “Duties”. All 2 documents were searched.\n\n"
                "**offer.pdf**\n\n- keep the keys\n- lock the gate"
            ),
        ),
    ],
)
def test_a_place_is_shown_once_without_the_name_that_it_says(question: str, expected: str, tmp_path: Path) -> None:
    assert said(question, tmp_path) == expected


def test_the_total_comes_first_and_few_of_its_rows_follow(tmp_path: Path) -> None:
    text = said("What is the total of all expenses?", tmp_path)
    assert text
    assert text.startswith("250 in total (Amount of 25 rows). All 2 documents were searched.")
    assert text.count("Item: Taxi") == 20
    assert text.endswith("The first 20 are shown.")


def said(question: str, folder: Path) -> str | None:
    with small_library(folder) as library:
        for name, text in DOCUMENTS.items():
            library.add("c", name, [text])
        contents = Contents("me", ("c",), None, library.database, library.lexical)
        reply = all_of_it(route(question, contents.documents()), contents)
        return reply.checked.text if reply else None
