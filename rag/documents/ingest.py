"""The ingest queue, the `pending` rows of the library, and its one worker, and the deletion of documents.

Every step is idempotent: a document that a kill interrupts is processed again from its start. A replaced document
stays searchable until its replacement is ready.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from errors import AppError, DocumentTooLarge, EmptyDocument, PasswordRequired, StoreError
from rag.db import new_id, now
from rag.documents.indexing import Indexing, Interrupted, OnProgress, ParsedDocument
from rag.documents.library import Library, Submitted
from rag.documents.originals import Originals
from rag.schema import CollectionRecord, DocumentRecord, DocumentState

log = logging.getLogger(__name__)

ATTEMPTS = 5  # at a document with a temporary failure, such as a full disk or a locked database
FIRST_WAIT_S = 10.0  # before the second attempt; doubled before each further one
POLL_S = 0.2  # between checks whether a document was cancelled, and updates of its progress
BATCH_DOCUMENTS = 32  # small ones embedded together
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
        """With an empty queue, `when_idle(interrupted)` runs until it returns True; it ends early if interrupted()."""
        self.library, self.originals, self.indexing = library, originals, indexing
        self._max_bytes, self._when_idle = max_bytes, when_idle
        self._lock = indexing.lock  # held while rows and indices change together
        self._wake, self._closing = threading.Event(), threading.Event()
        self._worker: threading.Thread | None = None
        self._passwords: dict[str, str] = {}  # by document id; never stored

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
        """Store a file, given by its path or content, under a relative `path`, and add it to the queue.

        With `replace`, the newest document under this path is deleted when the new one is ready. `password` is kept in
        memory until the file was read. Raises DocumentTooLarge, EmptyDocument, StoreError.
        """
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..")]
        path = "/".join(parts) or "document"
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
        """Add a document to another collection; its own loses it when it is ready there, a duplicate at once."""
        document = self.library.document(owner, document_id)
        if document is None or document.collection_id == target.id:
            return None
        file = document.path, document.sha256, document.size
        _, outcome = self.library.enqueue(owner, target.id, *file, replaces=document.id)
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
            values: dict[str, Any] = {"reason": "", "reason_type": "", "progress": 0.0, "attempts": 0}
            self.library.update(owner, document_id, state=DocumentState.PENDING, **values)
        self.wake()

    def cancel(self, owner: str, document_id: str) -> None:
        """Cancel a document that is waiting or being processed; it can be retried."""
        with self._lock:
            document = self.library.document(owner, document_id)
            if document and document.state.is_open:
                values: dict[str, Any] = {"reason": "It was cancelled. Try again to read it.", "reason_type": CANCELLED}
                self.library.update(owner, document_id, state=DocumentState.FAILED, **values)

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
                while not self._closing.is_set() and (self.process_next() or self.indexing.rebuild_step()):
                    changed = True
                if changed:
                    changed = not self._when_idle(lambda: self._closing.is_set() or self._wake.is_set())
            except Exception:
                log.exception("The ingest queue could not be processed")  # a full disk, say; tried again later
            self._wake.wait(timeout=FIRST_WAIT_S)

    def process_next(self) -> int:
        """Process the next document of the queue, or several small ones together, and return their number."""
        due = self.library.due(BATCH_DOCUMENTS)
        if not due:
            return 0
        owner, first = due[0]

        def is_batched(other: tuple[str, DocumentRecord]) -> bool:
            together = (owner, first.collection_id) == (other[0], other[1].collection_id)
            return other == due[0] or (together and max(first.size, other[1].size) <= SMALL_BYTES)

        documents = [document for _, document in takewhile(is_batched, due)]
        with self.indexing.busy:
            self._process(owner, documents)
        return len(documents)

    def process(
        self, owner: str, document_id: str, report: Callable[[float], None] | None = None
    ) -> DocumentRecord | None:
        """Process one document and return its record, with the reason if it failed, None if it was deleted."""
        document = self.library.document(owner, document_id)
        if document is None or not document.state.is_open:
            return document
        with self.indexing.busy:
            self._process(owner, [document], report)
        return self.library.document(owner, document_id)

    def _process(
        self, owner: str, documents: Sequence[DocumentRecord], report: Callable[[float], None] | None = None
    ) -> None:
        """Read documents of one collection one by one, then embed and write them together."""
        parsed: list[ParsedDocument] = []
        seconds = {}
        for document in documents:
            started = time.perf_counter()
            with self._recording_failure(owner, document):
                values = {"state": DocumentState.INDEXING, "reason": "", "progress": 0.0}
                if not self.library.update(owner, document.id, only=document.state, **values):
                    raise Interrupted
                on_progress = self._progress_callback(owner, document.id, report)
                password = self._passwords.get(document.id)
                parsed.append(self.indexing.parse(owner, document, on_progress, password))
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
        state, values = DocumentState.FAILED, dict[str, object]()
        try:
            with suppress(Interrupted):
                yield
            return  # noqa: TRY300 - no error
        except AppError as error:
            values |= {"reason": str(error), "reason_type": type(error).__name__}
            if type(error) is StoreError and document.attempts + 1 < ATTEMPTS:  # temporary: wait longer each time
                next_try = now() + timedelta(seconds=FIRST_WAIT_S * 2**document.attempts)
                state = DocumentState.PENDING
                values |= {"attempts": document.attempts + 1, "next_try": next_try, "progress": 0.0}
        except Exception:
            reference = new_id()[:8]
            log.exception("Ingest of %s failed, reference %s", document.id, reference)
            values["reason"] = f"Something went wrong inside Gestalt; the log has it under {reference}."
        self._end(owner, document, state, seconds=round(time.perf_counter() - started, 3), **values)

    def _end(self, owner: str, document: DocumentRecord, state: DocumentState, **values: object) -> None:
        self._passwords.pop(document.id, None)
        with self._lock:
            done = self.library.update(owner, document.id, only=DocumentState.INDEXING, state=state, **values)
        if done and state is DocumentState.READY:
            self._delete_replaced(owner, document)

    def _delete_replaced(self, owner: str, document: DocumentRecord) -> None:
        if document.replaces:
            self.delete(owner, document.replaces)
            self.library.update(owner, document.id, replaces=None)

    def delete(self, owner: str, document_id: str) -> None:
        """Remove a document. Idempotent; after a StoreError the next start tries again, as it is marked."""
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
        """Remove a collection. Idempotent; after a StoreError the next start tries again, as it is marked."""
        self.library.mark_collection_deleting(owner, collection_id)
        for document in self.library.documents(owner, collection_id):
            self.delete(owner, document.id)
        with self._lock:
            self.indexing.drop(owner, collection_id)
            self.library.remove_collection(owner, collection_id)


def needs_password(document: DocumentRecord) -> bool:
    """Whether a document failed for lack of a password."""
    return document.state is DocumentState.FAILED and document.reason_type == PasswordRequired.__name__
