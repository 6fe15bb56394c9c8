"""The examples in CONTRIBUTING.md work."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from backends.base import State
from backends.manager import ModelManager
from errors import ConfigurationError
from options import GenerationOptions
from rag.documents.loaders import load
from rag.schema import LOCAL_OWNER
from services import Services
from settings import ROOT, Settings
from tests.fakes import ScriptedBackend


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules, with the example under each heading."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for heading, name in {
        "Add a backend": "echo",
        "Plug in LangChain embeddings": "my_embeddings",
        "Plug in a LangChain retriever": "my_retriever",
    }.items():
        block = re.search(rf"## {heading}\n.*?```python\n(.*?)```", text, re.DOTALL)
        assert block
        source = "\n".join(line.removeprefix("   ") if name == "echo" else line for line in block[1].splitlines())
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@contextmanager
def services(folder: Path, **settings: str) -> Iterator[Services]:
    opened = Services(Settings(data_dir=folder / "data", **settings), [ScriptedBackend()], read=load)  # type: ignore[arg-type]
    yield opened
    opened.close()


def test_the_backend_answers_through_the_manager(folder: Path) -> None:
    backend = import_module("echo").EchoBackend(Settings())
    manager = ModelManager(Settings(), [backend])
    [model] = backend.list_models()

    async def ask() -> str:
        async with manager.use("echo", model.name, GenerationOptions()) as chat:
            return (await chat.ainvoke("Who is there?")).text

    assert asyncio.run(ask()) == "Pieces of eight!"
    assert manager.status("echo", model.name).state is State.READY
    [checked] = manager.check_all()
    assert checked.error is None


def test_the_embeddings_index_and_search(folder: Path) -> None:
    with services(folder, embedding_model="langchain:my_embeddings:MyEmbeddings") as opened:
        collection = opened.library.collection(LOCAL_OWNER, create=True)
        document, _ = opened.ingest.submit(LOCAL_OWNER, collection.id, "pier.md", b"The pier is 62 metres long.")
        opened.ingest.process(LOCAL_OWNER, document.id)
        [passage] = opened.searching.retrieve(LOCAL_OWNER, "How long is it?", opened.settings.answer).passages
        assert passage.document == "pier.md"
        assert 0 < passage.dense <= 1
        active = opened.indexes.active(LOCAL_OWNER, collection.id)
        assert active
        assert active.fingerprint == "langchain-my_embeddings-MyEmbeddings-26"


def test_the_retriever_finds_passages(folder: Path) -> None:
    with services(folder, retriever="my_retriever:open_retriever") as opened:
        [passage] = opened.searching.retrieve(LOCAL_OWNER, "How long is it?", opened.settings.answer).passages
        assert (passage.place, passage.text) == ("pier.md, page 2", "The pier is 62 metres long.")


def test_a_retriever_that_cannot_be_imported_is_reported(folder: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="GESTALT_RETRIEVER"),
        services(folder, retriever="my_retriever:nothing"),
    ):
        pass
