"""Let machines share a database: who writes, and the lines, should a machine be lost."""

import sqlalchemy as sa
from alembic import op

from coe_records.column import String

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "writers",
        sa.Column("name", String, nullable=False),
        sa.Column("log", String, nullable=False),
        sa.Column("host", String, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "lines",
        sa.Column("segment", String, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("group_name", String),
        sa.Column("line", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("segment", "offset_bytes"),
    )
