"""A look at the sentences of what was found, before Gestalt abstains.

A chunk of several matters is far from a question about one of them, the one sentence is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rag.index.embeddings import EmbeddingModel
from rag.index.fusion import Candidates
from rag.index.lexical import question_terms
from rag.index.sentences import sentences
from rag.schema import Passage

STATEMENT = 4
"""Words of a sentence that is looked at: a name alone, as headings have it, is near to every question that names it."""
SENTENCES = 8
"""At most so many are embedded, those that share most words with the question. With 3 or 4 the shares of MTRAG-UN's and
the chunking set's questions over which it abstains move by up to .07, up and down."""
BEGINNING, ENDING = 4, 3
"""Letters: words that agree but for the last three, and at least in the first four, are taken for the same word."""


def best_sentence(
    embeddings: EmbeddingModel,
    found: Candidates,
    passages: Sequence[Passage],
    known: dict[str, list[float]] | None = None,
) -> float:
    """Cosine of what was searched and of the nearest sentence of `passages`; -1 where none shares a word with it.

    Args:
        embeddings: the model that embedded what was searched.
        found: what was searched.
        passages: where it looks.
        known: vectors of sentences, by their texts; those that it lacks are added.
    """
    import numpy as np

    known = {} if known is None else known
    asked = _beginnings(word for text in found.asked for word in question_terms(text)[0])
    shared = dict[str, int]()
    for passage in passages:
        for start, end in sentences(passage.text):
            words = passage.text[start:end].lower().split()
            if len(words) >= STATEMENT and (common := len(asked & _beginnings(words))):
                shared[passage.text[start:end]] = common
    texts = sorted(shared, key=shared.__getitem__, reverse=True)[:SENTENCES]
    new = [text for text in texts if text not in known and embeddings.count(text) <= embeddings.max_tokens]
    known |= zip(new, embeddings.embed_documents(new), strict=True)
    vectors = [known[text] for text in texts if text in known]
    if not vectors:
        return -1.0
    query = np.asarray(found.vector) / np.linalg.norm(found.vector)
    return float((np.asarray(vectors) @ query).max())


def _beginnings(words: Iterable[str]) -> set[str]:
    """How words begin, without punctuation around them: “farmers” and “farming” begin alike."""
    bare = (word.strip("\"'“”‘’()[]{}.,;:!?") for word in words)
    return {word[: max(BEGINNING, len(word) - ENDING)] for word in bare if word}
