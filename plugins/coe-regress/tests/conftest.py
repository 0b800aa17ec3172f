"""A small deployment whose failures are made into cases, and cases made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # noqa: F401 pytester would unload it after its test, and it cannot be loaded twice
from attrs import evolve, frozen
from coe_regress.case import Case, Context, Expectation, Fault, Happened, ModelCall, Recording
from coe_regress.folder import Folder
from coe_regress.stage import Stage

from coe_core.hookspec import hookimpl
from coe_core.message import user
from coe_core.plugin import discover
from coe_core.request import ChatRequest
from coe_core.testing import ScriptedProvider, entry_point
from coe_core.testing.clock import EPOCH

SETTINGS = """
[routing]
default = "main"

[models.main]
provider = "scripted"
model = "main"

[models.spare]
provider = "scripted"
model = "spare"
"""
MENDED = SETTINGS.replace('default = "main"', 'default = "main"\nfallbacks = { main = ["spare"] }')


@frozen
class ScriptedPlugin:
    @hookimpl
    def coe_model_providers(self, ctx: Any) -> list[ScriptedProvider]:
        return [ScriptedProvider()]


FAILED = Case(
    id="target-error-1",
    state="reviewed",
    failure="target_error",
    request=ChatRequest(model="auto", messages=(user("Hello"),)),
    context=Context(group="default", started_at=EPOCH),
    happened=Happened(status="failed", failure="target_error", error_code="upstream_cut"),
    expect=Expectation(),
    recording=Recording(
        models=(ModelCall(model="main", error=Fault(code="upstream_cut")),), otherwise="Yes."
    ),
    signature="1",
)
"""The default's target broke off."""


@pytest.fixture
def failed() -> Case:
    return FAILED


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "cases")


MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage(tmp_path: Path) -> MakeStage:
    def make(settings: str = SETTINGS, **plugins: type[Any]) -> Stage:
        config = tmp_path / "coe.toml"
        config.write_text(settings, encoding="utf-8")
        every = {"scripted": ScriptedPlugin, **plugins}
        installed, _ = discover([entry_point(name, each) for name, each in every.items()])
        return Stage.of(config, installed=installed)

    return make


def called(case: Case, number: int) -> Case:
    return evolve(case, id=f"{case.id}-{number}", signature=f"{number}")
