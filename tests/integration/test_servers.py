"""What the servers do, in plain HTTP: the facts that the backends rely on.

`ollama` and `gemini` are other products with their protocols (see recipes.py): only the shape of their answers applies
to Ollama and Gemini; errors, counts and ignored options are their own.

`FACTS` lists how the servers differ. If a test fails after an update of a server, the server has changed, and its
backend needs a review.
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
    """Facts about a server. A response is its status and a part of its body."""

    wrong_key: tuple[int, str]
    unknown_model: tuple[int, str]
    too_long: tuple[int, str]
    models: str
    """Path of its list of models; empty if it has none."""
    cold_start: bool = True
    usage: bool = True
    """Whether a stream reports the tokens used, as the model counts them."""
    ignores: frozenset[str] = frozenset()
    """Options without effect."""
    finish: tuple[str, str] = ("stop", "length")
    """Its finish reasons for a complete and for a cut answer."""
    at_once: bool = True
    """Whether it answers two requests at a time."""


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
        too_long=(200, ""),  # an empty stream; only its log has the reason
        usage=False,
        ignores=frozenset({"max_completion_tokens"}),
        at_once=False,
    ),
    "llama": Facts(
        models="/v1/models",
        wrong_key=(401, '{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}'),
        unknown_model=(200, f'"model":"{embedded_model.NAME}"'),  # it answers with its only model
        too_long=(400, "tokens) exceeds the available context size (2048 tokens), try increasing it"),
    ),
    # Ollama's own messages differ: see the module docstring.
    "ollama": Facts(
        models="/api/tags",
        wrong_key=(200, '"done": true'),
        unknown_model=(400, """{"error":"Unknown provider prefix: 'no-such'."""),
        too_long=(200, '"done_reason": "error", "error": "Error code: 400 - request ('),
        usage=False,  # it counts words
        ignores=frozenset({"seed", "top_k"}),
        finish=("stop", "stop"),
    ),
    # So do Google's.
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


def assert_response(answer: Answer, fact: tuple[int, str]) -> None:
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


def test_it_reports_usage(server: Server, facts: Facts) -> None:
    answer = ask(server, COUNT, max_tokens=5)
    assert answer.finish == facts.finish[1]
    assert answer.usage == (38, 5) if facts.usage else answer.usage != (38, 5)


def test_response_to_a_wrong_key(server: Server, facts: Facts) -> None:
    assert_response(whole(server, Ask(COUNT, key="nonsense", options=limited(server, 2))), facts.wrong_key)


def test_response_to_an_unknown_model(server: Server, facts: Facts) -> None:
    assert_response(whole(server, Ask(COUNT, model="no-such/model", options=limited(server, 2))), facts.unknown_model)


def test_response_to_a_prompt_that_is_too_long(server: Server, facts: Facts) -> None:
    answer = ask(server, TOO_LONG)
    assert_response(answer, facts.too_long)
    assert not answer.pieces


def test_temperature_0_is_repeatable(server: Server) -> None:
    assert ask(server, COUNT).text == ask(server, COUNT).text


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_tokens", 5), ("max_completion_tokens", 5), ("stop", ["3"]), ("seed", 7), ("top_k", 1)],
)
def test_which_options_have_an_effect(server: Server, facts: Facts, option: str, value: Any) -> None:
    if option.startswith("max"):
        if option == "max_completion_tokens" and not isinstance(PROTOCOLS[server.name], OpenAI):
            pytest.skip("a name in OpenAI's protocol")
        limit = PROTOCOLS[server.name].names.get(option, option)
        answer = whole(server, Ask(COUNT, options={"temperature": 0, limit: value}))
        has_effect = answer.finish == facts.finish[1] and len(answer.pieces) <= 5
    elif option == "stop":
        has_effect = "3" in ask(server, COUNT).text and "3" not in ask(server, COUNT, stop=value).text
    else:
        # With top_k 1 an answer is deterministic at any temperature, and so it is with a seed.
        answers = {ask(server, COUNT, temperature=1.5, **{option: value}).text for _ in range(3)}
        has_effect = len(answers) == 1
    assert has_effect == (option not in facts.ignores)


def test_concurrent_requests(server: Server, facts: Facts) -> None:
    statuses: list[int] = []
    asking = [
        threading.Thread(target=lambda: statuses.append(ask(server, STORY, max_tokens=40).status)) for _ in range(2)
    ]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert sorted(statuses) == ([200, 200] if facts.at_once else [200, 503])


def test_closing_the_connection_stops_the_generation(server: Server) -> None:
    with streaming(server, Ask(STORY, options=limited(server, 1500, temperature=0))) as answers:
        next(answer for answer in answers if len(answer.pieces) == 3)

    def is_idle() -> bool:
        before = server.cpu_seconds()
        time.sleep(1)
        return server.cpu_seconds() - before < 0.3

    assert any(is_idle() for _ in range(10))  # 1500 tokens take half a minute


def kill_during_answer(server: Server, victim: Server) -> Answer:
    with streaming(server, Ask(STORY, options=limited(server, 1000, temperature=0))) as answers:
        for answer in answers:
            if len(answer.pieces) == 3 and victim.is_running:
                victim.kill()
    return answer


def test_a_proxy_reports_in_its_stream_that_its_server_died(server: Server) -> None:
    if not server.upstream:
        pytest.skip("no proxy")
    try:
        answer = kill_during_answer(server, server.upstream)
        assert answer.status == 200
        assert answer.pieces
        assert answer.error
    finally:
        server.upstream.start()


def test_a_kill_during_an_answer_breaks_the_stream(server: Server) -> None:
    try:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            kill_during_answer(server, server)
        with pytest.raises(httpx.ConnectError):
            ask(server, COUNT)
    finally:
        server.start()
    assert ask(server, COUNT).pieces
