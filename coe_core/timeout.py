"""How long the calls of a model may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs import evolve, field, frozen
from attrs.validators import gt

if TYPE_CHECKING:
    from coe_core.parameter import Parameters


@frozen(kw_only=True)
class Timeouts:
    """The limits, in seconds. The provider keeps them: it alone knows when bytes come."""

    connect_timeout_s: float = field(default=10.0, validator=gt(0))
    """How long a connection may take, name lookup and TLS included."""
    first_token_timeout_s: float = field(default=120.0, validator=gt(0))
    """How long a streamed answer may take to begin."""
    stall_timeout_s: float = field(default=60.0, validator=gt(0))
    """How long a streamed answer may then be silent."""
    request_timeout_s: float = field(default=600.0, validator=gt(0))
    """How long the whole answer may take."""
    given: frozenset[str] = frozenset()
    """Which of them the settings say of the model itself; the others hold for all."""

    @classmethod
    def of(cls, **given: float | None) -> Timeouts:
        """Take what the settings say of a model, None for what they do not."""
        said = {name: limit for name, limit in given.items() if limit is not None}
        return cls(**said, given=frozenset(said))

    def under(self, params: Parameters) -> Timeouts:
        """Return what is in force for a turn: what was set for it or its group, else what the
        settings say of the model, else what they say of all, in parameters of the same names.
        """
        values = params.values_by_name
        chosen = {
            name: values[name]
            for name in NAMES
            if name in values
            and values[name] != getattr(self, name)
            and (name not in self.given or params.origins[name] != "settings")
        }
        return evolve(self, **chosen) if chosen else self


DEFAULTS = Timeouts()
NAMES = tuple(attribute.name for attribute in attrs.fields(Timeouts) if attribute.name != "given")
