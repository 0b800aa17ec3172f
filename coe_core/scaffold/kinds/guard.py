"""Mask what looks like an access key before it leaves the machine."""

import re
from typing import Literal

from attrs import frozen

from coe_core import ALLOW, GuardVerdict, Payer, hookimpl
from coe_core.compose import Context

KEY = re.compile(r"\bsk-[A-Za-z0-9-]{16,}")
MASK = "[access key]"

Step = Literal["request", "egress", "tool_call", "answer"]


@frozen(kw_only=True)
class Settings:
    steps: tuple[Step, ...] = ("egress", "answer")
    """Where to look."""


@frozen
class ExampleGuard:
    steps: frozenset[Step] = frozenset({"egress", "answer"})
    name: str = "example"

    async def inspect(self, turn: Payer, step: str, text: str) -> GuardVerdict:
        masked = KEY.sub(MASK, text)
        if masked == text:
            return ALLOW
        return GuardVerdict(verdict="redact", text=masked, reason="it held an access key")


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_guards(self, ctx: Context) -> list[ExampleGuard]:
        return [ExampleGuard(frozenset(self.settings.steps))]
