from pathlib import Path

import click
import pytest
from coe_regress.command import regress_command
from coe_regress.panel import CasesPanel
from coe_regress.plugin import RegressPlugin
from coe_regress.settings import Settings

from coe_core.testing import CliCommandContract, PanelContract, PluginContract


class TestPlugin(PluginContract):
    name = "regress"

    def make(self) -> type[RegressPlugin]:
        return RegressPlugin


class TestCommand(CliCommandContract):
    def make(self) -> click.Command:
        return regress_command(Settings())


class TestPanel(PanelContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.cases = tmp_path

    def make(self) -> CasesPanel:
        return CasesPanel(Settings(cases=str(self.cases)))
