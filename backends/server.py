"""What all backends share whose models run in a server: an address, a key, time-outs, and the check of all three.

Knows no protocol: a subclass lists the models and makes the chat model.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Annotated, ClassVar
from urllib.parse import unquote, urlsplit

import httpx
from pydantic import AfterValidator, Field, SecretStr

from backends.base import Backend, Loaded, ModelInfo, Progress, Report
from errors import BackendUnavailable, ModelNotFound
from settings import EnvironmentSettings, Settings, read_settings

CONNECT_S = 3.0
"""Seconds to wait for a connection: a server that is there takes milliseconds."""
LOOK_S = 10.0
"""Seconds to wait for a list of models: a busy proxy takes some. No page waits so long: see `checks.py`."""
ONE_REQUEST = {"Connection": "close"}
"""Headers of a request. A client lives for one answer, and nobody would close the connections that it keeps."""


@cache
def tls() -> ssl.SSLContext:
    """What certificates are checked against. Made once: it takes 30 ms of CPU, and every client would make its own."""
    return httpx.create_ssl_context()


def _address(url: str) -> str:
    """`url` with a scheme, without a slash at its end and without `/v1`.

    Raises:
        ValueError: it is none.
    """
    url = url.strip()
    url = (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/v1").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("it is no address of the form http://host:port")
    return url


Address = Annotated[str, AfterValidator(_address)]


class ServerSettings(EnvironmentSettings):
    """Settings of a server; a subclass gives them names by `prefixed` and the address a default."""

    base_url: Address
    api_key: SecretStr | None = None
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds to wait for the next piece of an answer, the first one too."""
    max_retries: Annotated[int, Field(ge=0, le=10)] = 0
    """Further tries where the server refuses or cannot be reached; each may take the whole time-out."""

    @property
    def key(self) -> str | None:
        """The key in clear, for the one who sends it."""
        return self.api_key.get_secret_value() if self.api_key else None


class _KeyAuth(httpx.Auth):
    """Sends a key, and shows it to nobody who prints the client that holds it."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        yield request


class ServerBackend(Backend):
    """A backend whose models run elsewhere. Its methods may be called from any thread."""

    kind: ClassVar[type[ServerSettings]]
    """Its settings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.server = read_settings(self.kind)

    @property
    def url(self) -> str:
        """Its address, without the name and password that may stand in it: clients log it."""
        parts = urlsplit(self.server.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def login(self) -> tuple[str, str] | None:
        """The name and password that stand in its address."""
        parts = urlsplit(self.server.base_url)
        return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None

    @property
    def auth(self) -> httpx.Auth | None:
        """The login, else the key, for a client of httpx."""
        if self.login:
            return httpx.BasicAuth(*self.login)
        return _KeyAuth(self.server.api_key) if self.server.api_key else None

    @property
    def place(self) -> str:
        """Its label and address."""
        return f"{self.label} at {self.url}"

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Where a response is read.

        Raises:
            BackendUnavailable: it is not as the protocol has it, so another kind of server is there.
        """
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackendUnavailable(f"{self.place} answers, but not as expected.", "Correct its address.") from error

    def check(self) -> None:
        """Whether it lists its models."""
        self.list_models()

    def load(self, model: str, report: Report) -> Loaded:
        """Check server, key and model."""
        report(Progress(f"Asking {self.place}"))
        return Loaded(context_window=self.find(model).context_window)

    def find(self, model: str) -> ModelInfo:
        """What its list says of `model`.

        Raises:
            ModelNotFound: it has no such model; names those it has.
        """
        models = {info.name: info for info in self.list_models()}
        if model not in models:
            raise self.missing(model, list(models))
        return models[model]

    def missing(self, model: str, names: Sequence[str]) -> ModelNotFound:
        """The error for a model that is not among `names`."""
        some = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        hint = f"Choose one that it has: {some}." if some else "Add one to it."
        return ModelNotFound(
            f"{self.label} has no model “{model}”.", f"Pull it. {hint}" if self.capabilities.pulls else hint
        )
