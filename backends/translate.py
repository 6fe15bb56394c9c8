"""Other libraries' exceptions -> the family in `errors.py`, in one table.

The border between the backends' libraries and the application: what passes it is an AppError, or a bug that stays
what it is. Libraries that are slow to import are recognised by the name of their class. Knows no backend by name;
messages never repeat an exception's own text where that could hold a key or a URL.
"""

from __future__ import annotations

import errno

import httpx
from langchain_core import exceptions as langchain

from errors import (
    AppError,
    AuthenticationFailed,
    BackendBusy,
    BackendError,
    BackendUnavailable,
    ContextTooLong,
    ModelNotFound,
    RequestRejected,
)

_UNREACHABLE = BackendUnavailable, "The model's server cannot be reached.", "Start it, or correct its address."
_TOO_SLOW = BackendUnavailable, "The model's server did not answer in time.", "Try again, or raise its time-out."
_BROKEN = BackendUnavailable, "The model's server failed.", "Try again; its own log says why."
_KEY = AuthenticationFailed, "The model's server refused the key.", "Correct the key in the environment or in .env."
_BUSY = BackendBusy, "The model's server has too much to do.", "Wait a moment, then ask again."
_MISSING = ModelNotFound, "The model's server has no such model.", "Choose a model that it lists."
_REFUSED = RequestRejected, "The model's server refused the request.", "Change the options or the question."
_TOO_LONG = ContextTooLong, "The prompt does not fit the model's context window.", "Use fewer or shorter passages."
_MEMORY = BackendUnavailable, "The device has not enough memory.", "Choose a smaller model or a shorter answer."
_NO_FILES = ModelNotFound, "The model's files cannot be found.", "Check its name, or choose another model."
_BAD_FILES = (
    BackendUnavailable,
    "The model's files cannot be read.",
    "Check their permissions, or delete them and load the model again.",
)
_GATED = AuthenticationFailed, "This model asks for an account with access to it.", "Accept its terms and set HF_TOKEN."
_OFFLINE = BackendUnavailable, "The Hugging Face Hub cannot be reached.", "Connect, or choose a model that is here."
_DISK = BackendUnavailable, "The disk is full.", "Free some space, then try again."

_Row = tuple[type[BackendError], str, str]

TYPES: dict[type[Exception], _Row] = {
    langchain.ModelAuthenticationError: _KEY,
    langchain.ModelPermissionDeniedError: _KEY,
    langchain.ModelInvalidRequestError: _REFUSED,
    langchain.ModelNotFoundError: _MISSING,
    langchain.ModelRateLimitError: _BUSY,
    langchain.ModelAPIError: _BROKEN,
    langchain.ModelConnectionError: _UNREACHABLE,
    langchain.ModelTimeoutError: _TOO_SLOW,
    langchain.ContextOverflowError: _TOO_LONG,
    langchain.ModelError: _BROKEN,
    httpx.TimeoutException: _TOO_SLOW,
    httpx.TransportError: _UNREACHABLE,
    httpx.InvalidURL: _UNREACHABLE,
    TimeoutError: _TOO_SLOW,
    ConnectionError: _UNREACHABLE,
    MemoryError: _MEMORY,
    FileNotFoundError: _NO_FILES,
    PermissionError: _BAD_FILES,
}
"""An exception is what the nearest of its base classes is here."""

NAMES: dict[str, _Row] = {
    "torch.OutOfMemoryError": _MEMORY,
    "safetensors._safetensors_rust.SafetensorError": _BAD_FILES,
    "huggingface_hub.errors.GatedRepoError": _GATED,
    "huggingface_hub.errors.RepositoryNotFoundError": _NO_FILES,
    "huggingface_hub.errors.RevisionNotFoundError": _NO_FILES,
    "huggingface_hub.errors.EntryNotFoundError": _NO_FILES,
    "huggingface_hub.errors.HFValidationError": _NO_FILES,
    "huggingface_hub.errors.OfflineModeIsEnabled": _OFFLINE,
    "huggingface_hub.errors.HfHubHTTPError": _OFFLINE,
}
"""The same by qualified name, for libraries that take seconds to import."""

STATUS: dict[int, _Row] = {401: _KEY, 403: _KEY, 404: _MISSING, 408: _TOO_SLOW, 413: _TOO_LONG, 429: _BUSY}


def of_status(code: int) -> AppError:
    """The error for an HTTP status of a model's server (400 to 599)."""
    kind, message, hint = STATUS.get(code, _BUSY if code == 503 else _BROKEN if code >= 500 else _REFUSED)
    return kind(message, hint)


def translate(error: Exception) -> AppError | None:
    """`error` as one of the application's own; an AppError as it is; None where it is a bug.

    The caller raises the result `from error`, so that the log keeps the cause.
    """
    if isinstance(error, AppError):
        return error
    if isinstance(error, httpx.HTTPStatusError):
        return of_status(error.response.status_code)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _DISK[0](*_DISK[1:])
    for base in type(error).__mro__:
        row = TYPES.get(base) or NAMES.get(f"{base.__module__}.{base.__qualname__}")
        if row:
            return row[0](*row[1:])
    # transformers says with a bare OSError that it found no weights or no tokenizer in a folder.
    if type(error) is OSError and error.errno is None:
        return _NO_FILES[0](*_NO_FILES[1:])
    return None
