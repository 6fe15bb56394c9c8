"""Real servers, one at a time: a server is stopped before the next one starts.

A test with the fixture `server` runs on each; `@pytest.mark.parametrize("server", ["vllm"], indirect=True)` selects.
pytest groups the tests by server, across modules too, so that each starts once. A test that kills it restarts it.
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the servers if the run is terminated
    with servers.running(request.param) as server:
        yield server
