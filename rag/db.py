"""The application's database: tables, engine and migrations (SQLite in the data folder).

Every table has an owner. Rows are turned into the records of `schema.py` by whoever queries them; no ORM object leaves
the room. The full-text tables of `index/lexical.py` live in the same file but are made there.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import JSON, DateTime, Dialect, Engine, ForeignKey, Index, TypeDecorator, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from typing_extensions import override

from errors import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"


def new_id() -> str:
    """A random identifier, 32 hexadecimal characters."""
    return uuid.uuid4().hex


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is put back on the way out."""

    impl = DateTime
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    @override
    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


class Base(DeclarativeBase):
    """What all tables share: an owner."""

    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012 - SQLAlchemy's own form

    owner: Mapped[str] = mapped_column(index=True)


class CollectionRow(Base):
    """A named set of documents and the embedding model that indexed it."""

    __tablename__ = "collections"
    __table_args__ = (Index("ix_collections_owner_name", "owner", "name", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    fingerprint: Mapped[str] = mapped_column(default="")
    """Of the index that answers; see `IndexRow`."""
    deleting: Mapped[bool] = mapped_column(default=False)
    conversation_id: Mapped[str | None] = mapped_column(index=True)
    """The conversation whose attached files it holds; None for those that people make."""
    created: Mapped[datetime] = mapped_column(default=now)


class IndexRow(Base):
    """An index of a collection: that of one embedding model. One of them answers."""

    __tablename__ = "indexes"

    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    embedding_model: Mapped[str]
    """As GESTALT_EMBEDDING_MODEL names it."""
    identity: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the fingerprint stands for, for people: model, weights, dimension, prefixes, splitter."""
    wanted: Mapped[bool] = mapped_column(default=False)
    """It is being built, and answers when it is complete."""
    created: Mapped[datetime] = mapped_column(default=now)


class DocumentRow(Base):
    """A document and where it is on its way in."""

    __tablename__ = "documents"
    __table_args__ = (Index("ix_documents_collection_sha256", "collection_id", "sha256", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id"))
    name: Mapped[str]
    path: Mapped[str] = mapped_column(default="", index=True)
    """Relative to what was named when it was added; another content under the same path is another version."""
    version: Mapped[int] = mapped_column(default=1)
    replaces: Mapped[str | None]
    """The document that goes when this one is ready: an older version, or itself in another collection."""
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int]
    state: Mapped[str] = mapped_column(index=True)
    pages: Mapped[int] = mapped_column(default=0)
    chunks: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[float] = mapped_column(default=0.0)
    reason: Mapped[str] = mapped_column(default="")
    reason_type: Mapped[str] = mapped_column(default="")
    """Class of the error behind the reason."""
    warnings: Mapped[list[Any]] = mapped_column(default=list)
    attempts: Mapped[int] = mapped_column(default=0)
    next_try: Mapped[datetime | None]
    """It waits until then: a later try may help."""
    progress: Mapped[float] = mapped_column(default=0.0)
    created: Mapped[datetime] = mapped_column(default=now)


class PageRow(Base):
    """The text of one page as it was read."""

    __tablename__ = "pages"

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """0-based."""
    number: Mapped[int | None]
    label: Mapped[str] = mapped_column(default="")
    text: Mapped[str]


class ChunkRow(Base):
    """A chunk; `id` is its row in the full-text table, `chunk_id` its id in Chroma."""

    __tablename__ = "chunks"

    id: Mapped[int] = mapped_column(primary_key=True)
    chunk_id: Mapped[str] = mapped_column(unique=True)
    """`document_id:position`."""
    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id"), index=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"), index=True)
    position: Mapped[int]
    page: Mapped[int | None]
    start: Mapped[int]
    end: Mapped[int]
    heading: Mapped[str] = mapped_column(default="")
    label: Mapped[str] = mapped_column(default="")
    text: Mapped[str]


class ConversationRow(Base):
    """A conversation."""

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    title: Mapped[str]
    leaf_id: Mapped[str | None]
    """The last message of the branch that is shown."""
    pinned: Mapped[bool] = mapped_column(default=False)
    deleted: Mapped[datetime | None]
    """It is not shown, and is removed for good some time after."""
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The `AnswerOptions` of its last question."""
    preset: Mapped[str | None]
    """Name of the preset that was chosen with them."""
    created: Mapped[datetime] = mapped_column(default=now)
    updated: Mapped[datetime] = mapped_column(default=now, index=True)


class MessageRow(Base):
    """A message of a conversation, with everything that made it."""

    __tablename__ = "messages"
    __table_args__ = (Index("ix_messages_conversation_position", "conversation_id", "position", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    parent_id: Mapped[str | None]
    """The message before it. Messages with the same one are versions of each other."""
    position: Mapped[int]
    """In the order in which they came, whatever their branch."""
    role: Mapped[str]
    text: Mapped[str]
    finish: Mapped[str] = mapped_column(index=True)
    backend: Mapped[str] = mapped_column(default="")
    model: Mapped[str] = mapped_column(default="")
    passages: Mapped[list[Any]] = mapped_column(default=list)
    citations: Mapped[list[Any]] = mapped_column(default=list)
    usage: Mapped[dict[str, Any]] = mapped_column(default=dict)
    timings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    abstained: Mapped[bool] = mapped_column(default=False)
    error: Mapped[dict[str, Any] | None]
    notes: Mapped[list[Any]] = mapped_column(default=list)
    checks: Mapped[list[Any]] = mapped_column(default=list)
    ledger: Mapped[dict[str, Any]] = mapped_column(default=dict)
    feedback: Mapped[dict[str, Any] | None]
    record: Mapped[dict[str, Any]] = mapped_column(default=dict, deferred=True)
    """What made it: prompt, passages, model, settings. As long as all else, and seldom looked at."""
    created: Mapped[datetime] = mapped_column(default=now)


class PresetRow(Base):
    """Answer options by name."""

    __tablename__ = "presets"
    __table_args__ = (Index("ix_presets_owner_name", "owner", "name", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    is_default: Mapped[bool] = mapped_column(default=False)
    created: Mapped[datetime] = mapped_column(default=now)


class CalibrationRow(Base):
    """When Gestalt abstains over a collection, measured on its own text, for one embedding model."""

    __tablename__ = "calibrations"

    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    chunks: Mapped[int]
    """How many the collection had then: with many more or fewer it is made anew."""
    values: Mapped[dict[str, Any]]
    """Constants and error rates: a `rag.index.abstention.Calibration`."""
    created: Mapped[datetime] = mapped_column(default=now)


class QuestionSetRow(Base):
    """Questions with what would be a right answer, to measure by."""

    __tablename__ = "question_sets"
    __table_args__ = (Index("ix_question_sets_owner_name", "owner", "name", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    questions: Mapped[list[Any]] = mapped_column(default=list)
    created: Mapped[datetime] = mapped_column(default=now)


class EvaluationRow(Base):
    """What was measured with a question set and a configuration."""

    __tablename__ = "evaluations"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    question_set_id: Mapped[str] = mapped_column(ForeignKey("question_sets.id"), index=True)
    configuration: Mapped[dict[str, Any]] = mapped_column(default=dict)
    figures: Mapped[dict[str, Any]] = mapped_column(default=dict)
    results: Mapped[list[Any]] = mapped_column(default=list)
    """A row a question."""
    created: Mapped[datetime] = mapped_column(default=now, index=True)


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # WAL: pages read while the ingest worker writes.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    # SQLite's own lower() knows ASCII only.
    connection.create_function("casefold", 1, str.casefold, deterministic=True)


class Database:
    """The engine and its sessions."""

    def __init__(self, path: Path) -> None:
        """Open the database at `path`, made or migrated to the newest schema.

        Raises:
            StoreError: the file is no database, or cannot be written.
        """
        self.engine: Engine = create_engine(f"sqlite:///{path}")
        event.listen(self.engine, "connect", _set_pragmas)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        try:
            self._migrate()
        except DatabaseError as error:
            raise StoreError(
                f"The database {path} cannot be opened: {error.orig}.",
                "Check that the folder is writable, or move the file away to start with an empty library.",
            ) from error

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        logging.getLogger("alembic").setLevel(logging.WARNING)
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session in a transaction that commits at the end and rolls back on an error.

        Raises:
            StoreError: the database cannot be read or written.
        """
        try:
            with self._sessions.begin() as session:
                yield session
        except OperationalError as error:
            raise StoreError(
                f"The database could not do what was asked: {error.orig}.",
                "Check that the data folder is writable and the disk is not full.",
            ) from error

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()
