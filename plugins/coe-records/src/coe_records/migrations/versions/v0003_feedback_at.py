"""Let feedback be read by its time."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the index."""
    op.create_index("feedback_at", "feedback", ["at", "id", "group_name"])
