"""The code against `specs/kpis/`, and the specification against design."""

import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from coe_kpi.fact import FAILURES, RESULTS
from coe_kpi.kpi import Kpis
from coe_kpi.report import Query

from coe_core.codec import encode

SPECS = Path(__file__).parents[3] / "specs/kpis"
KPIS: dict[str, Any] = {field.name: field.type for field in attrs.fields(attrs.resolve_types(Kpis))}


def spec(name: str) -> dict[str, Any]:
    return tomllib.loads((SPECS / f"{name}.toml").read_text(encoding="utf-8"))


def test_every_kpi_has_a_definition_and_every_definition_a_kpi() -> None:
    assert {path.stem for path in SPECS.glob("*.toml")} == KPIS.keys()


@pytest.mark.parametrize("name", KPIS)
def test_what_is_shown_is_what_is_defined(name: str) -> None:
    defined = spec(name)
    assert defined["name"] == name
    assert [field.name for field in attrs.fields(KPIS[name])] == defined["shown"]
    assert defined["definition"]
    assert defined["formula"]
    assert {*defined["labels"]} - {"purpose"} <= {field.name for field in attrs.fields(Query)}


def test_failures_are_those_of_the_definition() -> None:
    defined = spec("routing_success_rate")
    assert list(FAILURES) == defined["failures"]
    left_out = {*RESULTS} - {"success", *FAILURES}
    assert left_out <= {*defined["exclusions"]}


def test_nulls_are_shown() -> None:
    from coe_kpi.report import NOTHING

    assert b'"value":null' in encode(NOTHING.tool_call_ratio)
