"""Common base of the backends that talk to a server, with any protocol: address, key, time-outs and a check."""

from __future__ import annotations

import ssl
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote, urlsplit

import httpx
from pydantic import AfterValidator, Field, SecretStr

from backends.base import Backend, Loaded, ModelInfo, Progress, Report
from backends.transport import Transport
from backends.wire import Wire
from errors import BackendUnavailable, ModelNotFound
from settings import EnvironmentSettings, Settings, read_settings, settings_from

CONNECT_TIMEOUT_S = 3.0
LIST_TIMEOUT_S = 10.0
"""For a list of models, because a busy proxy takes seconds. Pages do not wait that long: see `checks.py`."""
CLOSE_CONNECTION = {"Connection": "close"}
"""Headers of every request. A client is used for one answer, and nothing would close the connections that it keeps."""


@cache
def tls() -> ssl.SSLContext:
    """Return the context that verifies certificates. Shared, because creating one takes 30 ms of CPU."""
    return httpx.create_ssl_context()


def _address(url: str) -> str:
    """Add a missing scheme to `url`, and remove trailing slashes; raise ValueError if it is invalid."""
    url = url.strip()
    url = (url if "://" in url else f"http://{url}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("it is not an address of the form http://host:port")
    return url


Address = Annotated[str, AfterValidator(_address)]
RootAddress = Annotated[Address, AfterValidator(lambda url: url.removesuffix("/v1").rstrip("/"))]
"""The address of a server whose own protocol is not OpenAI's, which many also speak, under `/v1`."""


class ServerSettings(EnvironmentSettings):
    """Settings of a server. Subclasses name them with `prefixed` and set a default address."""

    base_url: Address
    api_key: SecretStr | None = None
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds to wait for each piece of an answer, including the first."""
    max_retries: Annotated[int, Field(ge=0, le=10)] = 0
    """Retries if the server rejects a request or cannot be reached; each may take the whole time-out."""

    @property
    def key(self) -> str | None:
        """The key in plain text, for sending it."""
        return self.api_key.get_secret_value() if self.api_key else None


@dataclass(frozen=True, slots=True)
class StoredServer:
    """A server as a user set it up. It replaces a backend of the table that has its name, or is another one."""

    name: str
    kind: str
    """Name of its class in the table of backends."""
    label: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the settings of its class."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `GenerationOptions` that questions to it begin with."""
    disabled: bool = False


class ServerBackend(Backend):
    """A backend whose models run on a server. Thread-safe."""

    settings_class: ClassVar[type[ServerSettings]]

    def __init__(self, settings: Settings, stored: StoredServer | None = None) -> None:
        """Read its settings from the environment, or take them from what a user stored, which the environment overrides
        for a backend of the table. Raises ConfigurationError."""
        super().__init__(settings)
        self.server = self._settings(stored)
        if stored:
            self.name, self.label = stored.name, stored.label
        if stored and stored.name != type(self).name:
            self.start_hint = "Start it, or correct its address on the Models page."
        self.wire = self.make_wire()

    @classmethod
    def from_environment(cls) -> dict[str, Any]:
        """Return the settings that the environment names. Raises ConfigurationError."""
        read = read_settings(cls.settings_class)
        return {name: getattr(read, name) for name in read.model_fields_set}

    def _settings(self, stored: StoredServer | None) -> ServerSettings:
        if stored is None:
            return read_settings(self.settings_class)
        over = self.from_environment() if stored.name == type(self).name else {}
        return settings_from(self.settings_class, {**stored.values, **over})

    @abstractmethod
    def make_wire(self) -> Wire:
        """Return how its server speaks, of which nothing is known yet."""

    @property
    def url(self) -> str:
        """The address without user name and password, because clients log it."""
        parts = urlsplit(self.server.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def login(self) -> tuple[str, str] | None:
        """User name and password from the address."""
        parts = urlsplit(self.server.base_url)
        return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None

    def http_options(self, timeout: float) -> dict[str, Any]:
        """Return the arguments for a request or a client of httpx, with the login, else the key."""

        def send_key(request: httpx.Request) -> httpx.Request:
            request.headers["Authorization"] = f"Bearer {self.server.key}"
            return request

        return {
            "timeout": httpx.Timeout(timeout, connect=CONNECT_TIMEOUT_S),
            "headers": CLOSE_CONNECTION,
            # Neither shows its secret if the client is printed.
            "auth": httpx.BasicAuth(*self.login) if self.login else send_key if self.server.key else None,
            # Redirects are followed by the transport, and never to another host.
            "follow_redirects": False,
        }

    def transport(self, retries: int = 0) -> Transport:
        """Return a new transport for a client of httpx, which tries as often again to connect."""
        return Transport(self.wire, verify=tls(), retries=retries)

    @property
    def location(self) -> str:
        """Label and address."""
        return f"{self.label} at {self.url}"

    @contextmanager
    def reading_response(self) -> Iterator[None]:
        """Raise BackendUnavailable if a response does not follow the protocol: it is another kind of server."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{self.location} answers, but not as expected."
            raise BackendUnavailable(message, "Correct its address.") from error

    def check(self) -> None:
        """Return if the server lists its models."""
        self.list_models()

    def load(self, model: str, report: Report) -> Loaded:
        """Check server, key and model; nothing is loaded."""
        report(Progress(f"Asking {self.location}"))
        return Loaded(context_window=self.model_info(model).context_window)

    def model_info(self, model: str) -> ModelInfo:
        """Return a model from the server's list. Raises ModelNotFound, which names some of the existing ones."""
        models = {info.name: info for info in self.list_models()}
        if model not in models:
            raise self.model_not_found(model, list(models))
        return models[model]

    def model_not_found(self, model: str, names: Sequence[str]) -> ModelNotFound:
        """Return the error for a model that is not in `names`."""
        some = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        hint = f"Choose one that it has: {some}." if some else "Add one to it."
        pull = "Pull it. " if self.capabilities.pulls else ""
        return ModelNotFound(f"{self.label} has no model “{model}”.", pull + hint)
