"""From a file to chunks in both indices: the queue, the worker and the way out again.

The queue is the `pending` rows of the library, so it outlives the process; one worker thread takes from it. Ids are
deterministic and every step can be repeated: what a kill interrupts is done again from the start of that document.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from errors import AppError, DocumentTooLarge, EmptyDocument, StoreError
from rag.db import new_id
from rag.documents.library import Library
from rag.documents.loaders import load
from rag.documents.splitter import split
from rag.index.collection import CollectionIndex
from rag.index.embeddings import EmbeddingModel
from rag.schema import Chunk, DocumentRecord, DocumentState

log = logging.getLogger(__name__)

BATCH = 64
"""Chunks that are embedded and stored at once: the step of the progress, and what a kill can cost."""
READING = 0.2
"""Share of the progress that reading takes; embedding is the rest."""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Ingest:
    """Takes documents in and out of the library."""

    def __init__(
        self,
        library: Library,
        uploads: Path,
        open_index: Callable[[str, str], CollectionIndex],
        embeddings: EmbeddingModel,
        *,
        max_bytes: int,
        chunk_tokens: int,
        chunk_overlap: int,
    ) -> None:
        """`open_index(collection_id, fingerprint)` gives the indices of a collection; `uploads` keeps originals."""
        self.library = library
        self._uploads = uploads
        self._open_index = open_index
        self._embeddings = embeddings
        self._max_bytes = max_bytes
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap = chunk_overlap
        # Held while rows and indices change together, so that a delete and the worker never cross.
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._worker: threading.Thread | None = None

    def submit(self, owner: str, collection_id: str, name: str, source: Path | bytes) -> tuple[DocumentRecord, bool]:
        """Put a document into the queue: `(record, is_duplicate)`. Its original is kept under its sha256.

        Raises:
            DocumentTooLarge: it is over the limit.
            EmptyDocument: there is not a byte in it.
            StoreError: it could not be stored.
        """
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        name = Path(name.replace("\\", "/")).name or "document"
        if size > self._max_bytes:
            raise DocumentTooLarge(
                f"“{name}” is {size / 1e6:.0f} MB; the limit is {self._max_bytes / 1e6:.0f} MB.",
                "Split it, or raise GESTALT_MAX_UPLOAD_MB.",
            )
        if size == 0:
            raise EmptyDocument(f"“{name}” is an empty file.", "Check that it was saved or copied completely.")
        sha256 = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else _digest(source)
        with self._lock:
            try:
                self._keep(source, sha256)
            except OSError as error:
                raise StoreError(
                    f"“{name}” could not be stored: {error.strerror or error}.",
                    "Check that the data folder is writable and the disk is not full.",
                ) from error
            return self.library.begin(owner, collection_id, name, sha256, size)

    def _keep(self, source: Path | bytes, sha256: str) -> None:
        kept = self._uploads / sha256
        if kept.exists():
            return
        partial = kept.with_suffix(f".{new_id()}")
        if isinstance(source, bytes):
            partial.write_bytes(source)
        else:
            shutil.copyfile(source, partial)
        partial.replace(kept)

    # --- the worker ---

    def start(self) -> None:
        """Mend what a kill left behind and begin to work off the queue, in a thread of its own."""
        self.recover()
        self._worker = threading.Thread(target=self._work, name="ingest", daemon=True)
        self._worker.start()

    def wake(self) -> None:
        """Tell the worker that there is something in the queue."""
        self._wake.set()

    def retry(self, owner: str, document_id: str) -> None:
        """Put a failed document back into the queue."""
        document = self.library.document(owner, document_id)
        if document and document.state is DocumentState.FAILED:
            self.library.update(owner, document_id, state=DocumentState.PENDING, reason="", progress=0.0)
            self.wake()

    def close(self) -> None:
        """Stop after the current batch; what is unfinished goes on at the next start."""
        self._closing.set()
        self._wake.set()
        if self._worker:
            self._worker.join()

    def recover(self) -> None:
        """Put interrupted documents back into the queue and finish interrupted deletions."""
        self._requeue()
        for owner, document in self.library.in_state(DocumentState.DELETING):
            try:
                self.delete(owner, document.id)
            except StoreError:
                log.exception("A deletion could not be finished; the next start tries again")
        for partial in self._uploads.glob("*.*"):
            partial.unlink()

    def _requeue(self) -> None:
        for owner, document in self.library.in_state(DocumentState.INDEXING):
            self.library.update(owner, document.id, state=DocumentState.PENDING, progress=0.0)

    def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                self._requeue()
                self._work_off()
            except Exception:
                # A full disk, say: the queue stays as it is, and the worker looks again later.
                log.exception("The ingest queue could not be worked off")
            self._wake.wait(timeout=30)

    def _work_off(self) -> None:
        for owner, document in self.library.in_state(DocumentState.PENDING):
            if self._closing.is_set():
                return
            self.process(owner, document.id)

    def process(
        self, owner: str, document_id: str, report: Callable[[float], None] | None = None
    ) -> DocumentRecord | None:
        """Take one pending document through to ready or failed; `report` hears the progress from 0 to 1.

        Never raises for what is wrong with the document: the reason is in the record. None where it was deleted.
        """
        document = self.library.document(owner, document_id)
        if document is None:
            return None
        started = time.perf_counter()
        try:
            self.library.update(owner, document_id, state=DocumentState.INDEXING, reason="", progress=0.0)
            self._index(owner, document, report or (lambda _: None))
        except _Interrupted:
            pass
        except AppError as error:
            self._end(owner, document_id, DocumentState.FAILED, started, reason=str(error))
        except Exception:
            reference = new_id()[:8]
            log.exception("Ingest of %s failed, reference %s", document_id, reference)
            reason = f"Something went wrong inside Gestalt; the log has it under {reference}."
            self._end(owner, document_id, DocumentState.FAILED, started, reason=reason)
        else:
            self._end(owner, document_id, DocumentState.READY, started, progress=1.0)
        return self.library.document(owner, document_id)

    def _end(self, owner: str, document_id: str, state: DocumentState, started: float, **values: object) -> None:
        seconds = round(time.perf_counter() - started, 3)
        with self._lock:
            if self._is_indexing(owner, document_id):
                self.library.update(owner, document_id, state=state, seconds=seconds, **values)

    def _is_indexing(self, owner: str, document_id: str) -> bool:
        document = self.library.document(owner, document_id)
        return document is not None and document.state is DocumentState.INDEXING

    def _index(self, owner: str, document: DocumentRecord, report: Callable[[float], None]) -> None:
        told = 0.0

        def tell(progress: float) -> None:
            nonlocal told
            if self._closing.is_set():
                raise _Interrupted
            report(progress)
            if progress - told >= 0.01:
                self.library.update(owner, document.id, progress=progress)
                told = progress

        original = self._uploads / document.sha256
        pages = load(original, document.name, lambda done, total: tell(READING * done / max(1, total)))
        limit = min(self._chunk_tokens, self._embeddings.max_tokens)
        chunks = split(pages, self._embeddings.spans, limit, min(self._chunk_overlap, limit // 2))
        if not chunks:
            raise EmptyDocument(
                f"No text was found in “{document.name}”.", "Check that it opens, and that its text can be selected."
            )
        self.library.claim(owner, document.collection_id, self._embeddings.fingerprint)
        index = self._open_index(document.collection_id, self._embeddings.fingerprint)
        with self._lock:
            if document.chunks:
                # An attempt that was cut short may have left chunks behind; their number stands in the row.
                index.delete(owner, document.id, document.chunks)
            self.library.set_pages(owner, document.id, pages)
            self.library.update(owner, document.id, pages=len(pages), chunks=len(chunks))
        for first in range(0, len(chunks), BATCH):
            tell(READING + (1 - READING) * first / len(chunks))
            self._add(index, owner, document.id, chunks[first : first + BATCH])

    def _add(self, index: CollectionIndex, owner: str, document_id: str, chunks: list[Chunk]) -> None:
        vectors = self._embeddings.embed_documents([chunk.text for chunk in chunks])
        with self._lock:
            if not self._is_indexing(owner, document_id):
                raise _Interrupted
            index.add(owner, document_id, chunks, vectors)

    # --- the way out ---

    def delete(self, owner: str, document_id: str) -> None:
        """Remove a document: mark it, then vectors and full text, its original, its rows. Can be repeated."""
        document = self.library.document(owner, document_id)
        if document is None:
            return
        with self._lock:
            self.library.update(owner, document_id, state=DocumentState.DELETING)
            if document.chunks:
                # As it was indexed, whatever the embedding model is now.
                fingerprint = self.library.fingerprint(owner, document.collection_id)
                self._open_index(document.collection_id, fingerprint).delete(owner, document_id, document.chunks)
            self.library.forget(owner, document_id)
            if not self.library.content_in_use(document.sha256):
                (self._uploads / document.sha256).unlink(missing_ok=True)


class _Interrupted(Exception):
    """The process is ending (the document goes on at the next start), or the document was deleted meanwhile."""
