"""What readers make of a file: blocks of text, each with its place."""

from __future__ import annotations

from attrs import frozen

from coe_core.error import InvalidRequest
from coe_core.turn import Place


class Unreadable(InvalidRequest):
    """A file cannot be read as what it is said to be, or there is nothing in it to find."""

    code = "unreadable_document"
    status = 422


@frozen(kw_only=True)
class Block:
    """A paragraph, a table, a list: what is not torn apart where it can be helped."""

    text: str
    place: Place


@frozen(kw_only=True)
class Script:
    """A file as it was read."""

    blocks: tuple[Block, ...]
    title: str = ""
    """What it calls itself; "" where it does not."""
