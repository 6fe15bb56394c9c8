from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable

from backends import cpu_attention
from backends.chat_format import answer_room, encode
from backends.local_chat_model import LocalChatModel
from backends.sampling import Sampler
from backends.text_stream import TextStream
from errors import BackendUnavailable, ConfigurationError, ContextTooLong, RequestRejected
from options import GenerationOptions
from tests.tiny_model import TEMPLATE, make_chat_model, make_model, make_tokenizer

QUESTION = "What is it?"


@pytest.fixture
def tiny() -> Iterator[LocalChatModel]:
    model = make_chat_model()
    yield model
    model.runtime.close()


def reference(model: LocalChatModel, tokens: int = 24, question: str = QUESTION) -> str:
    """Return the answer of transformers itself, without drafting, streaming or hooks."""
    prompt = encode(model.runtime.tokenizer, [{"role": "user", "content": question}])
    with torch.inference_mode():
        ids = model.runtime.model.generate(**prompt, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
    return str(model.runtime.tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :]))


def join(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    return reduce(add, chunks)


class LayerCounter:
    """Counts and slows down forward passes of layers."""

    def __init__(self, model: LocalChatModel, seconds: float) -> None:
        self.count = 0
        self.seconds = seconds
        for layer in model.runtime.model.model.layers:
            layer.register_forward_hook(self)

    def __call__(self, *_: object) -> None:
        self.count += 1
        time.sleep(self.seconds)

    def final_count(self) -> int:
        """Return the count once it no longer grows."""
        before = -1
        while before != self.count:
            before = self.count
            time.sleep(self.seconds * 3)
        return self.count


def test_stream_and_invoke_answer_like_transformers(tiny: LocalChatModel) -> None:
    expected = reference(tiny)

    async def astream() -> list[AIMessageChunk]:
        return [chunk async for chunk in tiny.astream(QUESTION)]

    chunks = list(tiny.stream(QUESTION))
    assert len(chunks) > 5
    answers = join(chunks), join(asyncio.run(astream())), tiny.invoke(QUESTION), asyncio.run(tiny.ainvoke(QUESTION))
    assert [answer.content for answer in answers] == [expected] * 4


def test_the_last_chunk_has_usage_and_finish_reason(tiny: LocalChatModel) -> None:
    *others, last = tiny.stream(QUESTION)
    length = encode(tiny.runtime.tokenizer, [{"role": "user", "content": QUESTION}])["input_ids"].shape[1]
    assert last.usage_metadata == {"input_tokens": length, "output_tokens": 24, "total_tokens": length + 24}
    assert last.response_metadata["finish_reason"] == "length"
    assert not any(chunk.usage_metadata for chunk in others)


def test_the_end_token_finishes_with_stop(tiny: LocalChatModel) -> None:
    expected = reference(tiny)
    end = expected[5]
    tiny.runtime.model.generation_config.eos_token_id = tiny.runtime.tokenizer.convert_tokens_to_ids(end)
    answer = tiny.invoke(QUESTION)
    assert answer.content == expected[: expected.index(end)]
    assert answer.response_metadata["finish_reason"] == "stop"


def test_a_stop_sequence_that_spans_tokens_is_not_emitted(tiny: LocalChatModel) -> None:
    expected = reference(tiny)
    stop = expected[6:9]
    streamed = list(tiny.stream(QUESTION, stop=["never there", stop]))
    assert join(streamed).content == expected[: expected.index(stop)]
    assert join(streamed).response_metadata["finish_reason"] == "stop"
    assert join(streamed).usage_metadata["output_tokens"] == expected.index(stop) + 3  # type: ignore[index]


def test_options_can_be_overridden_for_one_call_but_not_unknown_ones(tiny: LocalChatModel) -> None:
    short: Runnable[Any, Any] = tiny.bind(max_new_tokens=3)
    assert len(short.invoke(QUESTION).content) == 3
    with pytest.raises(ConfigurationError, match="top_q"):
        tiny.invoke(QUESTION, top_q=1)


def test_a_seed_is_repeatable_and_does_not_touch_the_global_generator(tiny: LocalChatModel) -> None:
    before = torch.get_rng_state()
    hot: dict[str, Any] = {"temperature": 1.5, "top_k": 10_000, "top_p": 1.0}
    one, again, other = (tiny.invoke(QUESTION, **hot, seed=seed).content for seed in (1, 1, 2))
    assert one == again != other
    assert torch.equal(before, torch.get_rng_state())
    assert len({tiny.invoke(QUESTION, **hot).content for _ in range(3)}) > 1


def test_top_k_of_one_and_a_tiny_top_p_are_greedy(tiny: LocalChatModel) -> None:
    expected = reference(tiny)
    assert tiny.invoke(QUESTION, temperature=2.0, top_k=1).content == expected
    assert tiny.invoke(QUESTION, temperature=2.0, top_p=1e-6, top_k=10_000).content == expected


def test_the_sampler_draws_with_the_right_probabilities() -> None:
    sampler = Sampler(GenerationOptions(temperature=1.0, top_k=3, top_p=1.0, seed=0))
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    drawn = torch.stack([sampler(scores, scores).argmax() for _ in range(4000)]).bincount(minlength=4) / 4000
    torch.testing.assert_close(drawn, torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95, atol=0.03, rtol=0)


def test_the_window_limits_prompt_and_answer() -> None:
    assert answer_room(100, 200, 50) == 50
    assert answer_room(160, 200, 50) == 40
    assert answer_room(195, 200, 5) == 5
    assert answer_room(10**6, None, 50) == 50
    with pytest.raises(ContextTooLong, match=r"1,100 tokens; a window of 1,024 holds 992"):
        answer_room(1100, 1024, 500)


def test_a_prompt_over_the_window_is_rejected_and_a_long_answer_cut() -> None:
    model = make_chat_model(window=64, max_new_tokens=500)
    try:
        with pytest.raises(ContextTooLong):
            list(model.stream("word " * 20))
        last = join(list(model.stream("hi")))
        assert last.usage_metadata["total_tokens"] == 64  # type: ignore[index]
        assert last.response_metadata["finish_reason"] == "length"
    finally:
        model.runtime.close()


def test_an_error_in_the_thread_reaches_the_consumer_and_the_next_call_works(tiny: LocalChatModel) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    hook = tiny.runtime.model.model.layers[2].register_forward_hook(fail)
    with pytest.raises(MemoryError):
        list(tiny.stream(QUESTION))
    with pytest.raises(MemoryError):
        asyncio.run(tiny.ainvoke(QUESTION))
    hook.remove()
    assert tiny.invoke(QUESTION).content == reference(tiny)


def test_closing_the_stream_stops_the_generation(tiny: LocalChatModel) -> None:
    passes = LayerCounter(tiny, 0.01)
    stream = tiny.stream(QUESTION, max_new_tokens=400)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    now = passes.count
    assert passes.final_count() <= now + 2


def test_cancelling_before_the_first_token_stops_the_prefill(tiny: LocalChatModel) -> None:
    passes = LayerCounter(tiny, 0.1)

    async def cancel_early() -> None:
        task = asyncio.create_task(tiny.ainvoke(QUESTION))
        while not passes.count:  # noqa: ASYNC110 - set by the model's thread
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_early())
    assert passes.final_count() <= 3  # of four layers


def test_closing_the_async_stream_stops_the_generation(tiny: LocalChatModel) -> None:
    passes = LayerCounter(tiny, 0.01)

    async def leave() -> int:
        stream = tiny.astream(QUESTION, max_new_tokens=400)
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        return passes.count

    now = asyncio.run(leave())
    assert passes.final_count() <= now + 2


def test_generations_are_queued_and_a_queued_one_can_be_cancelled(tiny: LocalChatModel) -> None:
    expected = reference(tiny)
    passes = LayerCounter(tiny, 0.005)

    async def three() -> list[Any]:
        first = asyncio.create_task(tiny.ainvoke(QUESTION))
        second = asyncio.create_task(tiny.ainvoke(QUESTION))
        third = asyncio.create_task(tiny.ainvoke(QUESTION, max_new_tokens=2))
        while not passes.count:  # noqa: ASYNC110 - set by the model's thread
            await asyncio.sleep(0.005)
        second.cancel()
        return list(await asyncio.gather(first, second, third, return_exceptions=True))

    first, second, third = asyncio.run(three())
    assert (first.content, third.content) == (expected, expected[:2])
    assert isinstance(second, asyncio.CancelledError)
    assert passes.count <= 4 * (24 + 2)


def test_an_unloaded_model_raises_at_once_and_while_answering(tiny: LocalChatModel) -> None:
    LayerCounter(tiny, 0.01)
    stream = tiny.stream(QUESTION, max_new_tokens=400)
    next(stream)
    tiny.runtime.close()
    with pytest.raises(BackendUnavailable):
        list(stream)
    with pytest.raises(BackendUnavailable, match="unloaded"):
        tiny.invoke(QUESTION)


def test_without_a_system_role_the_system_message_precedes_the_first_question() -> None:
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    tokenizer = make_tokenizer(template)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert tokenizer.decode(encode(tokenizer, messages)["input_ids"][0]) == "[user]Be brief.\n\nWhy?[a]"
    with pytest.raises(RequestRejected):
        encode(tokenizer, messages[:1])


def test_messages_keep_their_roles(tiny: LocalChatModel) -> None:
    alike = tiny.invoke([SystemMessage("Be brief."), HumanMessage("Why?")])
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    prompt = encode(tiny.runtime.tokenizer, messages)
    assert alike.usage_metadata["input_tokens"] == prompt["input_ids"].shape[1]  # type: ignore[index]


def text_of(stream: TextStream, ids: list[int]) -> list[str]:
    return [*(piece for token in ids if (piece := stream.push(token))), stream.finish()]


def test_characters_of_several_bytes_are_not_split() -> None:
    tokenizer = make_tokenizer()
    text = "naïve — 日本語 👩‍👩‍👧 end"
    ids = tokenizer.encode(text)
    pieces = text_of(TextStream(tokenizer.decode, (), frozenset()), ids)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(text_of(TextStream(tokenizer.decode, (), frozenset()), ids[:8])) == "naïve "  # cut inside the dash


@pytest.mark.parametrize(
    ("stop", "left"),
    [(("lo w",), "Hel"), (("ld", "wor"), "Hello "), (("lllo",), "Hello world"), (("ddd", ""), "Hello world")],
)
def test_stop_sequences_only_delay_text_that_may_belong_to_them(stop: tuple[str, ...], left: str) -> None:
    tokenizer = make_tokenizer()
    stream = TextStream(tokenizer.decode, stop, frozenset())
    assert "".join(text_of(stream, tokenizer.encode("Hello world"))) == left
    assert stream.ended == (left != "Hello world")


def test_packed_attention_equals_that_of_transformers() -> None:
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    prompt = tokenizer("some words to read", return_tensors="pt")
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    options |= {"output_logits": True, "return_dict_in_generate": True}
    plain = model.generate(**prompt, **options)
    model.set_attn_implementation(cpu_attention.register())
    packed = model.generate(**prompt, **options)
    torch.testing.assert_close(torch.stack(packed.logits), torch.stack(plain.logits), atol=1e-3, rtol=1e-3)


def test_the_weights_are_not_printed(tiny: LocalChatModel) -> None:
    assert "runtime" not in repr(tiny)
