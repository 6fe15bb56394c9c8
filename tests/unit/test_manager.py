from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from threading import Event

import pytest

from backends import BACKENDS
from backends.base import State
from backends.manager import ModelManager
from errors import BackendBusy, BackendError, BackendUnavailable, ConfigurationError
from options import GenerationOptions
from settings import Settings
from tests.fakes import ScriptedBackend, ScriptedChatModel

OPTIONS = GenerationOptions()


def manage(*backends: ScriptedBackend) -> ModelManager:
    return ModelManager(Settings(), backends)


async def ask(manager: ModelManager, backend: str = "scripted", model: str = "m", question: str = "Why?") -> str:
    async with manager.use(backend, model, OPTIONS) as chat_model:
        return "".join([str(chunk.content) async for chunk in chat_model.astream(question)])


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


async def soon(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, condition)


def test_use_loads_first_and_hands_on_the_options() -> None:
    backend = ScriptedBackend()
    manager = manage(backend)
    assert manager.status("scripted", "m").state is State.UNLOADED
    assert asyncio.run(ask(manager)) == "Scripted answer."
    assert asyncio.run(ask(manager)) == "Scripted answer."
    assert backend.loads == ["m"]
    assert backend.options == [OPTIONS] * 2
    status = manager.status("scripted", "m")
    assert status.state is State.READY
    assert status.loaded
    assert status.loaded.context_window == 4096


def test_an_unknown_backend_is_named_beside_those_there_are() -> None:
    for call in (lambda m: m.backend("x"), lambda m: m.load("x", "m"), lambda m: asyncio.run(ask(m, "x"))):
        with pytest.raises(ConfigurationError, match=r"'x'.*scripted"):
            call(manage(ScriptedBackend()))


def test_the_table_is_what_is_offered_by_default() -> None:
    assert [backend.name for backend in ModelManager(Settings()).backends()] == list(BACKENDS)


def test_a_load_shows_its_progress_and_is_not_begun_twice() -> None:
    gate = Event()
    backend = ScriptedBackend().enqueue_load("Reading", gate)
    manager = manage(backend)
    first = manager.load("scripted", "m")
    until(lambda: (progress := manager.status("scripted", "m").progress) is not None and progress.text == "Reading")
    assert manager.load("scripted", "m") is first
    gate.set()
    first.result(5)
    manager.load("scripted", "m").result(5)
    assert backend.loads == ["m"]


def test_a_failed_load_is_shown_and_tried_again() -> None:
    backend = ScriptedBackend().enqueue_load(ConnectionRefusedError())
    manager = manage(backend)
    with pytest.raises(BackendUnavailable) as raised:
        asyncio.run(ask(manager))
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)
    status = manager.status("scripted", "m")
    assert (status.state, status.error) == (State.ERROR, raised.value)
    assert asyncio.run(ask(manager)) == "Scripted answer."


def test_a_bug_in_a_load_stays_a_bug_and_is_shown_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    manager = manage(ScriptedBackend().enqueue_load(ValueError("secret")))
    with pytest.raises(ValueError, match="secret"):
        asyncio.run(ask(manager))
    error = manager.status("scripted", "m").error
    assert type(error) is BackendError
    assert "secret" not in str(error)
    assert "could not be loaded" in caplog.text


def test_what_passes_through_use_is_translated() -> None:
    model = ScriptedChatModel().enqueue("Half", ConnectionResetError()).enqueue(KeyError("bug"))
    manager = manage(ScriptedBackend(model=model))
    with pytest.raises(BackendUnavailable):
        asyncio.run(ask(manager))
    assert manager.status("scripted", "m").state is State.ERROR  # the server went away
    with pytest.raises(KeyError):
        asyncio.run(ask(manager))
    assert manager.status("scripted", "m").state is State.READY


def test_a_model_in_memory_stays_ready_when_an_answer_fails() -> None:
    model = ScriptedChatModel().enqueue(MemoryError())
    manager = manage(ScriptedBackend(model=model, loads_weights=True))
    with pytest.raises(BackendUnavailable):
        asyncio.run(ask(manager))
    assert manager.status("scripted", "m").state is State.READY


def test_cancelling_passes_through_and_ends_the_stream() -> None:
    model = ScriptedChatModel().enqueue("One", 60.0)
    manager = manage(ScriptedBackend(model=model, loads_weights=True))

    async def cancel() -> None:
        task = asyncio.create_task(ask(manager))
        await soon(lambda: bool(model.prompts))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert model.closed == 1
    manager.unload("scripted", "m")  # the lease is given back


def test_a_waiter_that_is_cancelled_disturbs_neither_the_load_nor_the_others() -> None:
    gate = Event()
    backend = ScriptedBackend().enqueue_load(gate)
    manager = manage(backend)

    async def two() -> str:
        impatient, patient = asyncio.create_task(ask(manager)), asyncio.create_task(ask(manager))
        await soon(lambda: bool(backend.loads))
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        assert manager.status("scripted", "m").state is State.LOADING
        gate.set()
        return await patient

    assert asyncio.run(two()) == "Scripted answer."
    assert backend.loads == ["m"]


def test_unload_gives_back_and_refuses_while_loading_or_answering() -> None:
    loading, answering = Event(), Event()
    backend = ScriptedBackend(loads_weights=True).enqueue_load(loading)
    backend.model.enqueue(answering, "Done")
    manager = manage(backend)

    async def story() -> None:
        task = asyncio.create_task(ask(manager))
        await soon(lambda: bool(backend.loads))
        with pytest.raises(BackendBusy):
            manager.unload("scripted", "m")
        loading.set()
        await soon(lambda: bool(backend.model.prompts))
        with pytest.raises(BackendBusy):
            manager.unload("scripted", "m")
        answering.set()
        assert await task == "Done"

    asyncio.run(story())
    manager.unload("scripted", "m")
    manager.unload("scripted", "never loaded")
    assert backend.resident == set()
    assert manager.status("scripted", "m").state is State.UNLOADED


def test_one_model_is_resident_and_another_waits_for_its_answers() -> None:
    gate = Event()
    one = ScriptedBackend(name="one", loads_weights=True)
    two = ScriptedBackend(name="two", loads_weights=True)
    one.model.enqueue(gate, "Done")
    manager = manage(one, two)

    async def story() -> list[str]:
        first = asyncio.create_task(ask(manager, "one", "a"))
        await soon(lambda: bool(one.model.prompts))
        second = asyncio.create_task(ask(manager, "two", "b"))
        await soon(lambda: "a has answered" in str(manager.status("two", "b").progress))
        assert (one.resident, two.loads) == ({"a"}, [])
        gate.set()
        return [*await asyncio.gather(first, second)]

    assert asyncio.run(story()) == ["Done", "Scripted answer."]
    assert (one.resident, two.resident) == (set(), {"b"})
    assert manager.status("one", "a").state is State.UNLOADED


def test_two_who_want_different_models_at_once_both_get_their_answer() -> None:
    backend = ScriptedBackend(loads_weights=True)
    for _ in range(6):
        backend.enqueue_load(0.01)
    manager = manage(backend)

    async def many() -> list[str]:
        return await asyncio.gather(*(ask(manager, model=name) for name in "ababba"))

    assert asyncio.run(many()) == ["Scripted answer."] * 6
    assert len(backend.resident) == 1


def test_servers_do_not_push_each_other_out() -> None:
    one, two = ScriptedBackend(name="one"), ScriptedBackend(name="two")
    manager = manage(one, two)
    manager.load("one", "a").result(5)
    manager.load("two", "b").result(5)
    assert (one.resident, two.resident) == ({"a"}, {"b"})


def test_close_gives_back_what_is_loaded() -> None:
    backend = ScriptedBackend(loads_weights=True)
    manager = manage(backend)
    manager.load("scripted", "m").result(5)
    manager.close()
    assert backend.resident == set()


def test_check_all_looks_side_by_side_and_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    backends = [
        ScriptedBackend(name="well", models=("a", "b")),
        ScriptedBackend(name="down", check=(BackendUnavailable("It is down.", "Start it."),)),
        ScriptedBackend(name="refused", check=(ConnectionRefusedError(),)),
        ScriptedBackend(name="bug", check=(ValueError("secret"),)),
        ScriptedBackend(name="slow", check=(5.0,)),
        ScriptedBackend(name="slower", check=(5.0,)),
    ]
    began = time.monotonic()
    found = manage(*backends).check_all(timeout=0.2)
    assert time.monotonic() - began < 1
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


def test_a_load_is_cancelled_while_it_reports_and_while_it_says_nothing() -> None:
    gates = {"a": Event(), "b": Event()}
    backend = ScriptedBackend(loads_weights=True)
    backend.enqueue_load("Reading", gates["a"], "Reading on").enqueue_load(gates["b"])
    manager = manage(backend)
    for model, gate in gates.items():
        waiting = manager.load("scripted", model)
        until(lambda: model in backend.loads)  # noqa: B023 - called within the loop
        manager.cancel("scripted", model)
        manager.cancel("scripted", model)
        with pytest.raises(BackendUnavailable, match="cancelled"):
            waiting.result(1)
        assert manager.status("scripted", model).state is State.UNLOADED
        gate.set()
    # The second one came through after all, and was given back.
    manager.load("scripted", "c").result(5)
    until(lambda: backend.resident == {"c"})
    assert manager.known("scripted").keys() == {"c"}


def test_who_waits_for_a_cancelled_load_is_told() -> None:
    gate = Event()
    manager = manage(ScriptedBackend().enqueue_load(gate))

    async def story() -> None:
        task = asyncio.create_task(ask(manager))
        await soon(lambda: manager.status("scripted", "m").state is State.LOADING)
        manager.cancel("scripted", "m")
        with pytest.raises(BackendUnavailable, match="cancelled"):
            await task

    asyncio.run(story())
    gate.set()
    assert asyncio.run(ask(manager)) == "Scripted answer."


def test_a_switch_that_is_cancelled_leaves_the_other_model_where_it_was() -> None:
    gate = Event()
    backend = ScriptedBackend(loads_weights=True)
    backend.model.enqueue(gate, "Done")
    manager = manage(backend)

    async def story() -> str:
        task = asyncio.create_task(ask(manager, model="a"))
        await soon(lambda: bool(backend.model.prompts))
        manager.load("scripted", "b")
        await soon(lambda: "a has answered" in str(manager.status("scripted", "b").progress))
        manager.cancel("scripted", "b")
        await soon(lambda: manager.status("scripted", "a").state is State.READY)
        gate.set()
        return await task

    assert asyncio.run(story()) == "Done"
    assert asyncio.run(ask(manager, model="a")) == "Scripted answer."
    assert backend.loads == ["a"]


def test_a_switch_comes_to_its_turn_however_busy_the_other_model_is() -> None:
    backend = ScriptedBackend(loads_weights=True)
    manager = manage(backend)

    async def story() -> None:
        async def steadily() -> None:
            while True:
                await ask(manager, model="a")

        crowd = [asyncio.create_task(steadily()) for _ in range(3)]
        await soon(lambda: len(backend.model.prompts) > 5)
        await asyncio.wait_for(ask(manager, model="b"), 5)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

    asyncio.run(story())


def test_unloading_tells_what_came_back_and_reload_loads_again() -> None:
    backend = ScriptedBackend(loads_weights=True)
    manager = manage(backend)
    manager.load("scripted", "m").result(5)
    manager.reload("scripted", "m").result(5)
    assert backend.loads == ["m", "m"]
    manager.unload("scripted", "m")
    released = manager.status("scripted", "m").released
    assert released
    assert (released.size_bytes, released.freed_bytes) == (1000, 1000)
    assert manager.known("scripted").keys() == {"m"}


def test_a_missing_model_is_pulled_before_it_is_loaded() -> None:
    backend = ScriptedBackend(pulls=True)
    manage(backend).load("scripted", "m", pull=True).result(5)
    assert (backend.pulled, backend.loads) == (["m"], ["m"])


def test_an_answer_leaves_room_for_its_prompt_in_the_window() -> None:
    backend = ScriptedBackend()
    manager = manage(backend)

    async def story() -> None:
        async with manager.use("scripted", "m", GenerationOptions(max_new_tokens=4000)):
            pass

    asyncio.run(story())
    assert backend.options[0].max_new_tokens == 1024  # of a window of 4096


def test_checks_are_taken_in_the_background_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Event()
    backend = ScriptedBackend(check=(gate,))
    checks = manage(backend).checks
    assert checks.last("scripted") is None
    assert checks.looking("scripted")
    gate.set()
    found = checks.last("scripted", patience=5)
    assert found
    assert [info.name for info in found.models] == ["scripted"]
    until(lambda: not checks.looking("scripted"))
    assert checks.last("scripted") is found
    backend.check_steps = (BackendUnavailable("It is down.", "Start it."),)
    monkeypatch.setattr("backends.checks.FRESH", 0.0)
    assert checks.last("scripted") is found  # shown while a newer look is under way
    until(lambda: (seen := checks.last("scripted")) is not None and seen.error is not None)
    backend.check_steps = ()
    checks.refresh("scripted")
    found = checks.last("scripted", patience=5)
    assert found
    assert found.error is None


def test_a_check_that_hangs_counts_as_failed_and_as_found_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.checks.PATIENCE", 0.05)
    gate = Event()
    checks = manage(ScriptedBackend(check=(gate,))).checks
    until(lambda: (seen := checks.last("scripted")) is not None and "did not answer" in str(seen.error))
    assert not checks.looking("scripted")
    gate.set()
    until(lambda: (seen := checks.last("scripted")) is not None and seen.error is None)
