"""Text of documents is escaped; text of models is Markdown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ui.widgets.text import answer, excerpt, highlighted, literal, short


def drawn(markdown: str) -> str:
    """What a Markdown renderer makes of it, as plain text."""
    tokens = MarkdownIt().parseInline(markdown)
    parts = []
    for token in tokens[0].children or []:
        assert token.type in {"text", "softbreak", "hardbreak", "text_special"}, token
        parts.append(token.content if token.type in {"text", "text_special"} else "\n")
    return "".join(parts)


MARKUP = ("# no", "*no* _no_ `no`", "[no](http://link)", "![no](image)", "<b>no</b>", "| a | b |", "a\\b", "1. no")


@pytest.mark.parametrize("text", MARKUP)
def test_markup_of_a_document_is_text(text: str) -> None:
    assert drawn(literal(text)) == text


@given(st.text(alphabet="ab *_#`[]()!<>|\\~$:&-+.{}^=@/\"'1", min_size=1).filter(lambda text: text == text.strip()))
def test_any_text_survives_escaping(text: str) -> None:
    assert drawn(literal(text)) == text


def test_streamlits_own_markup_and_formulas_are_text() -> None:
    assert literal(":red[x] $a$ :smile:") == r"\:red\[x\] \$a\$ \:smile\:"


def test_line_breaks_are_kept_and_empty_lines_merged() -> None:
    assert literal("a\nb\n\n\n\nc") == "a  \nb  \n  \nc"


def test_spans_are_marked_line_by_line() -> None:
    assert highlighted("one two\nthree four", [(4, 13)]) == (
        "one :yellow-background[two]  \n:yellow-background[three] four"
    )
    assert highlighted("plain", []) == "plain"
    assert highlighted("abcdef", [(1, 4), (2, 5)]) == "a:yellow-background[bcd]ef"
    assert highlighted("abcdef", [(2, 3)], faint=[(0, 2), (4, 6)]) == ":gray[ab]:yellow-background[c]d:gray[ef]"


def test_money_in_an_answer_is_no_formula() -> None:
    assert answer("It costs $5, not $6, and **$x^2$** is a formula.") == (
        r"It costs \$5, not \$6, and **$x^2$** is a formula."
    )


def test_short() -> None:
    assert short("abc", 3) == "abc"
    assert short("abcdef", 4) == "abc…"


@pytest.mark.parametrize("form", ["![", r"\![", r"\\![", r"\\\![", "!![", r"a\!![", "*![", "[!["])
def test_an_image_in_an_answer_stays_text(form: str) -> None:
    for end in ("x](http://spy/?q=1)", "x][1]\n\n[1]: http://spy/?q=1", "x](<http://spy/?q=1>)](http://other)"):
        assert "<img" not in MarkdownIt().render(answer(f"{form}{end}"))


def test_an_excerpt_has_most_of_the_words() -> None:
    found = "The spare key of the shed hangs behind the beehive."
    text = f"The key is old. {'Nothing of note happened. ' * 20}{found} {'x ' * 200}"
    shown = excerpt(text, ["spare", "key", "shed"], 80)
    assert shown.startswith("…")
    assert found in shown
    assert len(shown) <= 130
    assert excerpt(text, ["zebra"], 80) == short(text, 120)
    assert excerpt("A key.", ["key"], 80) == "A key."
    assert excerpt("", ["key"], 80) == ""
