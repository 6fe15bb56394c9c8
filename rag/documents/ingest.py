"""The ingest queue and its worker, and the deletion of documents.

The queue is the `pending` rows of the library, so it survives restarts; one worker thread takes from it. Every step is
idempotent: a document that a kill interrupts is processed again from its start. A replaced document stays searchable
until its replacement is ready.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath

from errors import AppError, DocumentTooLarge, EmptyDocument, PasswordRequired, StoreError
from rag.db import new_id, now
from rag.documents.indexing import Indexing, Interrupted, OnProgress, ParsedDocument
from rag.documents.library import Library, Submitted
from rag.documents.originals import Originals
from rag.index.embeddings import EmbeddingModel
from rag.schema import CollectionRecord, DocumentRecord, DocumentState

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""For a document with a temporary failure, such as a full disk or a locked database."""
FIRST_WAIT_S = 10.0
"""Before the second attempt; doubled before each further one."""
POLL_S = 0.2
"""Between checks whether a document was cancelled, and updates of its progress."""
BATCH_DOCUMENTS = 32
"""Small documents embedded together."""
SMALL_BYTES = 50_000
CANCELLED = "Cancelled"


class Ingest:
    """Adds documents to the library, processes and deletes them. Thread-safe."""

    def __init__(
        self,
        library: Library,
        originals: Originals,
        indexing: Indexing,
        *,
        max_bytes: int,
        when_idle: Callable[[Callable[[], bool]], bool] = lambda _: True,
    ) -> None:
        """The worker calls `when_idle(interrupted)` once the queue is empty, and again later if it returns False; it
        should return as soon as `interrupted()` is true."""
        self.library = library
        self.originals = originals
        self.indexing = indexing
        self._max_bytes = max_bytes
        self._when_idle = when_idle
        # Held while rows and indices change together.
        self._lock = indexing.lock
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._worker: threading.Thread | None = None
        # By document id. Never stored.
        self._passwords: dict[str, str] = {}

    # --- adding ---

    def submit(
        self,
        owner: str,
        collection_id: str,
        path: str,
        source: Path | bytes,
        *,
        replace: bool = False,
        password: str | None = None,
    ) -> tuple[DocumentRecord, Submitted]:
        """Store a file, given by its path or content, and add it to the queue.

        Args:
            path: relative to the folder that was added; its last part is the document's name.
            replace: delete the newest document under the same path when this one is ready.
            password: opens the file; kept in memory until it was read.

        Raises:
            DocumentTooLarge: it exceeds the limit.
            EmptyDocument: it has no bytes.
            StoreError: it could not be stored.
        """
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        path = _relative(path)
        name = PurePosixPath(path).name
        if size > self._max_bytes:
            raise DocumentTooLarge(
                f"“{name}” is {size / 1e6:.0f} MB; the limit is {self._max_bytes / 1e6:.0f} MB.",
                "Split it, or raise GESTALT_MAX_UPLOAD_MB.",
            )
        if size == 0:
            raise EmptyDocument(f"“{name}” is an empty file.", "Check that it was saved or copied completely.")
        with self._lock:
            try:
                sha256 = self.originals.store(source)
            except OSError as error:
                raise StoreError(
                    f"“{name}” could not be stored: {error.strerror or error}.",
                    "Check that the data folder is writable and the disk is not full.",
                ) from error
            older = self.library.same_path(owner, collection_id, path) if replace else []
            replaces = next((document.id for document in older if document.sha256 != sha256), None)
            document, outcome = self.library.enqueue(owner, collection_id, path, sha256, size, replaces=replaces)
            if password is not None and outcome is not Submitted.DUPLICATE:
                self._passwords[document.id] = password
            return document, outcome

    def move(self, owner: str, document_id: str, target: CollectionRecord) -> Submitted | None:
        """Add a document to another collection, and delete it from its own when it is ready there.

        Returns None if it no longer exists, `DUPLICATE` if the target already has it: then it is deleted at once.
        """
        document = self.library.document(owner, document_id)
        if document is None or document.collection_id == target.id:
            return None
        _, outcome = self.library.enqueue(
            owner, target.id, document.path, document.sha256, document.size, replaces=document.id
        )
        if outcome is Submitted.DUPLICATE:
            self.delete(owner, document_id)
        self.wake()
        return outcome

    def retry(self, owner: str, document_id: str, password: str | None = None) -> None:
        """Requeue a failed document."""
        with self._lock:
            document = self.library.document(owner, document_id)
            if document is None or document.state is not DocumentState.FAILED:
                return
            if password is not None:
                self._passwords[document_id] = password
            self.library.update(
                owner, document_id, state=DocumentState.PENDING, reason="", reason_type="", progress=0.0, attempts=0
            )
        self.wake()

    def cancel(self, owner: str, document_id: str) -> None:
        """Cancel a document that is waiting or being processed; it can be retried."""
        with self._lock:
            document = self.library.document(owner, document_id)
            if document and document.state.is_open:
                reason = "It was cancelled. Try again to read it."
                self.library.update(
                    owner, document_id, state=DocumentState.FAILED, reason=reason, reason_type=CANCELLED
                )

    # --- the worker ---

    def start(self) -> None:
        """Recover from a kill and start the worker thread."""
        self.recover()
        self._worker = threading.Thread(target=self._work, name="ingest", daemon=True)
        self._worker.start()

    def wake(self) -> None:
        """Notify the worker that the queue has changed."""
        self._wake.set()

    def close(self) -> None:
        """Stop after the current batch; the next start resumes."""
        self._closing.set()
        self._wake.set()
        if self._worker:
            self._worker.join()

    def recover(self) -> None:
        """Requeue interrupted documents and finish interrupted deletions and replacements."""
        self._requeue()
        try:
            for owner, document in self.library.in_states(DocumentState.DELETING):
                self.delete(owner, document.id)
            for owner, document in self.library.with_replaced():
                self._delete_replaced(owner, document)
            for owner, collection in self.library.collections_being_deleted():
                self.delete_collection(owner, collection.id)
        except StoreError:
            log.exception("A deletion could not be finished; the next start tries again")
        self.originals.remove_unused(keep=self.library.all_hashes())

    def _requeue(self) -> None:
        for owner, document in self.library.in_states(DocumentState.INDEXING):
            self.library.update(owner, document.id, state=DocumentState.PENDING, progress=0.0)

    def _work(self) -> None:
        changed = True  # perhaps, by another process or an older version
        while not self._closing.is_set():
            self._wake.clear()
            try:
                self._requeue()
                changed |= self._drain_queue()
                if changed:
                    changed = not self._when_idle(self._has_work)
            except Exception:
                # A full disk, say; the worker tries again later.
                log.exception("The ingest queue could not be processed")
            self._wake.wait(timeout=FIRST_WAIT_S)

    def _has_work(self) -> bool:
        return self._closing.is_set() or self._wake.is_set()

    def _drain_queue(self) -> bool:
        """Process the queue; return whether anything was in it."""
        worked = False
        while not self._closing.is_set():
            if not self.process_next() and not self.indexing.rebuild_step():
                break
            worked = True
        return worked

    def process_next(self) -> int:
        """Process the next document of the queue, or several small ones together, and return their number."""
        due = self.library.due(BATCH_DOCUMENTS)
        if not due:
            return 0
        documents = [document for _, document in takewhile(partial(_batches_with, due[0]), due)]
        self._process(due[0][0], documents)
        return len(documents)

    def process(
        self, owner: str, document_id: str, report: Callable[[float], None] | None = None
    ) -> DocumentRecord | None:
        """Process one document and return its new record, None if it was deleted; `report` takes the progress, 0 to 1.

        Does not raise for an unreadable document: the reason is in its record.
        """
        document = self.library.document(owner, document_id)
        if document is None or not document.state.is_open:
            return document
        self._process(owner, [document], report)
        return self.library.document(owner, document_id)

    def _process(
        self, owner: str, documents: Sequence[DocumentRecord], report: Callable[[float], None] | None = None
    ) -> None:
        """Read documents of one collection one by one, then embed and write them together."""
        parsed: list[ParsedDocument] = []
        embeddings: EmbeddingModel | None = None
        seconds = {}
        for document in documents:
            started = time.perf_counter()
            with self._recording_failure(owner, document):
                values = {"state": DocumentState.INDEXING, "reason": "", "progress": 0.0}
                if not self.library.update(owner, document.id, only=document.state, **values):
                    raise Interrupted
                embeddings = embeddings or self.indexing.claim_model(owner, document.collection_id)
                on_progress = self._progress_callback(owner, document.id, report)
                password = self._passwords.get(document.id)
                parsed.append(self.indexing.parse(owner, document, embeddings, on_progress, password))
            seconds[document.id] = time.perf_counter() - started
        if len(parsed) > 1:
            try:
                self._write(owner, parsed, seconds)
            except Exception:
                log.info("%d documents could not be written together; writing each alone", len(parsed), exc_info=True)
            left = self.library.being_indexed(owner, [each.document.id for each in parsed])
            parsed = [each for each in parsed if each.document.id in left and not self._closing.is_set()]
        for each in parsed:
            with self._recording_failure(owner, each.document):
                self._write(owner, [each], seconds)

    def _write(self, owner: str, documents: Sequence[ParsedDocument], seconds: Mapping[str, float]) -> None:
        started = time.perf_counter()
        for each in self.indexing.write(documents):
            # The time of a batch counts for the first document that it completes.
            spent, started = time.perf_counter() - started, time.perf_counter()
            spent = round(seconds[each.document.id] + spent, 3)
            self._end(owner, each.document, DocumentState.READY, progress=1.0, seconds=spent)

    def _progress_callback(self, owner: str, document_id: str, report: Callable[[float], None] | None) -> OnProgress:
        checked, stored = time.monotonic(), 0.0

        def on_progress(progress: float) -> None:
            nonlocal checked, stored
            if self._closing.is_set():
                raise Interrupted
            if report:
                report(progress)
            if time.monotonic() - checked < POLL_S:
                return
            if not self.library.being_indexed(owner, [document_id]):
                raise Interrupted
            if progress - stored >= 0.01:
                self.library.update(owner, document_id, progress=progress)
                stored = progress
            checked = time.monotonic()

        return on_progress

    @contextmanager
    def _recording_failure(self, owner: str, document: DocumentRecord) -> Iterator[None]:
        """Record an error in the document's row instead of raising it."""
        started = time.perf_counter()
        try:
            with suppress(Interrupted):
                yield
            return  # noqa: TRY300 - no error
        except AppError as error:
            state, values = self._failure(document, error)
        except Exception:
            reference = new_id()[:8]
            log.exception("Ingest of %s failed, reference %s", document.id, reference)
            reason = f"Something went wrong inside Gestalt; the log has it under {reference}."
            state, values = DocumentState.FAILED, {"reason": reason}
        self._end(owner, document, state, seconds=round(time.perf_counter() - started, 3), **values)

    def _failure(self, document: DocumentRecord, error: AppError) -> tuple[DocumentState, dict[str, object]]:
        """Return the state and columns of a document after `error`; temporary ones are retried with growing delays."""
        values: dict[str, object] = {"reason": str(error), "reason_type": type(error).__name__}
        attempts = document.attempts + 1
        if type(error) is not StoreError or attempts >= ATTEMPTS:
            return DocumentState.FAILED, values
        wait = timedelta(seconds=FIRST_WAIT_S * 2 ** (attempts - 1))
        return DocumentState.PENDING, values | {"attempts": attempts, "next_try": now() + wait, "progress": 0.0}

    def _end(self, owner: str, document: DocumentRecord, state: DocumentState, **values: object) -> None:
        self._passwords.pop(document.id, None)
        with self._lock:
            done = self.library.update(owner, document.id, only=DocumentState.INDEXING, state=state, **values)
        if done and state is DocumentState.READY:
            self._delete_replaced(owner, document)

    # --- removing ---

    def _delete_replaced(self, owner: str, document: DocumentRecord) -> None:
        if document.replaces:
            self.delete(owner, document.replaces)
            self.library.update(owner, document.id, replaces=None)

    def delete(self, owner: str, document_id: str) -> None:
        """Remove a document: mark it, then delete its index entries, rows and original. Idempotent.

        Raises:
            StoreError: an index could not be written; the next start tries again.
        """
        with self._lock:
            document = self.library.document(owner, document_id)
            if document is None:
                return
            self.library.update(owner, document_id, state=DocumentState.DELETING)
            self.indexing.remove(owner, document)
            self.library.remove(owner, document_id)
            if not self.library.is_in_use(document.sha256):
                self.originals.remove(document.sha256)

    def delete_collection(self, owner: str, collection_id: str) -> None:
        """Remove a collection: mark it, then delete its documents and indices. Idempotent.

        Raises:
            StoreError: an index could not be written; the next start tries again.
        """
        self.library.mark_collection_deleting(owner, collection_id)
        for document in self.library.documents(owner, collection_id):
            self.delete(owner, document.id)
        with self._lock:
            self.indexing.drop(owner, collection_id)
            self.library.remove_collection(owner, collection_id)


def _batches_with(first: tuple[str, DocumentRecord], other: tuple[str, DocumentRecord]) -> bool:
    """Whether two `(owner, document)` are embedded together: small ones of one collection."""
    if first == other:
        return True
    same_collection = (first[0], first[1].collection_id) == (other[0], other[1].collection_id)
    return same_collection and max(first[1].size, other[1].size) <= SMALL_BYTES


def _relative(path: str) -> str:
    """Return a relative POSIX path without `..`, never empty."""
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..")]
    return "/".join(parts) or "document"


def needs_password(document: DocumentRecord) -> bool:
    """Whether a document failed for lack of a password."""
    return document.state is DocumentState.FAILED and document.reason_type == PasswordRequired.__name__
