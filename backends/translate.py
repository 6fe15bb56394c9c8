"""Exceptions of other libraries -> those in `errors.py`.

Classes that are slow to import are recognised by name, responses of a server by their status and by words that servers
are known to use. A message never repeats an exception's own text, which could contain a key or a URL.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping

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

_Row = tuple[type[BackendError], str, str]
"""Class, message and hint; `{who}` is the server as the subject of a sentence, `{start}` how to start it."""

_UNREACHABLE: _Row = BackendUnavailable, "{who} cannot be reached.", "{start}"
_TOO_SLOW: _Row = BackendUnavailable, "{who} did not answer in time.", "Try again, or raise its time-out."
_BROKEN: _Row = BackendUnavailable, "{who} failed.", "Try again; its own log has the reason."
_DROPPED: _Row = BackendUnavailable, "{who} broke off in the middle.", "Ask again; its own log may have the reason."
_KEY: _Row = (
    AuthenticationFailed,
    "{who} refused the key.",
    "Correct the key on the Models page, or in the environment if it is set there.",
)
_BUSY: _Row = BackendBusy, "{who} is overloaded.", "Wait a moment, then ask again."
_MISSING: _Row = ModelNotFound, "{who} has no such model.", "Choose a model that it lists."
_ELSEWHERE: _Row = BackendUnavailable, "{who} answers, but not as expected.", "Correct its address."
_EMPTY: _Row = (
    BackendUnavailable,
    "{who} gave no answer.",
    "Ask again with fewer or shorter passages; its own log may have the reason.",
)
_REFUSED: _Row = RequestRejected, "{who} refused the request.", "Change the options or the question."
_TOO_LONG: _Row = (
    ContextTooLong,
    "The prompt does not fit the model's context window.",
    "Use fewer or shorter passages, or a model with a larger window.",
)
_MEMORY: _Row = (
    BackendUnavailable,
    "The device does not have enough memory.",
    "Choose a smaller model or a shorter answer.",
)
_SERVER_MEMORY: _Row = (
    BackendUnavailable,
    "{who} does not have enough memory for it.",
    "Choose a smaller model, or ask with fewer passages.",
)
_LOADING: _Row = BackendBusy, "{who} is still loading the model.", "Wait a moment, then ask again."
_PLACE: _Row = BackendUnavailable, "{who} does not serve this country.", "Choose another backend."
_NO_FILES: _Row = ModelNotFound, "The model's files cannot be found.", "Check its name, or choose another model."
_BAD_FILES: _Row = (
    BackendUnavailable,
    "The model's files cannot be read.",
    "Check their permissions, or delete them and load the model again.",
)
_DISK: _Row = BackendUnavailable, "The disk is full.", "Free some space, then try again."

_FINAL = _TOO_LONG, _NO_FILES
"""Rows that a status or a server's words cannot make more precise."""

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
    TimeoutError: _TOO_SLOW,
    ConnectionRefusedError: _UNREACHABLE,
    ConnectionError: _DROPPED,
    MemoryError: _MEMORY,
    FileNotFoundError: _NO_FILES,
    PermissionError: _BAD_FILES,
}
"""Looked up by the exception's class, then its base classes."""

_TRANSPORT: dict[str, _Row] = {
    # The providers' clients use different HTTP libraries.
    f"{library}.{name}": row
    for library in ("httpx", "httpx2")
    for name, row in {
        **dict.fromkeys(("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "InvalidURL"), _UNREACHABLE),
        "TimeoutException": _TOO_SLOW,
        "TransportError": _DROPPED,
    }.items()
}
"""Failed connections, by qualified name. The innermost exception of a chain is the most precise."""

NAMES: dict[str, _Row] = {
    **_TRANSPORT,
    "httpx.HTTPStatusError": _BROKEN,
    "openai.APITimeoutError": _TOO_SLOW,
    "openai.APIConnectionError": _UNREACHABLE,
    "openai.APIError": _BROKEN,
    "ollama._types.ResponseError": _BROKEN,
    "google.genai.errors.APIError": _BROKEN,
    "google.genai.errors.UnknownApiResponseError": _DROPPED,
    "backends.wire.StreamError": _BROKEN,
    "backends.wire.NotThisProtocolError": _ELSEWHERE,
    "torch.OutOfMemoryError": _MEMORY,
    "safetensors._safetensors_rust.SafetensorError": _BAD_FILES,
}
"""Like TYPES, but by qualified name, for libraries that take seconds to import."""

STATUS: dict[int, _Row] = {
    400: _REFUSED, 401: _KEY, 403: _KEY, 404: _MISSING, 405: _ELSEWHERE, 408: _TOO_SLOW, 413: _TOO_LONG,
    429: _BUSY, 503: _BUSY, 504: _TOO_SLOW,
}  # fmt: skip

WORDS: tuple[tuple[str, set[int], _Row], ...] = (
    (r"out of memory|(more|enough) (system |gpu )?memory|outofmemory", {400, 500, 503}, _SERVER_MEMORY),
    (r"loading model|model is (currently )?loading", {500, 503}, _LOADING),
    (r"location is not supported", {400, 403}, _PLACE),
    (
        r"context (length|window|size)|context_(length|size)|token limit|prompt is too long|maximum number of tokens",
        {400, 413, 422, 500},
        _TOO_LONG,
    ),
    (r"api[ _]key", {400}, _KEY),
    (r"model .*not found|file does not exist|invalid model name", {400, 500}, _MISSING),
    # A 404 that does not mention a model comes from another kind of server, or from a wrong path.
    (r"^(?!.*model)", {404}, _ELSEWHERE),
)
"""Responses that are more precise than their status: a pattern, the statuses it applies to, the error."""


def translate(
    error: Exception, who: str = "The model's server", start: str = "Start it, or correct its address."
) -> AppError | None:
    """Return `error` as an AppError about the server `who`, unchanged if it is one; None if it is a bug.

    Raise the result `from error`, so that the log has the cause.
    """
    if isinstance(error, AppError):
        return error
    row = _row_of(error)
    if row is None:
        return None
    error_class, message, hint = row
    if error_class is BackendBusy and (seconds := _retry_after(error)):
        hint = f"Wait {seconds} second{'' if seconds == 1 else 's'}, then ask again."
    return error_class(message.format(who=who), hint.format(start=start))


def _row_of(error: Exception) -> _Row | None:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _DISK
    # transformers did not find weights or a tokenizer in a folder.
    if type(error) is OSError and error.errno is None:
        return _NO_FILES
    # LangChain received an empty stream.
    if type(error) is ValueError and str(error) == "No generation chunks were returned":
        return _EMPTY
    row = _by_class(error, TYPES, NAMES)
    if row is None or row in _FINAL:
        return row
    chain = list(_chain(error))
    for each in chain:
        if status := _status(each):
            text = _response_text(each)
            by_words = (row for words, statuses, row in WORDS if status in statuses and re.search(words, text))
            return next(by_words, STATUS.get(status, _BROKEN if status >= 500 else _REFUSED))
    return next((found for each in reversed(chain) if (found := _by_class(each, {}, _TRANSPORT))), row)


def _by_class(error: BaseException, types: Mapping[type[Exception], _Row], names: Mapping[str, _Row]) -> _Row | None:
    for base in type(error).__mro__:
        if row := types.get(base) or names.get(f"{base.__module__}.{base.__qualname__}"):
            return row
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and its causes, the outermost first."""
    link: BaseException | None = error
    while link:
        yield link
        link = link.__cause__ or link.__context__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an exception, if it has one; 500 for an error within a stream."""
    response_code = getattr(getattr(error, "response", None), "status_code", None)
    for code in (getattr(error, "status_code", None), getattr(error, "code", None), response_code):
        if isinstance(code, int) and not isinstance(code, bool):
            return code if 400 <= code < 600 else 500 if code == -1 else None
    return None


def _response_text(error: BaseException) -> str:
    """Return the server's words, in lower case and on one line."""
    # The text of an HTTPStatusError is only the address.
    text = error.response.text if isinstance(error, httpx.HTTPStatusError) else str(error)
    return " ".join(text.lower().split())


def _retry_after(error: BaseException) -> int | None:
    """Return the seconds after which to retry: the header of RFC 9110, or google.rpc.RetryInfo in the body."""
    for each in _chain(error):
        headers = getattr(getattr(each, "response", None), "headers", {})
        seconds = str(headers.get("retry-after", "")) or "".join(re.findall(r"retryDelay\W+(\d+)", str(each))[:1])
        if seconds.isdigit():
            return int(seconds)
    return None
