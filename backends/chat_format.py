"""Messages -> the prompt of a local model, and the room that it leaves for the answer.

Knows a tokenizer and figures; nothing of how tokens become an answer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from errors import BackendUnavailable, ContextTooLong, RequestRejected

SHORTEST_ANSWER = 32
"""Tokens. A prompt that leaves less room than this (or than was asked for) is refused."""


def require_chat_template(model: str, tokenizer: Any) -> None:
    """Return where `tokenizer` knows how its model was taught to converse.

    Raises:
        BackendUnavailable: it does not: the model completes texts only.
    """
    if not tokenizer.chat_template:
        raise BackendUnavailable(
            f"{model} has no chat template: it was not trained for conversation.",
            "Choose a model whose name ends in Instruct or Chat.",
        )


def encode(tokenizer: Any, messages: list[dict[str, str]]) -> Any:
    """The prompt in the model's own chat format: input_ids and attention_mask, (1, tokens) each.

    Raises:
        RequestRejected: the model's chat template does not take these messages.
    """
    from jinja2 import TemplateError

    template = partial(tokenizer.apply_chat_template, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    try:
        return template(messages)
    except TemplateError as error:
        # Some models know no system role; what it says then goes before the first question.
        first, *rest = messages
        if first["role"] == "system" and rest:
            return encode(tokenizer, [{**rest[0], "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]])
        raise RequestRejected(
            f"The model's chat template refused the messages: {error}.", "Choose another model."
        ) from error


def answer_room(length: int, window: int | None, wanted: int) -> int:
    """Tokens that the answer may have, at most `wanted`, after a prompt of `length` tokens.

    Raises:
        ContextTooLong: too little of the window is left.
    """
    if window is None:
        return wanted
    least = min(wanted, SHORTEST_ANSWER)
    if window - length < least:
        raise ContextTooLong(
            f"The prompt has {length:,} tokens; a window of {window:,} takes {window - least:,} and an answer.",
            "Use fewer or shorter passages, or a model with a larger window.",
        )
    return min(wanted, window - length)


def end_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer: the model's, and its tokenizer's where that is another."""
    ids = model.generation_config.eos_token_id
    ids = list(ids) if isinstance(ids, list | tuple) else [] if ids is None else [ids]
    return ids if tokenizer.eos_token_id in (None, *ids) else [*ids, tokenizer.eos_token_id]
