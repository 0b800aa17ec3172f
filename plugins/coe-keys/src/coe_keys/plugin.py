"""Authenticate by API key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from attrs import frozen

from coe_core.cli import lazy_command
from coe_core.compose import Context
from coe_core.contract import Authenticator, Check
from coe_core.hookspec import hookimpl
from coe_core.service import Clock, StateStore
from coe_core.settings import Secret

if TYPE_CHECKING:
    from coe_keys.pepper import Pepper


@frozen(kw_only=True)
class Settings:
    pepper: Secret | None = None
    """The secret that keys are hashed with, as `env:NAME` or `file:PATH`; without it, a file that
    is made in the data folder.
    """


@frozen
class KeysPlugin:
    settings: Settings

    @hookimpl
    def coe_authenticators(self, ctx: Context) -> Sequence[Authenticator]:
        from coe_keys.authenticator import KeyAuthenticator

        return [KeyAuthenticator(ctx.need(StateStore), ctx.need(Clock), self._pepper(ctx))]

    @hookimpl
    def coe_checks(self, ctx: Context) -> Sequence[Check]:
        from coe_keys.check import KeysCheck

        return [KeysCheck(ctx.need(StateStore), self._pepper(ctx))]

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        @lazy_command
        def keys() -> click.Command:
            """Create, list, rotate and revoke API keys."""
            from coe_keys.command import keys_command

            return keys_command(self._pepper(ctx))

        return [keys]

    def _pepper(self, ctx: Context) -> Pepper:
        from coe_keys.pepper import Pepper

        return Pepper(self.settings.pepper, ctx.data_dir / "pepper")
