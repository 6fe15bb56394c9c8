"""Real servers, one at a time: a server is stopped before the next one starts.

A test that takes `server` runs on each of them; `@pytest.mark.parametrize("server", ["vllm"], indirect=True)` chooses.
pytest sorts the tests by server, across modules too, so that each starts once. A test that kills it starts it again.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.integration import servers
from tests.integration.recipes import RECIPES
from tests.integration.servers import Server


@pytest.fixture(scope="session", params=list(RECIPES))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a run that is ended takes its servers along
    with servers.running(request.param) as server:
        yield server
