"""The app over fake services, driven without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import ui.app
from settings import ROOT
from tests.conftest import FakeServices


@pytest.fixture
def options() -> dict[str, Any]:
    """What `FakeServices` is given; parametrize a test to set it."""
    return {}


@pytest.fixture
def services(tmp_path: Path, options: dict[str, Any]) -> Iterator[FakeServices]:
    services = FakeServices(tmp_path / "data", **options)
    yield services
    services.close()


@pytest.fixture
def app(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The app at its chat page; not yet run."""
    monkeypatch.setattr(ui.app, "services", lambda: services)
    return AppTest.from_file(str(ROOT / "ui" / "main.py"), default_timeout=30)
