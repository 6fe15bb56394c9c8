"""SIGKILL at twenty random moments of an ingestion: nothing lost, nothing twice, no orphan."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
from pathlib import Path

import pytest

from tests import kill_story

KILLS = 20


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that have imported everything already, but opened nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.kill_story", "chromadb"])
    return context


def test_kills_lose_nothing_and_leave_nothing(
    processes: multiprocessing.context.ForkServerContext, tmp_path: Path
) -> None:
    folder, found = tmp_path / "data", tmp_path / "found"
    moments = random.Random(7)
    for round_ in range(KILLS):
        # Not by the clock alone: on a busy machine the process would be killed before it began.
        when = moments.randint(1, kill_story.BATCHES), moments.uniform(0.0, 0.2)
        victim = processes.Process(target=kill_story.work, args=(folder, found, kill_story.DOCUMENTS * round_, *when))
        victim.start()
        victim.join()
        assert victim.exitcode == -signal.SIGKILL
        assert json.loads(found.read_text()) == []  # what the kill before this one left
    for story, args in ((kill_story.work, (kill_story.DOCUMENTS * KILLS,)), (kill_story.inspect, ())):
        process = processes.Process(target=story, args=(folder, found, *args))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert json.loads(found.read_text()) == []
