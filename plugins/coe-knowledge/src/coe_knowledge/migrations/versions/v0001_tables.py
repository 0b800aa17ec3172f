"""Make the tables."""

import sqlalchemy as sa
from alembic import op

from coe_core.identity import uuid7
from coe_knowledge.table import String, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them, and begin to count."""
    op.create_table(
        "knowledge_items",
        sa.Column("id", String, primary_key=True),
        sa.Column("group_name", String, nullable=False),
        sa.Column("body", Text, nullable=False),
    )
    op.create_index("knowledge_items_group", "knowledge_items", ["group_name", "id"])
    op.create_table(
        "knowledge_passages",
        sa.Column("id", String, primary_key=True),
        sa.Column("group_name", String, nullable=False),
        sa.Column("item_id", String, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("is_findable", sa.Boolean(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.Column("body", Text, nullable=False),
    )
    op.create_index("knowledge_passages_item", "knowledge_passages", ["item_id", "position"])
    op.create_index("knowledge_passages_change", "knowledge_passages", ["change"])
    op.create_table(
        "knowledge_removals",
        sa.Column("change", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("passage_id", String, nullable=False),
    )
    changes = op.create_table(
        "knowledge_changes",
        sa.Column("store_id", String, primary_key=True),
        sa.Column("last", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(changes, [{"store_id": uuid7(), "last": 0}])
