"""What a stored answer shows: its checks, its passages on their pages, the ledger and feedback."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from reportlab.pdfgen.canvas import Canvas
from streamlit.testing.v1 import AppTest

from errors import UnreadableDocument
from rag.chat import support
from rag.schema import (
    LOCAL_OWNER,
    Check,
    Citation,
    DocumentRecord,
    DocumentState,
    Feedback,
    Finish,
    Ledger,
    Message,
    Part,
    Passage,
    Role,
    Share,
    Timings,
    Usage,
    Verdict,
)
from tests.conftest import FakeServices
from tests.pages.helpers import button, texts

PIER = "The pier at Gannet Holm is 62 metres long. Leo Marsh repaired it in April."
LONG = "The pier is 62 metres long."
REPAIRED = "It was repaired in 1987 by Juno Hale."


def pdf(*lines: str, password: str | None = None) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(400, 300), encrypt=password)
    for line in lines:
        canvas.drawString(50, 200, line)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def passage(document: DocumentRecord, text: str, start: int = 0, **values: Any) -> Passage:
    return Passage(
        chunk_id=f"{document.id}:0",
        document_id=document.id,
        document=document.name,
        page=values.pop("page", None),
        text=text,
        start=start,
        end=start + len(text),
        score=1.0,
        dense=0.5,
        lexical=2.0,
        **values,
    )


def cite(n: int, found: Passage, quote: str, answer_end: int) -> Citation:
    start = found.start + found.text.index(quote)
    place = (n, found.document_id, found.document, found.page, quote, start, start + len(quote))
    return Citation(*place, answer_end=answer_end, label=found.label)


def answer(services: FakeServices, text: str, **values: Any) -> Message:
    """A stored answer, of the last conversation."""
    chat = services.conversations.create(LOCAL_OWNER, "How long is the pier?")
    message = services.conversations.add(LOCAL_OWNER, chat, Role.ASSISTANT, text, Finish.COMPLETE)
    message = replace(message, model="parrot", **values)
    services.conversations.save(LOCAL_OWNER, message)
    return message


def about_the_pier(services: FakeServices, **values: Any) -> Message:
    """A sentence that the document supports, then one that it does not."""
    found = passage(services.put("pier.md", PIER.encode()), PIER)
    end = len(LONG) + 1 + len(REPAIRED)
    checks = (
        Check(0, len(LONG), Verdict.SUPPORTED, 0.9, citation=0),
        Check(len(LONG) + 1, end, Verdict.UNSUPPORTED, 0.1, missing=("1987", "Juno Hale")),
    )
    citations = (cite(1, found, "The pier at Gannet Holm is 62 metres long.", len(LONG)),)
    values = {"passages": (found,), "citations": citations, "checks": checks} | values
    return answer(services, f"{LONG} {REPAIRED}", **values)


def open_chat(app: AppTest, message: Message) -> AppTest:
    app.query_params["c"] = message.conversation_id
    app.run()
    assert not app.exception
    return app


def source(app: AppTest, place: str) -> Any:
    return next(b for b in app.button if (b.key or "").startswith("source-") and place in b.label)


def links(app: AppTest, kind: str) -> list[Any]:
    """Elements of a kind that AppTest has no class for."""
    return list(app.get(kind))


def opened_about(app: AppTest, message: Message) -> AppTest:
    """The dialog about an answer."""
    open_chat(app, message)
    app.button(key=f"about-{message.id}").click().run()
    return app


def test_supported_and_unsupported_sentences_are_marked(app: AppTest, services: FakeServices) -> None:
    message = about_the_pier(services)
    shown = texts(opened_about(app, message))
    link = f"#source-{message.conversation_id}-{message.id}-0"
    assert f'{LONG} :green-badge[[\u00a01\u00a0]({link} "pier\\.md")] It was' in shown
    assert f"{REPAIRED} :orange-badge[:material/help: not in the passages]" in shown
    assert "1 of 2 sentences is not supported by the passages. “1987” and “Juno Hale” appear in none of them." in shown
    assert "The check can be wrong" in shown


def test_a_copy_carries_the_marks_and_the_sources(app: AppTest, services: FakeServices) -> None:
    message = about_the_pier(services)
    open_chat(app, message)
    app.session_state[f"copy-{message.id}"] = True
    app.run()
    [plain, markdown] = [code.value for code in app.code]
    marked = f"{LONG} [1] {REPAIRED} [not in the passages]\n\nSources:\n\n- [1] pier.md: “The pier at"
    assert plain.startswith(marked)
    assert markdown.startswith(marked)


def test_the_accuracy_of_the_check_is_shown(
    app: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = SimpleNamespace(precision=0.914, recall=0.8, sentences=1234)
    monkeypatch.setattr(support, "MEASURED", measured, raising=False)
    shown = texts(opened_about(app, about_the_pier(services)))
    assert "1 of 2 sentences supported by a passage." in shown
    assert "On 1,234 labelled sentences, 91% of those marked as supported were supported, and 80% of the" in shown


def test_a_match_is_one_number_and_none_where_nothing_was_found(app: AppTest, services: FakeServices) -> None:
    found = passage(services.put("pier.md", PIER.encode()), PIER)
    passages = (replace(found, score=5.03), replace(found, score=2.0))
    shown = texts(open_chat(app, answer(services, LONG, passages=passages)))
    assert "Best match" in shown
    assert "Match: 40% of the best" in shown
    assert "BM25" not in shown
    nothing = texts(open_chat(app, answer(services, "I could not find this.", passages=passages, abstained=True)))
    assert "atch" not in nothing


def test_an_answer_without_checks_keeps_its_numbers(app: AppTest, services: FakeServices) -> None:
    shown = texts(open_chat(app, about_the_pier(services, checks=())))
    assert f"{LONG} :green-badge[[\u00a01\u00a0](#source-" in shown
    assert "not in the passages" not in shown
    assert source(app, "pier")


def test_marks_leave_code_and_tables_whole(app: AppTest, services: FakeServices) -> None:
    found = passage(services.put("pier.md", PIER.encode()), PIER)
    text = "```\nlength = 62\n```\n\n| Thing | Metres |\n|---|---|\n| Pier | 62 |"
    spans = [(4, 15), (21, 39), (40, 49), (50, len(text))]
    checks = tuple(Check(*span, Verdict.SUPPORTED, 0.9, citation=0) for span in spans)
    citations = (cite(1, found, "62 metres", spans[0][1]),)
    shown = texts(open_chat(app, answer(services, text, passages=(found,), citations=citations, checks=checks)))
    assert "length = 62\n```" in shown
    assert "\n|---|---|\n" in shown
    assert "| Pier | 62 :green-badge[" in shown
    assert shown.split("Pier | 62")[1].split("\n")[0].endswith("|")


def test_a_name_with_markup_stays_inside_its_mark(app: AppTest, services: FakeServices) -> None:
    document = services.put('a "b" [c](http:x) | :red[d].md', PIER.encode())
    found = passage(document, PIER)
    citations = (cite(1, found, "62 metres", len(LONG)),)
    shown = texts(open_chat(app, answer(services, LONG, passages=(found,), citations=citations)))
    mark = next(line for line in shown.splitlines() if line.startswith(LONG))
    assert r'"a \"b\" \[c\]\(http\:x\) \| \:red\[d\]\.md")]' in mark


def test_finished_sentences_are_marked_while_the_answer_is_written(app: AppTest, services: FakeServices) -> None:
    services.put("pier.md", PIER.encode())
    # A check shows up with the next word.
    services.script.enqueue("The pier at Gannet Holm is 62 metres long. And", *(0.1, " on") * 100)
    app.run()
    app.chat_input[0].set_value("How long is the pier at Gannet Holm?").run()
    deadline = time.monotonic() + 9
    while "62 metres long. :green-badge[1] And on on" not in texts(app):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        app.run()
    button(app, "Stop").click().run()


def test_a_passage_is_shown_in_the_text_of_its_page(app: AppTest, services: FakeServices) -> None:
    text = f"{'Before. ' * 100}{PIER}{' After.' * 100}"
    document = services.put("pier.md", text.encode())
    found = passage(document, PIER, start=text.index(PIER))
    citations = (cite(1, found, "62 metres", len(LONG)),)
    open_chat(app, answer(services, LONG, passages=(found,), citations=citations))
    source(app, "pier").click().run()
    assert not app.exception
    shown = next(str(m.value) for m in app.markdown if "… " in str(m.value))
    assert shown.startswith("… :gray[Before\\.")
    assert shown.endswith("After\\.] …")
    assert "is :yellow-background[62 metres] long\\." in shown
    assert len(shown) < 1500
    assert not app.image


def test_next_and_previous_go_round_and_the_document_can_be_opened(app: AppTest, services: FakeServices) -> None:
    pages = ["Nothing here.", PIER]
    document = services.put("pier.pdf", pdf(*pages))
    other = passage(services.put("quay.md", b"The quay is new."), "The quay is new.")
    found = passage(document, PIER, page=2)
    citations = (cite(1, found, "62 metres", len(LONG)),)
    open_chat(app, answer(services, LONG, passages=(found, other), citations=citations))
    source(app, "pier").click().run()
    assert "1 of 2" in texts(app)
    button(app, "Next").click().run()
    assert "**2 · quay\\.md**" in texts(app)
    assert "2 of 2" in texts(app)
    button(app, "Next").click().run()
    assert "1 of 2" in texts(app)
    button(app, "Previous").click().run()
    assert "2 of 2" in texts(app)
    button(app, "Previous").click().run()
    [link] = links(app, "link_button")
    assert link.url == f"documents?document={document.id}&page=2"
    app.query_params.update({"document": document.id, "page": "2"})
    app.switch_page("../pages/documents.py").run()
    assert any("62 metres" in code.value for code in app.code)


def test_a_page_of_a_pdf_is_a_picture(app: AppTest, services: FakeServices) -> None:
    found = passage(services.put("pier.pdf", pdf("Nothing here.", PIER)), PIER, page=2)
    citations = (cite(1, found, "62 metres", len(LONG)),)
    open_chat(app, answer(services, LONG, passages=(found,), citations=citations))
    source(app, "page 2").click().run(timeout=30)
    assert not app.exception
    assert len(app.image) == 1
    assert "is :yellow-background[62 metres] long" in texts(app)
    assert "was not found in the picture" not in texts(app)


def test_a_page_that_cannot_be_drawn_is_shown_as_text(
    app: AppTest, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise UnreadableDocument("A page of pier.pdf could not be drawn.", "Open it elsewhere.")

    found = passage(services.put("pier.pdf", pdf(PIER)), PIER, page=1)
    monkeypatch.setattr(services.documents.drawing, "draw", broken)
    open_chat(app, answer(services, LONG, passages=(found,)))
    button(app, "Show in its page").click().run()
    assert "A page of pier\\.pdf could not be drawn\\. This is the text of the page\\." in texts(app)
    assert "62 metres long" in texts(app)
    assert not app.image


def test_a_missing_original_and_a_locked_one(app: AppTest, services: FakeServices) -> None:
    collection = services.library.collection(LOCAL_OWNER, create=True)
    locked, _ = services.ingest.submit(LOCAL_OWNER, collection.id, "locked.pdf", pdf(PIER, password="sesame"))
    services.ingest.process(LOCAL_OWNER, locked.id)
    services.ingest.retry(LOCAL_OWNER, locked.id, "sesame")
    done = services.ingest.process(LOCAL_OWNER, locked.id)
    assert done
    assert done.state is DocumentState.READY
    lost = services.put("lost.pdf", pdf(PIER))
    services.indexing.originals.remove(lost.sha256)
    both = (passage(lost, PIER, page=1), passage(locked, PIER, page=1))
    open_chat(app, answer(services, LONG, passages=both))
    button(app, "Show in its page").click().run()
    assert "The original of lost\\.pdf is missing\\." in texts(app)
    assert not links(app, "download_button")
    button(app, "Next").click().run(timeout=30)
    assert "protected with a password, which is not stored" in texts(app)
    assert "62 metres long" in texts(app)


def test_a_deleted_document_leaves_the_passage(app: AppTest, services: FakeServices) -> None:
    message = about_the_pier(services)
    services.ingest.delete(LOCAL_OWNER, message.passages[0].document_id)
    open_chat(app, message)
    source(app, "pier").click().run()
    assert "The document was deleted" in texts(app)
    assert ":yellow-background[The pier at Gannet Holm is 62 metres long\\.]" in texts(app)
    assert not links(app, "link_button")


def test_a_deleted_answer_is_reported(app: AppTest, services: FakeServices) -> None:
    message = about_the_pier(services)
    open_chat(app, message)
    source(app, "pier").click().run()
    services.conversations.delete(LOCAL_OWNER, message.conversation_id)
    app.run()
    assert "There is no such answer" in texts(app)


def test_the_dialog_closes_when_the_browser_opens_another_conversation(app: AppTest, services: FakeServices) -> None:
    other = answer(services, "Nothing to see here.")
    open_chat(app, about_the_pier(services))
    source(app, "pier").click().run()
    app.run()
    assert "**1 · pier\\.md** :green-badge" in texts(app)
    assert links(app, "link_button")
    open_chat(app, other)
    assert not links(app, "link_button")
    open_chat(app, other)


def test_the_answers_of_others_are_not_shown(app: AppTest, services: FakeServices) -> None:
    message = about_the_pier(services)
    assert services.documents.page_picture("somebody", message.passages[0].document_id, 1, []) is None
    services.conversations.rate("somebody", message.id, Feedback(good=False))
    [kept] = services.conversations.messages(LOCAL_OWNER, message.conversation_id)
    assert kept.feedback is None


SHARES = (
    Share(Part.SYSTEM, 100),
    Share(Part.HISTORY, 40, kept=False, label="An *old* question"),
    Share(Part.PASSAGE, 300, label="[1] pier.md"),
    Share(Part.PASSAGE, 200, label="[2] quay.md"),
    Share(Part.PASSAGE, 250, kept=False, label="[3] boat.md"),
    Share(Part.QUESTION, 20),
    Share(Part.ANSWER, 256),
)


def test_the_ledger_shows_what_filled_the_window_and_what_did_not_fit(app: AppTest, services: FakeServices) -> None:
    shown = texts(opened_about(app, answer(services, LONG, ledger=Ledger(SHARES, window=2000))))
    assert "About 876 of 2,000 tokens, 44% of the model’s window" in shown
    for part in ("instructions: 100", "2 passages: 500", "question: 20", "room for the answer: 256", "free: 1,124"):
        assert f"{part} tokens" in shown
    assert "Estimated" in shown
    assert "- earlier questions: An \\*old\\* question (40 tokens)\n- passage: \\[3\\] boat\\.md (250 tokens)" in shown
    assert "Left out, because its window is full:" in shown
    assert app.image[0].imgs[0].alt == "What fills the model’s window"
    limited = texts(opened_about(app, answer(services, LONG, ledger=Ledger(SHARES, window=2000, prompt_limit=640))))
    assert "Left out, because this model answers best from prompts of at most 640 tokens:" in limited


def test_an_exact_ledger_and_one_without_a_window(app: AppTest, services: FakeServices) -> None:
    exact = texts(opened_about(app, answer(services, LONG, ledger=Ledger(SHARES, window=2000, exact=True))))
    assert "876 of 2,000 tokens" in exact
    assert "About 876" not in exact
    assert "Estimated" not in exact
    unknown = texts(opened_about(app, answer(services, LONG, ledger=Ledger(SHARES))))
    assert "About 876 tokens; the size of the model’s window is unknown" in unknown
    assert "free:" not in unknown


def test_an_answer_without_a_ledger_shows_none(app: AppTest, services: FakeServices) -> None:
    usage, timings = Usage(100, 50), Timings(first_token_s=0.5, total_s=2.5)
    shown = texts(opened_about(app, answer(services, LONG, usage=usage, timings=timings)))
    assert "25 tokens/s" in shown
    assert "What the model was given" not in shown


def test_thumbs_and_a_reason_are_stored(app: AppTest, services: FakeServices) -> None:
    message = answer(services, LONG)

    def kept() -> Feedback | None:
        return services.conversations.messages(LOCAL_OWNER, message.conversation_id)[0].feedback

    open_chat(app, message)
    app.feedback[0].set_value(1).run()
    assert kept() == Feedback(good=True)
    app.feedback[0].set_value(0).run()
    assert kept() == Feedback(good=False)
    app.text_input(key=f"reason-{message.id}").set_value(" It is 64 metres. ").run()
    assert kept() == Feedback(good=False, reason="It is 64 metres.")
    app.feedback[0].set_value(None).run()
    assert kept() is None


def test_stored_feedback_is_shown(app: AppTest, services: FakeServices) -> None:
    message = answer(services, LONG)
    services.conversations.rate(LOCAL_OWNER, message.id, Feedback(good=False, reason="Too short."))
    open_chat(app, message)
    assert app.feedback[0].value == 0
    assert app.text_input(key=f"reason-{message.id}").value == "Too short."
