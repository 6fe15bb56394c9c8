"""Generation with a model in memory, one at a time, each of which can be cancelled at any moment.

A `Runtime` is a loaded model and the single thread that computes with it; jobs queue in order. A `Generation` is one
job: it turns a prompt into pieces of text and an `End`, or an exception, and passes them to `emit` from that thread.
`backends/likelihood.py` has the other kind of job.
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
from typing import TYPE_CHECKING, Any, Protocol

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
"""Tokens drafted from the prompt at a time: answers that quote their passages are up to three times as fast."""


@dataclass(frozen=True, slots=True)
class End:
    """The last event of a generation."""

    finish_reason: str
    """stop, or length: max_new_tokens or the window is used up."""
    input_tokens: int
    output_tokens: int


Event = str | End | BaseException
"""A piece of text; finally an End or an exception."""
Emit = Callable[[Event], None]


class Job(Protocol):
    """Work for the thread of a Runtime."""

    def run(self, runtime: Runtime) -> None:
        """Compute; never raises. Ends soon if `runtime.closing` is set."""


class Runtime:
    """A model and its tokenizer in memory, with the thread that computes with them."""

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = name
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.context_window = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0)) or None
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self.closing = Flag()
        # One thread for all jobs: OpenMP keeps a thread team for every thread that has ever computed.
        self._thread = Thread(target=self._work, name=f"generate {name}", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue `job`. Raises BackendUnavailable if the model was unloaded."""
        if self.closing.is_set():
            raise BackendUnavailable(f"{self.name} was unloaded.", "Load it again.")
        self._queue.put(job)

    def count_tokens(self, text: str) -> int:
        """Return the tokens of `text`, without those that a chat template adds."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def close(self) -> None:
        """Cancel all jobs, then drop the model, even if a chat model still refers to this runtime."""
        self.closing.set()
        self._queue.put(None)
        self._thread.join()
        while not self._queue.empty():
            if waiting := self._queue.get():
                waiting.run(self)
        self.model = self.tokenizer = None

    def _work(self) -> None:
        while job := self._queue.get():
            job.run(self)
            # Otherwise this frame keeps the last answer's tensors alive until the next question.
            del job


class Generation:
    """One answer; submit it to a Runtime, in whose thread `emit` receives the events."""

    def __init__(self, messages: list[dict[str, str]], options: GenerationOptions, emit: Emit) -> None:
        self.messages, self.options, self.emit = messages, options, emit
        self._cancelled = Flag()

    def cancel(self) -> None:
        """Stop it: before its turn, between two layers of a forward pass, or between two tokens. Idempotent."""
        self._cancelled.set()

    def run(self, runtime: Runtime) -> None:
        """Generate. Emits every error instead of raising it, because the thread has other generations to run."""
        try:
            self._emit_last(self._generate(runtime))
        except BaseException as error:  # noqa: BLE001 - emitted; otherwise the consumer would wait forever
            self._emit_last(error)

    def _emit_last(self, event: End | BaseException) -> None:
        try:
            self.emit(event)
        except RuntimeError:  # the consumer's event loop is closed
            logger.debug("The consumer is gone", exc_info=True)

    def _generate(self, runtime: Runtime) -> End:
        from transformers import StoppingCriteriaList

        def check(*_: object) -> None:
            if self._cancelled.is_set() or runtime.closing.is_set():
                raise BackendUnavailable("The answer was stopped before it was complete.", "Ask again.")

        check()
        model, tokenizer = runtime.model, runtime.tokenizer
        prompt = encode(tokenizer, self.messages)
        length = int(prompt["input_ids"].shape[1])
        end_ids = end_token_ids(model, tokenizer)
        text = TextStream(partial(tokenizer.decode, skip_special_tokens=True), self.options.stop, frozenset(end_ids))
        listener = _Listener(text, self.emit, check)
        with checked_layers(model, check):
            model.generate(
                input_ids=prompt["input_ids"].to(model.device),
                attention_mask=prompt["attention_mask"].to(model.device),
                max_new_tokens=answer_room(length, runtime.context_window, self.options.max_new_tokens),
                eos_token_id=end_ids or None,
                pad_token_id=end_ids[0] if end_ids else 0,
                num_beams=1,
                # Sampling is a logits processor with its own random generator: see sampling.py.
                do_sample=False,
                temperature=1.0,
                top_p=1.0,
                top_k=50,
                logits_processor=[Sampler(self.options)] if self.options.temperature > 0 else [],
                stopping_criteria=StoppingCriteriaList([listener]),
                streamer=listener,
                # Drafting needs rollback, which a model with a recurrent state does not support.
                prompt_lookup_num_tokens=None if getattr(model, "_is_stateful", False) else LOOKUP_TOKENS,
            )
        if rest := text.finish():
            self.emit(rest)
        return End("stop" if text.ended else "length", length, text.tokens)


class _Listener:
    """The streamer and the stopping criterion of `generate`, called at every step."""

    def __init__(self, text: TextStream, emit: Emit, check: Callable[[], None]) -> None:
        self.text, self.emit, self.check = text, emit, check
        self.seen_prompt = False

    def put(self, ids: torch.Tensor) -> None:
        """Receive the ids of the prompt first, then the new ids of each step (several if a draft was right)."""
        if not self.seen_prompt:
            self.seen_prompt = True
            return
        self.check()
        if piece := "".join(self.text.push(token) for token in ids.flatten().tolist()):
            self.emit(piece)

    def end(self) -> None:
        """Nothing to do: `Generation` emits the End."""

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> bool:
        """Return whether to stop."""
        return self.text.ended


@contextmanager
def checked_layers(model: Any, check: Callable[[], None]) -> Iterator[None]:
    """Enter inference mode and call `check` before every layer: only an exception from inside stops a long prompt."""
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
