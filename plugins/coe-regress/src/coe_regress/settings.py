"""`[plugins.regress]`: what counts as a failure, and where the cases lie."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, le


@frozen(kw_only=True)
class Settings:
    """The plugin's settings."""

    cases: str = "cases"
    """The folder of the cases, best one that is under version control."""
    unsure_below: float = field(default=0.5, validator=and_(ge(0.0), le(1.0)))
    """A decision with less confidence was unsure: when it was wrong too, it is a case of its own
    kind.
    """
