from __future__ import annotations

import errno
import subprocess
import sys

import httpx
import pytest
import torch
from huggingface_hub import errors as hub
from langchain_core import exceptions as langchain
from safetensors import SafetensorError

from backends.translate import NAMES, TYPES, of_status, translate
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

REQUEST = httpx.Request("GET", "http://localhost:1/v1?key=secret")


def family(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(family(sub) for sub in kind.__subclasses__()))


def test_every_model_error_of_langchain_is_mapped() -> None:
    own = {kind for kind in family(langchain.ModelError) if kind.__module__ == langchain.__name__}
    assert own - set(TYPES) == set()


def test_every_name_is_a_class_that_exists() -> None:
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
        (httpx.HTTPStatusError("no", request=REQUEST, response=httpx.Response(401)), AuthenticationFailed),
        (TimeoutError(), BackendUnavailable),
        (ConnectionRefusedError(), BackendUnavailable),
        (torch.OutOfMemoryError("no"), BackendUnavailable),
        (MemoryError(), BackendUnavailable),
        (OSError(errno.ENOSPC, "No space left on device"), BackendUnavailable),
        (OSError("no file named model.safetensors found"), ModelNotFound),
        (FileNotFoundError(errno.ENOENT, "gone"), ModelNotFound),
        (SafetensorError("header too large"), BackendUnavailable),
        (hub.LocalEntryNotFoundError("no"), ModelNotFound),
        (hub.OfflineModeIsEnabled("no"), BackendUnavailable),
        (hub.RepositoryNotFoundError("no", response=httpx.Response(404, request=REQUEST)), ModelNotFound),
        (hub.GatedRepoError("no", response=httpx.Response(403, request=REQUEST)), AuthenticationFailed),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_it_becomes_one_of_ours_with_a_way_out(error: Exception, kind: type[AppError]) -> None:
    translated = translate(error)
    assert type(translated) is kind
    assert translated.message.endswith(".")
    assert translated.hint.endswith(".")
    assert "secret" not in str(translated)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504])
def test_every_status_of_a_server_has_an_error(status: int) -> None:
    assert of_status(status).hint


def test_ours_passes_and_a_bug_stays_one() -> None:
    ours = ConfigurationError("no key")
    assert translate(ours) is ours
    for bug in (ValueError("x"), KeyError("x"), AssertionError(), RuntimeError("x"), OSError(errno.EBADF, "x")):
        assert translate(bug) is None


def test_the_table_of_backends_is_quick_to_import() -> None:
    code = "import backends, sys; print([m for m in ('torch', 'transformers', 'langchain_core') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
