"""The multilingual embedding model: a package's weight file -> a folder, and the vectors made with it."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import conversion
from errors import ConfigurationError
from rag.index import multilingual_model as module
from rag.index.embedding_models import EmbeddingModels, open_embeddings
from rag.index.multilingual_model import MultilingualModel, convert
from settings import Settings

WIDTH, WIDE = 32, 64
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "▁harbour", "▁query", "▁passage", ":", "▁"]
WORDS = len(PIECES)


def weight_file() -> bytes:
    """A network of one layer in the format of the package; all weights are random."""
    random = np.random.default_rng(0)
    tensors: dict[str, bytes] = {}

    def q4(name: str, rows: int, columns: int) -> None:
        blocks = np.zeros(rows * columns // 32, np.dtype([("scale", "<f2"), ("halves", "u1", 16)]))
        blocks["scale"] = random.random(len(blocks)) / 8
        blocks["halves"] = random.integers(0, 256, (len(blocks), 16))
        tensors[name] = blocks.tobytes()

    def f32(name: str, *shape: int) -> None:
        tensors[name] = random.random(shape).astype("<f4").tobytes()

    q4("emb.word", WORDS, WIDTH)
    f32("emb.pos", 16, WIDTH)
    f32("emb.type", 2, WIDTH)
    for name in ("emb.ln", "l0.aln", "l0.oln"):
        f32(f"{name}.w", WIDTH)
        f32(f"{name}.b", WIDTH)
    for name, rows, columns in [*((f"l0.{n}", WIDTH, WIDTH) for n in ("q", "k", "v", "ao")), ("l0.fi", WIDE, WIDTH)]:
        q4(f"{name}.w", rows, columns)
        f32(f"{name}.b", rows)
    q4("l0.fo.w", WIDTH, WIDE)
    f32("l0.fo.b", WIDTH)

    text = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, text)])
    head = b"E5S1" + struct.pack("<i7ifi", 1, WIDTH, 1, 2, WIDE, WORDS, 16, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, text)))
    head += struct.pack(f"<{len(ends)}I", *ends) + struct.pack(f"<{len(text)}f", *np.linspace(-1, -4, len(text)))
    head += b"".join(text)
    replaced = [(0x200B, ""), (0x2028, " "), (0xFB01, "fi")]  # the last one is what NFKC does
    table = b"".join(struct.pack(f"<IB{len(to)}I", of, len(to), *map(ord, to)) for of, to in replaced)
    head += struct.pack("<iI", len(replaced), len(table)) + table + struct.pack("<i", len(tensors))
    at = len(head) + sum(2 + len(name) + struct.calcsize("<BIQQ") for name in tensors)
    for name, data in tensors.items():
        head += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", 0, 0, at, len(data))
        at += len(data)
    return head + b"".join(tensors.values())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / module.FILE
    file.write_bytes(weight_file())
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(conversion, "find_file", lambda *_: file)
    return file


@pytest.fixture
def model(package: Path, tmp_path: Path) -> MultilingualModel:
    return MultilingualModel(tmp_path, device="cpu")


def test_weights_are_unpacked(package: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(package, tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert len(tensors) == 5 + 6 * 2 + 2 * 2
    raw = package.read_bytes()
    at = len(raw) - WIDTH * 4 - WIDTH * WIDE // 32 * 18  # of the last matrix, before the last bias
    assert tensors["encoder.layer.0.output.dense.bias"] == pytest.approx(
        np.frombuffer(raw[-WIDTH * 4 :], "<f4"), rel=1e-3
    )
    scale, *halves = struct.unpack_from("<e16B", raw, at)
    block = [scale * (byte % 16 - 8) for byte in halves] + [scale * (byte // 16 - 8) for byte in halves]
    matrix = tensors["encoder.layer.0.output.dense.weight"]
    assert matrix.shape == (WIDTH, WIDE)
    assert matrix[0, :32] == pytest.approx(np.array(block), rel=1e-3)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (WIDTH, 1, WORDS)


def test_questions_and_passages_have_different_prefixes(model: MultilingualModel) -> None:
    (passage,) = model.embed_documents(["harbour"])
    assert np.linalg.norm(passage) == pytest.approx(1)
    assert model.embed_query("harbour") != pytest.approx(passage)
    assert model.max_tokens == 16 - 2 - max(model.count("query: "), model.count("passage: "))
    with pytest.raises(ValueError, match="the model reads"):
        model.embed_documents(["a " * (model.max_tokens + 1)])


def test_the_tokenizer_normalises_as_the_file_says(model: MultilingualModel) -> None:
    assert model.count("a\u200b harbour") == model.count("a\u2028harbour") == model.count("a  harbour") == 2


def test_nothing_is_converted_before_it_is_needed(model: MultilingualModel, tmp_path: Path) -> None:
    assert model.fingerprint.startswith("multilingual-e5-small-384-")
    assert model.dimension == 384
    assert not (tmp_path / "models").exists()
    assert model.count("a") == 1
    assert (tmp_path / "models" / module.NAME / "model.safetensors").is_file()


def test_another_file_is_refused(package: Path, model: MultilingualModel) -> None:
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigurationError, match="not the file that Gestalt knows"):
        model.count("a")
    assert not list((package.parent / "models").glob("*/"))


def test_a_missing_package_is_reported_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    model = open_embeddings(Settings(embedding_model=module.NAME, data_dir=tmp_path))
    assert not module.is_available(tmp_path)
    with pytest.raises(ConfigurationError, match=r"requirements-models"):
        model.embed_query("harbour")


def test_the_names_of_the_english_model_open_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_model(settings: Settings) -> MultilingualModel:
        opened.append(settings.embedding_model)
        return MultilingualModel(Path())

    models = EmbeddingModels(Settings(), None, open_model)  # type: ignore[arg-type]
    assert models.get() is models.get("all-MiniLM-L6-v2") is not models.get(module.NAME)
    assert opened == ["embedded", module.NAME]


# --- for real --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> MultilingualModel:
    if conversion.find_file(module.PACKAGE, module.FILE) is None:
        pytest.skip("the package is for Linux x86-64")
    return MultilingualModel(tmp_path_factory.mktemp("data"))


@pytest.mark.models
def test_meaning_crosses_languages(real: MultilingualModel) -> None:
    passages = real.embed_documents(
        [
            "The captain of the ferry is Ines Coelho.",
            "The tenant pays a deposit for the boathouse.",
            "The washer is new.",
        ]
    )
    for question, right in [
        ("Wie hoch ist die Kaution für das Bootshaus?", 1),
        ("谁是渡轮的船长？", 0),
        ("Кто капитан парома?", 0),
        ("¿Es nueva la lavadora?", 2),
    ]:
        assert int(np.argmax(passages @ np.array(real.embed_query(question)))) == right


@pytest.mark.models
def test_tokens_are_those_of_xlm_r(real: MultilingualModel) -> None:
    # From the model card's tokenizer: https://huggingface.co/intfloat/multilingual-e5-small
    assert real._tokenizer.encode("query: Hello").ids == [0, 41, 1294, 12, 35378, 2]
    assert real.max_tokens == 506
