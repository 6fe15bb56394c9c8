"""Question -> passages, over a real database, FTS5 and Chroma, with a small deterministic embedding model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document

from errors import EmbeddingMismatch
from rag.index import retriever as module
from rag.index.abstention import PRIOR
from rag.index.embeddings import EmbeddingModel, embedded_folder
from rag.index.lexical import LexicalHits, LexicalIndex
from rag.index.passages import retrieval_of
from rag.index.retriever import Stopped
from rag.index.search import LibraryRetriever
from tests.small_library import FERRY, FIRE, PUFFIN, RENT, TEXTS, SmallLibrary, Words, small_library


@pytest.fixture
def house(tmp_path: Path) -> Iterator[SmallLibrary]:
    with small_library(tmp_path) as library:
        yield library


@pytest.fixture
def filled(house: SmallLibrary) -> SmallLibrary:
    house.add("c", "d", TEXTS)
    return house


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("When do puffins breed?", PUFFIN),
        ("What is the code word for a fire?", FIRE),
        ("from which pier does the ferry sail", FERRY),
        ("how much is the rent of the boathouse", RENT),
    ],
)
def test_finds_the_passage_and_its_place(filled: SmallLibrary, question: str, text: str) -> None:
    found = filled.retriever("c").retrieve(question, k=3)
    best = found.passages[0]
    position = TEXTS.index(text)
    assert best.text == text
    assert (best.chunk_id, best.document_id, best.document) == (f"d:{position}", "d", "d.pdf")
    assert (best.page, best.start, best.end) == (position + 1, 10, 10 + len(text))
    assert len(found.passages) == 3
    assert [p.score for p in found.passages] == sorted((p.score for p in found.passages), reverse=True)
    assert not found.abstained
    assert 0 < found.confidence < 1
    assert found.seconds > 0


def test_dense_is_the_exact_cosine_of_every_passage(filled: SmallLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    # So few that the cosines of the best lexical hits must be fetched.
    monkeypatch.setattr(module, "DENSE", 2)
    question = "minutes section report marigold puffins ferry rent"
    vector = np.array(filled.embeddings.embed_query(question))
    found = filled.retriever("c").retrieve(question, k=20)
    assert len(found.passages) > 10
    for passage in found.passages:
        assert passage.dense == pytest.approx(vector @ filled.embeddings.embed_query(passage.text), abs=1e-5)


def test_lexical_is_zero_without_a_common_word(filled: SmallLibrary) -> None:
    found = filled.retriever("c").retrieve("puffins", k=44)
    by_text = {passage.text: passage for passage in found.passages}
    assert by_text[PUFFIN].lexical > 0
    assert by_text[FERRY].lexical == 0
    assert len(found.passages) == 44


def test_duplicate_texts_are_removed(house: SmallLibrary) -> None:
    house.add("c", "d1", [PUFFIN, FERRY])
    house.add("c", "d2", [PUFFIN, PUFFIN, RENT])
    texts = [passage.text for passage in house.retriever("c").retrieve("puffins", k=4).passages]
    assert sorted(texts) == sorted([PUFFIN, FERRY, RENT])


@pytest.mark.parametrize("question", ["", "   \n", "\ud800", "\x00", '"" OR NEAR( *', "what is it?", "x " * 10_000])
def test_any_text_can_be_asked(filled: SmallLibrary, question: str) -> None:
    found = filled.retriever("c").retrieve(question, history=["", " ", "\udfff"], k=3)
    assert len(found.passages) in (0, 3)
    if not question.strip():
        assert (found.passages, found.abstained, found.confidence) == ((), True, 0.0)


def test_abstains_on_an_empty_library(house: SmallLibrary) -> None:
    for found in (house.retriever("none").retrieve("puffins", k=3), house.retriever().retrieve("puffins", k=3)):
        assert (found.passages, found.abstained, found.confidence) == ((), True, 0.0)
    house.add("c", "d", [])
    assert house.retriever("c").retrieve("puffins", k=3).abstained


def test_abstains_on_an_out_of_scope_question_and_returns_the_nearest_passages(filled: SmallLibrary) -> None:
    found = filled.retriever("c").retrieve("Which quarterly revenue did semiconductors yield worldwide?", k=2)
    assert found.abstained
    assert found.confidence < 0.5
    assert len(found.passages) == 2


def test_a_near_sentence_prevents_abstaining(filled: SmallLibrary) -> None:
    minutes = " ".join(f"Point {n} of quorum {n} budget {n} roof {n} gutter {n} heating {n}." for n in range(12))
    filled.add("c", "minutes", [f"{minutes} Henrik kindled our boiler. Boiler!"])
    retriever = filled.retriever("c")
    found = retriever.candidates("Henrik kindled boiler")
    assert found is not None
    signals = found.signals["c"]
    # The threshold lies just above the chunk's score, and below the sentence's.
    limit = PRIOR.score(signals) + 0.1
    for offset, abstains in ((0.0, False), (20.0, True)):
        calibration = replace(PRIOR, threshold=limit, threshold_offset=offset)
        judged = replace(retriever, calibration={"c": calibration}.__getitem__)
        assert judged.retrieve("Henrik kindled boiler").abstained is abstains


def test_each_collection_has_its_own_calibration(house: SmallLibrary) -> None:
    house.add("c1", "d1", [PUFFIN, *TEXTS[4:14]])
    house.add("c2", "d2", [FERRY, *TEXTS[14:24]])
    both = house.retriever("c1", "c2", calibration=lambda id_: replace(PRIOR, threshold=1e9 if id_ == "c1" else -1.0))
    assert not both.retrieve("when do puffins breed").abstained, "one of them does not abstain"
    both = replace(both, calibration=lambda _: replace(PRIOR, threshold=1e9))
    found = both.retrieve("when do puffins breed")
    assert found.abstained
    assert found.confidence < 0.01


def test_signals_are_measured_for_each_question(filled: SmallLibrary) -> None:
    near, far = filled.retriever("c").measure(["When do puffins breed on the cliffs?", "Which semiconductors yield?"])
    assert near.cosine > far.cosine
    assert near.word_match > far.word_match == 0


def test_a_follow_up_question_uses_the_history(filled: SmallLibrary) -> None:
    retriever = filled.retriever("c")
    asked = ["Where is the boathouse?", "Tell me about the puffins on the cliffs"]
    assert retriever.retrieve("And until when is that due?", k=1).passages[0].text == RENT
    assert retriever.retrieve("And when is that?", history=asked, k=1).passages[0].text == PUFFIN
    assert retriever.retrieve("And when is that?", history=asked[::-1], k=1).passages[0].text == RENT


def test_a_new_subject_outweighs_the_history(filled: SmallLibrary) -> None:
    found = filled.retriever("c").retrieve("What is the code word for a fire?", history=["When do puffins breed?"], k=1)
    assert found.passages[0].text == FIRE


def test_several_collections_are_searched_as_one(house: SmallLibrary) -> None:
    house.add("c1", "d1", [PUFFIN, *TEXTS[4:14]])
    house.add("c2", "d2", [FERRY, *TEXTS[14:24]])
    both = house.retriever("c1", "c2")
    assert both.retrieve("when do puffins breed", k=1).passages[0].document_id == "d1"
    assert both.retrieve("which pier does the ferry sail from", k=1).passages[0].document_id == "d2"
    assert {p.document_id for p in house.retriever("c2").retrieve("puffins", k=9).passages} == {"d2"}


def test_an_owner_sees_only_what_is_theirs(house: SmallLibrary) -> None:
    house.add("mine", "d1", [PUFFIN])
    house.add("theirs", "d2", [FERRY], owner="them")
    found = house.retriever("mine", "theirs").retrieve("the ferry and the puffins", k=5)
    assert [passage.text for passage in found.passages] == [PUFFIN]
    assert house.retriever("mine", owner="them").retrieve("puffins", k=5).passages == ()


@pytest.mark.parametrize("state", ["deleting", "failed"])
def test_hidden_documents_are_not_returned(house: SmallLibrary, state: str) -> None:
    house.add("c", "d1", [PUFFIN], state=state)
    house.add("c", "d2", [FERRY])
    assert [passage.text for passage in house.retriever("c").retrieve("puffins", k=5).passages] == [FERRY]


def test_vectors_without_rows_and_rows_without_vectors_are_skipped(filled: SmallLibrary) -> None:
    filled.store.add("c", "words-64", ["ghost:0"], [filled.embeddings.embed_query("puffins")])
    filled.store.delete("c", "words-64", ["d:2"])
    texts = [passage.text for passage in filled.retriever("c").retrieve("puffins fire marigold", k=50).passages]
    assert PUFFIN in texts
    assert FIRE not in texts


def test_another_embedding_model_is_a_mismatch(filled: SmallLibrary) -> None:
    class Other(Words):
        fingerprint = "other-64"

    filled.embeddings = Other()
    with pytest.raises(EmbeddingMismatch, match="“c” was indexed by another embedding model"):
        filled.retriever("c").retrieve("puffins", k=1)


# --- as a LangChain retriever ---


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_returns_langchain_documents(filled: SmallLibrary, pool: ThreadPoolExecutor) -> None:
    retriever = LibraryRetriever(hybrids=lambda _: (filled.retriever("c"),), pool=pool, k=4)
    documents = retriever.invoke("when do puffins breed")
    assert len(documents) == 4
    assert retrieval_of(documents).passages[0].text == PUFFIN
    assert documents[0].page_content == PUFFIN
    assert documents[0].id == "d:1"
    assert documents[0].metadata["document"] == "d.pdf"
    assert documents[0].metadata["page"] == 2
    assert set(documents[0].metadata) >= {"chunk_id", "document_id", "start", "end", "score", "dense", "lexical"}


def test_words_decide_in_a_script_that_the_model_cannot_read(house: SmallLibrary) -> None:
    class Blind(Words):
        """Embeds any other text than ASCII like the fire."""

        def embed_query(self, text: str) -> list[float]:
            return super().embed_query(text if text.isascii() else FIRE)

    house.embeddings = Blind()
    house.add("c", "d", ["東京都は日本の首都です。", "富士山は日本で一番高い山です。", *TEXTS])
    retriever = house.retriever("c")
    found = retriever.retrieve("日本の首都はどこですか", k=2)
    assert found.passages[0].chunk_id == "d:0"
    assert not found.abstained
    assert retriever.retrieve("Где находится столица Франции?", k=2).abstained
    Blind.latin_only = False
    assert retriever.retrieve("日本で一番高い山", k=2).passages[0].dense == pytest.approx(1, abs=1e-4)


def test_callbacks_see_an_asynchronous_retrieval(filled: SmallLibrary, pool: ThreadPoolExecutor) -> None:
    class Recorder(BaseCallbackHandler):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_retriever_start(self, serialized: dict[str, Any], query: str, **kwargs: Any) -> None:
            self.seen.append(query)

        def on_retriever_end(self, documents: Sequence[Document], **kwargs: Any) -> None:
            self.seen.append([document.page_content for document in documents])

    recorder = Recorder()
    retriever = LibraryRetriever(hybrids=lambda _: (filled.retriever("c"),), pool=pool, k=1)
    asyncio.run(retriever.ainvoke("when do puffins breed", config={"callbacks": [recorder]}))
    assert recorder.seen == ["when do puffins breed", [PUFFIN]]


def test_a_cancelled_retrieval_stops_before_its_next_step(filled: SmallLibrary, pool: ThreadPoolExecutor) -> None:
    entered, release = Event(), Event()

    class Blocking(Words):
        def embed_query(self, text: str) -> list[float]:
            entered.set()
            release.wait(10)
            return super().embed_query(text)

    class Counting(LexicalIndex):
        searches = 0

        def search(self, *arguments: Any, **options: Any) -> LexicalHits:
            self.searches += 1
            return super().search(*arguments, **options)

    lexical = Counting(filled.database)
    hybrid = replace(filled.retriever("c"), embeddings=Blocking(), lexical=lexical)
    retriever = LibraryRetriever(hybrids=lambda _: (hybrid,), pool=pool, k=1)

    async def ask_and_cancel() -> None:
        task = asyncio.create_task(retriever.ainvoke("puffins"))
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask_and_cancel())
    release.set()
    pool.submit(lambda: None).result(10)  # the only thread is free again
    assert lexical.searches == 0
    with pytest.raises(Stopped):
        replace(hybrid, stopped=lambda: True).retrieve("puffins")


@pytest.mark.models
def test_with_the_real_model(house: SmallLibrary) -> None:
    house.embeddings = EmbeddingModel(embedded_folder())
    house.add("c", "d", TEXTS)
    retriever = house.retriever("c")
    for question, text in {
        "At which time of the year do the birds have their young?": PUFFIN,
        "Which password do I say when it burns?": FIRE,
        "How often does the boat leave?": FERRY,
    }.items():
        assert retriever.retrieve(question, k=2).passages[0].text == text
    assert not retriever.retrieve("When do puffins breed on the island?", k=2).abstained
    assert retriever.retrieve("Who won the football world cup in 1998?", k=2).abstained
