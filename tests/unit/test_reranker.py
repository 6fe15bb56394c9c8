"""The reranker, with a small cross-encoder of random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from errors import ConfigurationError
from options import RetrievalOptions
from rag.index.reranker import Reranker
from rag.schema import LOCAL_OWNER, Passage
from tests.conftest import FakeServices
from tests.tiny_encoder import make_cross_encoder


def passages(*texts: str) -> list[Passage]:
    return [
        Passage(f"d:{n}", "d", "d.txt", None, text, 0, len(text), 1.0 / (n + 1), 0.5, 2.0)
        for n, text in enumerate(texts)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("cross") / "encoder")


def test_passages_are_sorted_by_its_scores(folder: Path) -> None:
    found = passages("puffins breed", "the ferry sails", "marigold", "the rent is due")
    ordered = Reranker(str(folder), "cpu").order("when does the ferry sail", found)
    scores = [passage.reranked or 0.0 for passage in ordered]
    assert sorted(passage.text for passage in ordered) == sorted(passage.text for passage in found)
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4, "each pair has its own score"
    assert [passage.score for passage in ordered] != [passage.score for passage in found]


def test_chunks_with_a_code_of_the_question_stay_first(folder: Path) -> None:
    found = passages("puffins breed", "the ferry sails", "marigold")
    *_, worst = Reranker(str(folder), "cpu").order("when does the ferry sail", found)
    coded = [replace(each, codes=int(each.text == worst.text)) for each in found]
    ordered = Reranker(str(folder), "cpu").order("when does the ferry sail", coded)
    assert (ordered[0].text, ordered[0].codes) == (worst.text, 1)


def test_its_order_outlasts_the_fused_scores(folder: Path, services: FakeServices) -> None:
    for name in ("puffins breed", "the ferry sails", "marigold", "the rent is due"):
        services.put(f"{name}.txt", name.encode())
    options = services.settings.answer.replace(retrieval=RetrievalOptions(reranker=str(folder)))
    found = services.searching.retrieve(LOCAL_OWNER, "when does the ferry sail", options).passages
    scores = [passage.reranked or 0.0 for passage in found]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_no_passages_need_no_model() -> None:
    assert Reranker("/no/such/model", "cpu").order("q", []) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("/no/such/model", "GESTALT_RETRIEVAL"), ("not a name", "GESTALT_RETRIEVAL"), ("", "cannot be loaded")],
)
def test_a_missing_model_or_a_folder_without_weights_is_reported(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Reranker(name or str(tmp_path), "cpu").order("q", passages("text"))


def test_a_model_with_several_labels_is_not_a_reranker(tmp_path: Path) -> None:
    folder = make_cross_encoder(tmp_path / "encoder", labels=3)
    with pytest.raises(ConfigurationError, match="one number"):
        Reranker(str(folder), "cpu").order("q", passages("text", "other"))
