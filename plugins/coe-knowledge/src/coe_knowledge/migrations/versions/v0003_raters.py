"""Keep a rating of each who rates, where there was one of each turn."""

import sqlalchemy as sa
from alembic import op

from coe_knowledge.table import String

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table anew; the log is read again from its beginning, and all is counted."""
    op.drop_table("knowledge_ratings")
    op.create_table(
        "knowledge_ratings",
        sa.Column("turn_id", String, primary_key=True),
        sa.Column("group_name", String, primary_key=True),
        sa.Column("actor", String, primary_key=True),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("at", String, nullable=False),
        sa.Column("feedback_id", String, nullable=False),
    )
    op.execute(sa.text("UPDATE knowledge_tally SET cursor = ''"))
