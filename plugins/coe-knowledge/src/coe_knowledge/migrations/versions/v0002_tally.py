"""Make the tables that count what became of cards."""

import sqlalchemy as sa
from alembic import op

from coe_knowledge.table import String, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make them; the log is read from its beginning."""
    op.create_table(
        "knowledge_uses",
        sa.Column("turn_id", String, primary_key=True),
        sa.Column("card_id", String, primary_key=True),
        sa.Column("group_name", String, nullable=False),
    )
    op.create_index("knowledge_uses_card", "knowledge_uses", ["card_id"])
    op.create_table(
        "knowledge_ratings",
        sa.Column("turn_id", String, primary_key=True),
        sa.Column("group_name", String, nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("at", String, nullable=False),
        sa.Column("feedback_id", String, nullable=False),
    )
    tally = op.create_table("knowledge_tally", sa.Column("cursor", Text, primary_key=True))
    op.bulk_insert(tally, [{"cursor": ""}])
