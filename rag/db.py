"""The application's database (SQLite in the data folder): tables, engine and migrations.

Queries return the records of `schema.py`, never ORM objects. `index/lexical.py` makes the full-text tables.
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


def clean(text: str) -> str:
    """`text` without lone surrogates, which neither SQLite nor a tokenizer accepts."""
    return text.encode("utf-8", "replace").decode()


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC; SQLite does not store the zone."""

    impl = DateTime
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    @override
    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


class Base(DeclarativeBase):
    """The base of all tables: every row has an owner."""

    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012 - as SQLAlchemy requires

    owner: Mapped[str] = mapped_column(index=True)


class IdentifiedBase(Base):
    """A row with an identifier, and the time when it was made."""

    __abstract__ = True

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    created: Mapped[datetime] = mapped_column(default=now)


class CollectionRow(IdentifiedBase):
    """A named set of documents and the embedding model that indexed it."""

    __tablename__ = "collections"
    __table_args__ = (Index("ix_collections_owner_name", "owner", "name", unique=True),)

    name: Mapped[str]
    fingerprint: Mapped[str] = mapped_column(default="")  # of the active index; see `IndexRow`
    deleting: Mapped[bool] = mapped_column(default=False)
    conversation_id: Mapped[str | None] = mapped_column(index=True)  # whose attached files it contains, if any


class IndexRow(Base):
    """An index of a collection by one embedding model."""

    __tablename__ = "indexes"

    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    embedding_model: Mapped[str]  # the value of GESTALT_EMBEDDING_MODEL
    identity: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the fingerprint stands for: model, weights, dimension, prefixes, splitter."""
    wanted: Mapped[bool] = mapped_column(default=False)  # being built; becomes active when complete
    created: Mapped[datetime] = mapped_column(default=now)


class DocumentRow(IdentifiedBase):
    """A document and its state."""

    __tablename__ = "documents"
    __table_args__ = (Index("ix_documents_collection_sha256", "collection_id", "sha256", unique=True),)

    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id"))
    name: Mapped[str]
    path: Mapped[str] = mapped_column(default="", index=True)  # relative to the folder that was added
    version: Mapped[int] = mapped_column(default=1)  # among the documents with its path
    replaces: Mapped[str | None]
    """The document to delete when this one is ready: an older version, or itself in another collection."""
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int]
    state: Mapped[str] = mapped_column(index=True)
    pages: Mapped[int] = mapped_column(default=0)
    chunks: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[float] = mapped_column(default=0.0)
    reason: Mapped[str] = mapped_column(default="")
    reason_type: Mapped[str] = mapped_column(default="")  # the class of the error
    warnings: Mapped[list[Any]] = mapped_column(default=list)
    attempts: Mapped[int] = mapped_column(default=0)
    next_try: Mapped[datetime | None]  # when to try again
    progress: Mapped[float] = mapped_column(default=0.0)


class PageRow(Base):
    """The text of one page."""

    __tablename__ = "pages"

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)  # 0-based
    number: Mapped[int | None]
    label: Mapped[str] = mapped_column(default="")
    text: Mapped[str]


class ChunkRow(Base):
    """A chunk; `id` is its row in the full-text table, `chunk_id` its id in Chroma."""

    __tablename__ = "chunks"

    id: Mapped[int] = mapped_column(primary_key=True)
    chunk_id: Mapped[str] = mapped_column(unique=True)  # `document_id:position`
    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id"), index=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"), index=True)
    position: Mapped[int]
    page: Mapped[int | None]
    start: Mapped[int]
    end: Mapped[int]
    heading: Mapped[str] = mapped_column(default="")
    label: Mapped[str] = mapped_column(default="")
    text: Mapped[str]


class ConversationRow(IdentifiedBase):
    """A conversation."""

    __tablename__ = "conversations"

    title: Mapped[str]
    leaf_id: Mapped[str | None]  # the last message of the shown branch
    pinned: Mapped[bool] = mapped_column(default=False)
    deleted: Mapped[datetime | None]  # when it was hidden; it is removed later
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)  # `AnswerOptions` of its last question
    preset: Mapped[str | None]  # the preset they came from
    updated: Mapped[datetime] = mapped_column(default=now, index=True)


class MessageRow(IdentifiedBase):
    """A message of a conversation, with everything that went into it."""

    __tablename__ = "messages"
    __table_args__ = (Index("ix_messages_conversation_position", "conversation_id", "position", unique=True),)

    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    parent_id: Mapped[str | None]  # the message before it; those with the same parent are versions of each other
    position: Mapped[int]  # by time, across branches
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
    route: Mapped[dict[str, Any] | None]
    thoughts: Mapped[str] = mapped_column(default="")
    folded: Mapped[str] = mapped_column(default="")
    feedback: Mapped[dict[str, Any] | None]
    record: Mapped[dict[str, Any]] = mapped_column(default=dict, deferred=True)
    """What it was made with: prompt, passages, model, settings. Deferred, because it is large and rarely read."""


class ServerRow(IdentifiedBase):
    """A server of models that was set up on the page; `id` is the name of its backend."""

    __tablename__ = "servers"

    kind: Mapped[str]
    label: Mapped[str]
    values: Mapped[dict[str, Any]] = mapped_column(default=dict)  # settings, without the key
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)  # of its answers, where they differ from the usual
    key: Mapped[str] = mapped_column(default="")  # encrypted; empty if there is none
    disabled: Mapped[bool] = mapped_column(default=False)


class PresetRow(IdentifiedBase):
    """Answer options by name."""

    __tablename__ = "presets"
    __table_args__ = (Index("ix_presets_owner_name", "owner", "name", unique=True),)

    name: Mapped[str]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    is_default: Mapped[bool] = mapped_column(default=False)


class CalibrationRow(Base):
    """When Gestalt abstains on questions to a collection; see `rag.index.abstention.Calibration`."""

    __tablename__ = "calibrations"

    collection_id: Mapped[str] = mapped_column(ForeignKey("collections.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    chunks: Mapped[int]  # how many the collection had when it was calibrated
    values: Mapped[dict[str, Any]]
    created: Mapped[datetime] = mapped_column(default=now)


class QuestionSetRow(IdentifiedBase):
    """Questions with their expected answers."""

    __tablename__ = "question_sets"
    __table_args__ = (Index("ix_question_sets_owner_name", "owner", "name", unique=True),)

    name: Mapped[str]
    questions: Mapped[list[Any]] = mapped_column(default=list)


class EvaluationRow(IdentifiedBase):
    """The results of a question set with one configuration."""

    __tablename__ = "evaluations"

    question_set_id: Mapped[str] = mapped_column(ForeignKey("question_sets.id"), index=True)
    configuration: Mapped[dict[str, Any]] = mapped_column(default=dict)
    figures: Mapped[dict[str, Any]] = mapped_column(default=dict)
    results: Mapped[list[Any]] = mapped_column(default=list)  # one for each question
    created: Mapped[datetime] = mapped_column(default=now, index=True)


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # WAL: pages can read while the ingest worker writes.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    # SQLite's lower() handles ASCII only.
    connection.create_function("casefold", 1, str.casefold, deterministic=True)


class Database:
    """The engine and its sessions."""

    def __init__(self, path: Path) -> None:
        """Open, create or migrate the database. Raises StoreError if it is none, or cannot be written."""
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
        """A session in a transaction that commits, or rolls back on an error. Raises StoreError."""
        try:
            with self._sessions.begin() as session:
                yield session
        except OperationalError as error:
            raise StoreError(
                f"The database failed: {error.orig}.",
                "Check that the data folder is writable and the disk is not full.",
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()
