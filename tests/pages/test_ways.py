"""What an answer shows according to the way in which it was made: quotes, and answers without documents."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from rag.chat.extract import quoted
from rag.chat.quotes import Quote
from rag.schema import LOCAL_OWNER, Message, Mode, Route
from tests.conftest import FakeServices
from tests.pages.helpers import texts
from tests.pages.test_answer import PIER, answer, open_chat, passage, pdf

CODES = "| Code | Remedy |\n|---|---|\n| FX-310 | Check the *fuse* |\n| FX-320 | Rinse the filter |"
NOT_FOUND = "I could not find this in your documents."


def quote_of(services: FakeServices, text: str, start: int, end: int, **values: object) -> Message:
    found = passage(services.put("pier.md", text.encode()), text)
    checked = quoted([Quote(1, start, end, **values)], [found])  # type: ignore[arg-type] # of any kind
    composed = {"citations": checked.citations, "checks": checked.checks, "passages": (found,)}
    return answer(services, checked.text, route=Route(Mode.QUOTED, "Quotes were chosen.", verbatim=True), **composed)


def test_a_quote_has_its_place_in_its_badge_and_no_button_besides(app: AppTest, services: FakeServices) -> None:
    message = quote_of(services, PIER, 0, 43, bold=((27, 36),))
    shown = texts(open_chat(app, message))
    link = f'#source-{message.conversation_id}-{message.id}-0 "pier\\.md"'
    assert f"is **62 metres** long\\. :green-badge[[\u00a01 · pier\\.md\u00a0]({link})]" in shown
    assert not [each for each in app.button if (each.key or "").startswith("source-")]


@pytest.mark.parametrize("lead", [(0, 17), None])
def test_a_row_stands_below_its_header_in_a_table(
    app: AppTest, services: FakeServices, lead: tuple[int, int] | None
) -> None:
    start = CODES.index("| FX-310") if lead else 0
    row = "| FX\\-310 | Check the \\*fuse\\* |"
    shown = texts(open_chat(app, quote_of(services, CODES, start, CODES.index("\n| FX-320"), lead=lead)))
    assert f"| Code | Remedy |\n| --- | --- |\n{row}\n\n :green-badge" in shown


def test_a_row_without_a_header_is_a_line(app: AppTest, services: FakeServices) -> None:
    start = CODES.index("| FX-310")
    shown = texts(open_chat(app, quote_of(services, CODES, start, len(CODES))))
    assert "FX\\-310 \\| Check the \\*fuse\\*  \nFX\\-320 \\| Rinse the filter :green-badge" in shown


def test_a_refusal_has_ways_on_and_an_answer_without_documents_has_none(app: AppTest, services: FakeServices) -> None:
    found = passage(services.put("pier.md", PIER.encode()), PIER)
    message = answer(
        services, NOT_FOUND, passages=(found,), abstained=True, route=Route(Mode.ABSTAINED, "Nothing answers it.")
    )
    assert message.mode is Mode.ABSTAINED
    open_chat(app, message)
    assert [each.label for each in app.button if each.key == f"without-{message.id}"] == ["Answer without documents"]
    alone = answer(services, "Ulan Bator.", passages=(found,), abstained=True, route=Route(Mode.WRITTEN, "As above."))
    assert alone.mode is Mode.WRITTEN
    open_chat(app, alone)
    assert not [each for each in app.button if (each.key or "").startswith("without-")]
    assert replace(alone, route=None).mode is Mode.ABSTAINED, "as versions without routes stored it"


def test_a_locked_attachment_has_a_field_for_its_password_in_the_answer_and_in_its_menu(
    app: AppTest, services: FakeServices
) -> None:
    message = answer(services, NOT_FOUND)
    collection = services.library.attached(LOCAL_OWNER, message.conversation_id, create=True)
    assert collection
    locked, _ = services.ingest.submit(LOCAL_OWNER, collection.id, "locked.pdf", pdf(PIER, password="sesame"))
    services.ingest.process(LOCAL_OWNER, locked.id)
    open_chat(app, message)
    fields = [each for each in app.text_input if each.label == "Password"]
    assert [each.placeholder for each in fields] == ["locked.pdf", "locked.pdf"]
    assert not app.error
