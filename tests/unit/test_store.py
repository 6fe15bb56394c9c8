"""The vectors, in a real Chroma."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromadb import PersistentClient
from chromadb.config import Settings

from errors import EmbeddingMismatch, StoreError
from rag.index.store import BATCH, VectorStore

F = "model-4-abc"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VectorStore]:
    store = VectorStore(tmp_path / "chroma")
    yield store
    store.close()


def unit(*values: float) -> list[float]:
    vector = np.array(values)
    return list(vector / np.linalg.norm(vector))


A, B, C = unit(1, 0, 0, 0), unit(1, 1, 0, 0), unit(-1, 0.1, 0, 0)


def test_nothing_is_created_before_first_use(tmp_path: Path) -> None:
    VectorStore(tmp_path / "chroma").close()
    assert not (tmp_path / "chroma").exists()


def test_search_returns_cosines_nearest_first(store: VectorStore) -> None:
    store.add("col", F, ["d:0", "d:1", "d:2"], [C, B, A])
    found = store.search("col", F, [2.0, 0, 0, 0], 10)
    assert [id_ for id_, _ in found] == ["d:2", "d:1", "d:0"]
    assert [cosine for _, cosine in found] == pytest.approx([1, 0.5**0.5, C[0]], abs=1e-6)
    assert len(store.search("col", F, A, 1)) == 1
    assert store.search("col", F, A, 0) == []


def test_cosines_of_given_ids(store: VectorStore) -> None:
    store.add("col", F, ["d:0", "d:1"], [C, B])
    assert store.cosines("col", F, [3.0, 0, 0, 0], ["d:1", "gone:7"]) == {"d:1": pytest.approx(0.5**0.5)}
    assert store.cosines("col", F, A, []) == {}
    assert store.cosines("col", F, A, ["gone:7"]) == {}


def test_a_missing_index_is_empty(store: VectorStore) -> None:
    assert store.search("none", F, A, 3) == []
    assert store.cosines("none", F, A, ["d:0"]) == {}
    assert store.count("none", F) == 0
    store.delete("none", F, ["d:0"])
    store.drop("none", F)
    store.drop("none")
    store.add("col", F, [], [])
    assert store.orphans([]) == []


def test_adding_an_id_again_replaces_it(store: VectorStore) -> None:
    for vector in (A, C):
        store.add("col", F, ["d:0"], [vector])
    assert store.count("col", F) == 1
    assert store.search("col", F, C, 1)[0][1] == pytest.approx(1, abs=1e-6)


def test_delete_is_idempotent(store: VectorStore) -> None:
    store.add("col", F, ["d:0", "e:0"], [A, B])
    for _ in range(2):
        store.delete("col", F, ["d:0", "never:1"])
    store.delete("col", F, [])
    assert [id_ for id_, _ in store.search("col", F, A, 5)] == ["e:0"]


def test_collections_and_models_have_separate_indexes(store: VectorStore) -> None:
    store.add("col", F, ["d:0"], [A])
    store.add("col", "other model/2!", ["d:0"], [[1.0, 0.0]])
    store.add("col2", F, ["e:0"], [A])
    assert [id_ for id_, _ in store.search("col", "other model/2!", [0.0, 1.0], 5)] == ["d:0"]
    store.drop("col", F)
    assert (store.count("col", F), store.count("col", "other model/2!"), store.count("col2", F)) == (0, 1, 1)
    store.add("col", F, ["d:1"], [A])
    store.drop("col")
    assert (store.count("col", F), store.count("col", "other model/2!"), store.count("col2", F)) == (0, 0, 1)


def test_more_than_one_batch(store: VectorStore) -> None:
    number = BATCH + 7
    vectors = np.random.default_rng(0).normal(size=(number, 4)).tolist()
    ids = [f"d:{n}" for n in range(number)]
    store.add("col", F, ids, vectors)
    assert store.count("col", F) == number
    assert len(store.search("col", F, A, number)) == number
    store.delete("col", F, ids)
    assert store.count("col", F) == 0


def test_a_vector_of_another_length_is_a_mismatch(store: VectorStore) -> None:
    store.add("col", F, ["d:0"], [A])
    with pytest.raises(EmbeddingMismatch, match="another embedding model"):
        store.search("col", F, [1.0, 0.0], 1)
    with pytest.raises(EmbeddingMismatch):
        store.add("col", F, ["d:1"], [[1.0, 0.0]])
    with pytest.raises(ValueError, match="2 ids for 1 vectors"):
        store.add("col", F, ["d:1", "d:2"], [A])


def test_a_folder_that_cannot_be_created_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "chroma").write_text("a file")
    with pytest.raises(StoreError, match="cannot be opened"):
        VectorStore(tmp_path / "chroma").add("col", F, ["d:0"], [A])


def test_orphans_are_the_unknown_indexes(store: VectorStore) -> None:
    for collection, fingerprint in (("col", F), ("col", "older"), ("gone", F)):
        store.add(collection, fingerprint, ["d:0"], [A])
    orphans = store.orphans([("col", F), ("col", "older"), ("col", "never made")])
    assert len(orphans) == 1
    for _ in range(2):
        store.drop_orphans(orphans)
    assert [store.count(*index) for index in (("col", F), ("col", "older"), ("gone", F))] == [1, 1, 0]
    assert store.orphans([("col", F), ("col", "older")]) == []


def test_an_index_dropped_by_another_client_is_a_store_error(store: VectorStore, tmp_path: Path) -> None:
    store.add("col", F, ["d:0"], [A])
    VectorStore(tmp_path / "chroma").drop("col", F)
    with pytest.raises(StoreError):
        store.search("col", F, A, 1)


def test_vectors_survive_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        store = VectorStore(tmp_path / "chroma")
        store.add("col", F, ["d:0"], [A])
        store.close()
    store = VectorStore(tmp_path / "chroma")
    assert dict(store.search("col", F, A, 5)) == pytest.approx({"d:0": 1}, abs=1e-6)
    store.close()


def test_threads_share_a_store(store: VectorStore) -> None:
    def add(n: int) -> int:
        store.add("col", F, [f"{n}:{m}" for m in range(20)], [unit(n + 1, m, 1, 0) for m in range(20)])
        return len(store.search("col", F, A, 500))

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(add, range(16))) >= 20
    assert store.count("col", F) == 320


def test_the_index_uses_cosine_distance(store: VectorStore, tmp_path: Path) -> None:
    store.add("col", F, ["d:0"], [A])
    store.close()
    client: Any = PersistentClient(tmp_path / "chroma", Settings(anonymized_telemetry=False))
    [made] = client.list_collections()
    client.close()
    hnsw = made.configuration_json["hnsw"]
    assert (hnsw["space"], hnsw["ef_search"]) == ("cosine", 200)


def test_a_search_of_everything_sees_each_change(store: VectorStore) -> None:
    def found() -> list[str]:
        return [id_ for id_, _ in store.search("c", "f", [1.0, 0.0], 10)]

    store.add("c", "f", ["a"], [[1.0, 0.0]])
    assert found() == ["a"]
    store.add("c", "f", ["b", "a"], [[2.0, 0.1], [0.0, 1.0]])
    assert found() == ["b", "a"]
    store.delete("c", "f", ["b"])
    assert found() == ["a"]
    store.drop("c", "f")
    assert found() == []
    store.add("c", "f", ["d"], [[1.0, 0.0]])
    assert found() == ["d"]


def test_a_search_of_everything_ranks_like_one_of_the_nearest(store: VectorStore) -> None:
    vectors = [[float(n % 7 + 1), float(n % 5), float(n)] for n in range(30)]
    store.add("c", "f", [f"v{n}" for n in range(30)], vectors)
    every = store.search("c", "f", [3.0, 1.0, 2.0], 30)
    nearest = store.search("c", "f", [3.0, 1.0, 2.0], 29)
    assert [id_ for id_, _ in every[:29]] == [id_ for id_, _ in nearest]
    assert [cosine for _, cosine in every[:29]] == pytest.approx([cosine for _, cosine in nearest], abs=1e-5)
