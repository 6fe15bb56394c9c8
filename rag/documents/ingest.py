"""From a file to chunks in both indices: the queue, the worker and the way out again.

The queue is the `pending` rows of the library, so it outlives the process; one worker thread takes from it. Ids are
deterministic and every step can be repeated: what a kill interrupts is done again from the start of that document.
A document that takes the place of another lets it answer until it is ready itself.
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
from rag.documents.indexing import Draft, Indexing, Interrupted, Tell
from rag.documents.library import Library, Submitted
from rag.documents.originals import Originals
from rag.index.embeddings import EmbeddingModel
from rag.schema import CollectionRecord, DocumentRecord, DocumentState

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Tries of a document whose failure may pass: a full disk, a locked database."""
FIRST_WAIT_S = 10.0
"""Seconds before the second try; each further one waits twice as long."""
LOOK_S = 0.2
"""Seconds between two looks at whether a document that is read is wanted still; its progress is noted then."""
TOGETHER = 32
"""Small documents that are embedded together."""
SMALL = 50_000
"""Bytes of one, at most."""
CANCELLED = "Cancelled"


class Ingest:
    """Takes documents in and out of the library. All methods may be called from any thread."""

    def __init__(
        self,
        library: Library,
        originals: Originals,
        indexing: Indexing,
        *,
        max_bytes: int,
        when_idle: Callable[[Callable[[], bool]], bool] = lambda _: True,
    ) -> None:
        """`when_idle(interrupted)` is what the worker does after the queue; it ends where `interrupted()` is true.

        It returns whether it is done; where not, it is called again after the queue.
        """
        self.library = library
        self.originals = originals
        self.indexing = indexing
        self._max_bytes = max_bytes
        self._when_idle = when_idle
        # Held while rows and indices change together, so that a delete and the worker never cross.
        self._lock = indexing.lock
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._worker: threading.Thread | None = None
        # Of documents that wait to be read again. Never stored.
        self._passwords: dict[str, str] = {}

    # --- the way in ---

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
        """Put a document into the queue. Its original is kept under its sha256.

        Args:
            owner: whose collection.
            collection_id: its id.
            path: relative to what a person named; its last part is the document's name.
            source: the file or its content.
            replace: the newest document under the same path goes when this one is ready.
            password: opens the file; kept in memory until it was read.

        Raises:
            DocumentTooLarge: it is over the limit.
            EmptyDocument: there is not a byte in it.
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
                sha256 = self.originals.keep(source)
            except OSError as error:
                raise StoreError(
                    f"“{name}” could not be stored: {error.strerror or error}.",
                    "Check that the data folder is writable and the disk is not full.",
                ) from error
            older = self.library.same_path(owner, collection_id, path) if replace else []
            replaces = next((document.id for document in older if document.sha256 != sha256), None)
            document, outcome = self.library.begin(owner, collection_id, path, sha256, size, replaces=replaces)
            if password is not None and outcome is not Submitted.DUPLICATE:
                self._passwords[document.id] = password
            return document, outcome

    def move(self, owner: str, document_id: str, target: CollectionRecord) -> Submitted | None:
        """Put a document into another collection, and take it out of its own when it is ready there.

        Returns:
            None where it is gone; `DUPLICATE` where the target has its content already: then it only leaves its own.
        """
        document = self.library.document(owner, document_id)
        if document is None or document.collection_id == target.id:
            return None
        _, outcome = self.library.begin(
            owner, target.id, document.path, document.sha256, document.size, replaces=document.id
        )
        if outcome is Submitted.DUPLICATE:
            self.delete(owner, document_id)
        self.wake()
        return outcome

    def retry(self, owner: str, document_id: str, password: str | None = None) -> None:
        """Put a failed document back into the queue."""
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
        """Take a document out of the queue, also while it is being read; it can be tried again."""
        with self._lock:
            document = self.library.document(owner, document_id)
            if document and document.state.is_open:
                self._fail(owner, document_id, "It was cancelled. Try again to read it.", CANCELLED)

    # --- the worker ---

    def start(self) -> None:
        """Mend what a kill left behind and begin to work off the queue, in a thread of its own."""
        self.recover()
        self._worker = threading.Thread(target=self._work, name="ingest", daemon=True)
        self._worker.start()

    def wake(self) -> None:
        """Tell the worker that there is something in the queue."""
        self._wake.set()

    def close(self) -> None:
        """Stop after the current batch; what is unfinished goes on at the next start."""
        self._closing.set()
        self._wake.set()
        if self._worker:
            self._worker.join()

    def recover(self) -> None:
        """Put interrupted documents back into the queue and finish interrupted deletions and replacements."""
        self._requeue()
        try:
            for owner, document in self.library.in_state(DocumentState.DELETING):
                self.delete(owner, document.id)
            for owner, document in self.library.replacing():
                self._make_way(owner, document)
            for owner, collection in self.library.marked_collections():
                self.delete_collection(owner, collection.id)
        except StoreError:
            log.exception("A deletion could not be finished; the next start tries again")
        self.originals.sweep(keep=self.library.contents())

    def _requeue(self) -> None:
        for owner, document in self.library.in_state(DocumentState.INDEXING):
            self.library.update(owner, document.id, state=DocumentState.PENDING, progress=0.0)

    def _work(self) -> None:
        changed = True  # what another process did, or an older version
        while not self._closing.is_set():
            self._wake.clear()
            try:
                self._requeue()
                changed |= self._work_off()
                if changed:
                    changed = not self._when_idle(self._is_wanted)
            except Exception:
                # A full disk, say: the queue stays as it is, and the worker looks again later.
                log.exception("The ingest queue could not be worked off")
            self._wake.wait(timeout=FIRST_WAIT_S)

    def _is_wanted(self) -> bool:
        return self._closing.is_set() or self._wake.is_set()

    def _work_off(self) -> bool:
        """Empty the queue; whether there was anything in it."""
        worked = False
        while not self._closing.is_set():
            if not self.process_next() and not self.indexing.rebuild_step():
                break
            worked = True
        return worked

    def process_next(self) -> int:
        """Take the next document of the queue through to ready or failed; small ones together, as one is soon read.

        Returns:
            How many were taken; 0 where none waits, or the process is ending.
        """
        due = self.library.due(TOGETHER)
        if not due:
            return 0
        documents = [document for _, document in takewhile(partial(_goes_with, due[0]), due)]
        self._process(due[0][0], documents)
        return len(documents)

    def process(
        self, owner: str, document_id: str, report: Callable[[float], None] | None = None
    ) -> DocumentRecord | None:
        """Take one pending document through to ready or failed; `report` hears the progress from 0 to 1.

        Never raises for what is wrong with the document: the reason is in the record. None where it was deleted.
        """
        document = self.library.document(owner, document_id)
        if document is None or not document.state.is_open:
            return document
        self._process(owner, [document], report)
        return self.library.document(owner, document_id)

    def _process(
        self, owner: str, documents: Sequence[DocumentRecord], report: Callable[[float], None] | None = None
    ) -> None:
        """Read documents of one collection one by one, then embed and write what they hold together."""
        drafts: list[Draft] = []
        embeddings: EmbeddingModel | None = None
        seconds = {}
        for document in documents:
            started = time.perf_counter()
            with self._settling(owner, document):
                values = {"state": DocumentState.INDEXING, "reason": "", "progress": 0.0}
                if not self.library.update(owner, document.id, only=document.state, **values):
                    raise Interrupted
                embeddings = embeddings or self.indexing.claim_model(owner, document.collection_id)
                tell, password = self._teller(owner, document.id, report), self._passwords.get(document.id)
                drafts.append(self.indexing.draft(owner, document, embeddings, tell, password))
            seconds[document.id] = time.perf_counter() - started
        if len(drafts) > 1:
            try:
                self._write(owner, drafts, seconds)
            except Exception:
                log.info("%d documents could not be written together; each is tried alone", len(drafts), exc_info=True)
            still = self.library.in_work(owner, [draft.document.id for draft in drafts])
            drafts = [draft for draft in drafts if draft.document.id in still and not self._closing.is_set()]
        for draft in drafts:
            with self._settling(owner, draft.document):
                self._write(owner, [draft], seconds)

    def _write(self, owner: str, drafts: Sequence[Draft], seconds: Mapping[str, float]) -> None:
        started = time.perf_counter()
        for draft in self.indexing.write(drafts):
            # Those that a batch completes together share its time: in sum it is right.
            spent, started = time.perf_counter() - started, time.perf_counter()
            spent = round(seconds[draft.document.id] + spent, 3)
            self._end(owner, draft.document, DocumentState.READY, progress=1.0, seconds=spent)

    def _teller(self, owner: str, document_id: str, report: Callable[[float], None] | None) -> Tell:
        looked, told = time.monotonic(), 0.0

        def tell(progress: float) -> None:
            nonlocal looked, told
            if self._closing.is_set():
                raise Interrupted
            if report:
                report(progress)
            if time.monotonic() - looked < LOOK_S:
                return
            if not self.library.in_work(owner, [document_id]):
                raise Interrupted
            if progress - told >= 0.01:
                self.library.update(owner, document_id, progress=progress)
                told = progress
            looked = time.monotonic()

        return tell

    @contextmanager
    def _settling(self, owner: str, document: DocumentRecord) -> Iterator[None]:
        """What goes wrong with a document ends in its record."""
        started = time.perf_counter()
        try:
            with suppress(Interrupted):
                yield
            return  # noqa: TRY300 - nothing went wrong
        except AppError as error:
            state, values = self._failure(document, error)
        except Exception:
            reference = new_id()[:8]
            log.exception("Ingest of %s failed, reference %s", document.id, reference)
            reason = f"Something went wrong inside Gestalt; the log has it under {reference}."
            state, values = DocumentState.FAILED, {"reason": reason}
        self._end(owner, document, state, seconds=round(time.perf_counter() - started, 3), **values)

    def _failure(self, document: DocumentRecord, error: AppError) -> tuple[DocumentState, dict[str, object]]:
        """What becomes of a document after `error`: what may pass by itself is tried again, later and later."""
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
            self._make_way(owner, document)

    def _fail(self, owner: str, document_id: str, reason: str, kind: str) -> None:
        self.library.update(owner, document_id, state=DocumentState.FAILED, reason=reason, reason_type=kind)

    # --- the way out ---

    def _make_way(self, owner: str, document: DocumentRecord) -> None:
        """Delete what a ready document replaces."""
        if document.replaces:
            self.delete(owner, document.replaces)
            self.library.update(owner, document.id, replaces=None)

    def delete(self, owner: str, document_id: str) -> None:
        """Remove a document: mark it, then full text and vectors, its rows, its original. Can be repeated.

        Raises:
            StoreError: an index could not be written; the next start tries again.
        """
        with self._lock:
            document = self.library.document(owner, document_id)
            if document is None:
                return
            self.library.update(owner, document_id, state=DocumentState.DELETING)
            self.indexing.remove(owner, document)
            self.library.forget(owner, document_id)
            if not self.library.content_in_use(document.sha256):
                self.originals.remove(document.sha256)

    def delete_collection(self, owner: str, collection_id: str) -> None:
        """Remove a collection with all its documents: mark it, then one by one, its indices last. Can be repeated.

        Raises:
            StoreError: an index could not be written; the next start tries again.
        """
        self.library.mark_collection(owner, collection_id)
        for document in self.library.documents(owner, collection_id):
            self.delete(owner, document.id)
        with self._lock:
            self.indexing.drop(owner, collection_id)
            self.library.forget_collection(owner, collection_id)


def _goes_with(first: tuple[str, DocumentRecord], other: tuple[str, DocumentRecord]) -> bool:
    """Whether a document is embedded together with the first one that is due: both small, of one collection."""
    if first == other:
        return True
    of_one = (first[0], first[1].collection_id) == (other[0], other[1].collection_id)
    return of_one and max(first[1].size, other[1].size) <= SMALL


def _relative(path: str) -> str:
    """`path` as a relative POSIX path without `..`, never empty."""
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..")]
    return "/".join(parts) or "document"


def needs_password(document: DocumentRecord) -> bool:
    """Whether a password would open a document that failed."""
    return document.state is DocumentState.FAILED and document.reason_type == PasswordRequired.__name__
