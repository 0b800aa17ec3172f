"""Make the table."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "kept",
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("group_name", sa.String(), nullable=False),
    )
