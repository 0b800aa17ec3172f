"""The settings of coe-knowledge."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, gt


@frozen(kw_only=True)
class Settings:
    passage_tokens: int = field(default=256, validator=ge(16))
    """How long a passage may be, in tokens as they are estimated: four letters of English or one
    of Korean to a token. Documents that are added again are cut anew.
    """
    largest_mb: int = field(default=50, validator=gt(0))
    """A larger file is refused, unread."""
    read_timeout_s: float = field(default=120.0, validator=gt(0))
    """How long the reading of a PDF or a DOCX may take."""
