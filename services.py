"""The composition root: the one place where the library and the backends meet.

Pages, the command line and tests use the same `Services`. Opening them is quick: models, Chroma and torch are loaded
when they are first needed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from langchain_core.messages import HumanMessage, SystemMessage

from backends.base import GenerationOptions, Loaded
from backends.manager import ModelManager
from backends.translate import translate
from errors import BackendError, ConfigurationError, ContextTooLong, UnreadableDocument, UnsupportedDocument
from rag.backup import Counts, Manifest, count, settle, write
from rag.backup import restore as restore_backup
from rag.chat.citations import Embed
from rag.chat.conversations import Conversations
from rag.chat.prompts import Room, choose, fit
from rag.chat.turn import Answerer, Question
from rag.chat.turns import Turn, Turns
from rag.chat.writer import LeasedModel
from rag.db import Database
from rag.documents.indexing import Indexing, Read
from rag.documents.ingest import Ingest
from rag.documents.integrity import Finding, Integrity
from rag.documents.library import DEFAULT_COLLECTION, Library
from rag.documents.originals import Originals
from rag.documents.page_image import PageImage, Span
from rag.documents.parsers import Parsers
from rag.documents.sync import Sync
from rag.evaluation.evaluations import Evaluations, OnCancel
from rag.evaluation.files import read as read_questions
from rag.evaluation.runs import DEPTH, Configuration
from rag.evaluation.store import QuestionSet
from rag.folder import DataFolder
from rag.index.collection import CollectionIndex
from rag.index.diagnosis import Diagnosis, Stage, diagnose
from rag.index.diagnosis import Finding as Step
from rag.index.embedding_models import EMBEDDED, open_embeddings
from rag.index.embeddings import EmbeddingModel
from rag.index.indexes import Indexes, IndexRecord
from rag.index.lexical import LexicalIndex
from rag.index.search import Search, read_options
from rag.index.store import VectorStore
from rag.schema import (
    CollectionRecord,
    DocumentRecord,
    DocumentState,
    Finished,
    Message,
    Part,
    Passage,
    Retrieval,
    RetrievalOptions,
)
from settings import ROOT, Settings

log = logging.getLogger(__name__)

SAMPLES = ROOT / "data" / "samples"
SAMPLE_QUESTIONS = (
    "What is the cat in the ticket office called?",
    "Where is the spare key to Shed 3 kept?",
    "How high is the lighthouse on Gannet Holm?",
)
"""Questions to try, each answered by another of the samples."""
SAMPLE_SET = ROOT / "data" / "samples-questions.jsonl"
"""What the samples answer, and some things that they do not."""


AT_ONCE = 20
"""Documents that something is done with while a person waits; more of them go on in the background."""
DRAWING_SECONDS = 15.0
"""What the picture of a page may take."""
WRITTEN_TOKENS = 160
"""Of a question and its answer that a model writes for a question set."""
PACE = 20
"""The last documents that were read, by which the time is estimated that the others will take."""


def sample_files() -> list[Path]:
    """The sample documents, by name."""
    return sorted(path for path in SAMPLES.iterdir() if path.is_file())


@dataclass(frozen=True, slots=True)
class Ask:
    """A question and how a person wants it answered; None takes the setting."""

    text: str
    collections: tuple[str, ...] = (DEFAULT_COLLECTION,)
    """Names of those that are searched; all where there are none."""
    conversation_id: str | None = None
    backend: str | None = None
    model: str | None = None
    fallback: str | None = None
    """The backend that answers where the first cannot begin to; an empty one turns the setting off."""
    options: GenerationOptions | None = None
    passages: int | None = None
    retrieval: RetrievalOptions | None = None
    condense: bool | None = None
    """Let the model rewrite a follow-up before the search."""
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """What is being read of a collection, and what waits."""

    reading: tuple[DocumentRecord, ...]
    next: tuple[DocumentRecord, ...]
    """The first of those that wait, in their turn."""
    waiting: int
    deleting: int
    seconds_left: float | None
    """Until everything is read, what waits in other collections too; None while too little is known to say."""


Retrieve = Callable[[str, Sequence[str], str], Retrieval]


def _once(retrieve: Retrieve) -> Retrieve:
    """`retrieve` that searches at its first call and gives that result at all others, from any thread."""
    lock, found = threading.Lock(), list[Retrieval]()

    def search(text: str, history: Sequence[str], rewritten: str) -> Retrieval:
        with lock:
            if not found:
                found.append(retrieve(text, history, rewritten))
            return found[0]

    return search


class Services:
    """Everything that the application can do, for one data folder."""

    def __init__(self, settings: Settings) -> None:
        """Open the data folder; nothing heavy is loaded.

        Raises:
            ConfigurationError: the data folder cannot be written.
            LibraryLocked: another process has it open.
            StoreError: the database cannot be opened.
        """
        self.settings = settings
        self.folder = DataFolder.open(settings.data_dir)
        try:
            settle(self.folder)
            self.database = Database(self.folder.database)
        except BaseException:
            self.folder.close()
            raise
        self.library = Library(self.database)
        self.conversations = Conversations(self.database)
        self.conversations.recover()
        self.turns = Turns(self.conversations)
        self.manager = ModelManager(settings)
        self.store = VectorStore(self.folder.chroma)
        self.lexical = LexicalIndex(self.database)
        self.indexes = Indexes(self.database)
        self.search = Search(
            self.database, self.store, self.lexical, lambda o, c: self.indexing.model_of(o, c), settings.device
        )
        self.parsers = Parsers()
        # A person waits for a picture, and shall not wait for a document that is being read.
        self.drawing = Parsers(seconds=DRAWING_SECONDS)
        self.read: Read = self.parsers.read
        self._models: dict[str, EmbeddingModel] = {}
        self._models_lock = threading.Lock()
        self.evaluations = Evaluations(self.database, self._search_as, self._answer_as, self._write)
        self._warmed = False
        self._closing = threading.Event()
        self._errands: list[threading.Thread] = []

    @cached_property
    def embeddings(self) -> EmbeddingModel:
        """The embedding model of the settings, which new collections get; its weights load on first use."""
        return open_embeddings(self.settings)

    def embedding_model(self, name: str) -> EmbeddingModel:
        """An embedding model by the name that GESTALT_EMBEDDING_MODEL would have; its weights load on first use.

        Raises:
            ConfigurationError: it cannot be had.
        """
        if name in ("", self.settings.embedding_model):
            return self.embeddings
        with self._models_lock:
            if name not in self._models:
                self._models[name] = open_embeddings(self.settings.model_copy(update={"embedding_model": name}))
            return self._models[name]

    @cached_property
    def retrieval(self) -> RetrievalOptions:
        """The steps of retrieval as the settings have them.

        Raises:
            ConfigurationError: GESTALT_RETRIEVAL names what there is not.
        """
        return read_options(self.settings.retrieval)

    @cached_property
    def indexing(self) -> Indexing:
        """One document into its indices and out of them."""
        return Indexing(
            self.library,
            Originals(self.folder.uploads),
            self.indexes,
            partial(CollectionIndex, self.database, self.store, self.lexical),
            self.embedding_model,
            self.read,
            model=self.settings.embedding_model,
            chunk_tokens=self.settings.chunk_tokens,
            chunk_overlap=self.settings.chunk_overlap,
        )

    @cached_property
    def ingest(self) -> Ingest:
        """The way in. `ingest.start()` begins to work off the queue."""
        return Ingest(
            self.library,
            self.indexing.originals,
            self.indexing,
            max_bytes=self.settings.max_upload_mb * 1_000_000,
            when_idle=self.search.calibrate,
        )

    # --- documents ---

    def add_samples(self, owner: str, collection_id: str | None = None) -> None:
        """Put the sample documents into a collection's queue; the default one's where none is named."""
        collection_id = collection_id or self.library.collection(owner, create=True).id
        for path in sample_files():
            self.ingest.submit(owner, collection_id, path.name, path)
        self.ingest.wake()

    def queue(self, owner: str, collection_id: str) -> Queue:
        """What is being read of a collection, what waits, and for how long."""
        counts = {found.id: self.library.counts(owner, found.id) for found in self.library.collections(owner)}
        mine = counts.get(collection_id, {})
        find = partial(self.library.find, owner, collection_id)
        reading, _ = find(states=[DocumentState.INDEXING], limit=3)
        waiting, _ = find(states=[DocumentState.PENDING], descending=False, limit=3)
        last, _ = find(states=[DocumentState.READY], limit=PACE)
        everything = sum(number for each in counts.values() for state, number in each.items() if state.is_open)
        left = everything - sum(document.progress for document in reading)
        return Queue(
            reading=tuple(reading),
            next=tuple(waiting),
            waiting=mine.get(DocumentState.PENDING, 0) + mine.get(DocumentState.INDEXING, 0) - len(reading),
            deleting=mine.get(DocumentState.DELETING, 0),
            seconds_left=left * sum(d.seconds for d in last) / len(last) if len(last) >= PACE // 4 else None,
        )

    def each(self, verb: Callable[[str, str], object], owner: str, document_ids: Sequence[str]) -> None:
        """Call `verb(owner, id)` for each document; many of them in the background."""
        work = partial(self._go_through, verb, owner, document_ids)
        self._behind(work) if len(document_ids) > AT_ONCE else work()

    def delete(self, owner: str, document_ids: Sequence[str]) -> None:
        """Remove documents, many of them in the background; what a kill leaves, the next start finishes.

        Raises:
            StoreError: an index could not be written; the next start tries again.
        """
        for document_id in document_ids:
            self.library.update(owner, document_id, state=DocumentState.DELETING)
        self.each(self.ingest.delete, owner, document_ids)

    def delete_collection(self, owner: str, collection_id: str) -> None:
        """Remove a collection with its documents, in the background; nobody sees it any more."""
        self.library.mark_collection(owner, collection_id)

        def work() -> None:
            documents = self.library.documents(owner, collection_id)
            self._go_through(self.ingest.delete, owner, [document.id for document in documents])
            if not self._closing.is_set():
                self.ingest.delete_collection(owner, collection_id)

        self._behind(work)

    def _go_through(self, verb: Callable[[str, str], object], owner: str, document_ids: Sequence[str]) -> None:
        for document_id in document_ids:
            if self._closing.is_set():
                return
            verb(owner, document_id)

    def _behind(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception:
                log.exception("What was begun in the background could not be finished")

        self._errands = [errand for errand in self._errands if errand.is_alive()]
        self._errands.append(threading.Thread(target=run, name="errand", daemon=True))
        self._errands[-1].start()

    def indexes_of(self, owner: str, collection_id: str) -> list[tuple[IndexRecord, int]]:
        """The indexes of a collection, each with the number of its vectors.

        Raises:
            StoreError: they cannot be counted.
        """
        found = self.indexes.all(owner, collection_id)
        return [(index, self.store.count(collection_id, index.fingerprint)) for index in found]

    def index_again(self, owner: str, collection_id: str) -> None:
        """Begin to index a collection by the embedding model of the settings, beside the index that answers.

        Raises:
            ConfigurationError: the model cannot be had, or it is the one that answers.
        """
        self.indexing.rebuild(owner, collection_id, self.settings.embedding_model)
        self.ingest.wake()

    def ready_documents(self, owner: str, collection_id: str) -> int:
        """How many documents of a collection can be asked."""
        return self.library.count(owner, collection_id, DocumentState.READY)

    def page_picture(self, owner: str, document_id: str, number: int, spans: Sequence[Span]) -> PageImage | None:
        """A page of a PDF as a picture, with places of its text marked; None where the document is no PDF, or gone.

        Args:
            owner: whose document.
            document_id: its id.
            number: of the page, from 1.
            spans: offsets into the text of the page, as it was read.

        Raises:
            DocumentError: the page cannot be drawn: it is broken or locked, or takes too much time or memory.
        """
        document = self.library.document(owner, document_id)
        page = self.library.page(owner, document_id, number - 1)
        if document is None or page is None:
            return None
        original = self.indexing.originals.path(document.sha256)
        if not original.exists():
            raise UnreadableDocument(f"The original of {document.name} is missing.", "Add the document again.")
        with suppress(UnsupportedDocument):
            return self.drawing.draw(original, document.name, number - 1, page.text, spans)
        return None

    def sync(self, owner: str, folder: Path, collection_id: str, *, adopt: bool = False) -> Sync:
        """A folder on disk and the collection that is to be like it; see `Sync`."""
        return Sync(self.ingest, owner, collection_id, folder, adopt=adopt)

    # --- the data folder ---

    def check(self) -> Iterator[Finding]:
        """Where database, vectors, words and originals disagree. Not while the ingest worker runs.

        Raises:
            StoreError: one of them cannot be read.
        """
        return Integrity(self.database, self.store, self.lexical, self.ingest).check()

    def counts(self) -> Counts:
        """How much is in the data folder, as a backup notes it."""
        return count(self.database, self.store)

    def backup(self, file: Path, report: Callable[[float], None]) -> Manifest:
        """Write everything into one file. Not while the ingest worker runs.

        Raises:
            ConfigurationError: there is such a file already.
            StoreError: something cannot be read or written.
        """
        return write(self.folder, self.database, self.store, file, report)

    # --- questions ---

    def retrieve(
        self,
        owner: str,
        question: str,
        *,
        history: Sequence[str] = (),
        k: int | None = None,
        collections: Sequence[str] = (DEFAULT_COLLECTION,),
        rewritten: str = "",
        options: RetrievalOptions | None = None,
    ) -> Retrieval:
        """The passages for a question, best first, without a model.

        Args:
            owner: who asks.
            question: what is asked.
            history: earlier questions, oldest first.
            k: how many passages; the setting where it is not given.
            collections: names of those that are searched; all where there are none.
            rewritten: the question as a model put it, so that it stands for itself; searched beside it.
            options: the steps of retrieval; the setting where they are not given.

        Raises:
            ConfigurationError: there is no such collection.
            StoreError: the index cannot be read.
        """
        return self.search.retrieve(
            owner,
            question,
            [found.id for found in self._named(owner, collections) if self.ready_documents(owner, found.id)],
            k=k or self.settings.passages,
            history=history,
            rewritten=rewritten,
            options=options or self.retrieval,
        )

    def diagnose(
        self,
        owner: str,
        question: str,
        expected: str,
        *,
        k: int | None = None,
        collections: Sequence[str] = (DEFAULT_COLLECTION,),
        options: RetrievalOptions | None = None,
        model: tuple[str, str] | None = None,
    ) -> Diagnosis:
        """Why a text that a person expected was not found, or was not shown to the model.

        Args:
            owner: who asks.
            question: what was asked.
            expected: words as they stand in a document.
            k: how many passages are shown to the model.
            collections: names of those that are searched; all where there are none.
            options: the steps of retrieval.
            model: backend and model whose window the passages have to fit; the defaults where they are not given.

        Raises:
            ConfigurationError: there is no such collection.
            StoreError: the index cannot be read.
        """
        k = k or self.settings.passages
        ids = [found.id for found in self._named(owner, collections) if self.ready_documents(owner, found.id)]
        retrievers = self.search.retrievers(owner, ids, options or self.retrieval)
        diagnosis = diagnose(retrievers, question, expected, k=k)
        if diagnosis.lost or not diagnosis.found:
            return diagnosis
        passages = self.search.retrieve(owner, question, ids, k=k, options=options or self.retrieval).passages
        budget = self._budget(question, passages, diagnosis.found, model or (self.settings.backend, ""))
        return replace(diagnosis, findings=(*diagnosis.findings, budget))

    def _budget(self, question: str, passages: Sequence[Passage], wanted: Passage, model: tuple[str, str]) -> Step:
        """Whether a passage that was found fits the window of a model with those that are better."""
        loaded = self.manager.status(*model).loaded
        if not loaded:
            return Step(Stage.BUDGET, True, "Not looked at: the model is not loaded, so that its window is not known.")
        room = Room(
            partial(self.manager.backend(model[0]).count_tokens, model[1]),
            window=loaded.context_window,
            prompt_limit=loaded.prompt_limit,
            answer=self.settings.max_new_tokens,
            small=loaded.is_small,
        )
        try:
            fitted = fit(choose(passages, small=loaded.is_small), question, (), passages, room)
        except ContextTooLong as error:
            return Step(Stage.BUDGET, False, error.message, error.hint)
        shown = sum(share.part is Part.PASSAGE and share.kept for share in fitted.ledger.shares)
        ids = [passage.chunk_id for passage in passages[:shown]]
        if wanted.chunk_id in ids:
            return Step(Stage.BUDGET, True, "It fits the model's window, with all that are better.")
        return Step(
            Stage.BUDGET,
            False,
            f"The model is shown {shown} of the {len(passages)} passages: more do not fit.",
            "Choose a model with a larger window, lower the longest answer, or begin a new chat.",
        )

    def _named(self, owner: str, names: Sequence[str]) -> list[CollectionRecord]:
        """The collections of those names, all where there are none. The default one is made where it is missing."""
        if not names:
            return self.library.collections(owner)
        return [self.library.collection(owner, name, create=name == DEFAULT_COLLECTION) for name in names]

    def ask(self, owner: str, ask: Ask) -> tuple[Message, Turn]:
        """Start a turn; the message is stored and still empty, the turn is running.

        Raises:
            RequestRejected: the question is empty, or its conversation is being answered.
            ConfigurationError: no such backend, or no model to choose.
        """
        return self.turns.start(self._question(owner, ask))

    def compare(self, owner: str, ask: Ask, models: Sequence[tuple[str, str]]) -> list[tuple[Message, Turn]]:
        """Ask several models the same question over one retrieval; a conversation and a turn each, all running.

        Args:
            owner: who asks.
            ask: the question; its backend, model, fallback and conversation are not used.
            models: backend and model of each answer.

        Raises:
            RequestRejected: the question is empty.
            ConfigurationError: no such backend.
        """
        retrieve = _once(self._question(owner, ask).retrieve)
        asked = [replace(ask, backend=b, model=m, conversation_id=None, fallback="", condense=False) for b, m in models]
        questions = [self._question(owner, each) for each in asked]
        return [
            self.turns.start(replace(question, retrieve=retrieve, title=f"{question.model}: {ask.text}"))
            for question in questions
        ]

    def _question(self, owner: str, ask: Ask) -> Question:
        backend = ask.backend or self.settings.backend
        model = ask.model
        if not model:
            try:
                model = self.default_model(owner, backend)
            except BackendError:
                # Said by the turn, which shows the passages and may fall back.
                model = ""
        options = ask.options or self.default_options()
        fallback = self.settings.fallback if ask.fallback is None else ask.fallback
        collections = self._named(owner, ask.collections)
        ready = sum(self.ready_documents(owner, collection.id) for collection in collections)
        names = ", ".join(f"“{collection.name}”" for collection in collections)

        def answerer(name: str, model: str) -> Answerer:
            return Answerer(self.manager.backend(name).label, lambda: self._lease(owner, name, model, options))

        answerers = [answerer(backend, model)]
        if fallback and fallback != backend:
            answerers.append(answerer(fallback, ""))
        return Question(
            owner=owner,
            conversation_id=ask.conversation_id,
            text=ask.text,
            searched=f"{ready} document{'' if ready == 1 else 's'} in {names}",
            retrieve=lambda text, history, rewritten: self.retrieve(
                owner,
                text,
                history=history,
                k=ask.passages,
                collections=ask.collections,
                rewritten=rewritten,
                options=ask.retrieval,
            ),
            condense=self.settings.condense if ask.condense is None else ask.condense,
            answerers=answerers,
            backend=backend,
            model=model,
            max_new_tokens=options.max_new_tokens,
            strict=self.settings.strict if ask.strict is None else ask.strict,
            embed=self._embed_sentences(),
        )

    def _embed_sentences(self) -> Embed | None:
        """What the check of an answer embeds with, whatever model a collection has: it was measured with this one."""
        with suppress(ConfigurationError):
            return self.embedding_model(EMBEDDED).embed_long
        return None

    # --- evaluations: a question goes the same way as one of the page ---

    def make_sample_set(self, owner: str) -> QuestionSet:
        """A question set about the sample documents, which are put into the queue where they are missing."""
        self.add_samples(owner)
        brought = read_questions(SAMPLE_SET.name, SAMPLE_SET.read_bytes())
        return self.evaluations.sets.create(owner, "Sample questions", brought.questions)

    def _search_as(self, owner: str, configuration: Configuration, question: str) -> Retrieval:
        if not any(self.ready_documents(owner, each.id) for each in self._named(owner, configuration.collections)):
            raise ConfigurationError("There is no document to search.", "Add documents, or wait until they are read.")
        return self.retrieve(
            owner,
            question,
            k=max(DEPTH, configuration.k),
            collections=configuration.collections,
            options=configuration.options,
        )

    def _answer_as(self, owner: str, configuration: Configuration, question: str, on_cancel: OnCancel) -> Message:
        ask = Ask(
            question,
            collections=configuration.collections,
            backend=configuration.backend,
            model=configuration.model,
            fallback="",
            passages=configuration.k,
            strict=configuration.strict,
            retrieval=configuration.options,
        )
        message, turn = self.ask(owner, ask)
        on_cancel(partial(self.turns.cancel, owner, message.id))
        try:
            *_, last = turn.follow()
        finally:
            # It is kept with the evaluation, and no conversation that a person had.
            self.conversations.delete(owner, message.conversation_id)
        assert isinstance(last, Finished)
        return last.message

    def _write(self, owner: str, backend: str, model: str, system: str, prompt: str, on_cancel: OnCancel) -> str:
        options = replace(self.default_options(), temperature=0.0, max_new_tokens=WRITTEN_TOKENS)

        async def write() -> str:
            async with self._lease(owner, backend, model, options) as leased:
                messages = [SystemMessage(system), HumanMessage(prompt)]
                return "".join([chunk.text async for chunk in leased.chat.astream(messages)])

        said = self.turns.call(write())
        on_cancel(said.cancel)
        with suppress(CancelledError):
            return said.result()
        return ""

    @asynccontextmanager
    async def _lease(self, owner: str, name: str, model: str, options: GenerationOptions) -> AsyncIterator[LeasedModel]:
        model = model or await asyncio.to_thread(self.default_model, owner, name)
        async with self.manager.use(name, model, options) as chat:
            loaded = self.manager.status(name, model).loaded or Loaded()
            backend = self.manager.backend(name)
            yield LeasedModel(
                backend=name,
                model=model,
                chat=chat,
                window=loaded.context_window,
                prompt_limit=loaded.prompt_limit,
                count_tokens=partial(backend.count_tokens, model),
                exact=backend.capabilities.counts_tokens,
                small=loaded.is_small,
            )

    def default_model(self, owner: str, backend: str, listed: Sequence[str] | None = None) -> str:
        """The model that a person who chose none gets.

        The setting for the default backend, else the last one that answered, else the first that is listed.

        Args:
            owner: who asks.
            backend: name of the backend.
            listed: names of its models; asked for where they are not given, which may take seconds.

        Raises:
            BackendError: the backend cannot be asked.
            ConfigurationError: it lists none.
        """
        if self.is_set(backend):
            return str(self.settings.model)
        who = self.manager.backend(backend)
        if listed is None:
            try:
                listed = [model.name for model in who.list_models()]
            except Exception as error:
                if translated := translate(error, who.place, who.start_hint):
                    raise translated from error
                raise
        last = self.conversations.last_model(owner, backend)
        if last and last in listed:
            return last
        if not listed:
            raise ConfigurationError(f"{who.label} lists no model.", "Type a model's name, or add a model to it.")
        return listed[0]

    def is_set(self, backend: str) -> bool:
        """Whether the settings name a model of that backend."""
        return backend == self.settings.backend and bool(self.settings.model)

    def default_options(self) -> GenerationOptions:
        """Generation options as the settings have them."""
        settings = self.settings
        return GenerationOptions(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_new_tokens=settings.max_new_tokens,
        )

    def warm_up(self, owner: str) -> None:
        """Load the default models in the background, once, so that the first question need not wait for them."""

        if self._warmed:
            return
        self._warmed = True

        def load() -> None:
            try:
                self.embeddings.embed_query("warm up")
                self.manager.load(self.settings.backend, self.default_model(owner, self.settings.backend))
            except Exception:
                log.warning("Warm-up failed; the first question will say why", exc_info=True)

        threading.Thread(target=load, name="warm-up", daemon=True).start()

    def close(self) -> None:
        """Stop turns and ingest, give back the models, and let another process have the data folder."""
        self._closing.set()
        self.evaluations.close()
        self.turns.close()
        for errand in self._errands:
            errand.join()
        if "ingest" in self.__dict__:
            self.ingest.close()
        self.parsers.close()
        self.drawing.close()
        self.manager.close()
        self.store.close()
        self.database.close()
        self.folder.close()


def restore(settings: Settings, file: Path, report: Callable[[float], None], *, force: bool = False) -> Manifest:
    """Make the data folder from a backup, before there are services; see `rag.backup.restore`."""
    folder = DataFolder.open(settings.data_dir)
    try:
        return restore_backup(folder, file, report, force=force)
    finally:
        folder.close()
