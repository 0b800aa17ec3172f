"""The plugin `local`: models that run on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge, optional

from coe_core.cli import lazy_command
from coe_core.hookspec import hookimpl

if TYPE_CHECKING:
    import click

    from coe_core.compose import Context
    from coe_core.contract import Check, ModelProvider


@frozen(kw_only=True)
class Settings:
    """`[plugins.local]`."""

    model_path: str | None = None
    """A GGUF file that answers as `local` in place of the bundled model."""
    threads: int | None = field(default=None, validator=optional(ge(1)))
    """For each model; by default one less than there are cores, at most 8: with all cores busy,
    threads that wait for one another slow to a crawl, and small models gain nothing from many.
    """
    slots: int = field(default=2, validator=ge(1))
    """How many answers a chat model writes at once; more requests wait, the groups in turn."""
    context_tokens: int = field(default=4096, validator=ge(256))
    """How much a chat model sees at once, unless `[models.ALIAS]` says otherwise; each slot takes
    memory for it.
    """


@frozen
class LocalPlugin:
    """Contributes the provider, the command `coe models`, and a check."""

    settings: Settings = field(factory=Settings)

    @hookimpl
    def coe_model_providers(self, ctx: Context) -> Sequence[ModelProvider]:
        """Contribute the provider `local`, with `local`, `embed-fast` and `embed-quality`."""
        from coe_models_local.provider import LocalProvider

        return [
            LocalProvider(
                threads=self.settings.threads or min(max((os.cpu_count() or 2) - 1, 1), 8),
                slots=self.settings.slots,
                context_tokens=self.settings.context_tokens,
                model_path=self.settings.model_path,
            )
        ]

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        """Contribute `coe models`."""

        @lazy_command
        def models() -> click.Command:
            """Show, fetch and check the bundled models: a chat model and two embedders."""
            from coe_models_local.command import models

            return models

        return [models]

    @hookimpl
    def coe_checks(self, ctx: Context) -> Sequence[Check]:
        """Contribute the check of the models' files."""
        from coe_models_local.check import FilesCheck

        return [FilesCheck(self.settings.model_path)]
