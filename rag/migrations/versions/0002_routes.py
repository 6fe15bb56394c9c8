"""How an answer was made, and the text that quotes replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("route", sa.JSON(), nullable=True))
    op.add_column("messages", sa.Column("folded", sa.String(), nullable=False, server_default=""))
