"""The published set is what its generator makes, and keeps examples and requests apart."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from coe_routing.routes_file import read_routes

FOLDER = Path(__file__).parents[3] / "specs" / "routing"


def lines() -> list[dict[str, str | None]]:
    text = (FOLDER / "requests.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_files_are_what_the_generator_makes() -> None:
    subprocess.run([sys.executable, FOLDER / "generate.py", "--check"], check=True)


def test_it_is_as_large_as_its_page_says() -> None:
    routes, asked = read_routes(FOLDER / "routes.toml"), lines()
    assert (len(routes), len(asked)) == (32, 2032)
    assert {each["route"] for each in asked} == {*routes, None}
    assert sum(each["route"] is None for each in asked) == 240
    assert all(len(route.examples) == 12 for route in routes.values())


def test_no_example_is_held_out() -> None:
    phrases = tomllib.loads((FOLDER / "phrases.toml").read_text(encoding="utf-8"))
    tables = [*phrases["routes"].values(), phrases["out_of_scope"]]
    examples = {bare(text) for table in tables for text in table["examples"]}
    held = [bare(t) for table in tables for tier in TIERS for t in table.get(tier, ())]
    assert not examples & set(held)
    assert len(held) == len(set(held))


TIERS = ("ordinary", "oblique")


def bare(text: str) -> str:
    return re.sub(r"\{\w+\}|\W", "", text.casefold())
