"""The examples in CONTRIBUTING.md work."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from backends.base import State
from backends.checks import check_all
from backends.manager import ModelManager
from errors import ConfigurationError, UnreadableDocument
from options import GenerationOptions
from rag.documents import loaders
from rag.documents.langchain_loader import from_langchain
from rag.documents.loaders import load
from rag.documents.parsers import Parsers
from rag.schema import LOCAL_OWNER, Page
from services import Services
from settings import ROOT, Settings
from tests.fakes import ScriptedBackend

EVENTS = "BEGIN:VEVENT\nSUMMARY:{}\nEND:VEVENT\nBEGIN:VEVENT\nSUMMARY:Tea\nEND:VEVENT\n"


def blocks(heading: str) -> list[str]:
    """The code under a heading of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = re.search(rf"## {heading}\n(.*?)(?=\n## |\Z)", text, re.DOTALL)
    assert section
    return [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", section[1], re.DOTALL)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules, with the example under each heading."""
    for heading, name in {
        "Add a backend": "echo",
        "Add a document format": "calendar_loader",
        "Plug in LangChain embeddings": "my_embeddings",
        "Plug in a LangChain retriever": "my_retriever",
    }.items():
        (tmp_path / f"{name}.py").write_text(blocks(heading)[0], encoding="utf-8")
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
    [checked] = check_all(manager.backends(), 3.0)
    assert [info.name for info in checked.models] == ["parrot"]


# --- a document format ---


@pytest.fixture
def calendar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A calendar, and its format in the table; the loader lies in `folder`, not in the product."""
    row = blocks("Add a document format")[1].replace("rag.documents.calendar_loader", "calendar_loader")
    format_ = eval(row, {**vars(loaders), "from_langchain": from_langchain})
    monkeypatch.setattr(loaders, "FORMATS", (format_, *loaders.FORMATS))
    path = folder / "upload"
    path.write_text(EVENTS.format("Supper"))
    return path


def test_the_document_format_is_read(calendar: Path) -> None:
    assert ".ics" in loaders.supported_extensions()
    assert load(calendar, "a.ics").pages == [Page("SUMMARY:Supper", 1), Page("SUMMARY:Tea", 2)]


def test_errors_of_a_langchain_loader_are_reported(calendar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calendar.write_bytes(b"BEGIN:VEVENT\n\xff\xfe caf\xe9")  # not UTF-8
    with pytest.raises(UnreadableDocument, match=r"a\.ics could not be read"):
        load(calendar, "a.ics")
    row = loaders.Format("an Org file", (".org",), from_langchain("no_such_package:Loader"))
    monkeypatch.setattr(loaders, "FORMATS", (row, *loaders.FORMATS))
    with pytest.raises(UnreadableDocument, match="package that is missing: No module named 'no_such_package'"):
        load(calendar, "a.org")


def test_the_document_format_is_read_in_a_parser_process(calendar: Path) -> None:
    row = blocks("Add a document format")[1].replace("rag.documents.calendar_loader", "calendar_loader").strip()
    code = f"""
import sys
sys.path.insert(0, {str(calendar.parent)!r})
from rag.documents import loaders, parsers
from rag.documents.langchain_loader import from_langchain
from rag.documents.loaders import Format
loaders.FORMATS = ({row}, *loaders.FORMATS)
parsers.main()
"""
    pool = Parsers(command=(sys.executable, "-c", code))
    try:
        assert pool.read(calendar, "a.ics").pages == [Page("SUMMARY:Supper", 1), Page("SUMMARY:Tea", 2)]
    finally:
        pool.close()


# --- embeddings and a retriever ---


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
