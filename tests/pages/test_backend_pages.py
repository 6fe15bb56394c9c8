"""Backends: the pickers in the sidebar, the Models page and the Compare page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from backends.base import State
from backends.vllm import VllmBackend
from errors import BackendUnavailable, ConfigurationError, ModelNotFound
from rag.schema import LOCAL_OWNER, Finish
from tests.conftest import FakeServices
from tests.fakes import ScriptedBackend
from tests.pages.helpers import QUESTION, ask, button, messages, settle, texts
from tests.stubs.openai_server import OpenAIStub


def pick(app: AppTest, key: str, value: str) -> None:
    app.selectbox(key=key).set_value(value).run()
    assert not app.exception


def test_the_next_answer_comes_from_the_backend_that_was_picked(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    app.run()
    ask(app, services, QUESTION)
    pick(app, "model", "spare/wren")
    ask(app, services, "And who repaired it, the pier at Gannet Holm?")
    assert [message.model for message in messages(services)] == ["", "parrot", "", "wren"]
    pick(app, "model", "scripted/owl")
    ask(app, services, "And who repaired it then, the pier at Gannet Holm?")
    assert messages(services)[-1].model == "owl"


def test_options_that_a_backend_ignores_are_disabled_with_the_reason(app: AppTest, services: FakeServices) -> None:
    services.manager.checks.latest("spare", 5)
    app.run()
    assert not app.slider(key="top_k").disabled
    pick(app, "model", "spare/wren")
    assert app.slider(key="top_k").disabled
    assert app.slider(key="top_k").help == "It takes none."
    assert not app.slider(key="top_p").disabled


def test_the_models_of_all_backends_are_in_one_list(app: AppTest, services: FakeServices) -> None:
    services.manager.checks.latest("spare", 5)
    app.run()
    assert app.selectbox(key="model").value == "scripted/parrot"
    assert app.selectbox(key="model").options == ["parrot · Scripted", "owl · Scripted", "wren · Spare"]


def test_what_was_chosen_last_is_there_at_the_next_visit(app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    services.manager.checks.latest("spare", 5)
    app.run()
    pick(app, "model", "spare/wren")
    app.slider(key="k").set_value(7).run()
    ask(app, services, QUESTION)
    visit = AppTest.from_file(app._script_path, default_timeout=app.default_timeout).run()
    assert visit.selectbox(key="model").value == "spare/wren"
    assert visit.slider(key="k").value == 7
    pick(visit, "model", "scripted/owl")
    button(visit, "Use for new chats").click().run()
    assert not visit.exception
    pick(visit, "model", "spare/wren")
    again = AppTest.from_file(app._script_path, default_timeout=app.default_timeout).run()
    assert again.selectbox(key="model").value == "scripted/owl"


@pytest.mark.parametrize(
    ("typed", "model"), [("spare/lark", "spare/lark"), ("lark", "scripted/lark"), ("org/lark", "scripted/org/lark")]
)
def test_a_models_name_can_be_typed(app: AppTest, services: FakeServices, typed: str, model: str) -> None:
    services.backend.capabilities = replace(services.backend.capabilities, free_model_name=True)  # type: ignore[misc]
    app.session_state["model"] = typed  # as the list does with what is typed
    app.run()
    assert not app.exception
    assert app.selectbox(key="model").value == model


def test_a_backend_that_is_down_says_how_to_start_it_and_can_be_checked_again(
    app: AppTest, services: FakeServices
) -> None:
    services.spare.check_steps = (BackendUnavailable("Spare cannot be reached.", "Start it with: spare serve"),)
    services.manager.checks.latest("spare", 5)
    app.run()
    assert app.selectbox(key="model").options[-1] == "Spare: not available"
    pick(app, "model", "spare/")
    assert "**Spare cannot be reached\\.**  \nStart it with" in texts(app)
    services.spare.check_steps = ()
    button(app, "Try again").click().run()
    app.run()
    assert "cannot be reached" not in texts(app)
    assert app.selectbox(key="model").value == "spare/wren"


def test_a_missing_key_is_named_and_never_typed(app: AppTest, services: FakeServices) -> None:
    services.spare.check_steps = (ConfigurationError("SPARE_API_KEY is not set.", "Put it into .env."),)
    services.manager.checks.latest("spare", 5)
    app.run()
    pick(app, "model", "spare/")
    assert "SPARE\\_API\\_KEY is not set" in texts(app)
    assert [field.key for field in app.text_input] == ["preset_name"]


def test_the_page_does_not_wait_for_a_list_of_models(app: AppTest, services: FakeServices) -> None:
    gate = threading.Event()
    services.spare.check_steps = (gate,)
    app.run()
    assert app.selectbox(key="model").options[-1] == "Spare: checking …"
    pick(app, "model", "spare/")
    assert "Checking Spare" in texts(app)
    gate.set()
    settle(app, lambda: services.manager.checks.latest("spare") is not None)
    assert app.selectbox(key="model").value == "spare/wren"


def test_a_question_to_a_backend_without_a_known_model_is_answered_by_the_fallback(
    app: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(services.spare, "list_models", down)
    services.put_pier()
    services.manager.checks.latest("spare", 5)
    app.run()
    pick(app, "model", "spare/")
    pick(app, "fallback", "scripted")
    ask(app, services, QUESTION, "The pier at Gannet Holm is 62 metres long.")
    assert "Scripted answered instead" in texts(app)
    assert "parrot · first word" in texts(app)


KEY = "a-key-that-nobody-may-see"


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIStub]:
    """A server; the settings of the environment name it."""
    with OpenAIStub(models=("granite",), key=KEY) as stub:
        monkeypatch.setenv("VLLM_BASE_URL", stub.url)
        monkeypatch.setenv("VLLM_API_KEY", KEY)
        yield stub


@pytest.mark.parametrize("options", [{"backends": [VllmBackend]}])
def test_a_key_is_neither_drawn_nor_kept_by_the_page(vllm: OpenAIStub, app: AppTest, services: FakeServices) -> None:
    services.put_pier()
    services.manager.checks.latest("vllm", 5)
    app.run()
    pick(app, "model", "vllm/granite")
    settle(app, lambda: services.manager.checks.latest("vllm") is not None)
    ask(app, services, QUESTION)
    assert "granite · first word" in texts(app)
    assert any(KEY in str(request.headers) for request in vllm.requests)
    assert "granite" in repr(app.session_state)
    assert KEY not in repr(app.session_state) + texts(app) + str(app.query_params)


@pytest.fixture
def page(app: AppTest, services: FakeServices) -> Callable[[str], AppTest]:
    """Opens a page of the frame."""

    def open_page(path: str) -> AppTest:
        app.run()
        app.switch_page(path).run()
        assert not app.exception
        return app

    return open_page


def test_models_are_loaded_unloaded_and_reloaded_by_buttons(
    page: Callable[[str], AppTest], services: FakeServices
) -> None:
    services.spare.capabilities = ScriptedBackend(loads_weights=True).capabilities  # type: ignore[misc]
    app = page("../pages/models.py")
    assert app.title[0].value == "Models"

    def state() -> State:
        return services.manager.status("spare", "wren").state

    app.button(key="manage-spare-Load").click().run()
    settle(app, lambda: state() is State.READY)
    assert app.button(key="manage-spare-Load").disabled
    assert "wren\\: ready" in texts(app)
    assert "window 4,096 tokens" in texts(app)
    app.button(key="manage-spare-Reload").click().run()
    settle(app, lambda: state() is State.READY)
    assert services.spare.loads == ["wren", "wren"]
    app.button(key="manage-spare-Unload").click().run()
    assert state() is State.UNLOADED
    assert "freed on cpu" in texts(app)


def test_a_load_can_be_cancelled_and_a_failed_one_says_why(
    page: Callable[[str], AppTest], services: FakeServices
) -> None:
    gate = threading.Event()
    services.spare.enqueue_load("Reading the weights", gate)
    services.spare.enqueue_load(BackendUnavailable("Spare broke.", "Mend it."))
    app = page("../pages/models.py")
    app.button(key="manage-spare-Load").click().run()
    settle(app, lambda: "Reading" in str(services.manager.status("spare", "wren").progress))
    app.button(key="page-cancel-spare-wren").click().run()
    assert services.manager.status("spare", "wren").state is State.UNLOADED
    gate.set()
    app.button(key="manage-spare-Load").click().run()
    settle(app, lambda: services.manager.status("spare", "wren").state is State.ERROR)
    assert "Spare broke" in texts(app)


def test_a_missing_model_can_be_pulled(page: Callable[[str], AppTest], services: FakeServices) -> None:
    services.spare.capabilities = ScriptedBackend(pulls=True).capabilities  # type: ignore[misc]
    services.spare.enqueue_load(ModelNotFound("Spare has no model wren.", "Pull it."))
    app = page("../pages/models.py")
    app.button(key="manage-spare-Load").click().run()
    settle(app, lambda: services.manager.status("spare", "wren").state is State.ERROR)
    app.button(key="page-pull-spare-wren").click().run()
    settle(app, lambda: services.manager.status("spare", "wren").state is State.READY)
    assert services.spare.pulled == ["wren"]


def test_a_dead_backend_does_not_hide_the_others(page: Callable[[str], AppTest], services: FakeServices) -> None:
    services.spare.check_steps = (BackendUnavailable("Spare cannot be reached.", "Start it with: spare serve"),)
    app = page("../pages/models.py")
    assert "Spare cannot be reached" in texts(app)
    assert app.selectbox(key="manage-scripted").value == "parrot"


def test_two_models_answer_side_by_side(page: Callable[[str], AppTest], services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("It is 62 metres long.")
    services.spare.model.enqueue("The pier is 62 metres long.")
    app = page("../pages/compare.py")
    assert (app.selectbox(key="left-model").value, app.selectbox(key="right-model").value) == (
        "scripted/parrot",
        "spare/wren",
    )
    app.chat_input[0].set_value(QUESTION).run()

    def done() -> bool:
        chats = services.conversations.list(LOCAL_OWNER)
        last = [services.conversations.messages(LOCAL_OWNER, chat.id)[-1] for chat in chats]
        return len(last) == 2 and all(message.finish is Finish.COMPLETE for message in last)

    settle(app, done)
    shown = texts(app)
    assert "It is 62 metres long" in shown
    assert "The pier is 62 metres long" in shown
    assert "parrot · first word" in shown
    assert "wren · first word" in shown
    chats = {chat.id for chat in services.conversations.list(LOCAL_OWNER)}
    assert {app.query_params["left"], app.query_params["right"]} == chats


def test_comparing_without_a_model_is_an_error(page: Callable[[str], AppTest], services: FakeServices) -> None:
    services.spare.models = ()
    app = page("../pages/compare.py")
    pick(app, "right-model", "spare/")
    app.chat_input[0].set_value(QUESTION).run()
    assert "A model is missing" in texts(app)
    assert services.conversations.list(LOCAL_OWNER) == []
