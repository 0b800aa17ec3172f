"""Warn when the disk of the data folder is nearly full."""

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from attrs import field, frozen

from coe_core import Alert, hookimpl
from coe_core.compose import Context

MEGABYTE = 1_000_000


@frozen(kw_only=True)
class Settings:
    limit_mb: int = 1000
    """Fewer megabytes free than these are too few."""


@frozen(kw_only=True)
class ExampleAlertRule:
    limit_mb: int = 1000
    data_dir: Path = field(factory=Path)
    name: str = "example"

    async def evaluate(self, now: datetime) -> Sequence[Alert]:
        free_mb = shutil.disk_usage(self.data_dir).free // MEGABYTE
        if free_mb >= self.limit_mb:
            return []
        return [
            Alert(
                key=f"{self.name}/disk",
                rule=self.name,
                severity="critical",
                text=f"{free_mb} MB are free on the disk of {self.data_dir}",
                playbook="docs/playbooks/disk-full.md",
                at=now,
            )
        ]


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_alert_rules(self, ctx: Context) -> list[ExampleAlertRule]:
        return [ExampleAlertRule(limit_mb=self.settings.limit_mb, data_dir=ctx.data_dir)]
