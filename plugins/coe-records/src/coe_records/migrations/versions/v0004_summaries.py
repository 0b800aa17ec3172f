"""Make the table of summaries."""

import sqlalchemy as sa
from alembic import op

from coe_records.column import String, Text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make it."""
    op.create_table(
        "conversation_summaries",
        sa.Column("id", String, nullable=False),
        sa.Column("group_name", String, nullable=False),
        sa.Column("session_id", String, nullable=False),
        sa.Column("first_turn", String, nullable=False),
        sa.Column("last_turn", String, nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("extends", String),
        sa.Column("summarizer", String, nullable=False),
        sa.Column("content", Text, nullable=False),
        sa.Column("job_id", String),
        sa.Column("at", String, nullable=False),
        sa.Column("segment", String, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", String, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "conversation_summaries_turn", "conversation_summaries", ["last_turn", "group_name"]
    )
