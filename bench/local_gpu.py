"""Measure the local backend on a device: load, speed, stop, and whether unloading frees all memory.

    python -m bench.local_gpu --shape 8b --device cuda          a random Llama of 8B parameters (15 GB of disk)
    python -m bench.local_gpu --shape tiny --device cpu         a miniature, in well under a minute
    python -m bench.local_gpu --model SmolLM2-135M-Instruct     a real model instead

Prints a JSON line for each variant (plain, 8-bit, 4-bit) and one for repeated loading and unloading. Random weights
need the same memory and time as trained ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections import defaultdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerator import choose_device, load_torch
from backends.base import Progress
from backends.huggingface import HuggingFaceBackend
from backends.memory import memory_in_use, release_memory
from errors import AppError
from options import GenerationOptions
from settings import Settings
from tests.tiny_model import make_tokenizer

SHAPES: dict[str, dict[str, int]] = {
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "max_position_embeddings": 8192,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
        "max_position_embeddings": 2048,
    },
}
PROMPT = "The harbour master wrote down every boat that came in and the hour at which it left again. " * 10
"""About 900 tokens of a byte tokenizer."""
OPTIONS = GenerationOptions(temperature=1.0, top_k=50, seed=1, max_new_tokens=128)
"""Sampled: greedy decoding with random weights loops, which ends the answer."""


def write_model(folder: Path, shape: dict[str, int], device: str) -> None:
    """Write a random Llama as safetensors, with one layer in memory at a time."""
    torch = load_torch()
    from safetensors.torch import save_file
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"w{number}" for number in range(shape["vocab_size"] - len(tokenizer))])
    tokenizer.save_pretrained(folder)
    end = tokenizer.eos_token_id
    config = LlamaConfig(**shape, bos_token_id=None, eos_token_id=end, dtype="bfloat16")
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    # No end token: all answers have the requested length.
    GenerationConfig(eos_token_id=end, suppress_tokens=[end]).save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LlamaForCausalLM(config).state_dict().items()}
    shards: dict[str, list[str]] = defaultdict(list)
    for name in shapes:
        shards["-".join(name.split(".")[1:3]) if ".layers." in name else name].append(name)
    index: dict[str, str] = {}
    for number, names in enumerate(shards.values(), 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {name: torch.randn(shapes[name], device=device, dtype=torch.bfloat16) * 0.02 for name in names}
        for name in names:
            if name.endswith("norm.weight"):
                tensors[name].fill_(1)
        save_file({name: tensor.cpu() for name, tensor in tensors.items()}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(names, file)
    size = sum(shape.numel() * 2 for shape in shapes.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": index})
    )
    release_memory()


def ignore(progress: Progress) -> None:
    """Ignore the progress of a load."""


def seconds_to_first(model: Any, prompt: str) -> float:
    """Seconds until the first chunk of an answer."""
    began = time.perf_counter()
    stream = model.stream(prompt)
    next(stream)
    took = time.perf_counter() - began
    stream.close()
    return took


def measure(backend: HuggingFaceBackend, name: str, device: str) -> dict[str, Any]:
    """Load, ask, stop and unload one variant."""
    release_memory()
    before = memory_in_use([device])
    began = time.perf_counter()
    loaded = backend.load(name, ignore)
    load_s = time.perf_counter() - began
    held = memory_in_use([device]) - before
    model = backend.chat_model(name, OPTIONS)
    # The first pass selects kernels; it is measured separately.
    cold = seconds_to_first(model, PROMPT)
    began, first, tokens = time.perf_counter(), 0.0, 0
    for chunk in model.stream(PROMPT):
        first = first or time.perf_counter() - began
        tokens = chunk.usage_metadata["output_tokens"] if chunk.usage_metadata else tokens
    total = time.perf_counter() - began
    alone = seconds_to_first(model, "Hi")
    stream = model.stream(PROMPT, max_new_tokens=1000)
    next(stream)
    began = time.perf_counter()
    stream.close()  # type: ignore[attr-defined]
    next(model.stream("Hi"))
    stop = time.perf_counter() - began
    released = backend.unload(name)
    assert released
    return {
        "variant": name.rpartition("@")[2] if "@" in name else "plain",
        "device": loaded.device,
        "dtype": loaded.dtype,
        "load_s": round(load_s, 2),
        "size_mb": round((loaded.size_bytes or 0) / 1e6, 1),
        "held_mb": round(held / 1e6, 1),
        "freed_mb": round(released.freed_bytes / 1e6, 1),
        "first_token_cold_s": round(cold, 3),
        "first_token_s": round(first, 3),
        "tokens_per_s": round((tokens - 1) / (total - first), 1),
        "tokens": tokens,
        "short_first_token_s": round(alone, 3),
        "stop_then_first_token_s": round(stop, 3),
    }


def cycle(backend: HuggingFaceBackend, name: str, device: str, count: int) -> dict[str, Any]:
    """Load, ask and unload repeatedly; the device's memory after each cycle."""
    after = []
    for _ in range(count):
        backend.load(name, ignore)
        backend.chat_model(name, OPTIONS).invoke("Hi", max_new_tokens=8)
        backend.unload(name)
        after.append(round(memory_in_use([device]) / 1e6, 1))
    # The first cycles allocate what stays: libraries, thread pools, kernels.
    return {"cycles": count, "after_mb": after, "growth_mb": round(after[-1] - after[min(2, count - 1)], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="tiny")
    parser.add_argument("--model", help="a real model instead: the embedded one, a folder or a Hugging Face id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cycles", type=int, default=20)
    options = parser.parse_args()
    torch = load_torch()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Loaded first, as libraries stay in memory and are not part of a model.
    for package in ("transformers.models.llama.modeling_llama", "transformers.generation", "bitsandbytes"):
        if find_spec(package.partition(".")[0]):
            import_module(package)
    device = choose_device(options.device)
    backend = HuggingFaceBackend(Settings(device=device))
    place = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device
    with tempfile.TemporaryDirectory() as folder:
        name = options.model or folder
        facts: dict[str, Any] = {"model": options.model or f"random {options.shape}", "torch": torch.__version__}
        facts["device"] = torch.cuda.get_device_name(place) if device.startswith("cuda") else f"{os.cpu_count()} cores"
        began = time.perf_counter()
        if not options.model:
            write_model(Path(folder), SHAPES[options.shape], device)
            facts["written_s"] = round(time.perf_counter() - began, 1)
        print(json.dumps(facts), flush=True)
        for variant in ("", *(f"@{variant}" for variant in backend.capabilities.variants)):
            try:
                print(json.dumps(measure(backend, name + variant, place)), flush=True)
            except AppError as error:
                print(json.dumps({"variant": variant, "error": str(error)}), flush=True)
        if options.cycles:
            print(json.dumps(cycle(backend, name, place, options.cycles)), flush=True)


if __name__ == "__main__":
    main()
