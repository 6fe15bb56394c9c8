"""Checks, ledgers and feedback of messages; calibrations of collections; question sets and evaluations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("checks", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("ledger", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("feedback", sa.JSON(), nullable=True))
    op.create_table(
        "calibrations",
        sa.Column("collection_id", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"]),
        sa.PrimaryKeyConstraint("collection_id", "fingerprint"),
    )
    op.create_table(
        "question_sets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("questions", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("question_set_id", sa.String(), nullable=False),
        sa.Column("configuration", sa.JSON(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("results", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["question_set_id"], ["question_sets.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_calibrations_owner", "calibrations", ["owner"])
    op.create_index("ix_question_sets_owner", "question_sets", ["owner"])
    op.create_index("ix_question_sets_owner_name", "question_sets", ["owner", "name"], unique=True)
    op.create_index("ix_evaluations_owner", "evaluations", ["owner"])
    op.create_index("ix_evaluations_created", "evaluations", ["created"])
    op.create_index("ix_evaluations_question_set_id", "evaluations", ["question_set_id"])
