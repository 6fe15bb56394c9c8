"""A turn from the question to the stored message, however it ends."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.retrievers import BaseRetriever

from errors import AnswerBlocked, BackendBusy, BackendError, BackendUnavailable, RequestRejected, StoreError
from options import AnswerOptions, Answers, GenerationOptions
from rag.chat import turns as turns_module
from rag.chat.conversations import Conversations
from rag.chat.prompts import LeasedModel, Window
from rag.chat.question import AnswerProvider, Pipeline, Question
from rag.chat.turn import answer, run
from rag.chat.turns import Turn, Turns
from rag.db import Database
from rag.index.passages import Hits
from rag.schema import (
    Checked,
    Delta,
    Finish,
    Finished,
    Message,
    Mode,
    Passage,
    Retrieval,
    Retrieved,
    Role,
    Usage,
    Verdict,
)
from tests.fakes import ScriptedChatModel, Step

PASSAGE = Passage("d:0", "d", "report.pdf", 4, "The pier is 62 metres long. It is old.", 10, 48, 3.0, 0.6, 5.0)
FOUND = Retrieval((PASSAGE,), abstained=False, confidence=0.9, seconds=0.01)
OUT_OF_SCOPE = Retrieval((PASSAGE,), abstained=True, confidence=0.1, seconds=0.01)


class Finds(BaseRetriever):
    """A retriever that finds what it is told to, or fails."""

    found: Any

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if isinstance(self.found, Exception):
            raise self.found
        return Hits(self.found)


@dataclass(frozen=True)
class Asked:
    """A question of Ann's and what answers it."""

    question: Question
    pipeline: Pipeline

    def put(self, **values: Any) -> Asked:
        return replace(self, question=replace(self.question, **values))

    def by(self, **values: Any) -> Asked:
        return replace(self, pipeline=replace(self.pipeline, **values))

    def options(self, **values: Any) -> Asked:
        return self.put(options=self.question.options.replace(**values))

    def start(self, turns: Turns, owner: str = "ann") -> tuple[Message, Turn]:
        return turns.start(owner, self.question, self.pipeline)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "test.db")
    yield database
    database.close()


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)


@pytest.fixture
def turns(conversations: Conversations) -> Iterator[Turns]:
    turns = Turns(conversations)
    yield turns
    turns.close()


Ask = Callable[..., Asked]


@pytest.fixture
def ask(conversations: Conversations) -> Ask:
    def make(
        *steps: Step,
        found: Retrieval | Exception = FOUND,
        failure: Exception | None = None,
        model: BaseChatModel | None = None,
        other: BaseChatModel | None = None,
        exact: bool = True,
        counts_cached: bool = True,
    ) -> Asked:
        window = Window(lambda text: len(text.split()), exact, 4000, counts_cached=counts_cached)

        def lease(chat: BaseChatModel, name: str) -> AbstractAsyncContextManager[LeasedModel]:
            @asynccontextmanager
            async def answering() -> AsyncIterator[LeasedModel]:
                if failure and chat is not other:
                    raise failure
                yield LeasedModel("scripted", name, chat, window)

            return answering()

        first = model or ScriptedChatModel().enqueue(*steps)
        providers = [AnswerProvider("Scripted", partial(lease, chat=first, name="parrot"))]
        if other:
            providers.append(AnswerProvider("Spare", lambda: lease(other, "wren")))
        options = AnswerOptions(backend="scripted", model="parrot", generation=GenerationOptions(max_new_tokens=100))
        return Asked(
            Question(
                "How long is the pier?", options, conversation_id=conversations.create("ann", "How long is the pier?")
            ),
            Pipeline(lambda history, rewritten, documents: Finds(found=found), providers, "1 document"),
        )

    return make


Ended = Callable[[Asked], Message]


@pytest.fixture
def ended(conversations: Conversations, turns: Turns) -> Ended:
    """Ask, and return the message at the end, which is what is stored."""

    def message_of(asked: Asked) -> Message:
        *_, end = asked.start(turns)[1].follow()
        assert isinstance(end, Finished)
        assert conversations.message("ann", end.message.id) == end.message
        return end.message

    return message_of


def stored(conversations: Conversations, asked: Asked) -> Message:
    assert asked.question.conversation_id
    messages = conversations.messages("ann", asked.question.conversation_id)
    assert [m.role for m in messages[:2]] == [Role.USER, Role.ASSISTANT]
    return messages[-1]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 5 s"
        time.sleep(0.005)


def test_sources_come_before_the_first_word_and_the_end_is_what_is_stored(
    conversations: Conversations, turns: Turns, ask: Ask
) -> None:
    question = ask("The pier is ", "62 metres long [1]. It is [9] old.")
    _, turn = question.start(turns)
    events = list(turn.follow())
    kinds = [type(event) for event in events if isinstance(event, Retrieved | Delta | Finished)]
    assert kinds == [Retrieved, Delta, Delta, Finished]
    message = stored(conversations, question)
    assert isinstance(events[-1], Finished)
    assert events[-1].message == message
    assert message.text == "The pier is 62 metres long. It is old."
    assert message.finish is Finish.COMPLETE
    assert [c.quote for c in message.citations] == ["The pier is 62 metres long.", "It is old."]
    assert [check.verdict for check in message.checks] == [Verdict.SUPPORTED, Verdict.SUPPORTED]
    assert [check.cited for check in message.checks] == [(1,), (9,)]
    assert message.passages == (PASSAGE,)
    assert (message.backend, message.model) == ("scripted", "parrot")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens == 2
    assert message.timings.first_token_s is not None
    assert message.timings.retrieve_s <= message.timings.first_token_s <= message.timings.total_s


def test_finished_sentences_are_checked_while_the_next_ones_come(
    conversations: Conversations, turns: Turns, ask: Ask
) -> None:
    gates = [Event() for _ in range(4)]
    question = ask("The pier is 62 metres long [1].", gates[0], " It", gates[1], " is", gates[2], " new", gates[3], ".")
    _, turn = question.start(turns)
    wait_for(lambda: turn.text == "The pier is 62 metres long.")
    assert turn.checked == Checked("")
    # A finished check is reported with the next word; the first of these only starts one.
    for gate in gates[:3]:
        gate.set()
        time.sleep(0.1)
    wait_for(lambda: turn.checked.text != "")
    checked = turn.checked
    assert checked.text == "The pier is 62 metres long."
    assert turn.text.startswith(checked.text)
    assert [(check.verdict, check.cited) for check in checked.checks] == [(Verdict.SUPPORTED, (1,))]
    assert [citation.quote for citation in checked.citations] == [checked.text]
    gates[3].set()
    events = list(turn.follow())
    message = stored(conversations, question)
    assert message.text == "The pier is 62 metres long. It is new."
    assert [check.verdict for check in message.checks] == [Verdict.SUPPORTED, Verdict.UNSUPPORTED]
    assert [type(event) for event in events].count(Checked) == 2, "one while it was written, one at the end"


@pytest.mark.parametrize("works", [0, 1])
def test_a_check_that_fails_never_harms_the_answer(
    ask: Ask, works: int, caplog: pytest.LogCaptureFixture, ended: Ended
) -> None:
    calls = []

    def entails(pairs: Sequence[tuple[str, str]]) -> list[float]:
        calls.append(pairs)
        if len(calls) > works:
            raise RuntimeError("out of memory")
        return [1.0] * len(pairs)

    question = ask("The pier is 62 metres long [1]. ", "It is old.").by(entails=entails)
    message = ended(question)
    assert (message.text, message.finish) == ("The pier is 62 metres long. It is old.", Finish.COMPLETE)
    assert (message.checks, message.citations, message.error) == ((), (), None)
    assert "The answer could not be checked" in caplog.text


def test_an_answer_that_claims_nothing_cites_the_place_that_fits_best(ask: Ask, ended: Ended) -> None:
    message = ended(ask("I do not know."))
    assert "says nothing" in message.notes[0]
    assert [citation.answer_end for citation in message.citations] == [0]


def test_an_answer_without_support_is_folded_below_quotes(ask: Ask, ended: Ended) -> None:
    message = ended(ask("It is 900 metres long [1]. ", "It was built by giants."))
    assert (message.mode, message.text) == (Mode.QUOTED, "The pier is 62 metres long.")
    assert message.folded == "It is 900 metres long. It was built by giants."
    assert message.route
    assert "do not support what the model wrote" in message.route.why
    assert [message.text[check.start : check.end] for check in message.checks] == [message.text]
    assert [citation.quote for citation in message.citations] == [message.text]


def test_a_quote_keeps_the_brackets_of_the_document(ask: Ask, ended: Ended) -> None:
    text = "The pier is 62 metres long.[12]"
    found = replace(FOUND, passages=(replace(PASSAGE, text=text, end=len(text)),))
    message = ended(ask(found=found).options(answers=Answers.QUOTED))
    assert message.text == text
    assert [message.text[check.start : check.end] for check in message.checks] == [text]
    assert message.usage == Usage()


def test_an_out_of_scope_question_is_answered_without_the_model(ask: Ask, ended: Ended) -> None:
    model = ScriptedChatModel()
    question = ask(found=OUT_OF_SCOPE, model=model).put(text="Who painted the Mona Lisa?")
    message = ended(question)
    assert "could not find this" in message.text
    assert "1 document" in message.text
    assert (message.finish, message.abstained, message.citations) == (Finish.COMPLETE, True, ())
    assert message.checks == ()
    assert message.passages == (PASSAGE,)
    assert model.prompts == []


def test_a_sentence_that_answers_puts_a_question_in_scope(ask: Ask, ended: Ended) -> None:
    message = ended(ask(found=OUT_OF_SCOPE).options(answers=Answers.QUOTED))
    assert (message.abstained, message.text) == (False, "The pier is 62 metres long.")


def test_an_open_answer_is_marked_as_the_models_own(ask: Ask, ended: Ended) -> None:
    question = ask("Paris.", found=OUT_OF_SCOPE).put(text="What is the capital of France?").options(strict=False)
    message = ended(question)
    assert message.text == "Paris."
    assert (message.citations, message.checks) == ((), ())
    assert "model alone" in message.notes[0]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(BackendUnavailable("It is down.", "Start it."), "BackendUnavailable"), (ZeroDivisionError(), "AppError")],
)
def test_a_model_that_fails_in_mid_answer_leaves_what_came(ask: Ask, error: Exception, kind: str, ended: Ended) -> None:
    question = ask("The pier is", error)
    message = ended(question)
    assert (message.text, message.finish) == ("The pier is", Finish.FAILED)
    assert message.error
    assert message.error["type"] == kind
    assert message.error["hint"]
    assert message.passages == (PASSAGE,)


def test_a_model_that_cannot_be_had_still_leaves_the_sources(
    conversations: Conversations, turns: Turns, ask: Ask
) -> None:
    question = ask(failure=BackendUnavailable("It is down.", "Start it."))
    events = list(question.start(turns)[1].follow())
    assert isinstance(events[0], Retrieved)
    assert not any(isinstance(event, Delta) for event in events)
    assert stored(conversations, question).passages == (PASSAGE,)


def test_another_backend_answers_where_the_first_cannot_begin(ask: Ask, ended: Ended) -> None:
    question = ask(
        failure=BackendUnavailable("It is down.", "Start it."), other=ScriptedChatModel().enqueue("62 metres")
    )
    message = ended(question)
    assert (message.text, message.finish, message.model) == ("62 metres", Finish.COMPLETE, "wren")
    assert message.notes[0] == "Scripted could not answer: It is down. Spare answered instead."


def test_a_backend_that_fails_before_its_first_word_hands_over_too(ask: Ask, ended: Ended) -> None:
    question = ask(BackendBusy("It is busy.", "Wait."), other=ScriptedChatModel().enqueue("62 metres"))
    message = ended(question)
    assert (message.text, message.model, len(message.notes)) == ("62 metres", "wren", 1)


@pytest.mark.parametrize(
    "steps", [("It is ", BackendUnavailable("It broke.", "")), (AnswerBlocked("It was blocked.", ""),)]
)
def test_no_other_backend_goes_on_with_a_text_or_round_a_filter(
    ask: Ask, steps: tuple[Step, ...], ended: Ended
) -> None:
    other = ScriptedChatModel()
    question = ask(*steps, other=other)
    message = ended(question)
    assert (message.finish, message.model, other.prompts) == (Finish.FAILED, "parrot", [])
    assert message.text == "".join(step for step in steps if isinstance(step, str)).strip()


def test_tokens_are_estimated_where_the_backend_says_nothing(ask: Ask, ended: Ended) -> None:
    question = ask("Sixty two metres.", BackendUnavailable("It broke off.", "Ask again."))
    usage = ended(question).usage
    assert usage.estimated
    assert usage.output_tokens == 3
    assert usage.input_tokens > 20


@pytest.mark.parametrize(
    ("read", "exact", "cut"), [(1.0, True, False), (0.8, True, True), (0.6, False, False), (0.4, False, True)]
)
def test_a_prompt_that_the_server_cut_is_noted(ask: Ask, read: float, exact: bool, cut: bool, ended: Ended) -> None:
    question = ask(model=ScriptedChatModel(reads=read).enqueue("62 metres"), exact=exact)
    message = ended(question)
    assert any("cut the prompt" in note for note in message.notes) is cut
    assert not message.usage.estimated


def test_a_prompt_that_the_server_had_cached_is_no_cut(ask: Ask, ended: Ended) -> None:
    question = ask(model=ScriptedChatModel(reads=0.1).enqueue("62 metres"), counts_cached=False)
    message = ended(question)
    assert not message.notes
    assert message.usage.estimated
    assert message.usage.input_tokens > 20


@pytest.mark.parametrize("first", ["<think>", ""], ids=["both marks", "the last mark"])
def test_what_a_model_thinks_is_apart(
    conversations: Conversations, turns: Turns, ask: Ask, ended: Ended, first: str
) -> None:
    thoughts = f"{first}The pier is 40 metres long. It is of gold. ", "</thi", "nk>\n\n"
    question = ask(*thoughts, "The pier is 62 metres", " long [1].")
    message = ended(question)
    assert message.text == "The pier is 62 metres long."
    assert message.thoughts.strip() == "The pier is 40 metres long. It is of gold."
    assert message.finish is Finish.COMPLETE
    assert [check.verdict for check in message.checks] == [Verdict.SUPPORTED]
    assert [citation.quote for citation in message.citations] == ["The pier is 62 metres long."]
    next_one = ask("It is old.").put(conversation_id=question.question.conversation_id)
    ended(next_one)
    lease = next_one.pipeline.providers[0].lease
    assert isinstance(lease, partial)
    sent = str(lease.keywords["chat"].prompts)
    assert "62 metres" in sent
    assert "gold" not in sent


def test_a_model_that_only_thinks_gives_no_answer(conversations: Conversations, turns: Turns, ask: Ask) -> None:
    question = ask(model=ScriptedChatModel(finish_reason="length").enqueue("<think>", "It may be long. "))
    event = list(question.start(turns)[1].follow())[-1]
    assert isinstance(event, Finished)
    assert "while it was thinking" in str(event.error)
    assert stored(conversations, question).thoughts == "It may be long. "


def test_an_empty_answer_is_not_an_answer(conversations: Conversations, turns: Turns, ask: Ask) -> None:
    question = ask(" ", "\n")
    event = list(question.start(turns)[1].follow())[-1]
    assert isinstance(event, Finished)
    assert isinstance(event.error, BackendError)
    assert stored(conversations, question).finish is Finish.FAILED


def test_retrieval_that_fails_is_told(ask: Ask, ended: Ended) -> None:
    question = ask(found=RuntimeError("bug"))
    message = ended(question)
    assert message.finish is Finish.FAILED
    assert message.error
    assert "bug" not in str(message.error)


def test_a_cut_answer_says_so(ask: Ask, ended: Ended) -> None:
    question = ask(model=ScriptedChatModel(finish_reason="length").enqueue("The pier"))
    assert "limit of tokens" in ended(question).notes[0]


def test_an_answer_that_goes_round_in_circles_is_stopped_and_cut(ask: Ask, ended: Ended) -> None:
    model = ScriptedChatModel().enqueue("It is 62 metres. ", *["It is a very old pier. "] * 43)
    message = ended(ask(model=model))
    assert message.text == "It is 62 metres. It is a very old pier."
    assert "repeat itself" in message.notes[0]
    assert model.closed == 1
    assert message.usage.estimated


def test_a_loop_within_the_last_words_is_cut_too(ask: Ask, ended: Ended) -> None:
    assert ended(ask("\n".join(f"{n}. The pier is 62 metres long." for n in (1, 2, 3)))).text == (
        "1. The pier is 62 metres long."
    )


@pytest.mark.parametrize(
    ("said", "judged"),
    [("The pier is 62 metres long. It is", 1), ("The pier is 62 metres long. It is old.", 2), ("The pier is", 0)],
)
def test_the_unfinished_sentence_of_an_answer_is_not_judged(
    conversations: Conversations, turns: Turns, ask: Ask, ended: Ended, said: str, judged: int
) -> None:
    stopped = ask(model=ScriptedChatModel().enqueue(said, Event()))
    message, turn = stopped.start(turns)
    wait_for(lambda: turn.text == said)
    turns.cancel("ann", message.id)
    list(turn.follow())
    assert len(stored(conversations, stopped).checks) == judged
    assert len(ended(ask(model=ScriptedChatModel(finish_reason="length").enqueue(said))).checks) == judged
    assert ended(ask(said)).checks, "a whole answer may end without a full stop"


@pytest.mark.parametrize("before", [(), ("The pier is",)])
def test_stop_ends_the_models_work_and_keeps_what_came(
    conversations: Conversations, turns: Turns, ask: Ask, before: tuple[str, ...]
) -> None:
    model = ScriptedChatModel().enqueue(*before, Event(), "never")
    question = ask(model=model)
    answer, turn = question.start(turns)
    wait_for(lambda: len(model.prompts) == 1 and turn.text == "".join(before))
    turns.cancel("bob", answer.id)
    assert turns.get("bob", answer.id) is None
    turns.cancel("ann", answer.id)
    turns.cancel("ann", answer.id)
    events = list(turn.follow())
    message = stored(conversations, question)
    assert isinstance(events[-1], Finished)
    assert (message.text, message.finish) == ("".join(before), Finish.STOPPED)
    assert model.closed == 1
    assert turns.get("ann", answer.id) is None


def test_a_turn_that_is_cancelled_at_once_is_still_stored(conversations: Conversations, turns: Turns, ask: Ask) -> None:
    for _ in range(20):
        question = ask("text")
        answer, turn = question.start(turns)
        turns.cancel("ann", answer.id)
        list(turn.follow())
        assert stored(conversations, question).finish in (Finish.STOPPED, Finish.COMPLETE)


def test_closing_the_generator_ends_the_models_work(ask: Ask) -> None:
    model = ScriptedChatModel().enqueue("The pier is", Event())
    asked = ask(model=model)

    async def leave() -> None:
        events = run(asked.question, asked.pipeline)
        async for event in events:
            if isinstance(event, Delta):
                break
        await events.aclose()

    asyncio.run(leave())
    assert model.closed == 1


def test_an_answer_outside_of_conversations_is_stored_nowhere(conversations: Conversations, ask: Ask) -> None:
    asked = ask("The pier is 62 metres long.").put(conversation_id=None)
    before = conversations.list("ann")
    message = asyncio.run(answer(asked.question, asked.pipeline))
    assert (message.text, message.finish) == ("The pier is 62 metres long.", Finish.COMPLETE)
    assert message.checks
    assert conversations.list("ann") == before


def test_a_running_answer_is_saved_now_and_then(
    conversations: Conversations, turns: Turns, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "SAVE_EVERY_S", 0.01)
    more = Event()
    question = ask("The pier is", more, " long.")
    _, turn = question.start(turns)
    wait_for(lambda: stored(conversations, question).text == "The pier is")
    assert stored(conversations, question).finish is Finish.RUNNING
    more.set()
    list(turn.follow())


def test_a_busy_database_holds_up_no_answer(
    conversations: Conversations, turns: Turns, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "SAVE_EVERY_S", 0.01)
    gate = Event()
    questions = [ask("The pier", gate, " is", " 62", " metres long.") for _ in range(2)]
    running = [question.start(turns)[1] for question in questions]
    wait_for(lambda: all(turn.text == "The pier" for turn in running))
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        gate.set()
        wait_for(lambda: all(turn.text == "The pier is 62 metres long." for turn in running))
        other.execute("ROLLBACK")
    for question, turn in zip(questions, running, strict=True):
        list(turn.follow())
        assert stored(conversations, question).text == "The pier is 62 metres long."


class Endless(ScriptedChatModel):
    """Goes on for ever, whatever its limit; like `asyncio.wait_for` of Python 3.11 it may lose a cancellation."""

    piece: str = "word "
    deaf: int = 0
    """Cancellations that it loses."""

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        deaf = self.deaf
        while True:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                if deaf <= 0:
                    raise
                deaf -= 1
            yield ChatGenerationChunk(message=AIMessageChunk(content=self.piece))


def test_one_stop_ends_an_answer_though_a_library_loses_the_cancellation(
    conversations: Conversations, turns: Turns, ask: Ask
) -> None:
    question = ask(model=Endless(deaf=1)).options(generation={"max_new_tokens": 10**6})
    message, turn = question.start(turns)
    wait_for(lambda: turn.text != "")
    turns.cancel("ann", message.id)
    wait_for(lambda: turns.get("ann", message.id) is None)
    assert stored(conversations, question).finish is Finish.STOPPED


@pytest.mark.parametrize(
    ("piece", "seconds", "said"),
    [("word ", 600.0, "longer than 200 characters"), ("x" * 10**6, 600.0, "longer"), ("w", 0.02, "0 seconds")],
)
def test_an_answer_is_cut_at_a_limit_of_characters_and_of_seconds(
    ask: Ask, piece: str, seconds: float, said: str, ended: Ended
) -> None:
    question = ask(model=Endless(piece=piece)).options(generation={"max_new_tokens": 50}).by(seconds=seconds)
    message = ended(question)
    assert message.finish is Finish.COMPLETE
    assert 0 < len(message.text) <= 200
    assert any(said in note for note in message.notes)


def test_an_answer_as_long_as_it_may_be_is_not_cut(ask: Ask, ended: Ended) -> None:
    whole = "The pier is 62 metres long. ".ljust(400, "x")
    message = ended(ask(whole[:200], whole[200:], ""))
    assert message.text == whole
    assert not any("cut" in note for note in message.notes)


def test_a_model_that_falls_silent_is_stopped_too(ask: Ask, ended: Ended) -> None:
    message = ended(ask("It is old.", Event(), "never").by(seconds=0.2))
    assert (message.text, message.finish) == ("It is old.", Finish.COMPLETE)
    assert "was stopped" in message.notes[0]


def test_half_a_character_harms_no_answer(ask: Ask, ended: Ended) -> None:
    message = ended(ask("The pier is \ud83d 62 metres long.").put(text="How \udc00 long?"))
    assert (message.text, message.finish) == ("The pier is ? 62 metres long.", Finish.COMPLETE)


def test_a_callback_that_fails_harms_no_answer(ask: Ask, ended: Ended) -> None:
    class Broken(BaseCallbackHandler):
        raise_error = True

        def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
            raise RuntimeError("tracing is down")

    assert ended(ask("It is old.").by(callbacks=[Broken()])).finish is Finish.COMPLETE


def test_callbacks_see_retrieval_and_answer_as_one_run(turns: Turns, ask: Ask) -> None:
    class Trace(BaseCallbackHandler):
        def __init__(self) -> None:
            self.seen: list[tuple[str, Any]] = []

        def on_chain_start(self, *args: Any, run_id: Any, **kwargs: Any) -> None:
            self.seen.append(("answer", run_id))

        def on_retriever_start(self, *args: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
            self.seen.append(("retrieval", parent_run_id))

        def on_chat_model_start(self, *args: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
            self.seen.append(("model", parent_run_id))

        def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
            self.seen.append(("end", outputs))

    trace = Trace()
    list(ask("It is old.").by(callbacks=[trace]).start(turns)[1].follow())
    kinds, details = zip(*trace.seen, strict=True)
    assert kinds == ("answer", "retrieval", "model", "end")
    assert details[1] == details[2] == details[0]
    assert details[3] == {"answer": "It is old."}


def test_one_answer_at_a_time_in_a_conversation(conversations: Conversations, turns: Turns, ask: Ask) -> None:
    more = Event()
    question = ask("a", more)
    _, turn = question.start(turns)
    with pytest.raises(RequestRejected, match="still being answered"):
        question.start(turns)
    assert question.question.conversation_id
    assert len(conversations.messages("ann", question.question.conversation_id)) == 2
    more.set()
    list(turn.follow())
    list(question.put(text="And now?").start(turns)[1].follow())


def test_an_empty_question_is_rejected_before_anything_is_stored(
    conversations: Conversations, turns: Turns, ask: Ask
) -> None:
    question = ask()
    with pytest.raises(RequestRejected, match="empty"):
        question.put(text=" \n ", conversation_id=None).start(turns)
    with pytest.raises(RequestRejected, match="no such conversation"):
        question.start(turns, "bob")
    [only] = conversations.list("ann")
    assert conversations.messages("ann", only.id) == ()


def test_a_question_without_a_conversation_begins_one(conversations: Conversations, turns: Turns, ask: Ask) -> None:
    question = ask("text").put(conversation_id=None)
    answer, turn = question.start(turns)
    list(turn.follow())
    found = conversations.get("ann", answer.conversation_id)
    assert found
    assert found.title == question.question.text


def test_two_who_follow_see_the_same(turns: Turns, ask: Ask) -> None:
    more = Event()
    answer, turn = ask("one", more, "two").start(turns)
    wait_for(lambda: turn.text == "one")
    again = turns.get("ann", answer.id)
    assert again
    more.set()
    assert list(again.follow()) == list(turn.follow())


def test_an_answer_that_cannot_be_stored_still_ends(
    conversations: Conversations, turns: Turns, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = conversations.save

    def full(owner: str, message: Message, record: Any = None) -> None:
        if message.text:
            raise StoreError("disk full")
        save(owner, message, record)

    question = ask("text")
    monkeypatch.setattr(conversations, "save", full)
    event = list(question.start(turns)[1].follow())[-1]
    assert isinstance(event, Finished)
    assert event.error
    assert "could not be stored" in event.error.message
    assert stored(conversations, question).finish is Finish.FAILED


def test_closing_the_server_stops_and_stores_what_runs(conversations: Conversations, ask: Ask) -> None:
    turns = Turns(conversations)
    question = ask("The pier is", Event())
    _, turn = question.start(turns)
    wait_for(lambda: turn.text != "")
    turns.close()
    assert stored(conversations, question).finish is Finish.STOPPED


# --- versions ---


def test_an_answer_is_given_again_beside_the_first(conversations: Conversations, ask: Ask, ended: Ended) -> None:
    question = ask("It is 62 metres long.")
    first = ended(question)
    again = ask("It is old.").put(conversation_id=question.question.conversation_id, text="", instead_of=first.id)
    second = ended(again)
    assert second.parent_id == first.parent_id
    assert second.versions == (first.id, second.id)
    shown = conversations.messages("ann", first.conversation_id)
    assert [m.text for m in shown] == ["How long is the pier?", "It is old."]
    assert conversations.message("ann", first.id) == replace(first, versions=second.versions)


def test_a_question_that_was_put_otherwise_begins_a_branch(
    conversations: Conversations, ask: Ask, ended: Ended
) -> None:
    question = ask("It is 62 metres long.")
    first = ended(question)
    asked = first.parent_id
    here = question.question.conversation_id
    ended(ask("Yes.").put(conversation_id=here, text="Is that long?"))
    seen: list[Sequence[str]] = []

    def retriever(history: Sequence[str], rewritten: str, documents: Sequence[str]) -> BaseRetriever:
        seen.append(history)
        return Finds(found=FOUND)

    again = (
        ask("The pier is 62 metres long.")
        .put(conversation_id=here, text="How old is it?", instead_of=asked)
        .by(retriever=retriever)
    )
    ended(again)
    assert seen == [[]], "what followed the first wording is none of its history"
    shown = [m.text for m in conversations.messages("ann", first.conversation_id)]
    assert shown == ["How old is it?", "The pier is 62 metres long."]
    assert asked
    conversations.show("ann", asked)
    assert len(conversations.messages("ann", first.conversation_id)) == 4


def test_only_a_message_of_the_conversation_has_another_in_its_place(turns: Turns, ask: Ask, ended: Ended) -> None:
    first = ended(ask("It is 62 metres long."))
    with pytest.raises(RequestRejected, match="no longer in the conversation"):
        ask("It is old.").put(instead_of=first.id).start(turns)
    with pytest.raises(RequestRejected, match="no longer in the conversation"):
        ask("It is old.").put(instead_of="nothing").start(turns)


def test_the_record_says_what_made_an_answer(conversations: Conversations, ask: Ask, ended: Ended) -> None:
    question = (
        ask("It is 62 metres long.").options(instructions="Answer in rhymes.").by(record={"collections": ["Mine"]})
    )
    message = ended(question)
    record = conversations.record("ann", message.id)
    assert record["question"] == "How long is the pier?"
    assert record["model"] == "parrot"
    assert record["collections"] == ["Mine"]
    assert (record["k"], record["strict"], record["retrieval"]["lexical"]) == (4, True, True)
    assert record["passages"] == [
        {"passage": "report.pdf, page 4", "id": "d:0", "sha256": hashlib.sha256(PASSAGE.text.encode()).hexdigest()}
    ]
    system, asked = record["prompt"]
    assert system["text"].endswith("\n\nAnswer in rhymes.")
    assert PASSAGE.text in asked["text"]


def test_a_record_is_kept_of_answers_that_fail(conversations: Conversations, ask: Ask, ended: Ended) -> None:
    message = ended(ask("It is", BackendUnavailable("It went away.", "Start it.")))
    assert message.finish is Finish.FAILED
    assert conversations.record("ann", message.id)["prompt"]
    unfound = ended(ask(found=StoreError("No index.", "Build it.")))
    assert conversations.record("ann", unfound.id)["question"] == "How long is the pier?"


def test_everything_that_answers_in_a_conversation_is_stopped(turns: Turns, ask: Ask) -> None:
    question = ask("It is ", Event())
    message, turn = question.start(turns)
    assert turns.running("ann", message.conversation_id)
    assert len(turns) == 1
    turns.cancel_all("bob", message.conversation_id)
    wait_for(lambda: turn.text.startswith("It is"))
    turns.cancel_all("ann", message.conversation_id)
    *_, end = turn.follow()
    assert isinstance(end, Finished)
    assert end.message.finish is Finish.STOPPED
    assert not turns.running("ann", message.conversation_id)
