"""The example backend in CONTRIBUTING.md works."""

from __future__ import annotations

import asyncio
import re
from types import ModuleType

from backends.base import Backend, State
from backends.manager import ModelManager
from options import GenerationOptions
from settings import ROOT, Settings


def test_the_example_answers_through_the_manager() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    source = "\n".join(line.removeprefix("   ") for line in blocks[0].splitlines())
    module = ModuleType("echo")
    exec(compile(source, "CONTRIBUTING.md", "exec"), module.__dict__)
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
