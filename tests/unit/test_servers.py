"""The server backends: requests, responses, settings and keys."""

from __future__ import annotations

import asyncio
import logging
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from langchain_core.messages import HumanMessage

import settings
from backends.base import Progress
from backends.instructlab import InstructLabBackend, InstructLabSettings
from backends.ollama import MAX_CACHE_BYTES, OllamaBackend
from backends.ollama_window import DEFAULT_WINDOW, MIN_WINDOW, largest_window
from backends.translate import translate
from errors import ConfigurationError, ModelNotFound
from options import GenerationOptions
from settings import Settings
from tests.stubs.connect import GGUF, MODELS, STUBS, connect
from tests.stubs.gemini_server import GeminiStub
from tests.stubs.ollama_server import MODEL_INFO, SIZE, OllamaStub
from tests.stubs.openai_server import OpenAIStub
from tests.stubs.wire import Request, WireStub, eventually

QUESTION = [HumanMessage("Count to four hundred.")]
OPTIONS = GenerationOptions(temperature=0.0, top_p=0.9, top_k=7, max_new_tokens=5, stop=("four", "six"), seed=0)

each_backend = pytest.mark.parametrize("name", list(STUBS))


def ignore(_: Progress) -> None:
    pass


@pytest.fixture
def stub(name: str) -> Iterator[WireStub]:
    with STUBS[name]() as stub:
        yield stub


def model_request(stub: WireStub) -> Request:
    """Return the last request to a model: the first may have looked for it without `/v1`."""
    *_, request = (request for request in stub.requests if request.path.endswith(stub.answers))
    return request


# Requests


@each_backend
def test_options_are_sent_under_the_protocols_names(name: str, stub: WireStub) -> None:
    list(connect(name, stub).chat_model(MODELS[name], OPTIONS).stream(QUESTION))
    body = model_request(stub).body
    if name == "ollama":
        sent = {key: value for key, value in body["options"].items() if key != "num_ctx"}
        named = {"num_predict": 5, "top_k": 7, "stop": ["four", "six"]}
    elif name == "gemini":
        sent = {key: body["generationConfig"].get(key) for key in ("temperature", "topP", "topK", "seed")}
        sent |= {key: body["generationConfig"].get(key) for key in ("maxOutputTokens", "stopSequences")}
        named = {"maxOutputTokens": 5, "topK": 7, "stopSequences": ["four", "six"]}
    else:
        sent = {key: value for key, value in body.items() if key not in ("model", "messages", "stream")}
        named = {"max_tokens": 5, "top_k": 7, "stop": ["four", "six"], "stream_options": {"include_usage": True}}
    assert sent == named | {"temperature": 0.0, "seed": 0, "topP" if name == "gemini" else "top_p": 0.9}


@each_backend
def test_unset_options_are_not_sent(name: str, stub: WireStub) -> None:
    list(connect(name, stub).chat_model(MODELS[name], GenerationOptions(max_new_tokens=2)).stream(QUESTION))
    body = model_request(stub).body
    body = body.get("options") or body.get("generationConfig") or body
    assert not {"stop", "stopSequences", "seed"} & {key for key, value in body.items() if value is not None}


@each_backend
def test_the_key_is_sent_in_a_header(name: str, stub: WireStub) -> None:
    stub.key = "right"
    backend = connect(name, stub)
    backend.load(MODELS[name], ignore)
    list(backend.chat_model(MODELS[name], OPTIONS).stream(QUESTION))
    header, value = ("x-goog-api-key", "right") if name == "gemini" else ("authorization", "Bearer right")
    assert {request.headers.get(header) for request in stub.requests} == {value}


@pytest.mark.parametrize("name", ["ollama", "vllm", "instructlab"])
def test_without_a_key_no_authorization_is_sent(name: str, stub: WireStub) -> None:
    backend = connect(name, stub)
    backend.load(MODELS[name], ignore)
    assert {request.headers.get("authorization") for request in stub.requests} == {None}


@pytest.mark.parametrize("name", ["vllm", "gemini"])
def test_requests_are_retried_if_configured(name: str, stub: WireStub) -> None:
    chat_model = connect(name, stub, max_retries=1).chat_model(MODELS[name], OPTIONS)
    with stub.failing(503, {}), pytest.raises(Exception):  # noqa: B017, PT011 - its class is tested in test_errors.py
        list(chat_model.stream(QUESTION))
    assert len(stub.requests) == 2


# Settings


@each_backend
@pytest.mark.parametrize("written", ["{}", "{}/", "{}/v1", " {}/v1/ "])
def test_addresses_are_normalised(name: str, stub: WireStub, written: str) -> None:
    backend = connect(name, stub, base_url=written.format(stub.url))
    version = "/v1" if "/v1" in written and name in ("vllm", "instructlab") else ""
    assert backend.server.base_url == f"{stub.url}{version}"
    assert backend.location == f"{backend.label} at {stub.url}{version}"
    assert backend.list_models()


@each_backend
def test_an_address_can_omit_the_scheme_and_have_a_path(name: str) -> None:
    backend = connect(name, "gpu-box:8080/models/", api_key="key")
    assert backend.location == f"{backend.label} at http://gpu-box:8080/models"


@each_backend
@pytest.mark.parametrize("wrong", ["ftp://host", "http://", "http://host:port", "http://host:99999", "http://[::1"])
def test_an_invalid_address_is_reported_with_its_variable(name: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"The setting [A-Z]+_BASE_URL cannot be used"):
        connect(name, wrong)


@pytest.mark.parametrize(("field", "wrong"), [("timeout", "0"), ("timeout", "soon"), ("max_retries", "-1")])
def test_an_invalid_value_is_reported_with_its_variable(field: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=f"VLLM_{field.upper()}"):
        connect("vllm", "http://localhost", **{field: wrong})


@each_backend
def test_a_password_in_the_address_is_sent_but_not_shown(
    name: str, stub: WireStub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = connect(name, stub, base_url=stub.url.replace("://", "://someone:hunter%402@"))
    backend.load(MODELS[name], ignore)
    chat_model = backend.chat_model(MODELS[name], OPTIONS)
    list(chat_model.stream(QUESTION))
    asyncio.run(chat_model.ainvoke(QUESTION))
    login = "Basic " + b64encode(b"someone:hunter@2").decode()
    assert {request.headers.get("authorization") for request in stub.requests} == {login}
    assert backend.location == f"{backend.label} at {stub.url}"
    assert "hunter" not in caplog.text + repr(chat_model)


def test_precedence_is_environment_then_env_file_then_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("INSTRUCTLAB_BASE_URL", "INSTRUCTLAB_API_KEY", "INSTRUCTLAB_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    env, secrets = tmp_path / ".env", tmp_path / "secrets.toml"
    monkeypatch.setitem(InstructLabSettings.model_config, "env_file", env)
    monkeypatch.setattr(settings, "SECRETS", secrets)

    def key_and_timeout() -> tuple[str | None, float]:
        server = InstructLabBackend(Settings()).server
        return server.key, server.timeout

    assert key_and_timeout() == (None, 120)
    secrets.write_text('INSTRUCTLAB_API_KEY = "of the secrets"\nINSTRUCTLAB_TIMEOUT = 1\n')
    assert key_and_timeout() == ("of the secrets", 1)
    env.write_text("INSTRUCTLAB_API_KEY=of the file\n")
    assert key_and_timeout() == ("of the file", 1)
    monkeypatch.setenv("INSTRUCTLAB_API_KEY", "of the environment")
    assert key_and_timeout() == ("of the environment", 1)
    monkeypatch.setenv("INSTRUCTLAB_API_KEY", "")  # like unset
    assert key_and_timeout() == ("of the file", 1)


# Keys


@each_backend
def test_a_key_is_never_shown(name: str, stub: WireStub, caplog: pytest.LogCaptureFixture) -> None:
    key, model = "sk-3f9c-not-to-be-seen", MODELS[name]
    caplog.set_level(logging.DEBUG)
    stub.key = key
    backend = connect(name, stub)
    shown: list[object] = [backend, backend.server, backend.server.model_dump(), vars(backend)]

    def note(act: Callable[[], object]) -> None:
        try:
            shown.append(act())
        except Exception as error:  # noqa: BLE001 - searched for the key
            told = translate(error, backend.location, backend.start_hint)
            shown.extend([str(told), *traceback.format_exception(error)])

    async def answer() -> list[Any]:
        return [chunk async for chunk in backend.chat_model(model, OPTIONS).astream(QUESTION)]

    def use() -> None:
        note(backend.check)
        note(lambda: backend.load(model, ignore))
        with suppress(Exception):  # Ollama looks the model up
            chat_model = backend.chat_model(model, OPTIONS)
            shown.extend([chat_model, str(chat_model), chat_model.model_dump(), chat_model.to_json()])
            note(lambda: list(chat_model.stream(QUESTION)))
        note(lambda: asyncio.run(answer()))

    use()
    stub.key = "another"
    use()
    stub.__exit__()
    use()
    stub.__enter__()
    for record in caplog.records:
        shown.extend([vars(record), logging.Formatter().format(record)])
    assert len(caplog.records) > 20
    for text in map(repr, [*shown, *((request.path, request.query) for request in stub.requests)]):
        assert key not in text


# Ollama


def model_info(values: Mapping[str, object] = {}, arch: str = "llama") -> dict[str, object]:
    """Return a model's `model_info`; None omits a value."""
    shape = {"context_length": 131_072, "block_count": 16, "embedding_length": 2048}
    shape |= {"attention.head_count": 32, "attention.head_count_kv": 8}
    known = {f"{arch}.{name}": value for name, value in {**shape, **values}.items() if value is not None}
    return {"general.architecture": arch, **known}


PER_TOKEN = 2 * 16 * 8 * (64 + 64)
"""Bytes: two per number, 16 layers, 8 heads, a key and a value of 64 each."""


@pytest.mark.parametrize(
    ("info", "budget", "window"),
    [
        (model_info(), 2**40, 131_072),
        (model_info(), 10_000 * PER_TOKEN, 9 * 1024),
        (model_info(), 0, MIN_WINDOW),
        (model_info({"context_length": 512}), 2**40, 512),
        (model_info({"context_length": 512}), 0, 512),
        (model_info({"attention.key_length": 128, "attention.value_length": 192}, "gemma3"), 20_000 * PER_TOKEN, 7168),
        (model_info({"attention.head_count_kv": None}), 40_000 * PER_TOKEN, 9 * 1024),
        (model_info({"attention.head_count_kv": [0, 8, 0, 4]}, "lfm2"), 10_000 * PER_TOKEN, 9 * 1024),
        (model_info({"attention.head_count": [32, 16], "attention.head_count_kv": None}), 40_000 * PER_TOKEN, 9 * 1024),
        (model_info({"block_count": None}), 2**40, DEFAULT_WINDOW),
        (model_info({"embedding_length": None}), 0, DEFAULT_WINDOW),
        (model_info({"context_length": 1000, "block_count": None}), 2**40, 1000),
        (model_info({"context_length": None}), 2**40, DEFAULT_WINDOW),
        ({"general.architecture": "llama"}, 2**40, DEFAULT_WINDOW),
        ({}, 2**40, DEFAULT_WINDOW),
    ],
)
def test_the_window_is_as_large_as_model_and_memory_allow(info: dict[str, object], budget: int, window: int) -> None:
    assert largest_window(info, budget) == window


@pytest.fixture
def ollama() -> Iterator[tuple[OllamaStub, OllamaBackend]]:
    with OllamaStub(("tiny", "other:1b")) as stub:
        yield stub, connect_ollama(stub)


def connect_ollama(stub: OllamaStub, **options: object) -> OllamaBackend:
    backend = connect("ollama", stub, **options)
    assert isinstance(backend, OllamaBackend)
    return backend


def requested_windows(stub: OllamaStub) -> list[int]:
    """Return the windows in the requests to a model."""
    return [
        request.body["options"]["num_ctx"]
        for request in stub.requests
        if request.path.endswith(stub.answers) and request.body.get("keep_alive") != 0
    ]


def test_the_window_is_always_sent_to_ollama(ollama: tuple[OllamaStub, OllamaBackend]) -> None:
    stub, backend = ollama
    list(backend.chat_model("tiny", OPTIONS).stream(QUESTION))
    loaded = backend.load("tiny", ignore)
    list(backend.chat_model("tiny", OPTIONS).stream(QUESTION))
    budget = min(MAX_CACHE_BYTES, psutil.virtual_memory().total)
    largest = largest_window(MODEL_INFO, budget)
    assert len(requested_windows(stub)) == 3
    assert all(MIN_WINDOW <= window <= largest for window in requested_windows(stub))
    assert requested_windows(stub)[1:] == [loaded.context_window] * 2


def test_a_configured_window_is_sent_to_ollama(ollama: tuple[OllamaStub, OllamaBackend]) -> None:
    stub, _ = ollama
    backend = connect_ollama(stub, num_ctx=3000, keep_alive="10m")
    assert backend.load("tiny", ignore).context_window == 3000
    list(backend.chat_model("tiny", OPTIONS).stream(QUESTION))
    assert requested_windows(stub) == [3000, 3000]
    assert {request.body["keep_alive"] for request in stub.requests if request.path.endswith(stub.answers)} == {"10m"}


def test_ollama_lists_loads_and_unloads(ollama: tuple[OllamaStub, OllamaBackend]) -> None:
    _, backend = ollama
    assert [(info.name, info.label, info.in_memory) for info in backend.list_models()] == [
        ("tiny:latest", "tiny", False),
        ("other:1b", "other:1b", False),
    ]
    reports: list[Progress] = []
    loaded = backend.load("other:1b", reports.append)
    assert [progress.text for progress in reports] == [f"Asking {backend.location}", "Ollama is loading other:1b"]
    assert (loaded.device, loaded.quantization, loaded.size_bytes) == ("GPU", "Q8_0", SIZE)
    first = backend.list_models()[0]
    assert (first.name, first.in_memory, first.context_window) == ("other:1b", True, 131_072)
    assert (first.family, first.size_bytes) == ("llama 1.2B Q8_0", SIZE)
    released = backend.unload("other:1b")
    assert released
    assert (released.device, released.size_bytes, released.freed_bytes) == ("Ollama", SIZE, SIZE)
    assert not any(info.in_memory for info in backend.list_models())
    assert backend.unload("other:1b") is None


def test_ollama_models_can_be_named_without_a_tag(ollama: tuple[OllamaStub, OllamaBackend]) -> None:
    _, backend = ollama
    assert backend.load("tiny", ignore) == backend.load("tiny:latest", ignore)
    with pytest.raises(ModelNotFound, match="“other:latest”"):
        backend.load("other", ignore)


def test_ollama_reports_the_device(ollama: tuple[OllamaStub, OllamaBackend]) -> None:
    stub, backend = ollama
    devices = []
    for on_gpu in (0, SIZE // 4, SIZE):
        with stub.having(size_vram=on_gpu):
            devices.append(backend.load("tiny", ignore).device)
    assert devices == ["CPU", "GPU 25 %, CPU 75 %", "GPU"]


def test_ollama_reports_the_progress_of_a_pull(ollama: tuple[OllamaStub, OllamaBackend]) -> None:
    _, backend = ollama
    reports: list[Progress] = []
    backend.pull("new", reports.append)
    assert reports[0] == Progress("Pulling new: pulling manifest")
    fractions = [progress.fraction for progress in reports if progress.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert "of 1.3 GB" in reports[1].text
    assert reports[-1] == Progress("Pulling new: success")
    assert backend.load("new", ignore).size_bytes == SIZE


def test_cancelling_a_pull_closes_its_request(ollama: tuple[OllamaStub, OllamaBackend]) -> None:
    stub, backend = ollama

    def cancel(progress: Progress) -> None:
        if progress.fraction:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.pull("new", cancel)
    assert eventually(lambda: stub.closed == 1)
    assert stub.left[0].path == "/api/pull"


def test_pulling_an_unknown_model_is_reported_as_such(ollama: tuple[OllamaStub, OllamaBackend]) -> None:
    stub, backend = ollama
    with pytest.raises(Exception, match="file does not exist") as raised:
        backend.pull("no-such/model", ignore)
    assert type(translate(raised.value, backend.location)) is ModelNotFound
    assert stub.closed == 0


# InstructLab, vLLM


def test_instructlab_models_are_labelled_by_file_name() -> None:
    with STUBS["instructlab"]() as stub:
        (info,) = connect("instructlab", stub).list_models()
    assert (info.name, info.label, info.context_window) == (GGUF, "granite.gguf", 4096)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("ibm/granite-3b", "ibm/granite-3b"),
        ("~/models/a.gguf", "a.gguf"),
        ("./a.gguf", "a.gguf"),
        (r"C:\models\a.gguf", "a.gguf"),
    ],
)
def test_a_path_is_labelled_by_its_file_name(name: str, label: str) -> None:
    with OpenAIStub((name,)) as stub:
        assert connect("vllm", stub).list_models()[0].label == label


def test_the_window_is_the_servers_else_the_configured_one() -> None:
    with OpenAIStub(max_model_len=2048) as stub:
        assert connect("vllm", stub, context_window=512).load("tiny", ignore).context_window == 2048
    with OpenAIStub(max_model_len=None) as stub:
        assert connect("vllm", stub).load("tiny", ignore).context_window is None
        assert connect("vllm", stub, context_window=512).load("tiny", ignore).context_window == 512
    with OpenAIStub() as stub, stub.failing_all(200, {"data": [{"id": "a", "meta": {"n_ctx": 777, "size": 5}}]}):
        (info,) = connect("vllm", stub).list_models()
        assert (info.context_window, info.size_bytes) == (777, 5)


# Gemini


def test_gemini_lists_models_that_answer_with_text() -> None:
    with GeminiStub() as stub:
        backend = connect("gemini", stub)
        assert [(info.name, info.label) for info in backend.list_models()] == [
            ("gemini-2.5-pro", "Gemini 2.5 Pro"),
            ("gemini-2.5-flash", "Gemini 2.5 Flash"),
        ]
        assert backend.load("gemini-2.5-pro", ignore).context_window == 1_048_576


def test_a_gemini_proxy_without_a_list_accepts_any_model() -> None:
    with GeminiStub() as stub, stub.failing_all(404, {"detail": "Not Found"}):
        backend = connect("gemini", stub)
        assert backend.list_models() == []
        assert backend.load("some/model", ignore).context_window is None


def test_gemini_ignores_environment_variables_for_vertex_ai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    with GeminiStub() as stub:
        backend = connect("gemini", stub)
        backend.load(MODELS["gemini"], ignore)
        list(backend.chat_model(MODELS["gemini"], OPTIONS).stream(QUESTION))
        assert {request.path.split("/")[1] for request in stub.requests} == {"v1beta"}
