"""How long a call may take: said of a model, of all models, of a group or a request."""

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, frozen
from attrs.validators import gt

from coe_core import Model, hookimpl, parameter
from coe_core.error import InvalidField, SettingsError
from coe_core.parameter import Origin, Parameters
from coe_core.settings import load
from coe_core.timeout import NAMES, Timeouts

from .conftest import Given, StartHost
from .test_engine import DONE, Played, ask, play


@frozen(kw_only=True)
class Limits:
    stall_timeout_s: float = parameter(30.0, validator=gt(0))


@frozen
class LimitsPlugin:
    """Says how long all models may be silent, as coe-fallback does."""

    settings: Limits

    @hookimpl
    def coe_routers(self, ctx: Any) -> list[Any]:
        return []


def params(origin: Origin, **values: float) -> Parameters:
    return Parameters(values, dict.fromkeys(values, origin))


def test_what_is_nearer_to_the_turn_counts() -> None:
    own = Timeouts.of(stall_timeout_s=5.0, request_timeout_s=None)
    assert own.given == {"stall_timeout_s"}
    for origin in ("operator", "group", "experiment", "request"):
        assert own.under(params(origin, stall_timeout_s=7.0)).stall_timeout_s == 7
    by_all = own.under(params("settings", stall_timeout_s=7.0, request_timeout_s=8.0))
    assert (by_all.stall_timeout_s, by_all.request_timeout_s) == (5, 8)
    assert own.under(Parameters()) is own


def test_the_names_are_those_of_the_keys() -> None:
    assert set(NAMES) < {field.name for field in Timeouts.__attrs_attrs__}  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="stall_timeout_s"):
        Timeouts.of(stall_timeout_s=0.0)


@define
class Noting(Played):
    """Notes the models that it is called with."""

    called: Sequence[Model] = ()

    def complete(self, model: Model, request: Any, *, group: str) -> Any:
        self.called = (*self.called, model)
        return super().complete(model, request, group=group)


SETTINGS = """
[routing]
default = "played"
[models.slow]
provider = "played"
stall_timeout_s = 300
[groups.default]
"""


async def test_the_provider_is_given_those_in_force(start_host: StartHost) -> None:
    provider = Noting([[DONE]])

    class Models:
        @hookimpl
        def coe_model_providers(self, ctx: Any) -> list[Any]:
            return [provider]

    plugins = Given("limits", LimitsPlugin), Given("models", Models)
    host = await start_host(SETTINGS, *plugins)
    for asked in (
        ask(model="played"),
        ask(model="slow"),
        ask(model="slow", params={"stall_timeout_s": 2.0}),
    ):
        await play(host.application, asked)
    assert [model.timeouts.stall_timeout_s for model in provider.called] == [30, 300, 2]
    assert provider.called[0].timeouts.request_timeout_s == 600
    with pytest.raises(InvalidField, match="stall_timeout_s"):
        await play(host.application, ask(params={"stall_timeout_s": -1.0}))
    alone = await start_host(SETTINGS, plugins[1])
    await play(alone.application, ask(model="played"))
    assert provider.called[-1].timeouts == Timeouts()


def test_a_model_cannot_be_given_no_time(tmp_path: Any) -> None:
    file = tmp_path / "coe.toml"
    file.write_text('[models.a]\nprovider = "p"\nstall_timeout_s = 0\n')
    with pytest.raises(SettingsError, match="stall_timeout_s"):
        load(file)
