from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from threading import Event

import pytest

from backends import BACKENDS
from backends.base import State
from backends.checks import Checks, check_all
from backends.manager import ModelManager
from errors import BackendBusy, BackendError, BackendUnavailable, ConfigurationError
from options import GenerationOptions
from settings import Settings
from tests.fakes import ScriptedBackend, ScriptedChatModel

OPTIONS = GenerationOptions()


def make_manager(*backends: ScriptedBackend) -> ModelManager:
    return ModelManager(Settings(), backends)


async def ask(manager: ModelManager, backend: str = "scripted", model: str = "m", question: str = "Why?") -> str:
    async with manager.use(backend, model, OPTIONS) as chat_model:
        return "".join([str(chunk.content) async for chunk in chat_model.astream(question)])


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.005)


async def wait_until_async(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition)


def test_use_loads_the_model_and_passes_the_options() -> None:
    backend = ScriptedBackend()
    manager = make_manager(backend)
    assert manager.status("scripted", "m").state is State.UNLOADED
    assert asyncio.run(ask(manager)) == "Scripted answer."
    assert asyncio.run(ask(manager)) == "Scripted answer."
    assert backend.loads == ["m"]
    assert backend.options == [OPTIONS] * 2
    status = manager.status("scripted", "m")
    assert status.state is State.READY
    assert status.loaded
    assert status.loaded.context_window == 4096


def test_an_unknown_backend_is_reported_with_the_existing_ones() -> None:
    for call in (lambda m: m.backend("x"), lambda m: m.load("x", "m"), lambda m: asyncio.run(ask(m, "x"))):
        with pytest.raises(ConfigurationError, match=r"'x'.*scripted"):
            call(make_manager(ScriptedBackend()))


def test_all_backends_in_the_table_are_offered_by_default() -> None:
    assert [backend.name for backend in ModelManager(Settings()).backends()] == list(BACKENDS)


def test_a_load_reports_progress_and_is_not_started_twice() -> None:
    gate = Event()
    backend = ScriptedBackend().enqueue_load("Reading", gate)
    manager = make_manager(backend)
    first = manager.load("scripted", "m")
    wait_until(
        lambda: (progress := manager.status("scripted", "m").progress) is not None and progress.text == "Reading"
    )
    assert manager.load("scripted", "m") is first
    gate.set()
    first.result(5)
    manager.load("scripted", "m").result(5)
    assert backend.loads == ["m"]


def test_a_failed_load_is_shown_and_retried() -> None:
    backend = ScriptedBackend().enqueue_load(ConnectionRefusedError())
    manager = make_manager(backend)
    with pytest.raises(BackendUnavailable) as raised:
        asyncio.run(ask(manager))
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)
    status = manager.status("scripted", "m")
    assert (status.state, status.error) == (State.ERROR, raised.value)
    assert asyncio.run(ask(manager)) == "Scripted answer."


def test_a_bug_in_a_load_stays_a_bug_and_is_shown_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    manager = make_manager(ScriptedBackend().enqueue_load(ValueError("secret")))
    with pytest.raises(ValueError, match="secret"):
        asyncio.run(ask(manager))
    error = manager.status("scripted", "m").error
    assert type(error) is BackendError
    assert "secret" not in str(error)
    assert "could not be loaded" in caplog.text


def test_exceptions_in_use_are_translated() -> None:
    model = ScriptedChatModel().enqueue("Half", ConnectionResetError()).enqueue(KeyError("bug"))
    manager = make_manager(ScriptedBackend(model=model))
    with pytest.raises(BackendUnavailable):
        asyncio.run(ask(manager))
    assert manager.status("scripted", "m").state is State.ERROR  # the server is gone
    with pytest.raises(KeyError):
        asyncio.run(ask(manager))
    assert manager.status("scripted", "m").state is State.READY


def test_a_model_in_memory_stays_ready_when_an_answer_fails() -> None:
    model = ScriptedChatModel().enqueue(MemoryError())
    manager = make_manager(ScriptedBackend(model=model, loads_weights=True))
    with pytest.raises(BackendUnavailable):
        asyncio.run(ask(manager))
    assert manager.status("scripted", "m").state is State.READY


def test_cancelling_a_task_closes_its_stream() -> None:
    model = ScriptedChatModel().enqueue("One", 60.0)
    manager = make_manager(ScriptedBackend(model=model, loads_weights=True))

    async def cancel() -> None:
        task = asyncio.create_task(ask(manager))
        await wait_until_async(lambda: bool(model.prompts))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert model.closed == 1
    manager.unload("scripted", "m")  # the lease is released


def test_a_cancelled_waiter_affects_neither_the_load_nor_other_waiters() -> None:
    gate = Event()
    backend = ScriptedBackend().enqueue_load(gate)
    manager = make_manager(backend)

    async def two() -> str:
        impatient, patient = asyncio.create_task(ask(manager)), asyncio.create_task(ask(manager))
        await wait_until_async(lambda: bool(backend.loads))
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        assert manager.status("scripted", "m").state is State.LOADING
        gate.set()
        return await patient

    assert asyncio.run(two()) == "Scripted answer."
    assert backend.loads == ["m"]


def test_unload_frees_memory_and_fails_while_loading_or_answering() -> None:
    loading, answering = Event(), Event()
    backend = ScriptedBackend(loads_weights=True).enqueue_load(loading)
    backend.model.enqueue(answering, "Done")
    manager = make_manager(backend)

    async def scenario() -> None:
        task = asyncio.create_task(ask(manager))
        await wait_until_async(lambda: bool(backend.loads))
        with pytest.raises(BackendBusy):
            manager.unload("scripted", "m")
        loading.set()
        await wait_until_async(lambda: bool(backend.model.prompts))
        with pytest.raises(BackendBusy):
            manager.unload("scripted", "m")
        answering.set()
        assert await task == "Done"

    asyncio.run(scenario())
    manager.unload("scripted", "m")
    manager.unload("scripted", "never loaded")
    assert backend.resident == set()
    assert manager.status("scripted", "m").state is State.UNLOADED


def test_only_one_model_is_resident_and_a_switch_waits_for_answers() -> None:
    gate = Event()
    one = ScriptedBackend(name="one", loads_weights=True)
    two = ScriptedBackend(name="two", loads_weights=True)
    one.model.enqueue(gate, "Done")
    manager = make_manager(one, two)

    async def scenario() -> list[str]:
        first = asyncio.create_task(ask(manager, "one", "a"))
        await wait_until_async(lambda: bool(one.model.prompts))
        second = asyncio.create_task(ask(manager, "two", "b"))
        await wait_until_async(lambda: "a has answered" in str(manager.status("two", "b").progress))
        assert (one.resident, two.loads) == ({"a"}, [])
        gate.set()
        return [*await asyncio.gather(first, second)]

    assert asyncio.run(scenario()) == ["Done", "Scripted answer."]
    assert (one.resident, two.resident) == (set(), {"b"})
    assert manager.status("one", "a").state is State.UNLOADED


def test_concurrent_uses_of_different_models_all_get_an_answer() -> None:
    backend = ScriptedBackend(loads_weights=True)
    for _ in range(6):
        backend.enqueue_load(0.01)
    manager = make_manager(backend)

    async def many() -> list[str]:
        return await asyncio.gather(*(ask(manager, model=name) for name in "ababba"))

    assert asyncio.run(many()) == ["Scripted answer."] * 6
    assert len(backend.resident) == 1


def test_models_on_servers_do_not_evict_each_other() -> None:
    one, two = ScriptedBackend(name="one"), ScriptedBackend(name="two")
    manager = make_manager(one, two)
    manager.load("one", "a").result(5)
    manager.load("two", "b").result(5)
    assert (one.resident, two.resident) == ({"a"}, {"b"})


def test_close_unloads_models() -> None:
    backend = ScriptedBackend(loads_weights=True)
    manager = make_manager(backend)
    manager.load("scripted", "m").result(5)
    manager.close()
    assert backend.resident == set()


def test_check_all_runs_in_parallel_and_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    gate = Event()
    backends = [
        ScriptedBackend(name="well", models=("a", "b")),
        ScriptedBackend(name="down", check=(BackendUnavailable("It is down.", "Start it."),)),
        ScriptedBackend(name="refused", check=(ConnectionRefusedError(),)),
        ScriptedBackend(name="bug", check=(ValueError("secret"),)),
        ScriptedBackend(name="hangs", check=(gate,)),
        ScriptedBackend(name="hangs too", check=(gate,)),
    ]
    found = check_all(backends, timeout=0.2)
    gate.set()
    assert [check.backend.name for check in found] == [backend.name for backend in backends]
    assert [info.name for info in found[0].models] == ["a", "b"]
    assert [type(check.error) for check in found] == [
        type(None),
        BackendUnavailable,
        BackendUnavailable,
        BackendError,
        BackendUnavailable,
        BackendUnavailable,
    ]
    assert not any("secret" in str(check.error) for check in found)
    assert "secret" in caplog.text


def test_a_load_can_be_cancelled_with_and_without_progress_reports() -> None:
    gates = {"a": Event(), "b": Event()}
    backend = ScriptedBackend(loads_weights=True)
    backend.enqueue_load("Reading", gates["a"], "Reading on").enqueue_load(gates["b"])
    manager = make_manager(backend)
    for model, gate in gates.items():
        waiting = manager.load("scripted", model)
        wait_until(lambda: model in backend.loads)  # noqa: B023 - called within the loop
        manager.cancel("scripted", model)
        manager.cancel("scripted", model)
        with pytest.raises(BackendUnavailable, match="cancelled"):
            waiting.result(1)
        assert manager.status("scripted", model).state is State.UNLOADED
        gate.set()
    # The second load finished after all, and was unloaded.
    manager.load("scripted", "c").result(5)
    wait_until(lambda: backend.resident == {"c"})
    assert manager.known("scripted").keys() == {"c"}


def test_waiters_of_a_cancelled_load_get_an_error() -> None:
    gate = Event()
    manager = make_manager(ScriptedBackend().enqueue_load(gate))

    async def scenario() -> None:
        task = asyncio.create_task(ask(manager))
        await wait_until_async(lambda: manager.status("scripted", "m").state is State.LOADING)
        manager.cancel("scripted", "m")
        with pytest.raises(BackendUnavailable, match="cancelled"):
            await task

    asyncio.run(scenario())
    gate.set()
    assert asyncio.run(ask(manager)) == "Scripted answer."


def test_a_cancelled_switch_leaves_the_other_model_loaded() -> None:
    gate = Event()
    backend = ScriptedBackend(loads_weights=True)
    backend.model.enqueue(gate, "Done")
    manager = make_manager(backend)

    async def scenario() -> str:
        task = asyncio.create_task(ask(manager, model="a"))
        await wait_until_async(lambda: bool(backend.model.prompts))
        manager.load("scripted", "b")
        await wait_until_async(lambda: "a has answered" in str(manager.status("scripted", "b").progress))
        manager.cancel("scripted", "b")
        await wait_until_async(lambda: manager.status("scripted", "a").state is State.READY)
        gate.set()
        return await task

    assert asyncio.run(scenario()) == "Done"
    assert asyncio.run(ask(manager, model="a")) == "Scripted answer."
    assert backend.loads == ["a"]


def test_a_switch_happens_even_if_the_other_model_is_busy() -> None:
    backend = ScriptedBackend(loads_weights=True)
    manager = make_manager(backend)

    async def scenario() -> None:
        async def steadily() -> None:
            while True:
                await ask(manager, model="a")

        crowd = [asyncio.create_task(steadily()) for _ in range(3)]
        await wait_until_async(lambda: len(backend.model.prompts) > 5)
        await asyncio.wait_for(ask(manager, model="b"), 5)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

    asyncio.run(scenario())


def test_unload_reports_freed_memory_and_reload_loads_again() -> None:
    backend = ScriptedBackend(loads_weights=True)
    manager = make_manager(backend)
    manager.load("scripted", "m").result(5)
    manager.reload("scripted", "m").result(5)
    assert backend.loads == ["m", "m"]
    manager.unload("scripted", "m")
    released = manager.status("scripted", "m").released
    assert released
    assert (released.size_bytes, released.freed_bytes) == (1000, 1000)
    assert manager.known("scripted").keys() == {"m"}


def test_a_missing_model_is_pulled_before_loading() -> None:
    backend = ScriptedBackend(pulls=True)
    make_manager(backend).load("scripted", "m", pull=True).result(5)
    assert (backend.pulled, backend.loads) == (["m"], ["m"])


def test_the_answer_is_limited_to_a_quarter_of_the_window() -> None:
    backend = ScriptedBackend()
    manager = make_manager(backend)

    async def scenario() -> None:
        async with manager.use("scripted", "m", GenerationOptions(max_new_tokens=4000)):
            pass

    asyncio.run(scenario())
    assert backend.options[0].max_new_tokens == 1024  # of a window of 4096


def test_checks_run_in_the_background_and_are_cached() -> None:
    gate = Event()
    backend = ScriptedBackend(check=(gate,))
    checks = Checks(lambda name: backend)
    assert checks.latest("scripted") is None
    assert checks.is_checking("scripted")
    gate.set()
    result = checks.latest("scripted", wait_s=5)
    assert result
    assert [info.name for info in result.models] == ["scripted"]
    wait_until(lambda: not checks.is_checking("scripted"))
    assert checks.latest("scripted") is result
    backend.check_steps = (BackendUnavailable("It is down.", "Start it."),)
    checks.refresh("scripted")
    result = checks.latest("scripted", wait_s=5)
    assert result
    assert result.error


def test_an_old_check_is_shown_while_a_new_one_runs() -> None:
    backend = ScriptedBackend()
    checks = Checks(lambda name: backend, max_age=0.0)
    result = checks.latest("scripted", wait_s=5)
    assert result
    wait_until(lambda: not checks.is_checking("scripted"))
    gate = Event()
    backend.check_steps = (gate, BackendUnavailable("It is down.", "Start it."))
    assert checks.latest("scripted") is result
    gate.set()
    wait_until(lambda: (latest := checks.latest("scripted")) is not None and latest.error is not None)


def test_a_hanging_check_times_out_and_its_late_result_is_used() -> None:
    gate = Event()
    backend = ScriptedBackend(check=(gate,))
    checks = Checks(lambda name: backend, timeout=0.05)
    wait_until(lambda: (seen := checks.latest("scripted")) is not None and "did not answer" in str(seen.error))
    assert not checks.is_checking("scripted")
    gate.set()
    wait_until(lambda: (seen := checks.latest("scripted")) is not None and seen.error is None)
