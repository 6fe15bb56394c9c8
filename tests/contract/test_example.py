"""The examples of CONTRIBUTING.md work."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from backends.base import Backend, GenerationOptions, State
from backends.manager import ModelManager
from errors import UnreadableDocument
from rag.documents import loaders
from rag.documents.langchain_loader import from_langchain
from rag.documents.parsers import Parsers
from rag.schema import Page
from settings import ROOT, Settings

BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)
]
CALENDAR = "rag.documents.calendar_loader"
EVENTS = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:{}\nEND:VEVENT\nBEGIN:VEVENT\nSUMMARY:Tea\nEND:VEVENT\nEND:VCALENDAR"


def run_block(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(source, "CONTRIBUTING.md", "exec"), module.__dict__)
    return module


def test_the_backend_answers_through_the_manager() -> None:
    module = run_block("echo", BLOCKS[0])
    backend: Backend = module.EchoBackend(Settings())
    manager = ModelManager(Settings(), [backend])
    [model] = backend.list_models()

    async def ask() -> str:
        async with manager.use("echo", model.name, GenerationOptions()) as chat:
            return (await chat.ainvoke("Who is there?")).text

    assert asyncio.run(ask()) == "Pieces of eight!"
    assert manager.status("echo", model.name).state is State.READY
    [checked] = manager.check_all()
    assert checked.error is None


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setitem(sys.modules, CALENDAR, run_block(CALENDAR, BLOCKS[1]))
    rows = eval(f"({BLOCKS[2]})", {**vars(loaders), "from_langchain": from_langchain})
    monkeypatch.setattr(loaders, "FORMATS", (*rows, *loaders.FORMATS))
    path = tmp_path / "upload"
    path.write_text(EVENTS.format("Supper"))
    return path


def test_the_document_format_is_read(calendar: Path) -> None:
    assert ".ics" in loaders.supported_extensions()
    assert loaders.load(calendar, "a.ics").pages == [Page("SUMMARY:Supper", 1), Page("SUMMARY:Tea", 2)]


def test_errors_of_a_langchain_loader_are_reported(calendar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calendar.write_bytes(b"BEGIN:VEVENT\n\xff\xfe caf\xe9")  # not UTF-8
    with pytest.raises(UnreadableDocument, match=r"a\.ics could not be read"):
        loaders.load(calendar, "a.ics")
    row = loaders.Format("an Org file", (".org",), from_langchain("no_such_package:Loader"))
    monkeypatch.setattr(loaders, "FORMATS", (row, *loaders.FORMATS))
    with pytest.raises(UnreadableDocument, match="package that is missing: No module named 'no_such_package'"):
        loaders.load(calendar, "a.org")


def test_the_document_format_is_read_in_a_parser_process(calendar: Path) -> None:
    code = "\n".join(
        [
            "import sys, types",
            "from rag.documents import loaders, parsers",
            "from rag.documents.langchain_loader import from_langchain",
            "from rag.documents.loaders import Format",
            f"module = sys.modules[{CALENDAR!r}] = types.ModuleType({CALENDAR!r})",
            f"exec({BLOCKS[1]!r}, vars(module))",
            f"loaders.FORMATS = ({BLOCKS[2].strip()} *loaders.FORMATS)",
            "parsers.main()",
        ]
    )
    pool = Parsers(command=(sys.executable, "-c", code))
    try:
        assert pool.read(calendar, "a.ics").pages == [Page("SUMMARY:Supper", 1), Page("SUMMARY:Tea", 2)]
    finally:
        pool.close()
