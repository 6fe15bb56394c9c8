"""Parse, split and embed documents into the indices of their collection, and remove them again.

Also rebuilds an index with another embedding model: from the stored chunks, while the active index keeps answering.
With GESTALT_EMBEDDING_MODEL=embedded a collection is indexed by the English model, until a document or a question in
another language arrives: then by the multilingual one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from errors import ConfigurationError, EmptyDocument
from rag.documents.library import Library
from rag.documents.loaders import LoadedDocument
from rag.documents.originals import Originals
from rag.documents.splitter import VERSION, split
from rag.index.collection import CollectionIndex
from rag.index.embedding_models import EMBEDDED, EmbeddingModels
from rag.index.embeddings import EmbeddingModel
from rag.index.indexes import Indexes, IndexRecord
from rag.index.language import is_in_other_language, is_other_language
from rag.index.multilingual_model import NAME as MULTILINGUAL
from rag.schema import Chunk, CollectionRecord, DocumentRecord

log = logging.getLogger(__name__)

BATCH = 64  # chunks embedded and stored at once; at most this many are lost in a kill
READING_SHARE = 0.2  # of the progress; embedding is the rest
AT_ONCE = 200  # chunks of a collection that the first question in another language waits for
BUSY_S = 10.0  # that it waits for documents being processed
OnProgress = Callable[[float], None]  # takes the progress, 0 to 1; may raise `Interrupted`
Vectors = dict[str, Sequence[float]]  # by text
Read = Callable[..., LoadedDocument]  # has the parameters of `loaders.load`


class Interrupted(Exception):
    """The process is ending (the next start resumes), or the document was cancelled or deleted."""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document that was read and split, but not embedded yet."""

    owner: str
    document: DocumentRecord
    chunks: list[Chunk]
    embeddings: EmbeddingModel
    known: Vectors  # from the document that it replaces
    on_progress: OnProgress


class Indexing:
    """Adds documents to the indices of their collections, and removes them."""

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
        """`open_index` takes a collection id and a fingerprint; `model` is the name of the one for new collections."""
        self.lock = threading.Lock()
        self.busy = threading.Lock()  # held while documents are processed, so that the active index stays the same
        self.library, self.originals, self.indexes = library, originals, indexes
        self._open_index, self.models, self._read = open_index, models, read
        self._model, self._tokens, self._overlap = model, chunk_tokens, chunk_overlap
        self._done: dict[tuple[str, str], int] = {}  # the last chunk row checked, by index being built; not stored

    def claim_model(self, owner: str, collection_id: str, document: Sequence[str] = ()) -> EmbeddingModel:
        """Return a collection's model, which an empty one keeps from now on; raises as `EmbeddingModels.of`.

        If the texts of a new `document` are in another language, the collection gets the multilingual model.
        """
        if self.indexes.active(owner, collection_id):
            if self._may_widen(owner, collection_id) and is_in_other_language(document):
                self.rebuild(owner, collection_id, MULTILINGUAL)
            return self.models.of(owner, collection_id)
        name = self._model
        if name == EMBEDDED and self.models.has_multilingual() and is_in_other_language(document):
            name = MULTILINGUAL
        embeddings = self.models.get(name)
        self.indexes.add(owner, collection_id, embeddings.fingerprint, name, self._identity(embeddings))
        return embeddings

    def parse(
        self,
        owner: str,
        document: DocumentRecord,
        on_progress: OnProgress,
        password: str | None,
    ) -> ParsedDocument:
        """Read a document, store its pages and split them.

        Raises Interrupted, DocumentError, StoreError, and as `claim_model`.
        """

        def report(done: int, total: int) -> None:
            on_progress(READING_SHARE * done / max(1, total))

        loaded = self._read(self.originals.path(document.sha256), document.name, password=password, report=report)
        embeddings = self.claim_model(owner, document.collection_id, [page.text for page in loaded.pages])
        limit = min(self._tokens, embeddings.max_tokens)
        chunks = split(loaded.pages, embeddings.spans, limit, min(self._overlap, limit // 2))
        if not chunks:
            raise EmptyDocument(
                f"No text was found in “{document.name}”.", "Check that it opens, and that its text can be selected."
            )
        with self.lock:
            self.remove(owner, document)  # what an interrupted attempt has left
            values = {"chunks": len(chunks), "warnings": list(loaded.warnings)}
            self.library.set_pages(owner, document.id, loaded.pages, **values)
        known = self._known_vectors(owner, document, embeddings)
        return ParsedDocument(owner, document, chunks, embeddings, known, on_progress)

    def write(self, documents: Sequence[ParsedDocument]) -> Iterator[ParsedDocument]:
        """Embed and write the chunks of documents of one collection together; yield each completed document.

        Skips those that were cancelled, deleted or interrupted. Raises StoreError, ConfigurationError.
        """
        like = documents[0]
        index = self._open_index(like.document.collection_id, like.embeddings.fingerprint)
        known = {text: vector for each in documents for text, vector in each.known.items()}
        active = {each.document.id: each for each in documents}
        waiting = [(each.document.id, chunk) for each in documents for chunk in each.chunks]
        for first in range(0, len(waiting), BATCH):
            batch = [(id_, chunk) for id_, chunk in waiting[first : first + BATCH] if id_ in active]
            if not batch:
                continue
            id_, chunk = batch[0]
            if chunk.position:  # a document of several batches
                done = chunk.position / len(active[id_].chunks)
                try:
                    active[id_].on_progress(READING_SHARE + (1 - READING_SHARE) * done)
                except Interrupted:
                    del active[id_]
                    batch = [each for each in batch if each[0] != id_]
            written = self._add(index, like, batch, known)
            for id_ in {id_: None for id_, _ in batch}:
                if id_ not in written:
                    del active[id_]
                elif written[id_] == len(active[id_].chunks) - 1:
                    yield active[id_]

    def _identity(self, embeddings: EmbeddingModel) -> dict[str, object]:
        splitter = {"version": VERSION, "tokens": self._tokens, "overlap": self._overlap}
        return {**embeddings.identity, "splitter": splitter}

    def _known_vectors(self, owner: str, document: DocumentRecord, embeddings: EmbeddingModel) -> Vectors:
        """Return the vectors by text of the replaced document, to embed only what has changed."""
        older = self.library.document(owner, document.replaces) if document.replaces else None
        active = self.indexes.active(owner, older.collection_id) if older else None
        if older is None or active is None or active.fingerprint != embeddings.fingerprint:
            return {}
        return self._open_index(older.collection_id, active.fingerprint).vectors(owner, older.id)

    def _add(
        self, index: CollectionIndex, like: ParsedDocument, chunks: Sequence[tuple[str, Chunk]], known: Vectors
    ) -> dict[str, int]:
        """Embed and write chunks, except of cancelled documents; return the last position of each document."""
        new = [chunk.text for _, chunk in chunks if chunk.text not in known]
        made = known | dict(zip(new, like.embeddings.embed_documents(new), strict=True)) if new else known
        with self.lock:
            wanted = self.library.being_indexed(like.owner, {id_ for id_, _ in chunks})
            kept = [(id_, chunk) for id_, chunk in chunks if id_ in wanted]
            index.add(like.owner, kept, [made[chunk.text] for _, chunk in kept])
        return {id_: chunk.position for id_, chunk in kept}

    def remove(self, owner: str, document: DocumentRecord) -> None:
        """Remove a document from all indices of its collection; hold the lock. Idempotent."""
        for index in self.indexes.all(owner, document.collection_id) if document.chunks else ():
            self._open_index(index.collection_id, index.fingerprint).delete(owner, document.id, document.chunks)

    def drop(self, owner: str, collection_id: str) -> None:
        """Remove all indices of an empty collection; hold the lock. Idempotent."""
        for index in self.indexes.all(owner, collection_id):
            self._open_index(collection_id, index.fingerprint).drop()
            self.indexes.remove(owner, collection_id, index.fingerprint)

    # --- rebuilding with another embedding model ---

    def rebuild(self, owner: str, collection_id: str, model: str) -> IndexRecord | None:
        """Schedule an index by another model and return it, None without an active one. Raises ConfigurationError."""
        active = self.indexes.active(owner, collection_id)
        if active is None:
            return None
        embeddings = self.models.get(model)
        if embeddings.fingerprint == active.fingerprint and model != active.embedding_model:
            # Only the name changes: what was chosen by language is now chosen by a person, or the other way round.
            self.indexes.add(owner, collection_id, active.fingerprint, model, active.identity)
            return self.indexes.active(owner, collection_id)
        if embeddings.fingerprint == active.fingerprint:
            raise ConfigurationError("This embedding model is already in use.", "Choose another one.")
        self.indexes.add(owner, collection_id, embeddings.fingerprint, model, self._identity(embeddings))
        self.indexes.want(owner, collection_id, embeddings.fingerprint)
        found = self.indexes.all(owner, collection_id)
        return next(index for index in found if index.fingerprint == embeddings.fingerprint)

    def _may_widen(self, owner: str, collection_id: str) -> bool:
        """Whether a collection's model was chosen by language, and the multilingual one can take its place."""
        found = self.indexes.all(owner, collection_id)
        chosen = any(index.active and index.embedding_model == EMBEDDED for index in found)
        free = chosen and self._model == EMBEDDED and not any(index.wanted for index in found)
        return free and self.models.has_multilingual()

    def prepare(self, owner: str, collection_id: str, question: str) -> None:
        """Give a collection the multilingual model if a question is in another language.

        A small collection is indexed at once; a large one is meanwhile searched as it is. Raises StoreError.
        """
        if not is_other_language(question):
            return
        if self._may_widen(owner, collection_id):
            self.rebuild(owner, collection_id, MULTILINGUAL)
        active = self.indexes.active(owner, collection_id)
        if active and self._open_index(collection_id, active.fingerprint).count() <= AT_ONCE:
            while self.rebuild_step(collection_id):
                pass

    def rebuild_step(self, collection_id: str = "") -> bool:
        """Embed a batch of chunks for a scheduled index, and activate it when complete; False if there is none.

        Of any collection, or only of one.
        """
        for owner, wanted in self.indexes.wanted():
            if collection_id in ("", wanted.collection_id) and self.busy.acquire(timeout=BUSY_S):
                try:
                    self._build(owner, wanted)
                finally:
                    self.busy.release()
                return True
        return False

    def _build(self, owner: str, wanted: IndexRecord) -> None:
        try:
            embeddings = self.models.get(wanted.embedding_model)
            index = self._open_index(wanted.collection_id, wanted.fingerprint)
            key = (wanted.collection_id, wanted.fingerprint)
            with self.lock:
                self._done[key], missing = index.without_vector(owner, self._done.get(key, 0), BATCH)
                if not missing:
                    # Complete, as nothing is added or removed while the lock is held.
                    self.indexes.activate(owner, *key)
                    del self._done[key]
                    return
            vectors = embeddings.embed_long([text for _, text in missing])
            with self.lock:
                index.add_vectors(owner, [id_ for id_, _ in missing], vectors)
        except ConfigurationError as error:
            log.warning("An index cannot be built: %s", error)
            with self.lock:
                self._open_index(wanted.collection_id, wanted.fingerprint).drop_vectors()
                self.indexes.remove(owner, wanted.collection_id, wanted.fingerprint)

    def drop_index(self, owner: str, collection: CollectionRecord, fingerprint: str) -> None:
        """Remove an old or unfinished index, or raise ConfigurationError if it is the active one."""
        if fingerprint == collection.fingerprint:
            raise ConfigurationError("This index is in use.", "Index the collection with another model first.")
        with self.lock:
            self._open_index(collection.id, fingerprint).drop_vectors()
            self.indexes.remove(owner, collection.id, fingerprint)
