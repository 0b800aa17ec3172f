"""Try another value of a parameter on a part of the sessions."""

import hashlib
from decimal import Decimal

from attrs import frozen

from coe_core import Arm, hookimpl, parameter
from coe_core.compose import Context
from coe_core.identity import TurnId


@frozen(kw_only=True)
class Settings:
    percent: int = 10
    """So many sessions of a hundred try the new value."""
    example_tone: str = parameter("plain")
    """The parameter under test: `plain` or `friendly`."""


@frozen
class ExampleExperiment:
    percent: int = 10
    name: str = "example"

    def assign(self, turn_id: TurnId, session_id: str, group: str) -> Arm | None:
        digest = hashlib.sha256(f"{self.name}/{session_id}".encode()).digest()
        tries = int.from_bytes(digest[:4]) % 100 < self.percent
        weight = Decimal(self.percent if tries else 100 - self.percent) / 100
        tone = "friendly" if tries else "plain"
        return Arm(name=tone, weight=weight, params={"example_tone": tone})


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_experiments(self, ctx: Context) -> list[ExampleExperiment]:
        return [ExampleExperiment(self.settings.percent)]
