"""The rerankers: a small cross-encoder of random weights, and a language model that is faked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backends import embedded_model
from errors import ConfigurationError
from options import Fusion, RetrievalOptions
from rag.index.reranker import CLOSE, WEIGHT, CrossEncoderReranker, LikelihoodReranker
from rag.schema import LOCAL_OWNER, Passage
from tests.conftest import FakeServices
from tests.fakes import ScriptedBackend
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
    ordered = CrossEncoderReranker(str(folder), "cpu").order("when does the ferry sail", found)
    scores = [passage.reranked or 0.0 for passage in ordered]
    assert sorted(passage.text for passage in ordered) == sorted(passage.text for passage in found)
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4, "each pair has its own score"
    assert [passage.score for passage in ordered] != [passage.score for passage in found]


def test_chunks_with_a_code_of_the_question_stay_first(folder: Path) -> None:
    found = passages("puffins breed", "the ferry sails", "marigold")
    *_, worst = CrossEncoderReranker(str(folder), "cpu").order("when does the ferry sail", found)
    coded = [replace(each, codes=int(each.text == worst.text)) for each in found]
    ordered = CrossEncoderReranker(str(folder), "cpu").order("when does the ferry sail", coded)
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
    assert CrossEncoderReranker("/no/such/model", "cpu").order("q", []) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("/no/such/model", "GESTALT_RETRIEVAL"), ("not a name", "GESTALT_RETRIEVAL"), ("", "cannot be loaded")],
)
def test_a_missing_model_or_a_folder_without_weights_is_reported(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CrossEncoderReranker(name or str(tmp_path), "cpu").order("q", passages("text"))


def test_a_model_with_several_labels_is_not_a_reranker(tmp_path: Path) -> None:
    folder = make_cross_encoder(tmp_path / "encoder", labels=3)
    with pytest.raises(ConfigurationError, match="one number"):
        CrossEncoderReranker(str(folder), "cpu").order("q", passages("text", "other"))


def scored(*scores: float, codes: int = 0) -> list[Passage]:
    return [replace(each, score=score, codes=codes) for each, score in zip(passages(*"abcdef"), scores, strict=False)]


class FakeLikelihood:
    """Looks up how likely a question is after a text, and keeps what it read."""

    def __init__(self, **means: float) -> None:
        self.means, self.read = means, list[str]()

    def __call__(self, question: str, texts: Sequence[str]) -> list[float]:
        self.read += texts
        return [self.means[text] for text in texts]


def test_the_likelihood_decides_between_close_passages() -> None:
    found = scored(9.0, 9.0 - CLOSE / 2, 9.0 - 2 * CLOSE)
    likelihood = FakeLikelihood(a=-3.0, b=-1.0)
    ordered = LikelihoodReranker(likelihood).order("q", found)
    assert likelihood.read == ["a", "b"], "the third is too far away"
    assert [passage.text for passage in ordered] == ["b", "a", "c"]
    assert [passage.reranked for passage in ordered] == [found[1].score, 9.0 - 2 * WEIGHT, found[2].score - 2 * WEIGHT]


def test_the_fused_score_counts_beside_the_likelihood() -> None:
    ordered = LikelihoodReranker(FakeLikelihood(a=-1.1, b=-1.0)).order("q", scored(9.0, 9.0 - CLOSE / 2))
    assert [passage.text for passage in ordered] == ["a", "b"]


@pytest.mark.parametrize("found", [[], scored(9.0), scored(9.0, 1.0), [*scored(3.0, codes=1), *scored(0.0, 2.9)[1:]]])
def test_nothing_is_read_if_the_best_passage_is_clear(found: list[Passage]) -> None:
    assert LikelihoodReranker(FakeLikelihood()).order("q", found) == found


def test_only_the_best_few_are_read() -> None:
    likelihood = FakeLikelihood(a=-2.0, b=-2.0, c=-1.0)
    ordered = LikelihoodReranker(likelihood).order("q", scored(9.0, 9.0, 9.0, 9.0, 9.0))
    assert [passage.text for passage in ordered] == ["c", "a", "b", "d", "e"]
    assert likelihood.read == ["a", "b", "c"]


class ReadingBackend(ScriptedBackend):
    """Finds a question likely after texts about ferries."""

    def likelihood(self, model: str, question: str, texts: Sequence[str]) -> list[float]:
        assert self.loads == [model]
        return [0.0 if "ferry" in text else -10.0 for text in texts]


def test_the_embedded_model_is_loaded_and_asked(tmp_path: Path) -> None:
    services = FakeServices(tmp_path, backends=[lambda settings: ReadingBackend(settings, name="local")])
    for text in ("the pier opens at nine", "the pier opens late", "the pier ferry opens"):
        services.put(f"{text}.txt", text.encode())
    options = services.settings.answer
    question = "when does the pier open at nine"
    assert services.searching.retrieve(LOCAL_OWNER, question, options).passages[0].text == "the pier opens at nine"
    options = options.replace(retrieval=RetrievalOptions(reranker="embedded", fusion=Fusion.RANKS))
    for _ in range(2):
        found = services.searching.retrieve(LOCAL_OWNER, question, options).passages
        assert found[0].text == "the pier ferry opens"
    services.manager.unload("local", embedded_model.NAME)  # the lease has ended
    services.close()


def test_a_backend_that_cannot_compare_says_so(tmp_path: Path) -> None:
    services = FakeServices(tmp_path, backends=[lambda settings: ScriptedBackend(settings, name="local")])
    with pytest.raises(ConfigurationError, match="cannot compare"):
        services.manager.likelihood("local", "parrot", "q", ["text"])
    services.close()
