"""Servers that are set up on the page: stored with an encrypted key, over the environment, in use at once."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import settings as settings_module
from backends import BACKENDS
from backends.offers import OFFERS
from backends.server import ServerBackend, StoredServer
from errors import AuthenticationFailed, BackendUnavailable, ConfigurationError
from services import Services, restore
from services.keys import Keys
from settings import Settings
from tests.stubs.ollama_server import OllamaStub
from tests.stubs.openai_server import OpenAIStub

KEY = "sk-a-key-that-nobody-may-see"


@pytest.fixture
def stub() -> Iterator[OpenAIStub]:
    with OpenAIStub(("granite", "tiny"), key=KEY) as stub:
        yield stub


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of this machine is read."""
    monkeypatch.setattr(settings_module, "SECRETS", None)
    for kind in BACKENDS:
        for name in ("BASE_URL", "API_KEY", "TIMEOUT"):
            monkeypatch.delenv(f"{'GOOGLE' if kind == 'gemini' else kind.upper()}_{name}", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def services(folder: Path) -> Iterator[Services]:
    services = Services(Settings(data_dir=folder))
    yield services
    services.close()


def server(stub: OpenAIStub, **values: object) -> StoredServer:
    return StoredServer("", "openai", "The big box", {"base_url": stub.url, "api_key": KEY, **values})


def test_a_new_server_is_in_use_at_once_and_after_a_restart(folder: Path, stub: OpenAIStub) -> None:
    with closing(Services(Settings(data_dir=folder))) as services:
        saved = services.servers.save(replace(server(stub, timeout=7.0), options={"temperature": 0.7}))
        assert [each.label for each in services.manager.backends()][-1] == "The big box"
        assert [each.name for each in services.manager.backend(saved.name).list_models()] == ["granite", "tiny"]
    with closing(Services(Settings(data_dir=folder))) as services:
        backend = services.manager.backend(saved.name)
        assert isinstance(backend, ServerBackend)
        assert (backend.label, backend.server.timeout) == ("The big box", 7.0)
        assert services.servers.list()[0].options == {"temperature": 0.7}
        assert backend.location == f"The big box at {stub.url}"
        assert [each.name for each in backend.list_models()] == ["granite", "tiny"]


def test_a_server_has_a_name_to_type(services: Services, stub: OpenAIStub) -> None:
    labels = "The big box!", "the BIG box", "vllm?", "模型"
    names = [services.servers.save(replace(server(stub), label=label)).name for label in labels]
    assert names == ["the-big-box", "the-big-box-2", "vllm-2", "server"]


def test_the_key_stands_nowhere(folder: Path, stub: OpenAIStub, tmp_path: Path) -> None:
    with closing(Services(Settings(data_dir=folder))) as services:
        services.servers.save(server(stub))
        services.backup(tmp_path / "backup.zip", lambda _: None)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert folder / "secret.key" in files
    assert stat.S_IMODE((folder / "secret.key").stat().st_mode) == 0o600
    for path in [*files, tmp_path / "backup.zip"]:
        assert KEY.encode() not in path.read_bytes(), path
    assert b"secret.key" not in (tmp_path / "backup.zip").read_bytes()


def test_a_backup_has_the_keys_if_it_is_asked_to(folder: Path, stub: OpenAIStub, tmp_path: Path) -> None:
    with closing(Services(Settings(data_dir=folder))) as services:
        saved = services.servers.save(server(stub))
        services.backup(tmp_path / "with.zip", lambda _: None, with_keys=True)
    elsewhere = Settings(data_dir=tmp_path / "elsewhere")
    restore(elsewhere, tmp_path / "with.zip", lambda _: None)
    assert stat.S_IMODE((tmp_path / "elsewhere" / "secret.key").stat().st_mode) == 0o600
    with closing(Services(elsewhere)) as services:
        assert services.manager.backend(saved.name).list_models()


def test_without_the_file_the_key_has_to_be_typed_again(folder: Path, stub: OpenAIStub) -> None:
    with closing(Services(Settings(data_dir=folder))) as services:
        saved = services.servers.save(server(stub))
    (folder / "secret.key").unlink()
    with closing(Services(Settings(data_dir=folder))) as services:
        tried = services.servers.test(services.servers.current(saved.name))
        assert isinstance(tried.error, AuthenticationFailed)


def test_a_key_is_read_with_the_secret_of_the_environment_alone(tmp_path: Path) -> None:
    token = Keys(tmp_path / "x", "a long secret").encrypt(KEY)
    assert KEY not in token
    assert list(tmp_path.iterdir()) == []
    assert Keys(tmp_path / "x", "a long secret").decrypt(token) == KEY
    assert Keys(tmp_path / "x", "another").decrypt(token) is None


def test_a_server_is_changed_disabled_and_removed(services: Services, stub: OpenAIStub) -> None:
    saved = services.servers.save(server(stub))
    services.manager.load(saved.name, "granite").result(5)
    services.servers.save(replace(saved, label="Renamed"))
    assert services.manager.backend(saved.name).label == "Renamed"
    assert services.manager.known(saved.name) == {}
    services.servers.disable(saved.name, True)
    assert saved.name not in [each.name for each in services.manager.backends()]
    assert services.servers.list()[0].disabled
    services.servers.disable(saved.name, False)
    assert services.manager.backend(saved.name).list_models()
    services.servers.remove(saved.name)
    assert services.servers.list() == []
    with pytest.raises(ConfigurationError):
        services.manager.backend(saved.name)


def test_a_backend_of_the_table_is_set_up_and_removed(services: Services) -> None:
    with OllamaStub() as stub:
        changed = replace(services.servers.current("ollama"), values={"base_url": stub.url})
        services.servers.save(changed)
        assert services.manager.backend("ollama").list_models()
        names = [each.name for each in services.manager.backends()]
        assert names == list(BACKENDS), "it keeps its place"
        services.servers.remove("ollama")
        backend = services.manager.backend("ollama")
        assert isinstance(backend, ServerBackend)
        assert backend.url == "http://localhost:11434"


def test_the_environment_wins(services: Services, monkeypatch: pytest.MonkeyPatch, stub: OpenAIStub) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    assert set(services.servers.from_environment("vllm")) == {"api_key"}
    services.servers.save(StoredServer("vllm", "vllm", "vLLM", {"base_url": stub.url, "api_key": "another"}))
    assert services.manager.backend("vllm").list_models()


def test_the_environment_of_a_backend_is_not_that_of_another_server_of_its_kind(
    services: Services, monkeypatch: pytest.MonkeyPatch, stub: OpenAIStub
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    saved = services.servers.save(StoredServer("", "vllm", "Elsewhere", {"base_url": stub.url}))
    backend = services.manager.backend(saved.name)
    assert isinstance(backend, ServerBackend)
    assert backend.server.key is None


@pytest.mark.parametrize(
    ("label", "values", "words"),
    [
        ("", {}, "1 to 60 characters"),
        ("x" * 61, {}, "1 to 60 characters"),
        (" ollama ", {}, "is a server called"),
        ("New", {"base_url": "ftp://host"}, "base url cannot be used"),
        ("New", {"timeout": 0}, "timeout cannot be used"),
    ],
)
def test_what_cannot_be_used_is_not_stored(
    services: Services, stub: OpenAIStub, label: str, values: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        services.servers.save(replace(server(stub, **values), label=label))
    assert services.servers.list() == []


def test_a_test_says_what_works_and_what_does_not(services: Services, stub: OpenAIStub) -> None:
    tried = services.servers.test(server(stub))
    assert (tried.error, list(tried.models), tried.asked) == (None, ["granite", "tiny"], "granite")
    assert tried.seconds > 0
    assert tried.answer_s > 0
    assert services.servers.list() == []
    assert isinstance(services.servers.test(server(stub, api_key="wrong")).error, AuthenticationFailed)
    nobody = services.servers.test(server(stub, base_url="http://127.0.0.1:9"))
    assert isinstance(nobody.error, BackendUnavailable)
    assert "The big box at http://127.0.0.1:9 cannot be reached" in str(nobody.error)
    typed = services.servers.test(server(stub), "no-such-model")
    assert "no model “no-such-model”" in str(typed.error)


def test_every_offer_can_be_set_up(services: Services) -> None:
    for offer in OFFERS:
        saved = services.servers.save(StoredServer("", offer.kind, f"My {offer.title}", {"base_url": offer.address}))
        backend = services.manager.backend(saved.name)
        assert isinstance(backend, ServerBackend)
        assert backend.server.base_url.startswith(offer.address.rstrip("/").removesuffix("/v1")[:20])
