"""Answers in the documents' own words: quotes, summaries and the passages around them."""

from __future__ import annotations

from rag.chat import summary
from rag.chat.extract import Extract, Taken, cited_only, plain, quoted, windows
from rag.chat.quotes import Quote
from rag.chat.summary import DocumentText
from rag.schema import Checked, Passage, Verdict

MANUAL = """# Pump P9 manual

## Cleaning

Rinse the inlet filter of the pump under warm water each month. Dry the filter before it
goes back into the pump. A dirty filter halves the flow of the pump.

- Wear gloves.
- Close the valve of the pump first.

## Storage

Keep the pump in a dry and frost-free room during the winter. Drain all water from the pump before that.

| part | price |
| seal | 4.50 |
"""


def page(text: str, name: str = "manual.md") -> Passage:
    return Passage(f"{name}:page 0", name, name, None, text, 0, len(text))


def place(text: str, words: str) -> tuple[int, int]:
    return text.index(words), text.index(words) + len(words)


def texts(checked: Checked) -> list[str]:
    return [checked.text[check.start : check.end] for check in checked.checks]


def test_quotes_stand_below_each_other_and_are_cited() -> None:
    passage = page(MANUAL)
    first, second = "Drain all water from the pump before that.", "Dry the filter before it\ngoes back into the pump."
    bold = place(MANUAL, "frost-free room")
    checked = quoted([Quote(1, *place(MANUAL, first)), Quote(1, *place(MANUAL, second))], [passage])
    assert texts(checked) == [first, second.replace("\n", " ")], "wrapped lines are joined"
    assert checked.text == "\n\n".join(texts(checked))
    assert [MANUAL[each.start : each.end] for each in checked.citations] == [first, second]
    assert {check.verdict for check in checked.checks} == {Verdict.SUPPORTED}
    assert not any(citation.bold for citation in checked.citations)
    start, end = place(MANUAL, "Keep the pump in a dry and frost-free room during the winter.")
    [citation] = quoted([Quote(1, start, end, bold=(bold,))], [passage]).citations
    [(a, b)] = citation.bold
    assert citation.quote[a:b] == "frost-free room"


def test_a_list_keeps_its_lines_and_a_row_its_header() -> None:
    items = "- Wear gloves.\n- Close the valve of the pump first."
    row = Quote(1, *place(MANUAL, "| seal | 4.50 |"), lead=place(MANUAL, "| part | price |"))
    checked = quoted([Quote(1, *place(MANUAL, items)), row], [page(MANUAL)])
    assert checked.text == f"{items}\n\n| part | price |\n| seal | 4.50 |"


def test_what_is_taken_from_one_place_shares_a_passage() -> None:
    long = page("".join(f"Paragraph {n} is about nothing at all and goes on for a while.\n\n" for n in range(200)))
    taken = [Taken(long, *place(long.text, f"Paragraph {n} is")) for n in (3, 4, 150)]
    passages, quotes = windows(taken)
    assert [quote.number for quote in quotes] == [1, 1, 2]
    for part, quote in zip(taken, quotes, strict=True):
        passage = passages[quote.number - 1]
        assert passage.text[quote.start : quote.end] == long.text[part.start : part.end]
        assert long.text[passage.start : passage.end] == passage.text
        assert len(passage.text) < 3000


def test_names_are_no_markup() -> None:
    assert plain("[a](http://b) *c* <d>") == "(a)(http://b) ∗c∗ ‹d›"
    extract = Extract([page("A.")])
    extract.say("x ")
    extract.quote(1, 0, 2)
    assert extract.checked.text == "x A."


def test_only_cited_passages_are_kept() -> None:
    passages = [page(f"Text {n}.") for n in range(5)]
    extract = Extract(passages)
    for number in (4, 2):
        extract.quote(number, 0, 7)
    kept, checked = cited_only(passages, extract.checked)
    assert kept == (passages[1], passages[3])
    assert [citation.n for citation in checked.citations] == [2, 1]


def test_a_summary_has_sentences_of_each_section_with_their_places() -> None:
    passages, checked = summary.extract([DocumentText("manual.md", [page(MANUAL)])])
    assert checked.text.startswith("**manual.md**: Pump P9 manual\n\nSections: Cleaning · Storage\n")
    assert "- *Cleaning:* " in checked.text
    assert "- *Storage:* Keep the pump in a dry" in checked.text
    assert "| seal" not in checked.text
    for citation in checked.citations:
        assert MANUAL[citation.start : citation.end] == citation.quote
    assert len(passages) == 1


def test_a_summary_does_not_stop_before_what_was_decided() -> None:
    minutes = (
        "Sunita proposed banning hosepipes on all plots in summer. After discussion the proposal was rejected. "
        "The open day of the plots will be on Saturday 13 June."
    )
    _, checked = summary.extract([DocumentText("minutes.txt", [page(minutes, "minutes.txt")])])
    assert texts(checked) == [
        "Sunita proposed banning hosepipes on all plots in summer. After discussion the proposal was rejected.",
        "The open day of the plots will be on Saturday 13 June.",
    ]


def test_a_summary_of_a_table_shows_how_it_begins() -> None:
    rows = "part | price\n" + "\n".join(f"part: P{n} | price: {n}.50" for n in range(90))
    _, checked = summary.extract([DocumentText("parts.csv", [page(rows, "parts.csv")])])
    assert texts(checked) == ["part | price", "part: P0 | price: 0.50", "part: P1 | price: 1.50"]


def test_a_summary_of_several_documents_has_some_of_each() -> None:
    documents = [
        DocumentText(f"{n}.md", [page(f"The harbour of town {n} was built in 19{n:02}.", f"{n}.md")]) for n in range(40)
    ]
    passages, checked = summary.extract([*documents[:3], DocumentText("empty.md", [page("", "empty.md")])])
    assert [citation.document for citation in checked.citations] == ["0.md", "1.md", "2.md"]
    assert "It has no sentences to show." in checked.text
    assert len(passages) == 3
    assert len(summary.extract(documents)[0]) == summary.DOCUMENTS


def test_the_parts_of_a_text_are_all_of_it() -> None:
    text = "".join(f"Sentence number {n} stands here. " for n in range(400))
    parts = summary.parts([DocumentText("long.txt", [page(text)])])
    assert "".join(part.text for part in parts) == text
    assert max(len(part.text) for part in parts) <= summary.PART
    assert all(text[part.start : part.end] == part.text for part in parts)
