"""Chunks as passages: duplicates removed, neighbours merged, LangChain documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from options import RetrievalOptions
from rag.index.passages import matches
from rag.schema import Passage
from tests.small_library import PUFFIN, TEXTS, SmallLibrary, small_library

PAGE = "The harbour opens at six. Puffins breed on the cliffs.\n\nThe code word is marigold. The rent is due in May."
SPANS = [(0, 25), (20, 54), (56, 82), (83, len(PAGE))]
"""The second overlaps the first, the others have white space between them."""


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SmallLibrary]:
    with small_library(tmp_path) as library:
        library.add("c", "filler", TEXTS[4:])
        yield library


def found(library: SmallLibrary, question: str, k: int = 3, **options: object) -> tuple[Passage, ...]:
    return library.retriever("c", options=RetrievalOptions().replace(**options)).retrieve(question, k=k).passages


@pytest.mark.parametrize(
    ("neighbours", "start", "end"), [(0, 20, 54), (1, 0, 82), (2, 0, len(PAGE)), (9, 0, len(PAGE))]
)
def test_neighbours_are_added_to_a_retrieved_chunk(
    library: SmallLibrary, neighbours: int, start: int, end: int
) -> None:
    library.add_page("c", "d", PAGE, SPANS)
    best = found(library, "when do puffins breed on cliffs", neighbours=neighbours)[0]
    assert (best.start, best.end) == (start, end)
    # The offsets hold, but the white space between chunks may differ.
    assert len(best.text) == end - start
    assert best.text.split() == PAGE[start:end].split()
    assert best.chunk_id == "d:1"
    assert best.found_text == PAGE[20:54]


def test_a_chunk_inside_another_passage_is_not_repeated(library: SmallLibrary) -> None:
    library.add_page("c", "d", PAGE, SPANS)
    passages = found(library, "puffins cliffs code word marigold harbour", neighbours=1)
    here = [passage for passage in passages if passage.document_id == "d"]
    assert len(here) < 3
    spans = [(p.start, p.end) for p in here]
    assert not any(a != b and a[0] <= b[0] and b[1] <= a[1] for a in spans for b in spans)


def test_neighbours_stay_on_their_page(library: SmallLibrary) -> None:
    library.add("c", "pages", ["Ferries sail hourly.", PUFFIN, "Marigold."])
    assert found(library, "when do puffins breed", neighbours=1)[0].text == PUFFIN


def test_a_passage_has_its_rank_in_both_searches(library: SmallLibrary) -> None:
    library.add("c", "d", [PUFFIN])
    best, *others = found(library, "when do puffins breed", k=5)
    assert (best.dense_rank, best.lexical_rank) == (1, 1)
    assert {passage.lexical_rank for passage in others} == {0}
    assert sorted(passage.dense_rank for passage in others) == [2, 3, 4, 5]
    by_words = found(library, "when do puffins breed", dense=False)
    assert [(passage.dense_rank, passage.lexical_rank) for passage in by_words] == [(0, 1)]
    by_vectors = found(library, "when do puffins breed", lexical=False)
    assert (by_vectors[0].dense_rank, by_vectors[0].lexical_rank) == (1, 0)


def test_scores_for_people_are_shares_of_the_best() -> None:
    passage = Passage("d:0", "d", "a.md", None, "x", 0, 1)
    found = [replace(passage, score=score) for score in (5.0, 2.5, -1.0)]
    assert matches(found) == [1.0, 0.5, 0.0]
    assert matches([replace(one, reranked=0.2 * number) for number, one in enumerate(found, 1)])[2] == 1.0
    assert matches([passage]) == [1.0], "a retriever without scores"
    assert matches([]) == []
