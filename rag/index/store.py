"""The vectors: Chroma behind a few verbs.

One Chroma collection a Gestalt collection and embedding model (its fingerprint), so that no query needs a filter and a
re-index can grow beside the old index. Only vectors are kept here: texts and offsets are in the application's
database, and Chroma's own copy would triple the disk and the time to add (measured: 0.23 -> 0.83 CPU seconds and
4.1 -> 13.8 MB for 1,000 chunks).

This is the border where Chroma's exceptions become ours. The module knows nothing of embedding models, of the
application's database or of questions. An embedded Chroma belongs to one process: who opens the data folder holds its
lock; the threads of that process share one `VectorStore`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from errors import EmbeddingMismatch, StoreError

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from langchain_chroma import Chroma

BATCH = 1000
"""Vectors written at once; Chroma refuses larger batches than its SQLite takes parameters."""
EF_SEARCH = 200


class VectorStore:
    """The vectors of all collections of one data folder."""

    def __init__(self, path: Path) -> None:
        """`path` is the folder of the embedded Chroma; it is made, and Chroma imported, at first use."""
        self._path = path
        self._client_or_none: ClientAPI | None = None
        self._opened: dict[str, Chroma] = {}
        self._lock = Lock()

    def add(self, collection_id: str, fingerprint: str, ids: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        """Write vectors under their chunk ids (`document_id:position`); the same id again is replaced.

        Raises:
            EmbeddingMismatch: the vectors are of another length than those already there.
            StoreError: Chroma could not write.
        """
        if len(ids) != len(vectors):
            raise ValueError(f"{len(ids)} ids for {len(vectors)} vectors")
        if not ids:
            return
        with self._translated():
            collection = self._vectors(collection_id, fingerprint, create=True)
            for first in range(0, len(ids), BATCH):
                last = first + BATCH
                # upsert, because add() ignores an id that exists in silence.
                collection.upsert(ids=list(ids[first:last]), embeddings=list(vectors[first:last]))

    def search(self, collection_id: str, fingerprint: str, vector: Sequence[float], n: int) -> list[tuple[str, float]]:
        """At most `n` chunk ids with their cosine (-1 to 1), nearest first; empty where nothing is indexed.

        Raises:
            EmbeddingMismatch: `vector` is of another length than those of the index.
            StoreError: Chroma could not read.
        """
        with self._translated():
            collection = self._vectors(collection_id, fingerprint)
            if collection is None or n < 1:
                return []
            found = collection.query(query_embeddings=[list(vector)], n_results=n, include=["distances"])
        # Chroma's cosine distance is 1 - cosine.
        return [(id_, 1.0 - distance) for id_, distance in zip(found["ids"][0], found["distances"][0], strict=True)]

    def cosines(
        self, collection_id: str, fingerprint: str, vector: Sequence[float], ids: Sequence[str]
    ) -> dict[str, float]:
        """Cosine of `vector` and each of the stored `ids`, computed exactly; ids that are not there are left out.

        Raises:
            StoreError: Chroma could not read.
        """
        import numpy as np

        found = self.vectors(collection_id, fingerprint, ids)
        if not found:
            return {}
        stored, query = np.asarray(list(found.values())), np.asarray(vector)
        norms = np.linalg.norm(stored, axis=1) * np.linalg.norm(query)
        return dict(zip(found, (stored @ query / np.maximum(norms, 1e-12)).tolist(), strict=True))

    def vectors(self, collection_id: str, fingerprint: str, ids: Sequence[str]) -> dict[str, Sequence[float]]:
        """The stored vectors of `ids`; ids that are not there are left out.

        Raises:
            StoreError: Chroma could not read.
        """
        with self._translated():
            collection = self._vectors(collection_id, fingerprint)
            if collection is None or not ids:
                return {}
            found: dict[str, Sequence[float]] = {}
            for first in range(0, len(ids), BATCH):
                some = collection.get(ids=list(ids[first : first + BATCH]), include=["embeddings"])
                found |= dict(zip(some["ids"], (vector.tolist() for vector in some["embeddings"]), strict=True))
            return found

    def all_ids(self, collection_id: str, fingerprint: str) -> set[str]:
        """The ids of all vectors of an index.

        Raises:
            StoreError: Chroma could not read.
        """
        with self._translated():
            collection = self._vectors(collection_id, fingerprint)
            return set(collection.get(include=[])["ids"]) if collection is not None else set()

    def delete(self, collection_id: str, fingerprint: str, ids: Sequence[str]) -> None:
        """Remove vectors by their chunk ids; ids that are not there are no error, so that a delete can be repeated.

        Raises:
            StoreError: Chroma could not write.
        """
        with self._translated():
            collection = self._vectors(collection_id, fingerprint)
            for first in range(0, len(ids) if collection is not None else 0, BATCH):
                collection.delete(ids=list(ids[first : first + BATCH]))

    def count(self, collection_id: str, fingerprint: str) -> int:
        """Vectors in the index.

        Raises:
            StoreError: Chroma could not read.
        """
        with self._translated():
            collection = self._vectors(collection_id, fingerprint)
            return int(collection.count()) if collection is not None else 0

    def drop(self, collection_id: str, fingerprint: str | None = None) -> None:
        """Remove one index of a collection, or all of them where no fingerprint is given; repeatable.

        Raises:
            StoreError: Chroma could not write.
        """
        wanted = _name(collection_id, fingerprint) if fingerprint is not None else None
        self._drop(
            name
            for name in self._names()
            if name == wanted or (wanted is None and name.startswith(f"{collection_id}-"))
        )

    def orphans(self, known: Iterable[tuple[str, str]]) -> list[str]:
        """Names of the indexes that are none of the `known` ones, which are pairs of collection id and fingerprint.

        Raises:
            StoreError: Chroma could not read.
        """
        names = {_name(*pair) for pair in known}
        return [name for name in self._names() if name not in names]

    def drop_orphans(self, names: Iterable[str]) -> None:
        """Remove indexes by the names that `orphans` gave; repeatable.

        Raises:
            StoreError: Chroma could not write.
        """
        there = set(self._names())
        self._drop(name for name in names if name in there)

    def close(self) -> None:
        """Give Chroma's files back."""
        with self._lock:
            client, self._client_or_none = self._client_or_none, None
            self._opened.clear()
        if client is not None:
            # The client that chromadb gives has it, the interface that it is typed as does not.
            client.close()  # type: ignore[attr-defined]

    # --- Chroma ---------------------------------------------------------------------------------------------------

    def _client(self) -> ClientAPI:
        with self._lock:
            if self._client_or_none is None:
                import chromadb
                from chromadb.config import Settings

                self._path.mkdir(parents=True, exist_ok=True)
                self._client_or_none = chromadb.PersistentClient(
                    path=str(self._path), settings=Settings(anonymized_telemetry=False)
                )
            return self._client_or_none

    def _names(self) -> list[str]:
        with self._translated():
            return [collection.name for collection in self._client().list_collections()]

    def _drop(self, names: Iterable[str]) -> None:
        with self._translated():
            for name in names:
                with self._lock:
                    self._opened.pop(name, None)
                self._client().delete_collection(name)

    def open(self, collection_id: str, fingerprint: str, *, create: bool = False) -> Chroma | None:
        """The LangChain store of an index, None where there is none. It holds vectors, no texts."""
        name = _name(collection_id, fingerprint)
        client = self._client()
        with self._lock:
            if name not in self._opened:
                from chromadb.errors import NotFoundError
                from langchain_chroma import Chroma

                try:
                    self._opened[name] = Chroma(
                        collection_name=name,
                        client=client,
                        collection_configuration={"hnsw": {"space": "cosine", "ef_search": EF_SEARCH}},
                        create_collection_if_not_exists=create,
                    )
                except NotFoundError:
                    return None
            return self._opened[name]

    def _vectors(self, collection_id: str, fingerprint: str, *, create: bool = False) -> Any:
        store = self.open(collection_id, fingerprint, create=create)
        # LangChain's verbs want a text beside each vector and give it back with each hit; vectors alone go to the
        # Chroma collection that it opened.
        return store._collection if store is not None else None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from chromadb.errors import ChromaError

        try:
            yield
        except ChromaError as error:
            if "dimension" in str(error).lower():
                raise EmbeddingMismatch(
                    "The index was made by another embedding model.",
                    "Set GESTALT_EMBEDDING_MODEL back to that model, or index the collection again.",
                ) from error
            raise StoreError(
                f"The vector index could not do what was asked: {error}.",
                f"Check that {self._path} is writable and the disk is not full.",
            ) from error
        except OSError as error:
            raise StoreError(
                f"The vector index {self._path} cannot be opened: {error.strerror or error}.",
                "Check that the folder is writable and the disk is not full.",
            ) from error


def _name(collection_id: str, fingerprint: str) -> str:
    """Name of the Chroma collection: both parts in characters and lengths that Chroma takes."""
    return f"{collection_id}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}"
