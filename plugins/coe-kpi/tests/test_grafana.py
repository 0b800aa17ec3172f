"""The dashboard, against Grafana's own schema and the real promtool."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from coe_kpi.grafana import COLUMNS, dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()


def faults(made: Any) -> list[str]:
    """Say what Grafana's schema does not know, or has otherwise."""
    decoded = Dashboard.from_json(made)
    understood = json.loads(json.dumps(decoded, cls=JSONEncoder))
    return [*lost("dashboard", made, understood), *mistyped("dashboard", decoded, Dashboard)]


def lost(place: str, ours: Any, theirs: Any) -> Iterator[str]:
    match ours, theirs:
        case dict(), dict():
            for name, value in ours.items():
                yield from lost(f"{place}.{name}", value, theirs.get(name, "nothing"))
        case list(), list() if len(ours) == len(theirs):
            for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
                yield from lost(f"{place}[{number}]", our, their)
        case _ if ours != theirs:
            yield f"{place}: {ours!r} is read as {theirs!r}"


def mistyped(place: str, value: Any, hint: Any) -> Iterator[str]:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    found = [[*mistyped_as(place, value, option)] for option in options]
    yield from min(found, key=len)


def mistyped_as(place: str, value: Any, hint: Any) -> Iterator[str]:
    origin = get_origin(hint) or hint
    is_model = getattr(type(value), "__module__", "").startswith("grafana_foundation_sdk.models")
    if origin is list and isinstance(value, list):
        for number, item in enumerate(value):
            yield from mistyped(f"{place}[{number}]", item, get_args(hint)[0])
    elif is_model and not isinstance(value, Enum) and isinstance(value, origin):
        for name, wanted in get_type_hints(type(value)).items():
            yield from mistyped(f"{place}.{name}", getattr(value, name), wanted)
    elif origin is Literal:
        if value not in get_args(hint):
            yield f"{place}: {value!r} is none of {get_args(hint)}"
    elif isinstance(origin, type) and issubclass(origin, Enum):
        if value not in [each.value for each in origin]:
            yield f"{place}: {value!r} is no {origin.__name__}"
    elif not isinstance(value, (int, float) if origin is float else origin):
        yield f"{place}: {value!r} is no {origin}"


def test_it_is_as_grafana_has_it() -> None:
    assert faults(dashboard()) == []


BREAKAGES: dict[str, Callable[[Any], Any]] = {
    "a key that Grafana does not know": lambda made: made["panels"][1].update(colour="red"),
    "an option that the kind of panel does not have": lambda made: made["panels"][1][
        "options"
    ].update(graphModus="area"),
    "a value that is none of those": lambda made: made["panels"][1]["options"].update(
        graphMode="curve"
    ),
    "a text for a number": lambda made: made["panels"][1]["gridPos"].update(w="6"),
    "a number for a text": lambda made: made["panels"][1].update(title=7),
    "a query without an expression": lambda made: made["panels"][1]["targets"][0].update(expr=None),
    "a variable of an unknown type": lambda made: made["templating"]["list"][0].update(
        type="database"
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_the_schema_tells_what_is_wrong(breakage: str) -> None:
    made: Any = dashboard()
    made = json.loads(json.dumps(made))
    BREAKAGES[breakage](made)
    assert faults(made)


def test_panels_lie_beside_one_another_and_have_names_of_their_own() -> None:
    made: Any = dashboard()
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in made["panels"]):
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_queries(tmp_path: Path) -> None:
    made: Any = dashboard()
    queries = [t["expr"] for panel in made["panels"] for t in panel.get("targets", ())]
    rules = [
        {
            "record": f"query{number}",
            "expr": query.replace("$window", "24h").replace("$__rate_interval", "1m"),
        }
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "queries.json"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", path], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout
