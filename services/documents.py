"""What pages and commands do with documents. Work on many at once continues in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from errors import UnreadableDocument, UnsupportedDocument
from rag.documents.indexing import Indexing
from rag.documents.ingest import Ingest
from rag.documents.library import Library
from rag.documents.page_image import PageImage
from rag.documents.parsers import Parsers
from rag.documents.sync import Sync
from rag.index.indexes import Indexes, IndexRecord
from rag.index.store import VectorStore
from rag.schema import DocumentRecord, DocumentState, Span
from settings import ROOT, Settings

log = logging.getLogger(__name__)

SAMPLES = ROOT / "data" / "samples"
SAMPLE_QUESTIONS = (
    "What is the cat in the ticket office called?",
    "Where is the spare key to Shed 3 kept?",
    "How high is the lighthouse on Gannet Holm?",
)
"""Questions to try, each about another sample."""
AT_ONCE = 20
"""More documents than this are handled in the background."""
DRAWING_SECONDS = 15.0
PACE = 20
"""The last documents read, from which the remaining time is estimated."""


def sample_files() -> list[Path]:
    """The sample documents, by name."""
    return sorted(path for path in SAMPLES.iterdir() if path.is_file() and path.suffix != ".py")


@dataclass(frozen=True, slots=True)
class Queue:
    """What is being read, and what waits."""

    reading: tuple[DocumentRecord, ...]
    next: tuple[DocumentRecord, ...]
    """The first waiting ones, in order."""
    waiting: int
    deleting: int
    seconds_left: float | None
    """Until everything is read, in other collections too; None if not enough is known."""


class Documents:
    """What pages and commands do with documents, in addition to `Library` and `Ingest`."""

    def __init__(
        self,
        settings: Settings,
        library: Library,
        indexes: Indexes,
        store: VectorStore,
        indexing: Indexing,
        ingest: Ingest,
    ) -> None:
        # Apart from the other parsers: a picture should not wait for a document that is being read.
        self.drawing = Parsers(seconds=DRAWING_SECONDS)
        self._settings, self._library, self._indexes, self._store = settings, library, indexes, store
        self._indexing, self._ingest = indexing, ingest
        self._closing = threading.Event()
        self._background_tasks: list[threading.Thread] = []

    def add_samples(self, owner: str, collection_id: str | None = None) -> None:
        """Queue the sample documents, by default in the default collection."""
        collection_id = collection_id or self._library.collection(owner, create=True).id
        for path in sample_files():
            self._ingest.submit(owner, collection_id, path.name, path)
        self._ingest.wake()

    def queue(self, owner: str, collection_id: str) -> Queue:
        """The state of a collection's queue."""
        counts = {found.id: self._library.counts(owner, found.id) for found in self._library.collections(owner)}
        mine = counts.get(collection_id, {})
        find = partial(self._library.find, owner, collection_id)
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
        """Call `verb(owner, id)` for each document, for many of them in the background."""
        work = partial(self._go_through, verb, owner, document_ids)
        self._in_background(work) if len(document_ids) > AT_ONCE else work()

    def delete(self, owner: str, document_ids: Sequence[str]) -> None:
        """Delete documents, many of them in the background.

        Raises StoreError if an index could not be written; the next start tries again, as after a kill.
        """
        for document_id in document_ids:
            self._library.update(owner, document_id, state=DocumentState.DELETING)
        self.each(self._ingest.delete, owner, document_ids)

    def delete_collection(self, owner: str, collection_id: str) -> None:
        """Delete a collection with its documents in the background; it is hidden at once."""
        self._library.mark_collection_deleting(owner, collection_id)

        def work() -> None:
            documents = self._library.documents(owner, collection_id)
            self._go_through(self._ingest.delete, owner, [document.id for document in documents])
            if not self._closing.is_set():
                self._ingest.delete_collection(owner, collection_id)

        self._in_background(work)

    def _go_through(self, verb: Callable[[str, str], object], owner: str, document_ids: Sequence[str]) -> None:
        for document_id in document_ids:
            if self._closing.is_set():
                return
            verb(owner, document_id)

    def _in_background(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception:
                log.exception("A background task failed")

        self._background_tasks = [task for task in self._background_tasks if task.is_alive()]
        self._background_tasks.append(threading.Thread(target=run, name="background", daemon=True))
        self._background_tasks[-1].start()

    def indexes_of(self, owner: str, collection_id: str) -> list[tuple[IndexRecord, int]]:
        """The indexes of a collection, each with its number of vectors. Raises StoreError."""
        found = self._indexes.all(owner, collection_id)
        return [(index, self._store.count(collection_id, index.fingerprint)) for index in found]

    def index_again(self, owner: str, collection_id: str, model: str = "") -> None:
        """Start to index a collection with an embedding model, by default that of the settings, next to its index.

        Raises ConfigurationError if the model is not available, or is the active one.
        """
        self._indexing.rebuild(owner, collection_id, model or self._settings.embedding_model)
        self._ingest.wake()

    def page_picture(self, owner: str, document_id: str, number: int, spans: Sequence[Span]) -> PageImage | None:
        """Page `number` (from 1) of a PDF as a picture with spans of its text marked; None if it is no PDF, or gone.

        Raises DocumentError if the page is broken or locked, or takes too much time or memory.
        """
        document = self._library.document(owner, document_id)
        page = self._library.page(owner, document_id, number - 1)
        if document is None or page is None:
            return None
        original = self._indexing.originals.path(document.sha256)
        if not original.exists():
            raise UnreadableDocument(f"The original of {document.name} is missing.", "Add the document again.")
        with suppress(UnsupportedDocument):
            return self.drawing.draw(original, document.name, number - 1, page.text, spans)
        return None

    def sync(self, owner: str, folder: Path, collection_id: str, *, adopt: bool = False) -> Sync:
        """Mirror a folder on disk in a collection; see `Sync`."""
        return Sync(self._ingest, owner, collection_id, folder, adopt=adopt)

    def close(self) -> None:
        """End background tasks where they are; the next start resumes them."""
        self._closing.set()
        for task in self._background_tasks:
            task.join()
        self.drawing.close()
