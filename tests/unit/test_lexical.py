"""Lexical search: FTS5 on a real database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.db import Database
from rag.index.lexical import MAX_WORDS, LexicalIndex, question_terms

TEXTS = {
    1: "The ferries of the Tarrow Sound company were running every hour.",
    2: "Puffins breed on the cliffs from May to July.",
    3: "A fire alarm rings; the code word for a fire is marigold.",
    4: "La zone piétonne est fermée, naïve café.",
    5: "東京都は日本の首都です。人口は約1400万人。",
    6: "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    7: "The of\ufb01cial \uff21\uff22\uff23 report",
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(tmp_path_factory.mktemp("lexical") / "db.sqlite")
    yield database
    database.close()


@pytest.fixture(scope="module")
def index(database: Database) -> LexicalIndex:
    index = LexicalIndex(database)
    with database.session() as session:
        index.add(session, "c1", TEXTS.items())
    return index


def best(index: LexicalIndex, question: str, collection: str = "c1") -> int | None:
    words = index.search(collection, [(question, 1.0)]).words
    return max(words, key=words.__getitem__) if words else None


@pytest.mark.parametrize(
    ("question", "row"),
    [
        ("When does the ferry run?", 1),
        ("puffin breeding", 2),
        ("What's the codeword, or code word, for FIRE?", 3),
        ("zone pietonne fermee", 4),
        ("日本の首都はどこですか", 5),
        ("เมืองหลวงของไทยคือ", 6),
        ("official ABC", 7),
        ("Who wrote Hamlet?", None),
        ("what is it", None),
        ("", None),
    ],
)
def test_finds_the_row(index: LexicalIndex, question: str, row: int | None) -> None:
    assert best(index, question) == row


@pytest.mark.parametrize(
    "hostile",
    [
        '""""',
        "fire OR",
        "NEAR(fire alarm, 2)",
        "fire AND NOT alarm",
        "text: fire",
        "{text} : fire",
        "^fire",
        "fire*",
        "-fire +alarm",
        "(((",
        "fire'); DROP TABLE chunks; --",
        "\x00fire\x00",
        "fire " * 10_000,
        " ".join(f"word{n}" for n in range(10_000)),
    ],
)
def test_a_question_is_never_syntax(index: LexicalIndex, hostile: str) -> None:
    found = index.search("c1", [(hostile, 1.0)])
    if "fire" in hostile:
        assert found.words
        assert max(found.words, key=found.words.__getitem__) == 3


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.text('"*^-+(){}:NEARANDOT fire', max_size=40)
)
def test_any_text_can_be_searched(index: LexicalIndex, text: str) -> None:
    found = index.search("c1", [(text, 1.0)])
    assert set(found.words) <= set(TEXTS)
    assert all(score > 0 for score in found.words.values())
    assert 0 <= found.coverage[0] <= 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("東京都日本首都กขค한국어ab ", min_size=2, max_size=30))
def test_any_text_finds_itself(database: Database, text: str) -> None:
    index = LexicalIndex(database)
    with database.session() as session:
        index.drop(session, "own")
        index.add(session, "own", [(1, text), (2, "elsewhere"), (3, "other")])
    terms, _ = question_terms(text)
    assert (best(index, text, "own") == 1) == bool(terms)


def test_words_and_adjacent_pairs_of_a_question() -> None:
    assert question_terms("When did the 1973 oil crisis begin? The oil!") == (
        ["1973", "oil", "crisis", "begin"],
        ["the 1973", "1973 oil", "oil crisis", "crisis begin", "begin the", "the oil"],
    )
    words, pairs = question_terms(" ".join(f"w{n}" for n in range(500)))
    assert len(words) == len(pairs) == MAX_WORDS
    assert words[0] == "w0"
    assert words[-1] == "w499"


def test_phrases_match_adjacent_words_only(index: LexicalIndex) -> None:
    assert set(index.search("c1", [("code word", 1.0)]).phrases) == {3}
    assert not index.search("c1", [("word code", 1.0)]).phrases


def test_scores_are_weighted_sums(index: LexicalIndex) -> None:
    one = index.search("c1", [("puffins", 1.0)])
    both = index.search("c1", [("puffins", 1.0), ("puffins ferry", 0.5)])
    ferry = index.search("c1", [("ferry", 1.0)])
    assert both.words[2] == pytest.approx(1.5 * one.words[2])
    assert both.words[1] == pytest.approx(0.5 * ferry.words[1])
    assert len(both.coverage) == 2


def test_unknown_words_lower_the_coverage(index: LexicalIndex) -> None:
    known = index.search("c1", [("puffins cliffs", 1.0)]).coverage[0]
    half = index.search("c1", [("puffins helicopters", 1.0)]).coverage[0]
    assert 0 < half < known <= 1


def test_common_words_are_not_searched_next_to_rarer_ones(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.index.lexical.ROWS", 20)
    index = LexicalIndex(database)
    with database.session() as session:
        rows = [(number, "the ferry, the pier" + " puffin of" * (number == 7)) for number in range(1, 31)]
        index.add(session, "common", rows)
    rare = index.search("common", [("Which ferry saw the puffin of the pier?", 1.0)])
    assert (list(rare.words), list(rare.phrases)) == ([7], [7])  # "puffin of", and not "the pier"
    monkeypatch.setattr("rag.index.lexical.LARGE", 20)
    assert not index.search("common", [("Which ferry saw the puffin of the pier?", 1.0)]).phrases
    assert 0.1 < rare.coverage[0] < 0.9  # nothing says "saw"
    assert len(index.search("common", [("Which ferry left from the pier?", 1.0)]).words) == 30


def test_each_collection_has_its_own_statistics(database: Database) -> None:
    index = LexicalIndex(database)
    filler = [(n, f"filler number{n}") for n in range(100, 120)]
    with database.session() as session:
        index.add(session, "rare", [(20, "puffin"), *filler])
        index.add(session, "many", [(20, "puffin"), *((n, "puffin") for n, _ in filler)])
    assert index.search("rare", [("puffin", 1.0)]).words[20] > 1
    assert index.search("many", [("puffin", 1.0)]).words[20] < 0.01
    assert set(index.search("rare", [("puffin", 1.0)]).words) == {20}


def test_add_replaces_and_delete_is_idempotent(database: Database) -> None:
    index = LexicalIndex(database)
    for text in ("old words", "new words"):
        with database.session() as session:
            index.add(session, "again", [(1, text), (2, "something else"), (3, "and more")])
    assert best(index, "old", "again") is None
    assert best(index, "new", "again") == 1
    for _ in range(2):
        with database.session() as session:
            index.delete(session, "again", [1])
            index.delete(session, "nothing", [1])
    assert best(index, "new", "again") is None
    for _ in range(2):
        with database.session() as session:
            index.drop(session, "again")
    assert best(index, "something", "again") is None


def test_rows_commit_with_the_session(database: Database, index: LexicalIndex) -> None:
    def fail() -> None:
        with database.session() as session:
            index.add(session, "killed", [(1, "puffins")])
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert best(index, "puffins", "killed") is None


def test_ids_and_collections(database: Database, index: LexicalIndex) -> None:
    with database.session() as session:
        before = index.collections(session)
        index.add(session, "one", [(3, "cliffs"), (8, "ferries")])
        index.add(session, "two", [(4, "")])
        index.delete(session, "one", [3])
        assert index.collections(session) == before | {"one", "two"} > before
        assert [index.ids(session, name) for name in ("one", "two", "three")] == [{8}, {4}, set()]


@pytest.mark.parametrize("bad", ["", 'x"; DROP TABLE chunks; --', "a b", "a-b"])
def test_a_collection_id_is_never_sql(index: LexicalIndex, bad: str) -> None:
    with pytest.raises(ValueError, match="not a collection id"):
        index.search(bad, [("fire", 1.0)])


def test_returns_at_most_the_limit(index: LexicalIndex) -> None:
    assert len(index.search("c1", [("fire puffins ferry zone", 1.0)], limit=2).words) == 2
