"""Who is asking, and what that principal may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NewType, TypeAlias

from attrs import field, frozen

GroupName = NewType("GroupName", str)

AccessRole: TypeAlias = Literal["viewer", "member", "operator", "admin"]

RANK: Mapping[AccessRole, int] = {"viewer": 0, "member": 1, "operator": 2, "admin": 3}
"""A viewer looks, a member chats, an operator switches, an admin hands out keys."""

DEFAULT_GROUP = GroupName("default")

KEYS = "keys/"
"""Where the state store has the keys that were made. While there is one nobody is served without
a key, whether or not a plugin that reads them is in force.
"""


@frozen(kw_only=True)
class Credentials:
    """What a client showed: its bearer token, if any, and the request's headers in lower case."""

    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    client_host: str | None = None


@frozen(kw_only=True)
class Principal:
    """An authenticated caller."""

    group: GroupName
    key_id: str | None = None
    """The public id of the key, never the key."""
    user: str | None = None
    role: AccessRole = "member"

    def may(self, role: AccessRole) -> bool:
        """Whether the principal holds that role or a higher one."""
        return RANK[self.role] >= RANK[role]


NOBODY = Principal(group=GroupName(""), role="viewer")
"""Who asks without a key where none is wanted, or on a page that then asks for one."""

LOCAL = Principal(group=DEFAULT_GROUP, role="admin")
"""Who asks when no keys exist: the machine's own user, over loopback."""
