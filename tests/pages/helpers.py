"""What the page tests have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from streamlit.testing.v1 import AppTest

from rag.schema import LOCAL_OWNER, Finish, Message
from tests.conftest import FakeServices

QUESTION = "How long is the pier at Gannet Holm?"


def texts(app: AppTest) -> str:
    """All text on the page."""
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.error, app.info, app.warning, app.success)
    return "\n".join(str(element.value) for elements in kinds for element in elements)


def button(app: AppTest, label: str) -> Any:
    """The first button with a label."""
    return next(element for element in app.button if element.label == label)


def labels(app: AppTest) -> list[str]:
    """The labels of all buttons."""
    return [element.label for element in app.button]


def wait(done: Callable[[], object]) -> None:
    """Wait until something is done."""
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def settle(app: AppTest, done: Callable[[], object]) -> None:
    """Wait until something is done, then rerun the page."""
    wait(done)
    app.run()
    assert not app.exception


def messages(services: FakeServices) -> tuple[Message, ...]:
    """The messages of the latest conversation."""
    [chat, *_] = services.conversations.list(LOCAL_OWNER)
    return services.conversations.messages(LOCAL_OWNER, chat.id)


def answered(services: FakeServices) -> bool:
    """Whether the latest conversation has its answer."""
    return messages(services)[-1].finish is not Finish.RUNNING


def ask(app: AppTest, services: FakeServices, question: str, answer: str = "") -> Message:
    """Ask on the chat page and wait for the answer, which may be scripted."""
    if answer:
        services.script.enqueue(answer)
    app.chat_input[0].set_value(question).run()
    assert app.query_params.get("c"), texts(app)  # no conversation: the page says why
    settle(app, lambda: answered(services))
    return messages(services)[-1]
