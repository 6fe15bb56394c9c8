"""The words: BM25 by SQLite FTS5, in the application's database.

One FTS5 table a Gestalt collection (`lexical_<collection id>`), so that document frequencies are the collection's own
and no query needs a filter; its rowid is `ChunkRow.id`, and rows are written in the transaction of the chunk rows.
The table keeps its own copy of the text: SQLite before 3.43 cannot delete from a table without one unless it is told
the old text again, and a wrong text would corrupt the index in silence.

What a word is: text is NFKC-folded (full-width forms, the ligatures of PDFs), split by `unicode61 remove_diacritics 2`
and stemmed by `porter`, whose rules are English: in other languages inflected forms stay apart, and German compounds
are one word. Runs of Chinese, Japanese, Korean and Thai characters, which have no spaces or glue endings to words,
are split into overlapping pairs; a question of one such character alone finds only texts where it stands alone.
Stop words, English ones only, are taken out of questions, not of texts; elsewhere the weights of frequent words do it.

The module knows nothing of vectors, documents or chat.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from rag.db import Database

CANDIDATES = 1000
"""Best rows that a search gives; with 200, questions over financial filings lose."""
MAX_WORDS = 64
"""Distinct words of a question that are searched: the first half and the last half of a longer one."""
ROWS = 10_000
"""Rows that the words of a question may stand in, together: the rarest are searched first, and what is left when these
are used up tells little. It bounds the time of a question; among some thousand chunks it changes nothing."""
LARGE = 20_000
"""Rows of a collection from which on pairs with a stop word are not searched: they stand nearly everywhere."""
SATURATION = 2.2
"""k1 + 1 of FTS5's BM25: the score of a word is at most this times its idf (https://sqlite.org/fts5.html)."""

STOP_WORDS = frozenset(
    """a about above after again against all am an and any are aren as at be because been before being below between
    both but by can cannot could couldn d did didn do does doesn doing don down during each few for from further had
    hadn has hasn have haven having he her here hers herself him himself his how i if in into is isn it its itself just
    ll m me more most my myself no nor not now o of off on once only or other our ours ourselves out over own re s same
    she should shouldn so some such t than that the their theirs them themselves then there these they this those
    through to too under until up ve very was wasn we were weren what when where which while who whom why will with won
    would wouldn you your yours yourself yourselves""".split()
)

_UNSPACED = re.compile(
    "[\u0e00-\u0e7f\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class LexicalHits:
    """What the words of a question found; both mappings are from `ChunkRow.id` to a score, higher is better."""

    words: dict[int, float]
    """BM25 of the words."""
    phrases: dict[int, float]
    """BM25 of the pairs of neighbouring words."""
    coverage: tuple[float, ...]
    """For each text searched, 0 to 1: best BM25 score / what a chunk with all its words many times would have."""


class LexicalIndex:
    """The full-text tables of all collections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, session: Session, collection_id: str, rows: Iterable[tuple[int, str]]) -> None:
        """Index `(ChunkRow.id, text)` rows within the transaction of `session`; the same id again is replaced."""
        table = _table(collection_id)
        connection = session.connection()
        connection.exec_driver_sql(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {table} "
            "USING fts5(text, tokenize='porter unicode61 remove_diacritics 2')"
        )
        values = [(rowid, _fold(text)) for rowid, text in rows]
        if values:
            statement = f"INSERT OR REPLACE INTO {table} (rowid, text) VALUES (?, ?)"  # noqa: S608 - see _table
            connection.exec_driver_sql(statement, values)

    def delete(self, session: Session, collection_id: str, rowids: Iterable[int]) -> None:
        """Remove rows within the transaction of `session`; rows that are not there are no error."""
        connection = session.connection()
        values = [(rowid,) for rowid in rowids]
        if values and _exists(connection, collection_id):
            statement = f"DELETE FROM {_table(collection_id)} WHERE rowid = ?"  # noqa: S608 - see _table
            connection.exec_driver_sql(statement, values)

    def drop(self, session: Session, collection_id: str) -> None:
        """Remove the table of a collection within the transaction of `session`; repeatable."""
        session.connection().exec_driver_sql(f"DROP TABLE IF EXISTS {_table(collection_id)}")

    def collections(self, session: Session) -> set[str]:
        """Ids of the collections that have a table."""
        # A full-text table has tables of its own beside it, whose names go on after its name.
        statement = r"SELECT name FROM sqlite_master WHERE name LIKE 'lexical\_%' ESCAPE '\' AND sql LIKE '%fts5(%'"
        return {name.removeprefix("lexical_") for (name,) in session.connection().exec_driver_sql(statement)}

    def ids(self, session: Session, collection_id: str) -> set[int]:
        """The `ChunkRow.id` of every row of a collection."""
        connection = session.connection()
        if not _exists(connection, collection_id):
            return set()
        statement = f"SELECT id FROM {_lengths(collection_id)}"  # noqa: S608 - see _table
        return {id_ for (id_,) in connection.exec_driver_sql(statement)}

    def search(self, collection_id: str, texts: Sequence[tuple[str, float]], limit: int = CANDIDATES) -> LexicalHits:
        """The best `limit` rows for each of the weighted `texts`, their scores multiplied by the weights and added.

        Any text is a question, none is FTS5 syntax. What has no words but stop words finds nothing.
        """
        words: dict[int, float] = {}
        phrases: dict[int, float] = {}
        coverage = []
        with self._database.engine.connect() as connection:
            total = _total(connection, collection_id)
            for text, weight in texts:
                terms, pairs = question_terms(text) if total else ([], [])
                counts = _counts(connection, collection_id, terms)
                common = _common(counts) | (STOP_WORDS if total > LARGE else set())
                terms = [term for term in terms if term not in common]
                pairs = [pair for pair in pairs if common.isdisjoint(pair.split())]
                best = _match(connection, collection_id, terms, weight, limit, words)
                _match(connection, collection_id, pairs, weight, limit, phrases)
                mass = _idf_mass(total, [counts[term] for term in terms])
                coverage.append(best / (SATURATION * mass) if best else 0.0)
        return LexicalHits(words, phrases, tuple(coverage))


def question_terms(text: str) -> tuple[list[str], list[str]]:
    """The words of a question without stop words, and its pairs of neighbours of which at least one is no stop word.

    Pairs keep the stop word beside a word ("the crisis", "crisis begin"): worth .007 of R@1 on SQuAD's part against
    pairs of words alone, and nothing on MTRAG-UN.
    """
    sequence = _WORD.findall(_fold(text).lower())
    words = list(dict.fromkeys(word for word in sequence if word not in STOP_WORDS))
    pairs = list(dict.fromkeys(f"{a} {b}" for a, b in pairwise(sequence) if a not in STOP_WORDS or b not in STOP_WORDS))
    return _ends(words), _ends(pairs)


def _ends(items: list[str]) -> list[str]:
    half = MAX_WORDS // 2
    return items if len(items) <= MAX_WORDS else items[:half] + items[-half:]


def _fold(text: str) -> str:
    return _UNSPACED.sub(_bigrams, unicodedata.normalize("NFKC", text))


def _bigrams(run: re.Match[str]) -> str:
    characters = run.group()
    pairs = [a + b for a, b in pairwise(characters)] or [characters]
    return f" {' '.join(pairs)} "


def _table(collection_id: str) -> str:
    # A name cannot be a parameter of a statement: nothing but letters and digits comes in.
    if not re.fullmatch(r"[A-Za-z0-9_]+", collection_id):
        raise ValueError(f"{collection_id!r} is no collection id")
    return f'"lexical_{collection_id}"'


def _lengths(collection_id: str) -> str:
    # FTS5's own table of lengths: the full-text table would read all texts for its rows, 37 ms for 100,000.
    return _table(collection_id)[:-1] + '_docsize"'


def _total(connection: Connection, collection_id: str) -> int:
    if not _exists(connection, collection_id):
        return 0
    statement = f"SELECT count(*) FROM {_lengths(collection_id)}"  # noqa: S608 - see _table
    return int(connection.exec_driver_sql(statement).scalar_one())


def _exists(connection: Connection, collection_id: str) -> bool:
    name = _table(collection_id).strip('"')
    return connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).first() is not None


def _quoted(term: str) -> str:
    # Terms are of word characters and spaces (`_WORD`), so that there is no quote to escape inside.
    return f'"{term}"'


def _match(
    connection: Connection,
    collection_id: str,
    terms: Sequence[str],
    weight: float,
    limit: int,
    scores: dict[int, float],
) -> float:
    """Add the weighted BM25 scores of the rows with any of `terms` to `scores`; gives the best unweighted one."""
    if not terms:
        return 0.0
    rows: Sequence[Any] = connection.exec_driver_sql(
        f"SELECT rowid, -rank FROM {_table(collection_id)}(?) ORDER BY rank LIMIT ?",  # noqa: S608 - see _table
        (" OR ".join(map(_quoted, terms)), limit),
    ).all()
    for rowid, score in rows:
        scores[rowid] = scores.get(rowid, 0.0) + weight * score
    return float(rows[0][1]) if rows else 0.0


def _counts(connection: Connection, collection_id: str, terms: Sequence[str]) -> dict[str, int]:
    """How many rows have each of `terms`."""
    if not terms:
        return {}
    counts = ", ".join(f"(SELECT count(*) FROM {_table(collection_id)}(?))" for _ in terms)  # noqa: S608 - see _table
    row = connection.exec_driver_sql(f"SELECT {counts}", tuple(map(_quoted, terms))).one()
    return dict(zip(terms, row, strict=True))


def _common(counts: dict[str, int]) -> set[str]:
    """The words that are not searched. The rarest always is; those that stand nowhere cost nothing, and that they are
    missing says how little of the question is covered."""
    common = set()
    rows = 0
    for word in sorted(counts, key=counts.__getitem__):
        if rows and rows + counts[word] > ROWS:
            common.add(word)
        rows += counts[word]
    return common


def _idf_mass(total: int, counts: Sequence[int]) -> float:
    """Sum of the idf of terms that stand in so many of `total` rows, as FTS5 has it: ln((N - n + 0.5) / (n + 0.5))."""
    return sum(max(1e-6, math.log((total - n + 0.5) / (n + 0.5))) for n in counts)
