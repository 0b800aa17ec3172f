"""Let `coe doctor` see that the clock is right enough to compare times."""

import time

from attrs import frozen

from coe_core import Finding, hookimpl
from coe_core.compose import Context

BUILT_S = 1_790_000_000
"""This was written after September 2026."""


@frozen
class ExampleCheck:
    name: str = "example"

    async def check(self) -> Finding:
        if time.time() >= BUILT_S:
            return Finding(ok=True, text="the clock is plausible")
        return Finding(ok=False, text="the clock is years behind", mend="Set it, or switch on NTP.")


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_checks(self, ctx: Context) -> list[ExampleCheck]:
        return [ExampleCheck()]
