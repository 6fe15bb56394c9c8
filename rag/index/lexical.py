"""Lexical search: BM25 by SQLite FTS5, in the application's database.

One FTS5 table for each Gestalt collection, so that document frequencies are its own; its rowid is `ChunkRow.id`. It has
its own copy of the text: SQLite before 3.43 cannot delete from a contentless table without the old text, and a wrong
one would silently corrupt the index. `porter` has English rules: inflected forms in other languages do not match.
"""

from __future__ import annotations

import json
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
from rag.index.spelling import SHORTEST, nearest

CANDIDATES = 1000  # rows that a search returns; 200 are too few for questions about financial filings
MAX_WORDS = 64  # distinct words that are searched; of a longer question the first and the last half of this
ROWS = 10_000  # that the words of a question may match in total, rarest word first: bounds the time of a search
LARGE = 20_000  # rows above which pairs with a stop word are not searched, since nearly all rows have them
SATURATION = 2.2  # k1 + 1 of FTS5's BM25: a word scores at most this times its idf (sqlite.org/fts5.html)

STOP_WORDS = frozenset(
    """a about above after again against all am an and any are aren as at be because been before being below between
    both but by can cannot could couldn d did didn do does doesn doing don down during each few for from further had
    hadn has hasn have haven having he her here hers herself him himself his how i if in into is isn it its itself just
    ll m me more most my myself no nor not now o of off on once only or other our ours ourselves out over own re s same
    she should shouldn so some such t than that the their theirs them themselves then there these they this those
    through to too under until up ve very was wasn we were weren what when where which while who whom why will with won
    would wouldn you your yours yourself yourselves""".split()
)

# Chinese, Japanese, Korean and Thai.
_UNSPACED = re.compile(
    "[\u0e00-\u0e7f\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class LexicalHits:
    """The result of a lexical search: scores by `ChunkRow.id`, higher is better."""

    words: dict[int, float]  # BM25 of the words
    phrases: dict[int, float]  # BM25 of adjacent word pairs
    coverage: tuple[float, ...]  # of each text, 0 to 1: the best BM25 score relative to the highest possible


class LexicalIndex:
    """The full-text tables of all collections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, session: Session, collection_id: str, rows: Iterable[tuple[int, str]]) -> None:
        """Index `(ChunkRow.id, text)` rows within the transaction of `session`, replacing those that exist."""
        table = _table(collection_id)
        connection = session.connection()
        connection.exec_driver_sql(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {table} "
            "USING fts5(text, tokenize='porter unicode61 remove_diacritics 2')"
        )
        if values := [(rowid, _fold(text)) for rowid, text in rows]:
            statement = f"INSERT OR REPLACE INTO {table} (rowid, text) VALUES (?, ?)"  # noqa: S608 - see _table
            connection.exec_driver_sql(statement, values)

    def delete(self, session: Session, collection_id: str, rowids: Iterable[int]) -> None:
        """Remove rows within the transaction of `session`. Idempotent."""
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
        # FTS5 adds its own tables, with a suffix to the name of the full-text table.
        statement = r"SELECT name FROM sqlite_master WHERE name LIKE 'lexical\_%' ESCAPE '\' AND sql LIKE '%fts5(%'"
        return {name.removeprefix("lexical_") for (name,) in session.connection().exec_driver_sql(statement)}

    def ids(self, session: Session, collection_id: str) -> set[int]:
        """The `ChunkRow.id` of every row of a collection."""
        connection = session.connection()
        if not _exists(connection, collection_id):
            return set()
        statement = f"SELECT id FROM {_lengths(collection_id)}"  # noqa: S608 - see _table
        return {id_ for (id_,) in connection.exec_driver_sql(statement)}

    def search(
        self,
        collection_id: str,
        texts: Sequence[tuple[str, float]],
        limit: int = CANDIDATES,
        *,
        within: Sequence[int] | None = None,
    ) -> LexicalHits:
        """The best `limit` rows for each of `texts`, with sums of their scores by the weights of the texts.

        No text is read as FTS5 syntax. Stop words alone find nothing. `within` are the only rows to search.
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
                best = _match(connection, collection_id, terms, weight, limit, words, within)
                _match(connection, collection_id, pairs, weight, limit, phrases, within)
                mass = _idf_mass(total, [counts[term] for term in terms])
                coverage.append(best / (SATURATION * mass) if best else 0.0)
        return LexicalHits(words, phrases, tuple(coverage))

    def respelt(self, collection_id: str, text: str) -> str:
        """`text` with the nearest word of a collection for each longer word that it does not have.

        Such a word is a stem, as in the index. Large collections have nearly all words, and too many to compare.
        """
        with self._database.engine.connect() as connection:
            if not 0 < _total(connection, collection_id) <= LARGE:
                return text
            terms = [term for term in question_terms(text)[0] if len(term) >= SHORTEST and term.isalpha()]
            missing = [term for term, rows in _counts(connection, collection_id, terms).items() if not rows]
            found = {}
            if missing:
                vocabulary = f'temp."vocabulary_{collection_id}"'
                connection.exec_driver_sql(
                    f"CREATE VIRTUAL TABLE IF NOT EXISTS {vocabulary} "
                    f"USING fts5vocab('main', '{_table(collection_id).strip(chr(34))}', 'row')"
                )
                for term in missing:
                    statement = f"SELECT term FROM {vocabulary} WHERE term >= ? AND term < ?"  # noqa: S608 - see _table
                    known = connection.exec_driver_sql(statement, (term[0], term[0] + chr(0x10FFFF))).scalars()
                    found[term] = nearest(term, known)
        return _WORD.sub(lambda word: found.get(word[0].lower()) or word[0], text)

    def with_phrase(self, collection_id: str, phrases: Iterable[str], limit: int) -> dict[int, str]:
        """Row -> text of `limit` rows that have one of these phrases, which are words separated by spaces."""
        match = " OR ".join(map(_quoted, phrases))
        with self._database.engine.connect() as connection:
            if not match or not _exists(connection, collection_id):
                return {}
            statement = f"SELECT rowid, text FROM {_table(collection_id)}(?) ORDER BY rank LIMIT ?"  # noqa: S608 - see _table
            return {rowid: text for rowid, text in connection.exec_driver_sql(statement, (match, limit))}  # noqa: C416 - rows are no pairs

    def documents_with(self, collection_id: str, phrases: Iterable[str]) -> set[str]:
        """The ids of the documents that have one of these words or phrases."""
        match = " OR ".join(_quoted(words) for each in phrases if (words := phrase(each)))
        with self._database.engine.connect() as connection:
            if not match or not _exists(connection, collection_id):
                return set()
            rows = f"SELECT rowid FROM {_table(collection_id)}(?)"  # noqa: S608 - see _table
            statement = f"SELECT DISTINCT document_id FROM chunks WHERE id IN ({rows})"  # noqa: S608
            return {id_ for (id_,) in connection.exec_driver_sql(statement, (match,))}


def phrase(text: str) -> str:
    """The words of a text as the index has them, separated by spaces."""
    return " ".join(_WORD.findall(_fold(text).lower()))


def question_terms(text: str) -> tuple[list[str], list[str]]:
    """The words of a question without stop words, and its adjacent pairs with at most one stop word.

    Pairs with one stop word ("the crisis") add .007 to R@1 on SQuAD and nothing on MTRAG-UN.
    """
    sequence = _WORD.findall(_fold(text).lower())
    words = list(dict.fromkeys(word for word in sequence if word not in STOP_WORDS))
    pairs = list(dict.fromkeys(f"{a} {b}" for a, b in pairwise(sequence) if a not in STOP_WORDS or b not in STOP_WORDS))
    return _ends(words), _ends(pairs)


def _ends(items: list[str]) -> list[str]:
    half = MAX_WORDS // 2
    return items if len(items) <= MAX_WORDS else items[:half] + items[-half:]


def spoken(text: str) -> str:
    """A question with the names of its pictograms: “🐕 allowed?” asks about dogs."""
    if text.isascii():
        return text
    return "".join(
        f" {unicodedata.name(each, '').lower()} " if unicodedata.category(each) == "So" else each for each in text
    )


def _fold(text: str) -> str:
    """Text without full-width forms and ligatures; runs without spaces are split into overlapping pairs."""
    return _UNSPACED.sub(_bigrams, unicodedata.normalize("NFKC", text))


def _bigrams(run: re.Match[str]) -> str:
    pairs = [a + b for a, b in pairwise(run[0])]
    return f" {' '.join(pairs) or run[0]} "


def _table(collection_id: str) -> str:
    # A table name cannot be a bound parameter.
    if not re.fullmatch(r"[A-Za-z0-9_]+", collection_id):
        raise ValueError(f"{collection_id!r} is not a collection id")
    return f'"lexical_{collection_id}"'


def _lengths(collection_id: str) -> str:
    # FTS5's table of lengths. Listing the rows of the full-text table reads all texts: 37 ms for 100,000.
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
    # Terms have word characters and spaces only (`_WORD`), so no quote to escape.
    return f'"{term}"'


def _match(
    connection: Connection,
    collection_id: str,
    terms: list[str],
    weight: float,
    limit: int,
    scores: dict[int, float],
    within: Sequence[int] | None,
) -> float:
    """Add the weighted BM25 scores of rows with any of `terms` to `scores`; return the best unweighted one."""
    if not terms:
        return 0.0
    only = "" if within is None else "WHERE rowid IN (SELECT value FROM json_each(?))"
    rows: Sequence[Any] = connection.exec_driver_sql(
        f"SELECT rowid, -rank FROM {_table(collection_id)}(?) {only} ORDER BY rank LIMIT ?",  # noqa: S608 - see _table
        (" OR ".join(map(_quoted, terms)), *([] if within is None else [json.dumps(within)]), limit),
    ).all()
    for rowid, score in rows:
        scores[rowid] = scores.get(rowid, 0.0) + weight * score
    return float(rows[0][1]) if rows else 0.0


def _counts(connection: Connection, collection_id: str, terms: Sequence[str]) -> dict[str, int]:
    """In how many rows each of `terms` occurs."""
    if not terms:
        return {}
    counts = ", ".join(f"(SELECT count(*) FROM {_table(collection_id)}(?))" for _ in terms)  # noqa: S608 - see _table
    row = connection.exec_driver_sql(f"SELECT {counts}", tuple(map(_quoted, terms))).one()
    return dict(zip(terms, row, strict=True))


def _common(counts: dict[str, int]) -> set[str]:
    """The words that are too common to search. The rarest word is always searched, and so are words that occur nowhere:
    they lower the coverage."""
    common = set()
    rows = 0
    for word in sorted(counts, key=counts.__getitem__):
        if rows and rows + counts[word] > ROWS:
            common.add(word)
        rows += counts[word]
    return common


def _idf_mass(total: int, counts: Sequence[int]) -> float:
    """The sum of the terms' idf as in FTS5, from their counts n of N rows: ln((N - n + 0.5) / (n + 0.5))."""
    return sum(max(1e-6, math.log((total - n + 0.5) / (n + 0.5))) for n in counts)
