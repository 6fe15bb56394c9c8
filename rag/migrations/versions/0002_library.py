"""versions, warnings and retries of documents; labels of pages; headings of chunks; several indexes a collection."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "indexes",
        sa.Column("collection_id", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("embedding_model", sa.String(), nullable=False),
        sa.Column("identity", sa.JSON(), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"]),
        sa.PrimaryKeyConstraint("collection_id", "fingerprint"),
    )
    with op.batch_alter_table("indexes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_indexes_owner"), ["owner"], unique=False)
    with op.batch_alter_table("collections", schema=None) as batch_op:
        batch_op.add_column(sa.Column("deleting", sa.Boolean(), nullable=False, server_default="0"))
    with op.batch_alter_table("documents", schema=None) as batch_op:
        batch_op.add_column(sa.Column("path", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("replaces", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("reason_type", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("next_try", sa.DateTime(), nullable=True))
        batch_op.create_index(batch_op.f("ix_documents_path"), ["path"], unique=False)
    with op.batch_alter_table("pages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("label", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("chunks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("heading", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("label", sa.String(), nullable=False, server_default=""))
    op.execute("UPDATE documents SET path = name")
    # Until now every collection was indexed by the embedded model or by the one of the settings, which no row names.
    op.execute(
        "INSERT INTO indexes (collection_id, fingerprint, embedding_model, identity, wanted, created, owner) "
        "SELECT id, fingerprint, CASE WHEN fingerprint LIKE 'all-MiniLM-L6-v2-384-%' THEN 'embedded' ELSE '' END, "
        "'{}', 0, created, owner FROM collections WHERE fingerprint <> ''"
    )
