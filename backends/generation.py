"""One generation after another with a model in memory, each of which can be ended at any moment.

A `Runtime` is a loaded model with the one thread that computes with it: jobs wait their turn in a queue, in the order
in which they came. A `Generation` is one job: it turns a prompt into pieces of text and an `End`, or an exception,
which it hands to `emit` from that thread. Knows transformers; nothing of LangChain, of its consumer or of asyncio.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING, Any

from backends.chat_format import answer_room, encode, end_token_ids
from backends.sampling import Sampler
from backends.text_stream import TextStream
from errors import BackendUnavailable
from options import GenerationOptions

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

LOOKUP_TOKENS = 10
"""Tokens drafted from the prompt at a time: an answer that quotes its passages comes up to three times as fast."""


@dataclass(frozen=True, slots=True)
class End:
    """The last thing that a generation emits."""

    finish_reason: str
    """stop: the model ended or a stop sequence came; length: max_new_tokens or the window is full; repetition: it went
    round in circles."""
    input_tokens: int
    output_tokens: int


Event = str | End | BaseException
"""A piece of text; then an End, or an exception in its place."""
Emit = Callable[[Event], None]


class Runtime:
    """A model and its tokenizer in memory, and the thread that computes with them."""

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = name
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.context_window = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0)) or None
        self._queue: SimpleQueue[Generation | None] = SimpleQueue()
        self.closing = Flag()
        # One thread for all generations: OpenMP keeps a team of threads for every thread that ever computed.
        self._thread = Thread(target=self._work, name=f"generate {name}", daemon=True)
        self._thread.start()

    def submit(self, generation: Generation) -> None:
        """Run `generation` when those before it are done.

        Raises:
            BackendUnavailable: the model was unloaded.
        """
        if self.closing.is_set():
            raise BackendUnavailable(f"{self.name} was unloaded.", "Load it again.")
        self._queue.put(generation)

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, without those that a chat template adds."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def close(self) -> None:
        """End what runs and what waits, then drop the model, also for a chat model that still points here."""
        self.closing.set()
        self._queue.put(None)
        self._thread.join()
        while not self._queue.empty():
            if late := self._queue.get():
                late.run(self)
        self.model = self.tokenizer = None

    def _work(self) -> None:
        while generation := self._queue.get():
            generation.run(self)
            # Else this frame keeps the last answer's tensors alive until the next question.
            del generation


class Generation:
    """One answer in the making; submit it to a Runtime.

    Args:
        messages: of the form {"role": ..., "content": ...}.
        options: how to generate.
        emit: takes the pieces of text and then an End, or an exception in its place. Called in the runtime's thread.
    """

    def __init__(self, messages: list[dict[str, str]], options: GenerationOptions, emit: Emit) -> None:
        self.messages, self.options, self.emit = messages, options, emit
        self._cancelled = Flag()

    def cancel(self) -> None:
        """End it: before its turn, within a layer of the prompt's forward pass, or within a token. Idempotent."""
        self._cancelled.set()

    def run(self, runtime: Runtime) -> None:
        """Generate. Whatever goes wrong is emitted, never raised: the thread has other generations to run."""
        try:
            self._emit_last(self._generate(runtime))
        except BaseException as error:  # noqa: BLE001 - relayed: the consumer would wait for ever
            self._emit_last(error)

    def _emit_last(self, event: End | BaseException) -> None:
        try:
            self.emit(event)
        except RuntimeError:  # the consumer's event loop is closed: nobody is left to tell
            logger.debug("nobody listens", exc_info=True)

    def _generate(self, runtime: Runtime) -> End:
        from transformers import StoppingCriteriaList

        def check(*_: object) -> None:
            if self._cancelled.is_set() or runtime.closing.is_set():
                raise BackendUnavailable("The answer was ended before it was complete.", "Ask again.")

        check()
        model, tokenizer = runtime.model, runtime.tokenizer
        prompt = encode(tokenizer, self.messages)
        length = int(prompt["input_ids"].shape[1])
        end_ids = end_token_ids(model, tokenizer)
        text = TextStream(partial(tokenizer.decode, skip_special_tokens=True), self.options.stop, frozenset(end_ids))
        listener = _Listener(text, self.emit, check)
        with _checked_layers(model, check):
            model.generate(
                input_ids=prompt["input_ids"].to(model.device),
                attention_mask=prompt["attention_mask"].to(model.device),
                max_new_tokens=answer_room(length, runtime.context_window, self.options.max_new_tokens),
                eos_token_id=end_ids or None,
                pad_token_id=end_ids[0] if end_ids else 0,
                num_beams=1,
                # Sampling is a logits processor with a random generator of its own: see sampling.py.
                do_sample=False,
                temperature=1.0,
                top_p=1.0,
                top_k=50,
                logits_processor=[Sampler(self.options)] if self.options.temperature > 0 else [],
                stopping_criteria=StoppingCriteriaList([listener]),
                streamer=listener,
                # Drafting means rolling back, which a model with a recurrent state cannot.
                prompt_lookup_num_tokens=None if getattr(model, "_is_stateful", False) else LOOKUP_TOKENS,
            )
        if rest := text.finish():
            self.emit(rest)
        reason = "repetition" if text.looped else "stop" if text.ended else "length"
        return End(reason, length, text.tokens)


class _Listener:
    """What `generate` calls for every step: its streamer and its stopping criterion in one."""

    def __init__(self, text: TextStream, emit: Emit, check: Callable[[], None]) -> None:
        self.text, self.emit, self.check = text, emit, check
        self.seen_prompt = False

    def put(self, ids: torch.Tensor) -> None:
        """Ids of the prompt at first, then the new ones of each step (several where a draft was right)."""
        if not self.seen_prompt:
            self.seen_prompt = True
            return
        self.check()
        if piece := "".join(self.text.push(token) for token in ids.flatten().tolist()):
            self.emit(piece)

    def end(self) -> None:
        """Nothing: `Generation` says the last word."""

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> bool:
        """Whether to stop."""
        return self.text.ended


@contextmanager
def _checked_layers(model: Any, check: Callable[[], None]) -> Iterator[None]:
    """Inference mode with `check` called before every layer.

    A forward pass over a long prompt takes seconds, and nothing but an exception from inside ends it. Generations run
    one at a time and the hooks go with theirs, so no other is touched.
    """
    import torch
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    hooks = [layer.register_forward_pre_hook(lambda *_: check()) for layer in layers]
    try:
        with torch.inference_mode():
            yield
    finally:
        for hook in hooks:
            hook.remove()
