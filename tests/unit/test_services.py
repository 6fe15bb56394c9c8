"""The composition root: documents in, questions answered, and what is rejected at the door."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import event

from backends.base import Loaded, ModelInfo
from errors import BackendUnavailable, ConfigurationError, LibraryLocked, RequestRejected, StoreError
from options import AnswerOptions, Answers
from rag.chat.question import Question
from rag.chat.turns import Turn
from rag.documents.library import DEFAULT_COLLECTION
from rag.index.diagnosis import Diagnosis, Stage
from rag.schema import LOCAL_OWNER, DocumentState, Finish, Finished, Message, Mode
from services import Services
from services.documents import SAMPLE_QUESTIONS, sample_files
from services.models import Models
from settings import Settings
from tests.conftest import FakeServices

QUESTION = "How long is the pier at Gannet Holm?"


def finished(turn: Turn) -> Message:
    *_, last = turn.follow()
    assert isinstance(last, Finished)
    return last.message


def finish(services: FakeServices, text: str, conversation_id: str | None = None, **options: Any) -> Message:
    return finished(services.ask(text, conversation_id, **options))


class Counting:
    """A library whose retrievers are counted; put in the place of `Searching.retriever`."""

    def __init__(self, services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rewritten: list[str] = []
        self._open = services.searching.retriever
        monkeypatch.setattr(services.searching, "retriever", self.open)

    def open(self, *arguments: Any) -> Any:
        """Takes owner, scope, options, earlier questions, the rewritten question and documents."""
        self.rewritten.append(arguments[4])
        return self._open(*arguments)


def test_a_question_is_answered_from_the_document(services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("The pier at Gannet Holm is 62 metres long.")
    message = finish(services, QUESTION)
    assert (message.finish, message.backend, message.model) == (Finish.COMPLETE, "scripted", "parrot")
    assert message.citations[0].document == "pier.md"
    assert message.citations[0].quote == "The pier at Gannet Holm is 62 metres long."
    [prompt] = services.script.prompts
    assert "62 metres" in prompt[-1].text
    assert QUESTION in prompt[-1].text


def test_a_follow_up_carries_the_conversation(services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("It is 62 metres long.").enqueue("Leo Marsh.")
    first = finish(services, QUESTION)
    second = finish(services, "Who repaired the pier?", conversation_id=first.conversation_id, model="owl")
    assert second.model == "owl"
    assert [m.type for m in services.script.prompts[1]] == ["system", "human", "ai", "human"]
    assert len(services.conversations.messages(LOCAL_OWNER, first.conversation_id)) == 4


def test_an_empty_library_refuses_without_a_model(services: FakeServices) -> None:
    message = finish(services, QUESTION)
    assert message.abstained
    assert "0 documents" in message.text
    assert "nearest passages" not in message.text
    assert services.script.prompts == []
    assert services.backend.loads == []


def test_where_the_backend_is_down_the_documents_are_quoted(services: FakeServices) -> None:
    services.put_pier()
    services.backend.enqueue_load(BackendUnavailable("It is down.", "Start it."))
    message = finish(services, QUESTION)
    assert (message.finish, message.mode) == (Finish.COMPLETE, Mode.QUOTED)
    assert message.text.startswith("The pier at Gannet Holm is 62 metres long.")
    assert message.notes == ("Scripted could not answer: It is down. Start it. The documents are quoted instead.",)
    assert message.citations[0].document == "pier.md"


def test_a_fallback_answers_with_its_own_model(services: FakeServices) -> None:
    services.put_pier()
    for _ in range(2):
        services.backend.enqueue_load(BackendUnavailable("It is down.", "Start it."))
    message = finish(services, QUESTION, fallback="spare")
    assert (message.finish, message.backend, message.model) == (Finish.COMPLETE, "spare", "wren")
    assert "Spare answered instead" in message.notes[0]
    assert finish(services, QUESTION, fallback="scripted").mode is Mode.QUOTED, "it is no fallback for itself"


def test_a_list_of_models_that_cannot_be_had_is_the_turns_affair(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> list[ModelInfo]:
        raise ConnectionRefusedError

    services.put_pier()
    monkeypatch.setattr(services.backend, "list_models", down)
    message = finish(services, QUESTION)
    assert "cannot be reached" in message.notes[0]
    assert message.mode is Mode.QUOTED
    assert finish(services, QUESTION, fallback="spare").model == "wren"


def test_the_model_of_a_backend_is_the_last_that_answered_there(services: FakeServices) -> None:
    services.put_pier()
    assert services.models.default(LOCAL_OWNER, "scripted") == "parrot"
    finish(services, QUESTION, model="owl")
    assert services.models.default(LOCAL_OWNER, "scripted") == "owl"
    assert services.models.default("somebody else", "scripted") == "parrot"
    assert services.models.default(LOCAL_OWNER, "scripted", ["parrot"]) == "parrot"
    with pytest.raises(ConfigurationError, match="Spare lists no model"):
        services.models.default(LOCAL_OWNER, "spare", [])
    set_ = Models(AnswerOptions(backend="scripted", model="raven"), services.manager, services.conversations)
    assert set_.default(LOCAL_OWNER, "scripted") == "raven"


def test_two_models_are_compared_over_one_retrieval(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    services.put_pier()
    counted = Counting(services, monkeypatch)
    question = Question(QUESTION, services.settings.answer)
    started = services.asking.compare(LOCAL_OWNER, question, [("scripted", "owl"), ("spare", "wren")])
    messages = [finished(turn) for _, turn in started]
    assert len(counted.rewritten) == 1
    assert [(m.backend, m.model, m.finish) for m in messages] == [
        ("scripted", "owl", Finish.COMPLETE),
        ("spare", "wren", Finish.COMPLETE),
    ]
    assert messages[0].passages == messages[1].passages
    titles = {conversation.title for conversation in services.conversations.list(LOCAL_OWNER)}
    assert titles == {f"owl: {QUESTION}", f"wren: {QUESTION}"}


def test_compared_models_write_even_where_quotes_are_chosen(services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("The pier is 62 metres long.").enqueue("It is 62 metres long.")
    question = Question(QUESTION, services.settings.answer.replace(answers=Answers.QUOTED))
    started = services.asking.compare(LOCAL_OWNER, question, [("scripted", "owl"), ("scripted", "wren")])
    assert [finished(turn).mode for _, turn in started] == [Mode.WRITTEN, Mode.WRITTEN]


def test_a_comparison_with_a_backend_that_does_not_exist_leaves_no_chat(services: FakeServices) -> None:
    services.put_pier()
    with pytest.raises(ConfigurationError):
        services.asking.compare(
            LOCAL_OWNER, Question(QUESTION, services.settings.answer), [("scripted", "owl"), ("nobody", "x")]
        )
    assert services.conversations.list(LOCAL_OWNER) == []


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("  ", {}, RequestRejected),
        ("x", {"backend": "nobody"}, ConfigurationError),
        ("x", {"collection_ids": ("missing",)}, ConfigurationError),
        ("x", {"collection_ids": ()}, ConfigurationError),
    ],
)
def test_what_cannot_be_asked_is_rejected_before_anything_is_stored(
    services: FakeServices, text: str, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        services.ask(text, **options)
    assert services.conversations.list(LOCAL_OWNER) == []


def test_a_renamed_collection_is_still_the_one_that_is_searched(services: FakeServices) -> None:
    services.put_pier()
    mine = services.library.collection(LOCAL_OWNER)
    services.library.collection(LOCAL_OWNER, "other", create=True)
    first = finish(services, QUESTION, collection_ids=(mine.id,))
    services.library.rename(LOCAL_OWNER, mine.id, "Piers")
    stored = services.conversations.options(LOCAL_OWNER, first.conversation_id)
    assert stored
    assert services.searching.scope(LOCAL_OWNER, stored[0]).names == ("Piers",)


def test_the_samples_are_there_and_load_by_the_worker(services: FakeServices) -> None:
    done = threading.Event()
    services.words.before_batch = lambda texts: done.set()
    services.ingest.start()
    services.documents.add_samples(LOCAL_OWNER)
    services.documents.add_samples(LOCAL_OWNER)
    assert done.wait(20)
    services.ingest.close()
    collection = services.library.collection(LOCAL_OWNER)
    assert {d.name for d in services.library.documents(LOCAL_OWNER, collection.id)} == {p.name for p in sample_files()}
    assert {path.suffix for path in sample_files()} == {".pdf", ".docx", ".md", ".html"}
    assert len(SAMPLE_QUESTIONS) == 3


def test_a_second_process_is_told_the_way_out(services: FakeServices) -> None:
    with pytest.raises(LibraryLocked, match="Stop the running app"):
        Services(services.settings)


def test_a_folder_is_free_again_after_close_and_after_a_failed_start(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gestalt.db").write_bytes(b"this is no database, it only has the name of one" * 50)
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be opened"):
            Services(settings)
    (tmp_path / "data" / "gestalt.db").unlink()
    Services(settings).close()
    Services(settings).close()


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="GESTALT_DATA_DIR"):
        Services(Settings(data_dir=tmp_path / "file" / "data"))


def test_an_answer_that_a_kill_left_running_is_failed_at_the_next_start(tmp_path: Path) -> None:
    services = FakeServices(tmp_path / "data")
    services.put_pier()
    more = threading.Event()
    services.script.enqueue("The pier is", more)
    turn = services.ask(QUESTION)
    next(turn.follow())
    # The rows as a kill leaves them: nothing of the running process is ended in order.
    services.conversations.recover()
    [_, left] = services.conversations.messages(LOCAL_OWNER, turn.conversation_id)
    assert left.finish is Finish.FAILED
    more.set()
    services.close()


def test_warming_up_loads_once_and_forgives(services: FakeServices) -> None:
    services.warm_up(LOCAL_OWNER)
    services.warm_up(LOCAL_OWNER)
    for thread in threading.enumerate():
        if thread.name == "warm-up":
            thread.join()
    services.manager.load("scripted", "parrot").result()
    assert services.backend.loads == ["parrot"]


def test_documents_of_two_collections_do_not_mix(services: FakeServices) -> None:
    services.put_pier()
    other = services.library.collection(LOCAL_OWNER, "other", create=True)
    document, _ = services.ingest.submit(LOCAL_OWNER, other.id, "moon.txt", b"The moon is 3474 kilometres wide.")
    done = services.ingest.process(LOCAL_OWNER, document.id)
    assert done
    assert done.state is DocumentState.READY
    options = AnswerOptions(collection_ids=(other.id,))
    found = services.searching.retrieve(LOCAL_OWNER, "How wide is the moon?", options)
    assert [p.document for p in found.passages] == ["moon.txt"]
    with pytest.raises(ConfigurationError, match="no longer exist"):
        services.searching.retrieve("bob", "How wide is the moon?", options)


def test_a_passage_that_does_not_fit_the_window_is_lost_there(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.put_pier()
    for number in range(4):
        services.put(f"pier-{number}.md", f"Pier {number} is long: {'a plank of the pier, ' * 8}".encode())
    expected = "Leo Marsh repaired it"

    def diagnose(window: int) -> Diagnosis:
        monkeypatch.setattr(services.backend, "load", lambda *_: Loaded(context_window=window))
        services.manager.unload("scripted", "parrot")
        services.manager.load("scripted", "parrot")
        options = services.settings.answer.replace(k=9, model="parrot")
        return services.searching.diagnose(LOCAL_OWNER, "Is a plank of the pier long?", expected, options)

    roomy = diagnose(8000)
    assert roomy.lost is None
    assert roomy.reports[-1].stage is Stage.BUDGET
    narrow = diagnose(460)
    assert narrow.lost is not None
    assert narrow.lost.stage is Stage.BUDGET
    assert "more do not fit" in narrow.lost.message
    full = diagnose(60)
    assert full.lost is not None
    assert "the model has room for" in full.lost.message


def test_the_budget_is_not_checked_without_a_model(services: FakeServices) -> None:
    services.put_pier()
    options = services.settings.answer.replace(model="parrot")
    found = services.searching.diagnose(LOCAL_OWNER, QUESTION, "Leo Marsh repaired it", options)
    assert found.lost is None
    assert "not loaded" in found.reports[-1].message


def test_a_follow_up_is_rewritten_by_the_model_if_asked_for(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.put_pier()
    counted = Counting(services, monkeypatch)
    services.script.enqueue("It is 62 metres long.")
    first = finish(services, QUESTION, condense=True)
    assert len(services.script.prompts) == 1, "no call before the search without history"

    services.script.enqueue('"Who repaired the pier at Gannet Holm?"\nI hope this helps.').enqueue("Leo Marsh.")
    second = finish(services, "And who repaired it?", conversation_id=first.conversation_id, condense=True)
    assert counted.rewritten == ["", "Who repaired the pier at Gannet Holm?"]
    asked = services.script.prompts[1][-1].text
    assert QUESTION in asked
    assert asked.endswith("Q: And who repaired it?")
    assert second.text == "Leo Marsh."

    services.script.enqueue("In April.")
    finish(services, "When?", conversation_id=first.conversation_id)
    assert counted.rewritten[-1] == "", "it is off by default"


def test_a_model_that_cannot_condense_costs_nothing(services: FakeServices) -> None:
    services.put_pier()
    services.script.enqueue("It is 62 metres long.").enqueue(BackendUnavailable("Down.", "Start it."))
    first = finish(services, QUESTION)
    services.script.enqueue("Leo Marsh.")
    second = finish(services, "Who repaired the pier?", conversation_id=first.conversation_id, condense=True)
    assert (second.finish, second.text) == (Finish.COMPLETE, "Leo Marsh.")


# --- conversations ---


def test_a_question_waits_for_the_file_that_came_with_it_and_searches_it_too(services: FakeServices) -> None:
    services.put_pier()
    chat = services.conversations.create(LOCAL_OWNER, "files")
    attached = services.library.attached(LOCAL_OWNER, chat, create=True)
    assert attached
    assert attached == services.library.attached(LOCAL_OWNER, chat, create=True)
    assert attached not in services.library.collections(LOCAL_OWNER), "it is no collection that people choose"
    document, _ = services.ingest.submit(
        LOCAL_OWNER, attached.id, "boat.md", b"# Boat\n\nThe ferry is called Marigold."
    )
    services.script.enqueue("The ferry is called Marigold.").enqueue("I do not know.")
    turn = services.ask("What is the ferry called?", chat)
    services.ingest.process(LOCAL_OWNER, document.id)
    assert finished(turn).citations[0].document == "boat.md"
    elsewhere = finish(services, "What is the ferry called?")
    assert "boat.md" not in {passage.document for passage in elsewhere.passages}, "other chats do not see it"


def test_no_query_runs_on_the_event_loop(services: FakeServices) -> None:
    services.put_pier()
    threads: set[str] = set()

    def note(*_: object) -> None:
        threads.add(threading.current_thread().name)

    event.listen(services.database.engine, "before_cursor_execute", note)
    chat = services.conversations.create(LOCAL_OWNER, "files")
    assert services.library.attached(LOCAL_OWNER, chat, create=True)
    services.backend.enqueue_load(BackendUnavailable("It is down.", "Start it."))
    assert finish(services, QUESTION, chat, fallback="spare").finish is Finish.COMPLETE
    assert "persister" in threads
    assert "turns" not in threads


def test_questions_that_wait_for_files_hold_up_no_other_one_and_can_be_stopped(services: FakeServices) -> None:
    services.put_pier()
    waiting = []
    for number in range(40):  # more than there are threads in any pool
        chat = services.conversations.create(LOCAL_OWNER, f"chat {number}")
        attached = services.library.attached(LOCAL_OWNER, chat, create=True)
        assert attached
        services.ingest.submit(LOCAL_OWNER, attached.id, "unread.md", f"File {number}".encode())
        waiting.append(services.ask(QUESTION, chat))
    services.script.enqueue("It is 62 metres long.")
    assert finish(services, QUESTION).text == "It is 62 metres long."
    for turn in waiting:
        services.turns.cancel_all(LOCAL_OWNER, turn.conversation_id)
    assert {finished(turn).finish for turn in waiting} == {Finish.STOPPED}


def test_a_conversation_keeps_its_options(services: FakeServices) -> None:
    services.put_pier()
    message = finish(services, QUESTION, model="owl", k=3)
    stored = services.conversations.options(LOCAL_OWNER, message.conversation_id)
    assert stored
    assert (stored[0].model, stored[0].k, stored[1]) == ("owl", 3, None)
    record = services.conversations.record(LOCAL_OWNER, message.id)
    assert record["collections"] == [DEFAULT_COLLECTION]
    assert record["generation"]["max_new_tokens"] == services.settings.answer.generation.max_new_tokens
    assert record["retrieval"]["merge"] is True


def test_a_conversation_deleted_a_day_ago_goes_with_its_files(
    services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.put_pier()
    stop = Event()
    services.script.enqueue("The pier ", stop)
    turn = services.ask(QUESTION)
    chat = turn.conversation_id
    attached = services.library.attached(LOCAL_OWNER, chat, create=True)
    assert attached
    services.delete_conversation(LOCAL_OWNER, chat)
    assert finished(turn).finish is Finish.STOPPED
    services.purge()
    services.conversations.restore(LOCAL_OWNER, chat)
    assert len(services.conversations.messages(LOCAL_OWNER, chat)) == 2
    services.delete_conversation(LOCAL_OWNER, chat)
    monkeypatch.setattr("rag.chat.conversations.KEPT_DELETED", timedelta(0))
    services.purge()
    services.documents.close()
    services.conversations.restore(LOCAL_OWNER, chat)
    assert services.conversations.get(LOCAL_OWNER, chat) is None
    assert services.library.attached(LOCAL_OWNER, chat) is None


def test_a_model_that_judges_sentences_too_may_be_missing(tmp_path: Path) -> None:
    services = FakeServices(tmp_path / "data", settings={"support_model": "no/such-model"})
    services.put_pier()
    services.script.enqueue("The pier at Gannet Holm is 62 metres long.")
    message = finish(services, QUESTION)
    assert message.finish is Finish.COMPLETE, "what is wrong with the check harms no answer"
    assert message.text == "The pier at Gannet Holm is 62 metres long."
    services.close()


def test_a_small_model_is_not_asked_to_condense(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    services.put_pier()
    monkeypatch.setattr(services.backend, "load", lambda model, report: Loaded(parameters=135_000_000))
    services.script.enqueue("It is 62 metres long.").enqueue("Leo Marsh.")
    first = finish(services, QUESTION, answers=Answers.WRITTEN)
    finish(services, "Who repaired it?", conversation_id=first.conversation_id, condense=True, answers=Answers.WRITTEN)
    assert len(services.script.prompts) == 2, "one a question"


def test_a_preset_keeps_its_collections_by_id_and_an_empty_choice_is_no_choice(services: FakeServices) -> None:
    services.put_pier()
    home = services.library.collection(LOCAL_OWNER)
    services.library.collection(LOCAL_OWNER, "Other", create=True)
    services.presets.save(LOCAL_OWNER, "piers", services.settings.answer.replace(collection_ids=(home.id,)))
    services.library.rename(LOCAL_OWNER, home.id, "Piers")
    services.library.collection(LOCAL_OWNER, home.name, create=True)
    [preset] = services.presets.list(LOCAL_OWNER)
    assert services.searching.scope(LOCAL_OWNER, preset.options).names == ("Piers",)
    with pytest.raises(ConfigurationError, match="No collection is chosen"):
        services.searching.scope(LOCAL_OWNER, preset.options.replace(collection_ids=()))


@pytest.mark.parametrize(
    ("question", "mode", "document"),
    [
        ("Summarise the mooring rules", Mode.SUMMARY, "a7.md"),
        ("Summarise pier.md", Mode.SUMMARY, "pier.md"),
        ("List all mooring rules", Mode.LIST, "a7.md"),
        ("How long is the pier at Gannet Holm?", Mode.QUOTED, "pier.md"),
    ],
)
def test_documents_answer_by_what_is_asked(services: FakeServices, question: str, mode: Mode, document: str) -> None:
    services.put_pier()
    services.put(
        "a7.md", b"# Mooring rules\n\n- No boat may stay for more than two nights.\n- Lights are off at ten.\n"
    )
    message = finish(services, question, answers=Answers.QUOTED)
    assert (message.mode, message.finish) == (mode, Finish.COMPLETE)
    assert {citation.document for citation in message.citations} == {document}
    for check, citation in zip(message.checks, message.citations, strict=True):
        assert message.text[check.start : check.end] in citation.quote
    assert services.script.prompts == []


def test_the_application_answers_about_its_library(services: FakeServices) -> None:
    services.put_pier()
    message = finish(services, "Which documents do you have?")
    assert (message.mode, message.text, message.passages) == (Mode.LIBRARY, "There is 1 document: pier.md.", ())
    assert services.script.prompts == []


def test_a_model_summarises_a_whole_document_part_by_part(services: FakeServices) -> None:
    text = "\n\n".join(
        f"On day {day} the crew of the lighthouse painted step {day} of the tower." for day in range(900)
    )
    services.put("log.md", text.encode())
    parts = [f"The crew painted step {n}." for n in range(40)]
    for part in parts:
        services.script.enqueue(part)
    message = finish(services, "Summarise log.md", answers=Answers.WRITTEN)
    assert len(services.script.prompts) > 2, "more than fits the window of 4,096 tokens"
    assert message.mode in (Mode.SUMMARY, Mode.QUOTED)
    assert message.finish is Finish.COMPLETE
    assert message.passages
