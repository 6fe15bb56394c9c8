"""Branches of conversations, what made an answer, the list's own fields, files of a conversation, and presets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("parent_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("record", sa.JSON(), nullable=False, server_default="{}"))
    # Until now a conversation was a line.
    op.execute(
        "UPDATE messages SET parent_id = (SELECT before.id FROM messages AS before"
        " WHERE before.conversation_id = messages.conversation_id AND before.position = messages.position - 1)"
    )
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("leaf_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("pinned", sa.Boolean(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("deleted", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("choices", sa.JSON(), nullable=False, server_default="{}"))
    op.execute(
        "UPDATE conversations SET leaf_id = (SELECT id FROM messages"
        " WHERE conversation_id = conversations.id ORDER BY position DESC LIMIT 1)"
    )
    with op.batch_alter_table("collections", schema=None) as batch_op:
        batch_op.add_column(sa.Column("conversation_id", sa.String(), nullable=True))
        batch_op.create_index("ix_collections_conversation_id", ["conversation_id"])
    op.create_table(
        "presets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_presets_owner", "presets", ["owner"])
    op.create_index("ix_presets_owner_name", "presets", ["owner", "name"], unique=True)
