"""Types of columns, alike on every database."""

import sqlalchemy as sa

# Compared by code point, as SQLite does and Python: times are sorted as texts, and what two
# databases say of one log is compared.
String = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
