"""The vectors, in Chroma.

One Chroma collection for each Gestalt collection and embedding model (fingerprint), so a new index can be built next to
the active one. Texts are not stored in it: that would triple disk and time (4.1 -> 13.8 MB for 1,000 chunks). An
embedded Chroma belongs to one process, which holds the lock of the data folder; its threads share one `VectorStore`.
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
    from chromadb import Collection
    from chromadb.api import ClientAPI
    from chromadb.api.collection_configuration import CreateCollectionConfiguration

KEPT = 32  # small indexes whose vectors are kept in memory; of 1,000 vectors with 384 numbers one takes 1.5 MB
BATCH = 1000  # vectors at once; Chroma's limit is the number of parameters that its SQLite accepts
OTHER_MODEL = "The index was made by another embedding model."
OTHER_MODEL_HINT = "Set GESTALT_EMBEDDING_MODEL back to that model, or index the collection again."
CONFIGURATION: CreateCollectionConfiguration = {"hnsw": {"space": "cosine", "ef_search": 200}}


class VectorStore:
    """The vectors of all collections of one data folder.

    Every method raises StoreError if Chroma cannot read or write, and EmbeddingMismatch for vectors of another length.
    """

    def __init__(self, path: Path) -> None:
        """`path` is Chroma's folder, created at first use."""
        self._path = path
        self._client_or_none: ClientAPI | None = None
        self._opened: dict[str, Collection] = {}
        self._small: dict[str, tuple[list[str], Any]] = {}
        """Ids and unit vectors of small indexes, by name."""
        self._version = 0
        self._lock = Lock()

    def add(self, collection_id: str, fingerprint: str, ids: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        """Write vectors under their chunk ids, replacing those that exist."""
        if len(ids) != len(vectors):
            raise ValueError(f"{len(ids)} ids for {len(vectors)} vectors")
        if not ids:
            return
        with self._translated(), self._changing(_name(collection_id, fingerprint)):
            collection = self._collection(collection_id, fingerprint, create=True)
            for first in range(0, len(ids), BATCH):
                last = first + BATCH
                # add() silently ignores an id that exists.
                collection.upsert(ids=list(ids[first:last]), embeddings=list(vectors[first:last]))

    def search(self, collection_id: str, fingerprint: str, vector: Sequence[float], n: int) -> list[tuple[str, float]]:
        """At most `n` chunk ids with their cosine (-1 to 1), nearest first; empty if there is no index."""
        with self._translated():
            collection = self._collection(collection_id, fingerprint)
            if collection is None or n < 1:
                return []
            if small := self._all(collection, n):
                return _nearest(*small, vector)
            found = collection.query(query_embeddings=[list(vector)], n_results=n, include=["distances"])
        # Chroma's cosine distance is 1 - cosine.
        return [(id_, 1.0 - distance) for id_, distance in zip(found["ids"][0], found["distances"][0], strict=True)]

    def cosines(
        self, collection_id: str, fingerprint: str, vector: Sequence[float], ids: Sequence[str]
    ) -> dict[str, float]:
        """The exact cosine of `vector` and each of `ids` that is stored."""
        import numpy as np

        found = self.vectors(collection_id, fingerprint, ids)
        if not found:
            return {}
        stored, query = np.asarray(list(found.values())), np.asarray(vector)
        norms = np.linalg.norm(stored, axis=1) * np.linalg.norm(query)
        return dict(zip(found, (stored @ query / np.maximum(norms, 1e-12)).tolist(), strict=True))

    def vectors(self, collection_id: str, fingerprint: str, ids: Sequence[str]) -> dict[str, Sequence[float]]:
        """The vectors of those `ids` that are stored."""
        with self._translated():
            collection = self._collection(collection_id, fingerprint)
            if collection is None or not ids:
                return {}
            found: dict[str, Sequence[float]] = {}
            for first in range(0, len(ids), BATCH):
                some = collection.get(ids=list(ids[first : first + BATCH]), include=["embeddings"])
                found |= dict(zip(some["ids"], (vector.tolist() for vector in some["embeddings"]), strict=True))
            return found

    def all_ids(self, collection_id: str, fingerprint: str) -> set[str]:
        """The ids of all vectors in an index."""
        with self._translated():
            collection = self._collection(collection_id, fingerprint)
            return set(collection.get(include=[])["ids"]) if collection is not None else set()

    def delete(self, collection_id: str, fingerprint: str, ids: Sequence[str]) -> None:
        """Remove vectors by their chunk ids. Idempotent."""
        with self._translated(), self._changing(_name(collection_id, fingerprint)):
            collection = self._collection(collection_id, fingerprint)
            for first in range(0, len(ids) if collection is not None else 0, BATCH):
                collection.delete(ids=list(ids[first : first + BATCH]))

    def count(self, collection_id: str, fingerprint: str) -> int:
        """How many vectors an index has."""
        with self._translated():
            collection = self._collection(collection_id, fingerprint)
            return int(collection.count()) if collection is not None else 0

    def drop(self, collection_id: str, fingerprint: str | None = None) -> None:
        """Remove one index of a collection, or all of them without a fingerprint. Idempotent."""
        start = f"{collection_id}-" if fingerprint is None else _name(collection_id, fingerprint)
        self._drop(name for name in self._names() if name.startswith(start))

    def orphans(self, known: Iterable[tuple[str, str]]) -> list[str]:
        """Names of the indexes that are not among `known`, pairs of collection id and fingerprint."""
        names = {_name(*pair) for pair in known}
        return [name for name in self._names() if name not in names]

    def drop_orphans(self, names: Iterable[str]) -> None:
        """Remove indexes by the names that `orphans` returned. Idempotent."""
        self._drop(set(names) & set(self._names()))

    def close(self) -> None:
        """Release Chroma's files."""
        with self._lock:
            client, self._client_or_none = self._client_or_none, None
            self._opened.clear()
            self._small.clear()
        if client is not None:
            # Missing from the interface that PersistentClient is typed to return.
            client.close()  # type: ignore[attr-defined]

    def _client(self) -> ClientAPI:
        with self._lock:
            if self._client_or_none is None:
                import chromadb
                from chromadb.config import Settings

                self._path.mkdir(parents=True, exist_ok=True)
                settings = Settings(anonymized_telemetry=False)
                self._client_or_none = chromadb.PersistentClient(path=str(self._path), settings=settings)
            return self._client_or_none

    def _names(self) -> list[str]:
        with self._translated():
            return [collection.name for collection in self._client().list_collections()]

    def _drop(self, names: Iterable[str]) -> None:
        with self._translated():
            for name in names:
                with self._lock:
                    self._opened.pop(name, None)
                with self._changing(name):
                    self._client().delete_collection(name)

    def _collection(self, collection_id: str, fingerprint: str, *, create: bool = False) -> Any:
        """The Chroma `Collection` of an index (its own types are unions too wide to use); None if it does not exist."""
        name = _name(collection_id, fingerprint)
        client = self._client()
        with self._lock:
            if name not in self._opened:
                from chromadb.errors import NotFoundError

                # No embedding function: with its default Chroma would download a model.
                try:
                    self._opened[name] = (
                        client.get_or_create_collection(name, configuration=CONFIGURATION, embedding_function=None)
                        if create
                        else client.get_collection(name, embedding_function=None)
                    )
                except NotFoundError:
                    return None
            return self._opened[name]

    def _all(self, collection: Any, n: int) -> tuple[list[str], Any] | None:
        """Ids and unit vectors of an index that has at most `n`, which a search would all return; kept in memory."""
        with self._lock:
            known, version = self._small.get(collection.name), self._version
        if known is None and collection.count() <= n:
            import numpy as np

            stored = collection.get(include=["embeddings"])
            vectors = np.asarray(stored["embeddings"], dtype=np.float32).reshape(len(stored["ids"]), -1)
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            known = stored["ids"], vectors / np.maximum(norms, 1e-12)
            with self._lock:
                # Not if it was changed meanwhile.
                if version == self._version:
                    self._small = dict([*self._small.items(), (collection.name, known)][-KEPT:])
        return known if known and len(known[0]) <= n else None

    @contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        """Forget the vectors of an index that is being changed, before and after."""
        try:
            self._forget(name)
            yield
        finally:
            self._forget(name)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._version += 1
            self._small.pop(name, None)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from chromadb.errors import ChromaError

        try:
            yield
        except ChromaError as error:
            if "dimension" in str(error).lower():
                raise EmbeddingMismatch(OTHER_MODEL, OTHER_MODEL_HINT) from error
            raise StoreError(
                f"The vector index failed: {error}.",
                f"Check that {self._path} is writable and the disk is not full.",
            ) from error
        except OSError as error:
            raise StoreError(
                f"The vector index {self._path} cannot be opened: {error.strerror or error}.",
                "Check that the folder is writable and the disk is not full.",
            ) from error


def _nearest(ids: Sequence[str], vectors: Any, vector: Sequence[float]) -> list[tuple[str, float]]:
    """The ids with their cosines, nearest first. Raises EmbeddingMismatch for a vector of another length."""
    import numpy as np

    query = np.asarray(vector, dtype=np.float32)
    if len(ids) and vectors.shape[1] != len(query):
        raise EmbeddingMismatch(OTHER_MODEL, OTHER_MODEL_HINT)
    cosines = vectors @ (query / max(float(np.linalg.norm(query)), 1e-12)) if len(ids) else np.zeros(0)
    order = np.argsort(-cosines, kind="stable").tolist()
    return [(ids[at], cosine) for at, cosine in zip(order, cosines[order].tolist(), strict=True)]


def _name(collection_id: str, fingerprint: str) -> str:
    """The name of the Chroma collection, in characters and of a length that Chroma accepts."""
    return f"{collection_id}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}"
