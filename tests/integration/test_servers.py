"""What the servers themselves do, asked in plain HTTP: the facts that the backends are written against.

`ollama` and `gemini` are peers in the protocol, not the products (see recipes.py): of them only the shape of an answer
says something about Ollama and Gemini; their errors, counts and ignored options are the proxies' own.

A difference that a server is known by stands in `FACTS`. When one of these tests fails after an update of a server, it
is the server that has changed, and the backend for it wants a look.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from backends import embedded_model
from tests.integration.protocols import PROTOCOLS, Answer, Ask, OpenAI, ask, streaming, whole
from tests.integration.recipes import WINDOW
from tests.integration.servers import Server

pytestmark = pytest.mark.integration

PASSAGES = """Passages:
[1] The pier at Gannet Holm is 62 metres long. Leo Marsh repaired it in April.
[2] The lighthouse keeper's cat is called Biscuit and sleeps in the ticket office.
[3] The ferry leaves at 9:15 from the north quay, except on Sundays.

Question: What is the cat in the ticket office called?"""
COUNT = "Count from one to ten in words."
STORY = "Write a very long story about the sea."
TOO_LONG = "word " * (WINDOW + 500)


@dataclass(frozen=True)
class Facts:
    """What a server says. An answer is its status and some words of its body."""

    wrong_key: tuple[int, str]
    unknown_model: tuple[int, str]
    too_long: tuple[int, str]
    models: str
    """The path of its list of models; empty where it has none."""
    cold_start: bool = True
    usage: bool = True
    """Whether a stream tells the tokens used, as the model counts them."""
    ignores: frozenset[str] = frozenset()
    """Options that change nothing."""
    finish: tuple[str, str] = ("stop", "length")
    """How it calls the two ends of an answer."""
    at_once: bool = True
    """Whether two may ask at a time."""


FACTS = {
    "vllm": Facts(
        models="/v1/models",
        wrong_key=(401, '{"error":"Unauthorized"}'),
        unknown_model=(404, "The model `no-such/model` does not exist."),
        too_long=(400, "This model's maximum context length is 2048 tokens. However, your prompt contains at least"),
    ),
    "instructlab": Facts(
        models="/v1/models",
        wrong_key=(200, "data: "),
        unknown_model=(200, '"model": "no-such/model"'),
        too_long=(200, ""),  # nothing at all, as if the answer were empty; only its log tells
        usage=False,
        ignores=frozenset({"max_completion_tokens"}),
        at_once=False,
    ),
    "llama": Facts(
        models="/v1/models",
        wrong_key=(401, '{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}'),
        unknown_model=(200, f'"model":"{embedded_model.NAME}"'),  # it answers with the one that it has
        too_long=(400, "tokens) exceeds the available context size (2048 tokens), try increasing it"),
    ),
    # Ollama's own words are others: see the module.
    "ollama": Facts(
        models="/api/tags",
        wrong_key=(200, '"done": true'),
        unknown_model=(400, """{"error":"Unknown provider prefix: 'no-such'."""),
        too_long=(200, '"done_reason": "error", "error": "Error code: 400 - request ('),
        usage=False,  # it counts words
        ignores=frozenset({"seed", "top_k"}),
        finish=("stop", "stop"),
    ),
    # And so are Google's.
    "gemini": Facts(
        models="",
        wrong_key=(400, '{"error":{"message":"No connected db.","type":"no_db_connection"'),
        unknown_model=(400, "Invalid model name passed in model=no-such/model."),
        too_long=(400, "litellm.ContextWindowExceededError"),
        usage=False,  # zeros
        ignores=frozenset({"seed", "top_k"}),
        finish=("STOP", "MAX_TOKENS"),
    ),
}


@pytest.fixture
def facts(server: Server) -> Facts:
    return FACTS[server.name]


def limited(server: Server, tokens: int, **options: Any) -> dict[str, Any]:
    return {PROTOCOLS[server.name].names["max_tokens"]: tokens} | options


def says(answer: Answer, fact: tuple[int, str]) -> None:
    status, words = fact
    assert answer.status == status, answer.body
    assert words in answer.body


def test_it_lists_its_model(server: Server, facts: Facts) -> None:
    if not facts.models:
        assert httpx.get(f"{server.url}/v1beta/models", headers=server.headers).status_code == 404
        return
    body = httpx.get(server.url + facts.models, headers=server.headers).json()
    assert server.model in [model.get("id") or model.get("name") for model in body.get("data") or body["models"]]


def test_it_streams_an_answer_from_passages(server: Server, facts: Facts) -> None:
    answer = ask(server, PASSAGES, max_tokens=60)
    assert "Biscuit" in answer.text
    assert len(answer.pieces) > 5
    assert answer.seconds_to_first < answer.seconds
    assert answer.finish == facts.finish[0]


def test_it_says_what_it_used(server: Server, facts: Facts) -> None:
    answer = ask(server, COUNT, max_tokens=5)
    assert answer.finish == facts.finish[1]
    assert answer.usage == (38, 5) if facts.usage else answer.usage != (38, 5)


def test_what_it_says_to_a_wrong_key(server: Server, facts: Facts) -> None:
    says(whole(server, Ask(COUNT, key="nonsense", options=limited(server, 2))), facts.wrong_key)


def test_what_it_says_to_an_unknown_model(server: Server, facts: Facts) -> None:
    says(whole(server, Ask(COUNT, model="no-such/model", options=limited(server, 2))), facts.unknown_model)


def test_what_it_says_to_a_prompt_that_is_too_long(server: Server, facts: Facts) -> None:
    answer = ask(server, TOO_LONG)
    says(answer, facts.too_long)
    assert not answer.pieces


def test_temperature_0_repeats_itself(server: Server) -> None:
    assert ask(server, COUNT).text == ask(server, COUNT).text


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_tokens", 5), ("max_completion_tokens", 5), ("stop", ["3"]), ("seed", 7), ("top_k", 1)],
)
def test_which_options_it_honours(server: Server, facts: Facts, option: str, value: Any) -> None:
    if option.startswith("max"):
        if option == "max_completion_tokens" and not isinstance(PROTOCOLS[server.name], OpenAI):
            pytest.skip("a name in OpenAI's protocol")
        limit = PROTOCOLS[server.name].names.get(option, option)
        answer = whole(server, Ask(COUNT, options={"temperature": 0, limit: value}))
        honoured = answer.finish == facts.finish[1] and len(answer.pieces) <= 5
    elif option == "stop":
        honoured = "3" in ask(server, COUNT).text and "3" not in ask(server, COUNT, stop=value).text
    else:
        # top_k 1 leaves nothing to chance at any temperature; a seed repeats what chance did.
        answers = {ask(server, COUNT, temperature=1.5, **{option: value}).text for _ in range(3)}
        honoured = len(answers) == 1
    assert honoured == (option not in facts.ignores)


def test_whether_two_may_ask_at_once(server: Server, facts: Facts) -> None:
    statuses: list[int] = []
    asking = [
        threading.Thread(target=lambda: statuses.append(ask(server, STORY, max_tokens=40).status)) for _ in range(2)
    ]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert sorted(statuses) == ([200, 200] if facts.at_once else [200, 503])


def test_a_client_that_leaves_ends_the_generation(server: Server) -> None:
    with streaming(server, Ask(STORY, options=limited(server, 1500, temperature=0))) as answers:
        next(answer for answer in answers if len(answer.pieces) == 3)
    time.sleep(2)  # vLLM's threads spin for a second
    before = server.cpu_seconds()
    time.sleep(1)
    assert server.cpu_seconds() - before < 0.3  # 1500 tokens take half a minute


def kill_in_mid_answer(server: Server, victim: Server) -> Answer:
    with streaming(server, Ask(STORY, options=limited(server, 1000, temperature=0))) as answers:
        for answer in answers:
            if len(answer.pieces) == 3 and victim.is_running:
                victim.kill()
    return answer


def test_a_proxy_tells_in_its_stream_that_its_server_died(server: Server) -> None:
    if not server.upstream:
        pytest.skip("no proxy")
    try:
        answer = kill_in_mid_answer(server, server.upstream)
        assert answer.status == 200
        assert answer.pieces
        assert answer.error
    finally:
        server.upstream.start()


def test_a_kill_in_mid_answer_breaks_the_stream(server: Server) -> None:
    try:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            kill_in_mid_answer(server, server)
        with pytest.raises(httpx.ConnectError):
            ask(server, COUNT)
    finally:
        server.start()
    assert ask(server, COUNT).pieces
