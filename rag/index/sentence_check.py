"""Checks single sentences of the passages before Gestalt abstains.

A chunk about several subjects is far from a question about one of them; the sentence about it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rag.index.embeddings import EmbeddingModel
from rag.index.fusion import Candidates
from rag.index.lexical import question_terms
from rag.index.sentences import sentences
from rag.schema import Passage

MIN_WORDS = 4  # of a sentence: a name on its own, as in a heading, is near every question that contains it
SENTENCES = 8
"""Embedded at most: those that share most words with the question. With 3 or 4 the share of abstentions on MTRAG-UN's
and the chunking set's questions moves by up to .07, up and down."""
PREFIX, SUFFIX = 4, 3  # two words match without their last 3 letters, but in at least the first 4


def sentence_cosine(
    embeddings: EmbeddingModel,
    found: Candidates,
    passages: Sequence[Passage],
    known: dict[str, list[float]] | None = None,
) -> float:
    """The cosine of the search vector and the nearest sentence; -1 if none can be compared or shares a word.

    `known` has the vectors of sentences by their text; new ones are added.
    """
    import numpy as np

    if not (found.readable and found.vector):
        return -1.0
    known = {} if known is None else known
    asked = _stems(word for text in found.asked for word in question_terms(text)[0])
    shared = dict[str, int]()
    for passage in passages:
        for start, end in sentences(passage.text):
            words = passage.text[start:end].lower().split()
            if len(words) >= MIN_WORDS and (common := len(asked & _stems(words))):
                shared[passage.text[start:end]] = common
    texts = sorted(shared, key=shared.__getitem__, reverse=True)[:SENTENCES]
    new = [text for text in texts if text not in known and embeddings.count(text) <= embeddings.max_tokens]
    known |= zip(new, embeddings.embed_documents(new), strict=True)
    vectors = [known[text] for text in texts if text in known]
    if not vectors:
        return -1.0
    query = np.asarray(found.vector) / np.linalg.norm(found.vector)
    return float((np.asarray(vectors) @ query).max())


def _stems(words: Iterable[str]) -> set[str]:
    """Crude stems, without surrounding punctuation: “farmers” and “farming” have the same, “dog” and “dogs” too."""
    bare = (word.strip("\"'“”‘’()[]{}.,;:!?") for word in words)
    singular = (word.removesuffix("s") if len(word) <= PREFIX else word for word in bare)
    return {word[: max(PREFIX, len(word) - SUFFIX)] for word in singular if word}
