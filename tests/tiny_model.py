"""A random Llama of 30,000 parameters with a byte tokenizer: all of generation, none of the weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends.generation import Runtime
from backends.local_chat_model import LocalChatModel
from options import GenerationOptions

TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
)


def make_tokenizer(template: str | None = TEMPLATE) -> Any:
    """One token a byte, then <end>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", chat_template=template)


def make_model(tokenizer: Any, window: int = 512) -> Any:
    """Greedy answers are printable ASCII and never end by themselves."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LlamaForCausalLM(config).eval()
    printable = {tokenizer.convert_tokens_to_ids(chr(code)) for code in range(33, 127)}
    model.generation_config.suppress_tokens = [token for token in range(len(tokenizer)) if token not in printable]
    return model


def make_chat_model(window: int = 512, template: str | None = TEMPLATE, **options: Any) -> LocalChatModel:
    """A chat model over a runtime of its own; close `chat_model.runtime` when done."""
    tokenizer = make_tokenizer(template)
    runtime = Runtime("tiny", make_model(tokenizer, window), tokenizer)
    return LocalChatModel(
        model_name="tiny", runtime=runtime, options=GenerationOptions(**{"max_new_tokens": 24, **options})
    )


def save(folder: Path, template: str | None = TEMPLATE) -> Path:
    """The tiny model as files."""
    tokenizer = make_tokenizer(template)
    tokenizer.save_pretrained(folder)
    make_model(tokenizer).save_pretrained(folder)
    return folder
