"""Chat messages -> the prompt of a local model, and the room left for the answer."""

from __future__ import annotations

from functools import partial
from typing import Any

from errors import ContextTooLong, RequestRejected

MIN_ANSWER_TOKENS = 32
"""A prompt that leaves less room than this (or than was requested) is rejected."""


def encode(tokenizer: Any, messages: list[dict[str, str]]) -> Any:
    """Return input_ids and attention_mask, (1, tokens) each, in the model's chat format, else raise RequestRejected."""
    from jinja2 import TemplateError

    template = partial(tokenizer.apply_chat_template, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    try:
        return template(messages)
    except TemplateError as error:
        # Some models have no system role: put the system message before the first question.
        first, *rest = messages
        if first["role"] == "system" and rest:
            return encode(tokenizer, [{**rest[0], "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]])
        message = f"The model's chat template rejected the messages: {error}."
        raise RequestRejected(message, "Choose another model.") from error


def answer_room(length: int, window: int | None, requested: int) -> int:
    """Return the tokens, at most `requested`, left for an answer to `length` tokens, else raise ContextTooLong."""
    if window is None:
        return requested
    minimum = min(requested, MIN_ANSWER_TOKENS)
    if window - length < minimum:
        message = f"The prompt has {length:,} tokens; a window of {window:,} holds {window - minimum:,} and an answer."
        raise ContextTooLong(message, "Use fewer or shorter passages, or a model with a larger window.")
    return min(requested, window - length)


def end_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: the model's, and its tokenizer's if that is a different one."""
    ids = model.generation_config.eos_token_id
    ids = list(ids) if isinstance(ids, list | tuple) else [] if ids is None else [ids]
    return ids if tokenizer.eos_token_id in (None, *ids) else [*ids, tokenizer.eos_token_id]
