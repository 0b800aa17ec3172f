"""The plugin `regress`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from attrs import frozen

from coe_core.cli import lazy_command
from coe_core.contract import Panel
from coe_core.hookspec import hookimpl
from coe_regress.settings import Settings

if TYPE_CHECKING:
    from coe_core.compose import Context


@frozen
class RegressPlugin:
    """Contributes the command, and a panel of the cases."""

    settings: Settings

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        @lazy_command
        def regress() -> click.Command:
            """Make tests of failures, look after them, run them."""
            from coe_regress.command import regress_command

            return regress_command(self.settings)

        return [regress]

    @hookimpl
    def coe_panels(self, ctx: Context) -> Sequence[Panel]:
        from coe_regress.panel import CasesPanel

        return [CasesPanel(self.settings)]
