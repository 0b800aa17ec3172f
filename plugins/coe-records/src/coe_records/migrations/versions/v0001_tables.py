"""Make the tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from coe_records.column import String, Text

revision = "0001"
down_revision = None


def _pointer() -> list[sa.Column[Any]]:
    return [
        sa.Column("segment", String, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", String, nullable=False),
    ]


def upgrade() -> None:
    """Make them all."""
    op.create_table(
        "attempts",
        sa.Column("owner_id", String, nullable=False),
        sa.Column("id", String, nullable=False),
        sa.Column("group_name", String, nullable=False),
        sa.Column("purpose", String, nullable=False),
        sa.Column("model", String, nullable=False),
        sa.Column("provider", String),
        sa.Column("name", String),
        sa.Column("started_at", String, nullable=False),
        sa.Column("duration_s", sa.Float()),
        sa.Column("first_token_s", sa.Float()),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("cost_usd", String),
        sa.Column("price_version", String),
        sa.Column("overspent_usd", String, nullable=False),
        sa.Column("outcome", String, nullable=False),
        sa.Column("error_code", String),
        sa.Column("continues", String),
        *_pointer(),
        sa.PrimaryKeyConstraint("owner_id", "id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chat_messages",
        sa.Column("turn_id", String, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("group_name", String, nullable=False),
        sa.Column("part", String, nullable=False),
        sa.Column("choice", sa.Integer(), nullable=False),
        sa.Column("in_conversation", sa.Boolean(), nullable=False),
        sa.Column("role", String, nullable=False),
        sa.Column("content", Text),
        sa.Column("message", Text),
        *_pointer(),
        sa.PrimaryKeyConstraint("turn_id", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "interactions",
        sa.Column("id", String, nullable=False),
        sa.Column("group_name", String, nullable=False),
        sa.Column("session_id", String, nullable=False),
        sa.Column("key_id", String),
        sa.Column("started_at", String, nullable=False),
        sa.Column("ended_at", String, nullable=False),
        sa.Column("requested_model", String, nullable=False),
        sa.Column("target", String),
        sa.Column("router", String),
        sa.Column("status", String, nullable=False),
        sa.Column("finish_reason", String),
        sa.Column("failure", String),
        sa.Column("error_code", String),
        sa.Column("follows", String),
        sa.Column("parent_turn_id", String),
        sa.Column("root_id", String, nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("conversation_key", sa.BigInteger()),
        sa.Column("messages", sa.Integer(), nullable=False),
        *_pointer(),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("interactions_conversation", "interactions", ["conversation_key"])
    op.create_index(
        "interactions_follows",
        "interactions",
        ["follows"],
        sqlite_where=sa.text("follows IS NOT NULL"),
        postgresql_where=sa.text("follows IS NOT NULL"),
    )
    op.create_index(
        "interactions_session", "interactions", ["session_id", "group_name", "started_at"]
    )
    op.create_index("interactions_started", "interactions", ["started_at", "id", "group_name"])
    op.create_table(
        "segments",
        sa.Column("path", String, nullable=False),
        sa.Column("writer", String, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("end_bytes", sa.BigInteger(), nullable=False),
        sa.Column("head", String, nullable=False),
        sa.PrimaryKeyConstraint("path"),
        sqlite_with_rowid=False,
    )
    op.create_index("segments_writer", "segments", ["writer", "last_seq"])
