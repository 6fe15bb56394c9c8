"""Checks single sentences of the passages before Gestalt abstains.

A chunk about several subjects is far from a question about one of them; the sentence about it is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rag.index.fusion import Candidates
from rag.index.lexical import question_terms
from rag.index.sentence_vectors import SentenceVectors
from rag.index.sentences import sentences
from rag.schema import Passage

MIN_WORDS = 4  # of a sentence: a name on its own, as in a heading, is near every question that contains it
SENTENCES = 8
"""Embedded at most: those that share most words with the question. With 3 or 4 the share of abstentions on MTRAG-UN's
and the chunking set's questions moves by up to .07, up and down."""
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
PREFIX, SUFFIX = 4, 3  # two words match without their last 3 letters, but in at least the first 4


def sentence_cosine(vectors: SentenceVectors, found: Candidates, passages: Sequence[Passage]) -> float:
    """The cosine of the search vector and the nearest sentence; -1 if none can be compared or shares a word."""
    import numpy as np

    if not (found.readable and found.vector):
        return -1.0
    asked = _stems(word for text in found.asked for word in question_terms(text)[0])
    shared = dict[str, int]()
    for passage in passages:
        for start, end in sentences(passage.text):
            words = passage.text[start:end].lower().split()
            if len(words) >= MIN_WORDS and (common := len(asked & _stems(words))):
                shared[passage.text[start:end]] = common
    texts = sorted(shared, key=shared.__getitem__, reverse=True)[:SENTENCES]
    if not texts:
        return -1.0
    query = np.asarray(found.vector) / np.linalg.norm(found.vector)
    return float((vectors.of(texts) @ query).max())


def names_a_section(question: str, passages: Sequence[Passage]) -> bool:
    """Whether all words of a heading in the passages are in the question: “Safety” in “What are the safety rules?”.

    Its sentences may have no word of the question, and be far from it.
    """
    asked = _stems(question_terms(question)[0])
    titles = (
        title for passage in passages for title in (*_HEADING.findall(passage.text), *passage.heading.split(" › "))
    )
    return any(words and words <= asked for words in (_stems(question_terms(title)[0]) for title in titles))


def _stems(words: Iterable[str]) -> set[str]:
    """Crude stems, without surrounding punctuation: “farmers” and “farming” have the same, “dog” and “dogs” too."""
    bare = (word.strip("\"'“”‘’()[]{}.,;:!?") for word in words)
    singular = (word.removesuffix("s") if len(word) <= PREFIX else word for word in bare)
    return {word[: max(PREFIX, len(word) - SUFFIX)] for word in singular if word}
