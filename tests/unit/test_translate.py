from __future__ import annotations

import errno
import subprocess
import sys

import httpx
import pytest
import torch
from langchain_core import exceptions as langchain
from safetensors import SafetensorError

from backends.translate import NAMES, TYPES, translate
from errors import (
    AppError,
    AuthenticationFailed,
    BackendBusy,
    BackendUnavailable,
    ConfigurationError,
    ContextTooLong,
    ModelNotFound,
    RequestRejected,
)

REQUEST = httpx.Request("GET", "http://localhost:1/v1?key=hunter2")


def http_error(status: int, words: str = "", **headers: str) -> httpx.HTTPStatusError:
    response = httpx.Response(status, text=words, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return httpx.HTTPStatusError("no", request=REQUEST, response=response)


def raised_from(error: Exception, cause: Exception, *, handling: bool) -> Exception:
    """Return `error` as if raised from `cause`, or while handling it."""
    if handling:
        error.__context__ = cause
    else:
        error.__cause__ = cause
    return error


def family(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(family(sub) for sub in kind.__subclasses__()))


def test_every_model_error_of_langchain_is_mapped() -> None:
    own = {kind for kind in family(langchain.ModelError) if kind.__module__ == langchain.__name__}
    assert own - set(TYPES) == set()


def test_every_name_is_an_existing_class() -> None:
    for name in NAMES:
        module, _, attribute = name.rpartition(".")
        __import__(module)
        found = getattr(sys.modules[module], attribute)
        assert f"{found.__module__}.{found.__qualname__}" == name


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (langchain.ModelAuthenticationError("no"), AuthenticationFailed),
        (langchain.ModelRateLimitError("no"), BackendBusy),
        (langchain.ContextOverflowError("no"), ContextTooLong),
        (langchain.ModelInvalidRequestError("no"), RequestRejected),
        (langchain.ModelNotFoundError("no"), ModelNotFound),
        (httpx.ConnectError("no", request=REQUEST), BackendUnavailable),
        (httpx.ReadTimeout("no", request=REQUEST), BackendUnavailable),
        (httpx.RemoteProtocolError("cut off", request=REQUEST), BackendUnavailable),
        (httpx.UnsupportedProtocol("no", request=REQUEST), BackendUnavailable),
        (httpx.InvalidURL("no"), BackendUnavailable),
        (http_error(401), AuthenticationFailed),
        (TimeoutError(), BackendUnavailable),
        (ConnectionRefusedError(), BackendUnavailable),
        (torch.OutOfMemoryError("no"), BackendUnavailable),
        (MemoryError(), BackendUnavailable),
        (OSError(errno.ENOSPC, "No space left on device"), BackendUnavailable),
        (OSError("no file named model.safetensors found"), ModelNotFound),
        (FileNotFoundError(errno.ENOENT, "gone"), ModelNotFound),
        (SafetensorError("header too large"), BackendUnavailable),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_exceptions_become_app_errors_with_a_hint(error: Exception, kind: type[AppError]) -> None:
    translated = translate(error)
    assert type(translated) is kind
    assert translated.message.endswith(".")
    assert translated.hint.endswith(".")
    assert "hunter2" not in str(translated)


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        (RequestRejected, (400, 418, 422)),
        (AuthenticationFailed, (401, 403)),
        (ModelNotFound, (404,)),
        (BackendUnavailable, (405, 408, 500, 502, 504)),
        (ContextTooLong, (413,)),
        (BackendBusy, (429, 503)),
    ],
)
def test_http_statuses_are_mapped(kind: type[AppError], statuses: tuple[int, ...]) -> None:
    assert [type(translate(http_error(status, "the model"))) for status in statuses] == [kind] * len(statuses)


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "This model's maximum context length is 2048 tokens.", ContextTooLong),
        (400, "the request exceeds the available context size", ContextTooLong),
        (400, "Requested tokens (3012) exceed context window of 2048", ContextTooLong),
        (400, "exceeds the maximum number of tokens allowed (1048576)", ContextTooLong),
        (500, "context_length_exceeded", ContextTooLong),
        (400, "API key not valid. Please pass a valid API key.", AuthenticationFailed),
        (400, "model 'tiny' not found", ModelNotFound),
        (500, "pull model manifest: file does not exist", ModelNotFound),
        (404, "<html>Not Found</html>", BackendUnavailable),
        (404, "404 page not found", BackendUnavailable),
        (503, "the context window is lost", BackendBusy),
    ],
)
def test_a_servers_words_override_its_status(status: int, words: str, kind: type[AppError]) -> None:
    assert type(translate(http_error(status, words))) is kind


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("7", "Wait 7 seconds, then ask again."),
        ("1", "Wait 1 second, then ask again."),
        ("0", "Wait a moment, then ask again."),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wait a moment, then ask again."),
    ],
)
def test_the_hint_says_how_long_to_wait(asked: str, hint: str) -> None:
    assert str(translate(http_error(429, retry_after=asked))).endswith(f". {hint}")


def test_the_message_names_the_server_and_the_hint_how_to_start_it() -> None:
    error = httpx.ConnectError("no", request=REQUEST)
    translated = translate(error, "vLLM at http://gpu", "Start it with: vllm serve.")
    assert str(translated) == "vLLM at http://gpu cannot be reached. Start it with: vllm serve."


@pytest.mark.parametrize("handling", [True, False])
def test_the_cause_of_a_failed_connection_is_used(handling: bool) -> None:
    for cause, message in {
        httpx.ConnectError("no", request=REQUEST): "cannot be reached",
        httpx.ReadTimeout("no", request=REQUEST): "did not answer in time",
        httpx.RemoteProtocolError("no", request=REQUEST): "broke off",
    }.items():
        assert message in str(translate(raised_from(langchain.ModelConnectionError("no"), cause, handling=handling)))


def test_an_empty_stream_is_not_a_bug() -> None:
    assert type(translate(ValueError("No generation chunks were returned"))) is BackendUnavailable


@pytest.mark.parametrize("cause", [httpx.ConnectError("no", request=REQUEST), http_error(401)], ids=["down", "key"])
def test_a_bug_stays_a_bug_while_an_error_is_handled(cause: Exception) -> None:
    for handling in (True, False):
        assert translate(raised_from(TypeError("a bug"), cause, handling=handling)) is None


def test_app_errors_pass_and_bugs_are_not_translated() -> None:
    ours = ConfigurationError("no key")
    assert translate(ours) is ours
    for bug in (ValueError("x"), KeyError("x"), AssertionError(), RuntimeError("x"), OSError(errno.EBADF, "x")):
        assert translate(bug) is None


def test_importing_the_table_of_backends_imports_no_library() -> None:
    code = "import backends, sys; print([m for m in ('torch', 'transformers', 'langchain_core') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
