"""Make the table of feedback."""

import sqlalchemy as sa
from alembic import op

from coe_records.column import String, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make it."""
    op.create_table(
        "feedback",
        sa.Column("id", String, nullable=False),
        sa.Column("turn_id", String, nullable=False),
        sa.Column("group_name", String, nullable=False),
        sa.Column("rating", sa.Integer()),
        sa.Column("label", String),
        sa.Column("route", String),
        sa.Column("content", Text),
        sa.Column("actor", String, nullable=False),
        sa.Column("at", String, nullable=False),
        sa.Column("segment", String, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", String, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("feedback_turn", "feedback", ["turn_id", "group_name"])
