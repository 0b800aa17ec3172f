"""The tables. A body is the whole value, in JSON; the columns beside it are what is asked for."""

from __future__ import annotations

import sqlalchemy as sa

HEAD = "0003"
"""The newest migration."""

# Sorted by code point on every database.
String = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

metadata = sa.MetaData()

items = sa.Table(
    "knowledge_items",
    metadata,
    sa.Column("id", String, primary_key=True),
    sa.Column("group_name", String, nullable=False),
    sa.Column("body", Text, nullable=False),
)

passages = sa.Table(
    "knowledge_passages",
    metadata,
    sa.Column("id", String, primary_key=True),
    sa.Column("group_name", String, nullable=False),
    sa.Column("item_id", String, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("is_findable", sa.Boolean, nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False),
    sa.Column("body", Text, nullable=False),
)

removals = sa.Table(
    "knowledge_removals",
    metadata,
    sa.Column("change", sa.BigInteger, primary_key=True),
    sa.Column("passage_id", String, nullable=False),
)
"""What indexes have yet to forget. No group's: ids alone are of no use to anybody."""

changes = sa.Table(
    "knowledge_changes",
    metadata,
    sa.Column("store_id", String, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)
"""One row: which store this is, and the number of the last change."""


def last_change(connection: sa.Connection) -> int:
    """Return the number of the last change, when nobody else writes; others wait from now on until
    the transaction ends.
    """
    return int(connection.execute(sa.select(changes.c.last).with_for_update()).scalar_one())


uses = sa.Table(
    "knowledge_uses",
    metadata,
    sa.Column("turn_id", String, primary_key=True),
    sa.Column("card_id", String, primary_key=True),
    sa.Column("group_name", String, nullable=False),
)
"""Which answers cite which cards."""

ratings = sa.Table(
    "knowledge_ratings",
    metadata,
    sa.Column("turn_id", String, primary_key=True),
    sa.Column("group_name", String, primary_key=True),
    sa.Column("actor", String, primary_key=True),
    sa.Column("rating", sa.Integer, nullable=False),
    sa.Column("at", String, nullable=False),
    sa.Column("feedback_id", String, nullable=False),
)
"""What each last said of an answer."""

tally = sa.Table("knowledge_tally", metadata, sa.Column("cursor", Text, primary_key=True))
"""One row: how far the log was read for the two above."""
