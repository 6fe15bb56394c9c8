"""Every backend against its real server or a server with its protocol, through the application's services.

Documents, Chroma and the embedding model are real too. test_servers.py tests the servers themselves. `llama` is used
through the vLLM backend, like any server with OpenAI's protocol. Figures of each run are in build/integration.jsonl.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from backends.base import Backend, State
from backends.checks import check_all
from errors import ContextTooLong
from options import Answers, GenerationOptions
from rag.chat.question import Question
from rag.index.embedding_models import open_embeddings
from rag.index.embeddings import EmbeddingModel
from rag.schema import LOCAL_OWNER, Delta, Finish, Finished, Message
from services import Services
from services.documents import SAMPLE_QUESTIONS, sample_files
from settings import ROOT, Settings
from tests.integration.recipes import KEY, WINDOW
from tests.integration.servers import Server
from tests.integration.test_servers import COUNT, FACTS, STORY, TOO_LONG

pytestmark = pytest.mark.integration

SHED = SAMPLE_QUESTIONS[1]
WRONG_KEY = "sk-nonsense"
LONG = "The ferry left the quay, and the gulls went with it. " * 80
"""A question of about a thousand tokens, which takes servers seconds to read."""
READER, STRANGER = LOCAL_OWNER, "stranger"
"""The reader has the samples. The stranger has no documents and asks the model directly."""


@dataclass(frozen=True)
class Case:
    """The backend for a server, its settings, and the server's reaction to a wrong key."""

    backend: str
    prefix: str
    settings: dict[str, str] = field(default_factory=dict)
    """By name without the prefix."""
    wrong_key: str = "AuthenticationFailed"
    """The error; empty if any key is accepted."""


CASES = {
    "vllm": Case("vllm", "VLLM"),
    "instructlab": Case("instructlab", "INSTRUCTLAB", {"CONTEXT_WINDOW": str(WINDOW)}, wrong_key=""),
    "llama": Case("vllm", "VLLM"),
    "ollama": Case("ollama", "OLLAMA", {"NUM_CTX": str(WINDOW)}, wrong_key=""),
    # LiteLLM looks up unknown keys in a database, which it does not have here.
    "gemini": Case("gemini", "GOOGLE", wrong_key="RequestRejected"),
}


def cli(*arguments: str, **environment: str) -> list[dict[str, Any]]:
    """Run a command, which must succeed; return its JSON lines."""
    command, env = [sys.executable, "cli.py", *arguments, "--json"], os.environ | environment
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the samples, for copying."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "models").symlink_to(ROOT / "build" / "models")
    taken = cli("ingest", *map(str, sample_files()), GESTALT_DATA_DIR=str(folder))
    assert {file["status"] for file in taken} == {"ready"}
    return folder


@pytest.fixture
def case(server: Server, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The server's case, with its environment variables and a fresh data folder."""
    case = CASES[server.name]
    shutil.copytree(library, tmp_path / "data", symlinks=True)
    for name, value in ({"BASE_URL": server.url, "API_KEY": KEY} | case.settings).items():
        monkeypatch.setenv(f"{case.prefix}_{name}", value)
    monkeypatch.setenv("GESTALT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LLM_BACKEND_TYPE", case.backend)
    monkeypatch.setenv("DEFAULT_MODEL_NAME_OR_PATH", server.model)
    return case


@pytest.fixture(scope="session")
def embeddings() -> EmbeddingModel:
    return open_embeddings(Settings())


@contextmanager
def open_services(embeddings: EmbeddingModel) -> Iterator[Services]:
    services = Services(Settings(), open_embeddings=lambda _: embeddings)
    pipeline = services.asking.pipeline
    with pytest.MonkeyPatch.context() as patch:
        # What a server does is tested, not the quotes that stand in where it fails.
        patch.setattr(services.asking, "pipeline", lambda *asked: replace(pipeline(*asked), stands_in=False))
        yield services
    services.close()


@pytest.fixture
def services(case: Case, embeddings: EmbeddingModel) -> Iterator[Services]:
    with open_services(embeddings) as services:
        yield services


@pytest.fixture
def backend(services: Services, case: Case) -> Backend:
    return services.manager.backend(case.backend)


def ask(text: str, **options: Any) -> Question:
    """A question with the default options, some of them replaced."""
    return Question(text, Settings().answer.replace(**options))


def to_the_model(text: str, fallback: str = "", **options: Any) -> Question:
    """A question of the stranger, with generation options."""
    return ask(text, strict=False, fallback=fallback, generation=GenerationOptions(**options))


def finish(
    services: Services, question: Question, then: Callable[[Message], None] = lambda message: None, after: int = 3
) -> Message:
    """Ask and return the stored message; call `then` after so many pieces of the answer, at once if 0."""
    owner = READER if question.options.strict else STRANGER
    started, turn = services.asking.ask(owner, question)
    pieces = 0
    for number, event in enumerate(turn.follow()):
        pieces += isinstance(event, Delta)
        if isinstance(event, Finished):
            message = event.message
        elif (pieces == after and isinstance(event, Delta)) or number == after == 0:
            then(started)
    assert services.conversations.messages(owner, message.conversation_id)[-1] == message
    return message


def error(message: Message) -> tuple[str, str]:
    """Return class and text of the error shown, which always has a message and a hint."""
    assert message.finish is Finish.FAILED
    assert message.error
    assert all(message.error.values())
    return message.error["type"], f"{message.error['message']} {message.error['hint']}"


def test_a_question_is_answered_from_the_documents(services: Services, server: Server, backend: Backend) -> None:
    speed = finish(services, to_the_model(STORY, max_new_tokens=100))
    streamed: list[Message] = []
    message = finish(services, ask(SHED), streamed.append, after=2)
    assert (message.finish, message.backend, message.model) == (Finish.COMPLETE, backend.name, server.model)
    assert "beehive" in message.text
    assert "beehive" in message.citations[0].quote
    assert streamed
    assert not any("cut" in note for note in message.notes)
    used, took = message.usage, message.timings
    assert used.input_tokens > 100
    assert used.output_tokens >= 5
    assert used.estimated == (server.name in ("instructlab", "gemini"))
    assert took.first_token_s
    assert speed.timings.first_token_s
    assert took.retrieve_s < took.first_token_s < took.total_s
    figures = {
        "server": server.name,
        "seconds_to_start": round(server.seconds_to_start, 1),
        "first_token_s": round(took.first_token_s - took.retrieve_s, 2),
        "tokens_per_s": round(speed.usage.output_tokens / (speed.timings.total_s - speed.timings.first_token_s), 1),
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "estimated": used.estimated or not FACTS[server.name].usage,
    }
    with (ROOT / "build" / "integration.jsonl").open("a") as file:
        file.write(json.dumps(figures) + "\n")


def test_a_key_is_checked_by_the_server_and_never_shown(
    case: Case, embeddings: EmbeddingModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = []
    for key in (WRONG_KEY, KEY):
        monkeypatch.setenv(f"{case.prefix}_API_KEY", key)
        with open_services(embeddings) as services:
            message = finish(services, ask(SHED))
            shown.append(
                repr((message, check_all(services.manager.backends(), 3.0), services.manager.known(case.backend)))
            )
        if key == WRONG_KEY and case.wrong_key:
            assert error(message)[0] == case.wrong_key
        else:
            assert message.finish is Finish.COMPLETE
    assert "POST" in caplog.text
    for text in (*shown, caplog.text):
        assert KEY not in text
        assert WRONG_KEY not in text


def test_an_unknown_model_is_reported_by_name(services: Services, backend: Backend) -> None:
    kind, words = error(finish(services, ask(SHED, model="no-such/model")))
    assert kind == "ModelNotFound"
    if listed := backend.list_models():
        assert "no-such/model" in words
        assert listed[0].name in words


def test_passages_that_do_not_fit_the_window_are_left_out(services: Services, server: Server) -> None:
    message = finish(services, ask(SHED, k=12, generation=GenerationOptions(max_new_tokens=32)))
    assert len(message.passages) == 12
    if not FACTS[server.name].models:  # nor does it report its window
        assert error(message)[0] == "ContextTooLong"
        return
    assert message.finish is Finish.COMPLETE
    assert "of 12 passages; more did not fit its window" in message.notes[0]
    assert not any("cut the prompt" in note for note in message.notes)


def test_a_prompt_that_is_too_long_is_reported(services: Services, server: Server, backend: Backend) -> None:
    async def invoke() -> None:
        async with services.manager.use(backend.name, server.model, GenerationOptions(max_new_tokens=8)) as chat:
            await chat.ainvoke([HumanMessage(TOO_LONG)])

    with pytest.raises(ContextTooLong):
        asyncio.run(invoke())
    assert services.manager.status(backend.name, server.model).state is State.READY


@pytest.mark.parametrize(("question", "after"), [(STORY, 3), (LONG, 0)], ids=["during the answer", "before the answer"])
def test_stop_frees_the_server_and_keeps_the_text(services: Services, question: str, after: int) -> None:
    def stop(message: Message) -> None:
        time.sleep(0 if after else 0.3)  # let the server start reading the question
        services.turns.cancel(STRANGER, message.id)

    services.manager.load(services.settings.answer.backend, services.settings.answer.model).result()
    stopped = finish(services, to_the_model(question, max_new_tokens=500), stop, after)
    assert stopped.finish is Finish.STOPPED
    assert bool(stopped.text) == bool(after)
    assert stopped.usage.output_tokens < 100
    assert finish(services, to_the_model(COUNT, max_new_tokens=4)).finish is Finish.COMPLETE


# google-genai does not close the connection of a stream with an error, so the garbage collector warns about it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("behind", [False, True], ids=["the server", "the server behind it"])
def test_a_server_is_killed_during_an_answer(
    services: Services, server: Server, backend: Backend, behind: bool
) -> None:
    victim = server.upstream if behind else server
    if victim is None:
        pytest.skip("no proxy")
    services.manager.load(backend.name, server.model).result()
    story = to_the_model(STORY, fallback="local", max_new_tokens=500)
    try:
        broken = finish(services, story, lambda message: victim.kill())
        assert broken.text
        assert broken.backend == backend.name  # never two models in one text
        assert error(broken)[0] == "BackendUnavailable"
        down = finish(services, ask(SHED))
        kind, words = error(down)
        assert kind == "BackendUnavailable"
        assert behind or backend.start_hint in words
        assert services.manager.status(backend.name, server.model).state is State.ERROR
        # Written: the embedded model would quote the documents instead.
        instead = finish(services, ask(SHED, fallback="local", answers=Answers.WRITTEN))
        assert (instead.finish, instead.backend) == (Finish.COMPLETE, "local")
        assert f"{backend.label} could not answer" in instead.notes[0]
        assert "beehive" in instead.text
    finally:
        victim.start()
    again = finish(services, ask(SHED))
    assert (again.finish, again.backend, again.error) == (Finish.COMPLETE, backend.name, None)
    gc.collect()


def test_concurrent_questions_are_both_answered(services: Services) -> None:
    both: list[Message] = []

    def ask_another(first: Message) -> None:
        both.append(finish(services, ask(SAMPLE_QUESTIONS[1])))

    both.append(finish(services, ask(SHED), ask_another, after=0))
    assert [(message.finish, message.error) for message in both] == [(Finish.COMPLETE, None)] * 2


def test_the_options_are_honoured(services: Services, server: Server) -> None:
    facts = FACTS[server.name]

    def answer(**options: Any) -> Message:
        message = finish(services, to_the_model(COUNT, **{"max_new_tokens": 24} | options))
        assert message.finish is Finish.COMPLETE
        return message

    whole = answer().text
    assert answer().text == whole
    short = answer(max_new_tokens=4)
    assert whole.startswith(short.text)
    assert len(short.text) < len(whole)
    # Of a few tokens with long words, the limit of characters may come first.
    if not any("characters" in note for note in short.notes):
        assert any("limit of tokens" in note for note in short.notes) == (facts.finish[0] != facts.finish[1])
    stop = whole[len(whole) // 2 :][:3]
    assert answer(stop=(stop,)).text == whole[: whole.index(stop)].strip()
    for option, value in (("seed", 7), ("top_k", 1)):
        if option not in facts.ignores:
            assert answer(temperature=1.5, **{option: value}).text == answer(temperature=1.5, **{option: value}).text


def test_the_command_line(server: Server, case: Case) -> None:
    listed = {line["name"]: line for line in cli("backends")}
    assert len(listed) == 5
    assert listed[case.backend]["state"] == "ready"
    assert server.model in listed[case.backend]["models"] or not FACTS[server.name].models
    [answer] = cli("ask", SHED, "--backend", case.backend)
    assert "beehive" in answer["answer"]
    assert (answer["finish"], answer["backend"], answer["model"]) == ("complete", case.backend, server.model)
