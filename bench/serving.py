"""Questions and answers over a model that takes no time, compared with a plain LangChain + Chroma pipeline. JSON lines.

    python -m bench.serving --data DIR [--questions 40] [--people 1,32] [--rounds 3]

DIR holds `squad/squad-v2.0-dev-part.json`. Both pipelines search its first 722 paragraphs and get the same answers of
200 words, of whose sentences one in four does not stand in the paragraph that was asked about. No question is asked
twice. They take turns in one process; CPU is that of the whole process, and the latency of the first token is what a
client sees, from asking on. Gestalt also stores question and answer, and checks the sentences.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate

from backends.base import Backend, Capabilities, Loaded, ModelInfo, Report
from bench.answers import ingest
from bench.baseline import Baseline
from bench.ingest import Asked, read_squad
from bench.retrieval import emit
from options import AnswerOptions, GenerationOptions
from rag.chat.question import Question
from rag.index.sentences import sentences
from rag.schema import LOCAL_OWNER, Delta
from services import Services
from settings import Settings

PARAGRAPHS, TOKENS, PASSAGES, WARM_UP = 722, 200, 4, 8
Ask = Callable[[str], float]
"""Ask a question and wait for the whole answer; the seconds until its first token."""


class InstantModel(BaseChatModel):
    """Streams the prepared answer to the question in its prompt, word by word, without a delay."""

    answers: Mapping[str, Sequence[str]]

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _chunks(self, messages: list[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        asked = messages[-1].text
        words = next(words for question, words in self.answers.items() if question in asked)
        for word in words:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from self._chunks(messages)

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages):
            await asyncio.sleep(0)
            yield chunk

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return generate_from_stream(self._stream(messages))


class InstantBackend(Backend):
    """A backend with that model."""

    name = "instant"
    label = "Instant"
    capabilities: ClassVar[Capabilities] = Capabilities()
    start_hint = "nothing to start"

    def __init__(self, settings: Settings, model: InstantModel) -> None:
        super().__init__(settings)
        self._model = model

    def list_models(self) -> list[ModelInfo]:
        return [ModelInfo("instant", "instant")]

    def check(self) -> None:
        """It always answers."""

    def load(self, model: str, report: Report) -> Loaded:
        return Loaded(context_window=32_000)

    def chat_model(self, model: str, options: GenerationOptions) -> BaseChatModel:
        return self._model


def answer(paragraph: str, other: str) -> list[str]:
    """200 words: three sentences of a paragraph, one of another, and so on."""
    own, foreign = ([text[start:end] for start, end in sentences(text)] for text in (paragraph, other))
    groups = zip_longest([own[at : at + 3] for at in range(0, len(own), 3)], foreign[: len(own) // 3 + 1])
    mixed = [sentence for group, extra in groups for sentence in [*(group or []), extra] if sentence]
    words = " ".join(mixed).split()
    return [f"{word} " for word in [*words, *(f"more{n}" for n in range(TOKENS))][:TOKENS]]


def gestalt(services: Services) -> Ask:
    options = AnswerOptions(backend="instant", model="instant", k=PASSAGES, strict=False)

    def ask(question: str) -> float:
        started, first = time.perf_counter(), 0.0
        _, turn = services.asking.ask(LOCAL_OWNER, Question(question, options))
        for event in turn.follow():
            if isinstance(event, Delta) and not first:
                first = time.perf_counter() - started
        return first

    return ask


def plain(baseline: Baseline, model: InstantModel) -> Ask:
    """A chain that retrieves, fills a prompt and streams, in a loop of its own thread as a server runs it."""
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Answer the question from these passages:\n\n{passages}"), ("human", "{question}")]
    )
    rest = prompt | model
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def stream(question: str) -> float:
        started, first = time.perf_counter(), 0.0
        found = await asyncio.to_thread(baseline.search, question, PASSAGES)
        async for chunk in rest.astream({"question": question, "passages": "\n\n".join(text for _, text in found)}):
            if chunk.text and not first:
                first = time.perf_counter() - started
        return first

    return lambda question: asyncio.run_coroutine_threadsafe(stream(question), loop).result()


def measure(ask: Ask, questions: Sequence[str], people: int) -> dict[str, Any]:
    """Ask all questions, `people` at a time."""
    wall, cpu = time.perf_counter(), time.process_time()
    if people == 1:
        firsts = [ask(question) for question in questions]
    else:
        with ThreadPoolExecutor(people) as pool:
            firsts = list(pool.map(ask, questions))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"firsts": firsts, "answers_per_s": len(questions) / wall, "cpu_ms": 1000 * cpu / len(questions)}


def report(name: str, people: int, rounds: Sequence[dict[str, Any]]) -> None:
    firsts = sorted(chain.from_iterable(each["firsts"] for each in rounds))
    emit(
        pipeline=name,
        people=people,
        cpu_ms=statistics.median(each["cpu_ms"] for each in rounds),
        first_token_ms_p50=1000 * statistics.median(firsts),
        first_token_ms_p95=1000 * firsts[int(0.95 * len(firsts))],
        answers_per_s=statistics.median(each["answers_per_s"] for each in rounds),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--people", default="1,32")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    paragraphs, asked = read_squad(options.data / "squad/squad-v2.0-dev-part.json")
    paragraphs = paragraphs[:PARAGRAPHS]
    asked = [each for each in asked if each.paragraph < len(paragraphs)]
    people = [int(number) for number in options.people.split(",")]
    # Gestalt keeps vectors of questions and sentences: nothing is asked twice.
    sizes = {number: options.questions * (1 if number == 1 else 3) for number in people}
    every = options.rounds * sum(sizes.values()) + WARM_UP
    chosen: list[Asked] = asked[:: max(1, len(asked) // every)][:every]
    model = InstantModel(
        answers={
            " ".join(each.question.split()): answer(paragraphs[each.paragraph], paragraphs[each.paragraph - 7])
            for each in chosen
        }
    )
    questions = iter(model.answers)
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts"
        texts.mkdir()
        for number, paragraph in enumerate(paragraphs):
            (texts / f"{number}.txt").write_text(paragraph, "utf-8")
        settings = Settings(data_dir=Path(folder) / "data")
        services = Services(settings, [InstantBackend(settings, model)])
        services.ingest.start()
        ingest(services, {path.name: path.read_bytes() for path in sorted(texts.iterdir())})
        baseline = Baseline(Path(folder) / "plain")
        baseline.ingest(sorted(texts.iterdir()))
        pipelines = {"Gestalt": gestalt(services), "plain": plain(baseline, model)}
        warm_up = list(islice(questions, WARM_UP))
        for ask in pipelines.values():
            measure(ask, warm_up, 1)
        while services.search.calibrations.all_outdated():
            time.sleep(0.5)
        time.sleep(2)
        for number in people:
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in pipelines}
            for _ in range(options.rounds):
                batch = list(islice(questions, sizes[number]))
                for name, ask in pipelines.items():
                    found[name].append(measure(ask, batch, number))
            for name, rounds in found.items():
                report(name, number, rounds)
        services.close()


if __name__ == "__main__":
    main()
