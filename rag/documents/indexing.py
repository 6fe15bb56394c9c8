"""Documents through reading, splitting and embedding into the indices of their collection, and out of them again.

Also the building of another index beside the one that answers: by another embedding model, from the chunks that are
there, a batch at a time, resumed after a kill and put in place in one step. Knows nothing of the queue.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from errors import ConfigurationError, EmptyDocument
from rag.documents.library import Library
from rag.documents.loaders import Reading
from rag.documents.originals import Originals
from rag.documents.splitter import VERSION, split
from rag.index.collection import CollectionIndex
from rag.index.embedding_models import EmbeddingModels
from rag.index.embeddings import EmbeddingModel
from rag.index.indexes import Indexes, IndexRecord
from rag.schema import Chunk, CollectionRecord, DocumentRecord

log = logging.getLogger(__name__)

BATCH = 64
"""Chunks that are embedded and stored at once: the step of the progress, and what a kill can cost."""
READING = 0.2
"""Share of the progress that reading takes; embedding is the rest."""

Tell = Callable[[float], None]
"""Takes the progress, 0 to 1. It may raise `Interrupted`."""


class Interrupted(Exception):
    """The process is ending (the document goes on at the next start), or the document was cancelled or deleted."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A document that was read and cut, and has not been embedded yet."""

    owner: str
    document: DocumentRecord
    chunks: list[Chunk]
    embeddings: EmbeddingModel
    known: dict[str, Sequence[float]]
    """Text -> vector, where a document that it replaces had them already."""
    tell: Tell


class Read(Protocol):
    """Reads a file, in this process or in another."""

    def __call__(
        self, path: Path, name: str, *, password: str | None = None, report: Callable[[int, int], None] | None = None
    ) -> Reading:
        """See `loaders.load`."""


class Indexing:
    """Brings documents into the indices of their collections."""

    def __init__(
        self,
        library: Library,
        originals: Originals,
        indexes: Indexes,
        open_index: Callable[[str, str], CollectionIndex],
        models: EmbeddingModels,
        read: Read,
        *,
        model: str,
        chunk_tokens: int,
        chunk_overlap: int,
    ) -> None:
        """`open_index(collection_id, fingerprint)` gives an index; `models(name)` an embedding model; `model` is the
        name of the one that new collections get."""
        self.lock = threading.Lock()
        self.library, self.originals, self.indexes = library, originals, indexes
        self._open_index, self.models, self._read = open_index, models, read
        self._model, self._tokens, self._overlap = model, chunk_tokens, chunk_overlap
        # Of indexes being built: the last chunk row that was looked at. After a start all are looked at again.
        self._done: dict[tuple[str, str], int] = {}

    def claim_model(self, owner: str, collection_id: str) -> EmbeddingModel:
        """The embedding model of a collection; an empty collection gets the current one for good.

        Raises:
            EmbeddingMismatch, ConfigurationError: like `EmbeddingModels.of`.
        """
        embeddings = self.models.of(owner, collection_id)
        if not self.indexes.active(owner, collection_id):
            self.indexes.add(owner, collection_id, embeddings.fingerprint, self._model, self._identity(embeddings))
        return embeddings

    # --- in ---

    def draft(
        self, owner: str, document: DocumentRecord, embeddings: EmbeddingModel, tell: Tell, password: str | None
    ) -> Draft:
        """Read a document, keep its pages and cut them for `embeddings`; its chunks are not written yet.

        Raises:
            Interrupted: by `tell`.
            DocumentError, StoreError: it cannot be read or stored.
        """
        original = self.originals.path(document.sha256)
        reading = self._read(
            original,
            document.name,
            password=password,
            report=lambda done, total: tell(READING * done / max(1, total)),
        )
        limit = min(self._tokens, embeddings.max_tokens)
        chunks = split(reading.pages, embeddings.spans, limit, min(self._overlap, limit // 2))
        if not chunks:
            raise EmptyDocument(
                f"No text was found in “{document.name}”.", "Check that it opens, and that its text can be selected."
            )
        with self.lock:
            if document.chunks:
                # An attempt that was cut short may have left chunks behind; their number stands in the row.
                self._remove_from_all(owner, document)
            warnings = list(reading.warnings)
            self.library.set_pages(owner, document.id, reading.pages, chunks=len(chunks), warnings=warnings)
        return Draft(owner, document, chunks, embeddings, self._known_vectors(owner, document, embeddings), tell)

    def write(self, drafts: Sequence[Draft]) -> Iterator[Draft]:
        """Embed and write the chunks of documents of one collection, together; gives each one that is complete.

        One that was cancelled or deleted meanwhile, or whose `tell` raises `Interrupted`, is left out.

        Raises:
            StoreError, ConfigurationError: they cannot be embedded or stored.
        """
        owner, collection_id = drafts[0].owner, drafts[0].document.collection_id
        embeddings = drafts[0].embeddings
        index = self._open_index(collection_id, embeddings.fingerprint)
        known = {text: vector for draft in drafts for text, vector in draft.known.items()}
        there = {draft.document.id: draft for draft in drafts}
        waiting = [(draft.document.id, chunk) for draft in drafts for chunk in draft.chunks]
        for first in range(0, len(waiting), BATCH):
            batch = [(id_, chunk) for id_, chunk in waiting[first : first + BATCH] if id_ in there]
            if not batch:
                continue
            id_, chunk = batch[0]
            if chunk.position:  # one that goes over several batches
                try:
                    there[id_].tell(READING + (1 - READING) * chunk.position / len(there[id_].chunks))
                except Interrupted:
                    del there[id_]
                    batch = [each for each in batch if each[0] != id_]
            written = self._add(index, embeddings, owner, batch, known)
            for id_ in {id_: None for id_, _ in batch}:
                if id_ not in written:
                    del there[id_]
                elif written[id_] == len(there[id_].chunks) - 1:
                    yield there[id_]

    def _identity(self, embeddings: EmbeddingModel) -> dict[str, object]:
        splitter = {"version": VERSION, "tokens": self._tokens, "overlap": self._overlap}
        return {**embeddings.identity, "splitter": splitter}

    def _known_vectors(
        self, owner: str, document: DocumentRecord, embeddings: EmbeddingModel
    ) -> dict[str, Sequence[float]]:
        """Text -> vector of the chunks of the document that this one replaces: what did not change is not embedded."""
        older = self.library.document(owner, document.replaces) if document.replaces else None
        active = self.indexes.active(owner, older.collection_id) if older else None
        if older is None or active is None or active.fingerprint != embeddings.fingerprint:
            return {}
        return self._open_index(older.collection_id, active.fingerprint).vectors(owner, older.id)

    def _add(
        self,
        index: CollectionIndex,
        embeddings: EmbeddingModel,
        owner: str,
        chunks: Sequence[tuple[str, Chunk]],
        known: dict[str, Sequence[float]],
    ) -> dict[str, int]:
        """Embed and write chunks of documents that are still wanted; the last position of each of them."""
        new = [chunk.text for _, chunk in chunks if chunk.text not in known]
        made = known | dict(zip(new, embeddings.embed_documents(new), strict=True)) if new else known
        with self.lock:
            wanted = self.library.in_work(owner, {id_ for id_, _ in chunks})
            kept = [(id_, chunk) for id_, chunk in chunks if id_ in wanted]
            index.add(owner, kept, [made[chunk.text] for _, chunk in kept])
        return {id_: chunk.position for id_, chunk in kept}

    # --- out ---

    def remove(self, owner: str, document: DocumentRecord) -> None:
        """Take a document out of all indices of its collection; under the lock. Can be repeated."""
        if document.chunks:
            self._remove_from_all(owner, document)

    def _remove_from_all(self, owner: str, document: DocumentRecord) -> None:
        for index in self.indexes.all(owner, document.collection_id):
            self._open_index(index.collection_id, index.fingerprint).delete(owner, document.id, document.chunks)

    def drop(self, owner: str, collection_id: str) -> None:
        """Remove all indices of a collection that has no documents any more; under the lock. Can be repeated."""
        for index in self.indexes.all(owner, collection_id):
            self._open_index(collection_id, index.fingerprint).drop()
            self.indexes.remove(owner, collection_id, index.fingerprint)

    # --- another index beside the one that answers ---

    def rebuild(self, owner: str, collection_id: str, model: str) -> IndexRecord | None:
        """Begin to index a collection by another embedding model; the worker does it. Repeatable.

        Returns:
            The index to come; None where nothing is indexed yet: the first document will be by the new model.

        Raises:
            ConfigurationError: the model cannot be had, or it is the one that answers.
        """
        active = self.indexes.active(owner, collection_id)
        if active is None:
            return None
        embeddings = self.models.get(model)
        if embeddings.fingerprint == active.fingerprint:
            raise ConfigurationError("This embedding model answers already.", "Choose another one.")
        self.indexes.add(owner, collection_id, embeddings.fingerprint, model, self._identity(embeddings))
        self.indexes.want(owner, collection_id, embeddings.fingerprint)
        found = self.indexes.all(owner, collection_id)
        return next(index for index in found if index.fingerprint == embeddings.fingerprint)

    def rebuild_step(self) -> bool:
        """Embed a batch of chunks for an index that is wanted; put it in place when none is left.

        Returns:
            Whether there was anything to do.
        """
        for owner, wanted in self.indexes.wanted():
            try:
                embeddings = self.models.get(wanted.embedding_model)
                index = self._open_index(wanted.collection_id, wanted.fingerprint)
                key = (wanted.collection_id, wanted.fingerprint)
                with self.lock:
                    self._done[key], missing = index.without_vector(owner, self._done.get(key, 0), BATCH)
                    if not missing:
                        # Nothing is added or removed while the lock is held: it is complete.
                        self.indexes.activate(owner, *key)
                        del self._done[key]
                        return True
                vectors = embeddings.embed_long([text for _, text in missing])
                with self.lock:
                    index.add_vectors(owner, [id_ for id_, _ in missing], vectors)
            except ConfigurationError as error:
                log.warning("An index cannot be built: %s", error)
                with self.lock:
                    self._open_index(wanted.collection_id, wanted.fingerprint).drop_vectors()
                    self.indexes.remove(owner, wanted.collection_id, wanted.fingerprint)
            return True
        return False

    def drop_index(self, owner: str, collection: CollectionRecord, fingerprint: str) -> None:
        """Remove an index that does not answer: an old one, or one that is not ready yet.

        Raises:
            ConfigurationError: it is the one that answers.
        """
        if fingerprint == collection.fingerprint:
            raise ConfigurationError(
                "This index answers the questions.", "Index the collection by another model first."
            )
        with self.lock:
            self._open_index(collection.id, fingerprint).drop_vectors()
            self.indexes.remove(owner, collection.id, fingerprint)
