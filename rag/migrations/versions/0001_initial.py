"""The tables of 0.1.0."""

from __future__ import annotations

from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _column(type_: type[sa.types.TypeEngine[Any]], name: str, *more: sa.ForeignKey, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_(), *more, **{"nullable": False} | options)


text, integer, real, flag, moment, json = (
    partial(_column, type_) for type_ in (sa.String, sa.Integer, sa.Double, sa.Boolean, sa.DateTime, sa.JSON)
)


def upgrade() -> None:
    op.create_table(
        "collections",
        text("id", primary_key=True),
        text("name"),
        text("fingerprint"),
        flag("deleting"),
        text("conversation_id", nullable=True, index=True),
        moment("created"),
        text("owner", index=True),
    )
    op.create_index("ix_collections_owner_name", "collections", ["owner", "name"], unique=True)
    op.create_table(
        "indexes",
        text("collection_id", sa.ForeignKey("collections.id"), primary_key=True),
        text("fingerprint", primary_key=True),
        text("embedding_model"),
        json("identity"),
        flag("wanted"),
        moment("created"),
        text("owner", index=True),
    )
    op.create_table(
        "calibrations",
        text("collection_id", sa.ForeignKey("collections.id"), primary_key=True),
        text("fingerprint", primary_key=True),
        integer("chunks"),
        json("values"),
        moment("created"),
        text("owner", index=True),
    )
    op.create_table(
        "documents",
        text("id", primary_key=True),
        text("collection_id", sa.ForeignKey("collections.id")),
        *(text("name"), text("path", index=True), integer("version"), text("replaces", nullable=True)),
        *(text("sha256", index=True), integer("size"), text("state", index=True)),
        *(integer("pages"), integer("chunks"), real("seconds")),
        *(text("reason"), text("reason_type"), json("warnings")),
        *(integer("attempts"), moment("next_try", nullable=True), real("progress")),
        moment("created"),
        text("owner", index=True),
    )
    op.create_index("ix_documents_collection_sha256", "documents", ["collection_id", "sha256"], unique=True)
    op.create_table(
        "pages",
        text("document_id", sa.ForeignKey("documents.id"), primary_key=True),
        integer("position", primary_key=True),
        *(integer("number", nullable=True), text("label"), text("text")),
        text("owner", index=True),
    )
    op.create_table(
        "chunks",
        integer("id", primary_key=True),
        text("chunk_id", unique=True),
        text("collection_id", sa.ForeignKey("collections.id"), index=True),
        text("document_id", sa.ForeignKey("documents.id"), index=True),
        *(integer("position"), integer("page", nullable=True), integer("start"), integer("end")),
        *(text("heading"), text("label"), text("text")),
        text("owner", index=True),
    )
    op.create_table(
        "conversations",
        text("id", primary_key=True),
        *(text("title"), text("leaf_id", nullable=True), flag("pinned"), moment("deleted", nullable=True)),
        *(json("options"), text("preset", nullable=True)),
        *(moment("created"), moment("updated", index=True)),
        text("owner", index=True),
    )
    op.create_table(
        "messages",
        text("id", primary_key=True),
        text("conversation_id", sa.ForeignKey("conversations.id")),
        *(
            text("parent_id", nullable=True),
            integer("position"),
            text("role"),
            text("text"),
            text("finish", index=True),
        ),
        *(text("backend"), text("model"), json("passages"), json("citations"), json("usage"), json("timings")),
        *(flag("abstained"), json("error", nullable=True), json("notes"), json("checks"), json("ledger")),
        *(json("feedback", nullable=True), json("record")),
        moment("created"),
        text("owner", index=True),
    )
    op.create_index("ix_messages_conversation_position", "messages", ["conversation_id", "position"], unique=True)
    op.create_table(
        "presets",
        *(text("id", primary_key=True), text("name"), json("options"), flag("is_default"), moment("created")),
        text("owner", index=True),
    )
    op.create_index("ix_presets_owner_name", "presets", ["owner", "name"], unique=True)
    op.create_table(
        "question_sets",
        *(text("id", primary_key=True), text("name"), json("questions"), moment("created")),
        text("owner", index=True),
    )
    op.create_index("ix_question_sets_owner_name", "question_sets", ["owner", "name"], unique=True)
    op.create_table(
        "evaluations",
        text("id", primary_key=True),
        text("question_set_id", sa.ForeignKey("question_sets.id"), index=True),
        *(json("configuration"), json("figures"), json("results"), moment("created", index=True)),
        text("owner", index=True),
    )
