"""Let machines share the state, where they share a database; on SQLite the engine has its own."""

import sqlalchemy as sa
from alembic import op

from coe_records.column import String

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_table(
        "state",
        sa.Column("key", String, primary_key=True),
        sa.Column("version", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
    )
    # The machine whose own state the table began with: a row, once there was one.
    op.create_table("state_origin", sa.Column("host", String, nullable=False))
