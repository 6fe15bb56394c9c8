"""The errors that a person may see, and nothing else.

AppError(message, hint)
├── ConfigurationError       a missing key, package or value
├── BackendError             who answers
│   ├── BackendUnavailable     the server is down, or the model cannot be loaded here
│   ├── BackendBusy            it asks to wait
│   ├── AuthenticationFailed   a wrong or missing key
│   ├── ModelNotFound          no such model there
│   ├── RequestRejected        it refused the request
│   │   └── ContextTooLong       the prompt does not fit the model's window
│   └── AnswerBlocked          a safety filter held the answer back
├── DocumentError            what was uploaded
│   ├── UnsupportedDocument    a type that no loader reads
│   ├── UnreadableDocument     broken, or not what its name says
│   │   └── PasswordRequired       only a password opens it
│   ├── EmptyDocument          no text inside
│   └── DocumentTooLarge       over the limit
└── StoreError               what is known
    ├── EmbeddingMismatch      the index was made by another embedding model
    └── LibraryLocked          another process has the data folder open

`message` is one sentence that says what happened; `hint` is one that says what to do next.
Neither ever holds a key. Any other exception is a bug: it is logged, and a person sees a reference number only.
"""

from __future__ import annotations


class AppError(Exception):
    """Something went wrong that a person can understand and act on."""

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
    """The backend asks to wait."""


class AuthenticationFailed(BackendError):
    """The key is wrong or missing."""


class ModelNotFound(BackendError):
    """The backend has no such model."""


class RequestRejected(BackendError):
    """The backend refused the request."""


class ContextTooLong(RequestRejected):
    """The prompt does not fit the model's context window."""


class AnswerBlocked(BackendError):
    """A safety filter held the answer back."""


class DocumentError(AppError):
    """A document could not be taken in."""


class UnsupportedDocument(DocumentError):
    """No loader reads this type."""


class UnreadableDocument(DocumentError):
    """The file is broken, or not what its name says."""


class PasswordRequired(UnreadableDocument):
    """Only a password opens the file: none was given, or a wrong one."""


class EmptyDocument(DocumentError):
    """The file holds no text."""


class DocumentTooLarge(DocumentError):
    """The file is over the limit."""


class StoreError(AppError):
    """The index or the database could not do what was asked."""


class EmbeddingMismatch(StoreError):
    """The index was made by another embedding model."""


class LibraryLocked(StoreError):
    """Another process has the data folder open."""
