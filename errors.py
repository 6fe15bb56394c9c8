"""The errors that a person may see. Others are bugs: they are logged, and only a reference number is shown."""

from __future__ import annotations


class AppError(Exception):
    """A problem that a person can act on: a sentence on what happened, without keys, and a hint on what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigurationError(AppError):
    """A key, a package or a value is missing or wrong."""


class BackendError(AppError):
    """The backend could not answer."""


class BackendUnavailable(BackendError):
    """The server is down, or the model cannot be loaded here."""


class BackendBusy(BackendError):
    """The backend is overloaded or limits requests: try again later."""


class AuthenticationFailed(BackendError):
    """The key is wrong or missing."""


class ModelNotFound(BackendError):
    """The backend has no such model."""


class RequestRejected(BackendError):
    """The backend rejected the request."""


class ContextTooLong(RequestRejected):
    """The prompt does not fit the model's context window."""


class AnswerBlocked(BackendError):
    """A safety filter blocked the question or the answer."""


class DocumentError(AppError):
    """A document could not be read."""


class UnsupportedDocument(DocumentError):
    """No loader reads this type."""


class UnreadableDocument(DocumentError):
    """The file is damaged, or does not match its extension."""


class PasswordRequired(UnreadableDocument):
    """The file needs a password: none was given, or a wrong one."""


class EmptyDocument(DocumentError):
    """The file contains no text."""


class DocumentTooLarge(DocumentError):
    """The file exceeds the size limit."""


class StoreError(AppError):
    """The index or the database failed."""


class EmbeddingMismatch(StoreError):
    """The index was built with another embedding model."""


class LibraryLocked(StoreError):
    """Another process has the data folder open."""
