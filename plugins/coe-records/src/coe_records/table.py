"""The tables: projections of the log, each row with its pointer into it, and two that are none.

Times are RFC 3339 texts in UTC and sort as such; money is a decimal text, exact.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    text,
)

from coe_records.column import String, Text

HEAD = "0006"
"""The newest migration, so that a start need not load Alembic to find that none is due."""

VERSION_TABLE = "records_version"

metadata = MetaData()


def _pointer() -> list[Column[Any]]:
    return [
        Column("segment", String, nullable=False),
        Column("offset_bytes", BigInteger, nullable=False),
        Column("length_bytes", BigInteger, nullable=False),
        Column("sha256", String, nullable=False),
    ]


interactions = Table(
    "interactions",
    metadata,
    Column("id", String, primary_key=True),
    Column("group_name", String, nullable=False),
    Column("session_id", String, nullable=False),
    Column("key_id", String),
    Column("started_at", String, nullable=False),
    Column("ended_at", String, nullable=False),
    Column("requested_model", String, nullable=False),
    Column("target", String),
    Column("router", String),
    Column("status", String, nullable=False),
    Column("finish_reason", String),
    Column("failure", String),
    Column("error_code", String),
    Column("follows", String),
    Column("parent_turn_id", String),
    Column("root_id", String, nullable=False),
    Column("depth", Integer, nullable=False),
    # The first eight bytes of the conversation's digest: an index of whole ones would be the
    # largest and slowest of all, and the record is read to compare the rest.
    Column("conversation_key", BigInteger),
    Column("messages", Integer, nullable=False),
    *_pointer(),
    Index("interactions_session", "session_id", "group_name", "started_at"),
    Index("interactions_conversation", "conversation_key"),
    Index(
        "interactions_follows",
        "follows",
        sqlite_where=text("follows IS NOT NULL"),
        postgresql_where=text("follows IS NOT NULL"),
    ),
    Index("interactions_started", "started_at", "id", "group_name"),
    sqlite_with_rowid=False,
)

chat_messages = Table(
    "chat_messages",
    metadata,
    Column("turn_id", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("group_name", String, nullable=False),
    # `new`, `exchange` or `answer`.
    Column("part", String, nullable=False),
    Column("choice", Integer, nullable=False),
    # Whether it belongs to the conversation: of several choices only the first does.
    Column("in_conversation", Boolean, nullable=False),
    Column("role", String, nullable=False),
    Column("content", Text),
    # The whole message in JSON, where it is more than a role and a text.
    Column("message", Text),
    *_pointer(),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("owner_id", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("group_name", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("model", String, nullable=False),
    Column("provider", String),
    Column("name", String),
    Column("started_at", String, nullable=False),
    Column("duration_s", Float),
    Column("first_token_s", Float),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    # True where the upstream reported nothing, and where a process died in the attempt.
    Column("estimated", Boolean, nullable=False),
    Column("cost_usd", String),
    Column("price_version", String),
    Column("overspent_usd", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("error_code", String),
    Column("continues", String),
    *_pointer(),
    sqlite_with_rowid=False,
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", String, primary_key=True),
    Column("turn_id", String, nullable=False),
    Column("group_name", String, nullable=False),
    Column("rating", Integer),
    Column("label", String),
    Column("route", String),
    Column("content", Text),
    Column("actor", String, nullable=False),
    Column("at", String, nullable=False),
    *_pointer(),
    Index("feedback_turn", "turn_id", "group_name"),
    Index("feedback_at", "at", "id", "group_name"),
    sqlite_with_rowid=False,
)

conversation_summaries = Table(
    "conversation_summaries",
    metadata,
    # The digest of what it was made from.
    Column("id", String, primary_key=True),
    Column("group_name", String, nullable=False),
    Column("session_id", String, nullable=False),
    Column("first_turn", String, nullable=False),
    Column("last_turn", String, nullable=False),
    Column("messages", Integer, nullable=False),
    # The summary that it goes on from.
    Column("extends", String),
    Column("summarizer", String, nullable=False),
    Column("content", Text, nullable=False),
    Column("job_id", String),
    Column("at", String, nullable=False),
    *_pointer(),
    Index("conversation_summaries_turn", "last_turn", "group_name"),
    sqlite_with_rowid=False,
)

segments = Table(
    "segments",
    metadata,
    Column("path", String, primary_key=True),
    Column("writer", String, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    # How far the segment is projected.
    Column("end_bytes", BigInteger, nullable=False),
    # The head of the last line.
    Column("head", String, nullable=False),
    Index("segments_writer", "writer", "last_seq"),
    sqlite_with_rowid=False,
)

PROJECTIONS = (
    interactions,
    chat_messages,
    attempts,
    feedback,
    conversation_summaries,
    segments,
)
"""What is made from the log, and can be made from it again."""

# Whose chain a writer's is, so that no two machines that share the database go on with one.
writers = Table(
    "writers",
    metadata,
    Column("name", String, primary_key=True),
    # The `id` of the log that the writer's segments are in.
    Column("log", String, nullable=False),
    # The machine, for people to find it by.
    Column("host", String, nullable=False),
)

# The lines of the log, where the database is to keep them: only there, and only until another
# place has them that outlives the machine.
lines = Table(
    "lines",
    metadata,
    Column("segment", String, primary_key=True),
    Column("offset_bytes", BigInteger, primary_key=True),
    # None for a record of no group.
    Column("group_name", String),
    Column("line", LargeBinary, nullable=False),
)
